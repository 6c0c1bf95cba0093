// Elementwise programs, interpreted tile by tile: each instruction is one vector loop over about 1024 elements that
// stay in L1. An operand whose tile is contiguous and of its compute type is read or written where it lies; others pass
// through registers. An output may lie exactly over an input of the same layout.
#include "elementwise_plan.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

struct Block {
  int64_t size[3], n;  // planes, rows, columns, elements
};

void load(const Port& port, char* to, const char* from, const Block& b, char* raw) {
  if (port.mode == kConverted) return port.convert(to, from, b.n);
  const Strides dense = {{b.size[1] * b.size[2] * port.bytes, b.size[2] * port.bytes, port.bytes}};
  port.copy(port.convert ? raw : to, dense, from, port.block, b.size);
  if (port.convert) port.convert(to, raw, b.n);
}

void store(const Port& port, char* to, const char* from, const Block& b, char* raw) {
  if (port.mode == kSummed) return port.add(to, port.block, from, b.size);
  if (port.convert) {
    port.convert(port.mode == kConverted ? to : raw, from, b.n);
    if (port.mode == kConverted) return;
    from = raw;
  }
  if (port.mode != kGathered) {
    __builtin_memcpy(to, from, b.n * port.bytes);
    return;
  }
  const Strides dense = {{b.size[1] * b.size[2] * port.bytes, b.size[2] * port.bytes, port.bytes}};
  port.copy(to, port.block, from, dense, b.size);
}

template <class T>
T sum_row(const T* x, int64_t n) {
  using V = Vec<T>;
  V sum[4] = {V(T(0)), V(T(0)), V(T(0)), V(T(0))};
  for (; n >= 4 * V::N; n -= 4 * V::N, x += 4 * V::N)
    for (int j = 0; j < 4; ++j) sum[j] = sum[j] + V::load(x + j * V::N);
  for (; n >= V::N; n -= V::N, x += V::N) sum[0] = sum[0] + V::load(x);
  if (n > 0) sum[1] = sum[1] + V::load(x, int(n));
  return hsum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

template <class T>
void add_tile(char* to, const Strides& strides, const char* from, const int64_t* size) {
  using V = Vec<T>;
  const T* x = reinterpret_cast<const T*>(from);
  if (strides.s[0] == 0 && strides.s[1] == 0 && strides.s[2] == 0) {
    *reinterpret_cast<T*>(to) += sum_row(x, size[0] * size[1] * size[2]);
    return;
  }
  const int64_t n = size[2];
  for (int64_t plane = 0; plane < size[0]; ++plane) {
    for (int64_t row = 0; row < size[1]; ++row, x += n) {
      T* y = reinterpret_cast<T*>(to + plane * strides.s[0] + row * strides.s[1]);
      if (strides.s[2] == 0) {
        *y += sum_row(x, n);
      } else if (strides.s[2] == int64_t(sizeof(T))) {
        int64_t i = 0;
        for (; i + V::N <= n; i += V::N) (V::load(y + i) + V::load(x + i)).store(y + i);
        if (i < n) (V::load(y + i, int(n - i)) + V::load(x + i, int(n - i))).store(y + i, int(n - i));
      } else {
        const int64_t step = strides.s[2] / int64_t(sizeof(T));
        for (int64_t i = 0; i < n; ++i) y[i * step] += x[i];
      }
    }
  }
}

int64_t offset(const Program& p, const Port& port, const int64_t* at) {
  int64_t bytes = 0;
  for (int32_t d = 0; d < p.nd; ++d) bytes += at[d] * port.stride[d];
  return bytes;
}

// Where tile t starts, in elements.
void locate(const Program& p, int64_t t, int64_t* at) {
  for (int32_t d = p.nd - 1; d >= 0; --d) {
    const int64_t next = d ? t / p.tiles[d] : 0;
    at[d] = (t - next * p.tiles[d]) * p.block[d];
    t = next;
  }
}

// To the next tile, without divisions.
void advance(const Program& p, int64_t* at) {
  for (int32_t d = p.nd - 1; d >= 0; --d) {
    at[d] += p.block[d];
    if (at[d] < p.shape[d]) return;
    at[d] = 0;
  }
}

// The extent of the tile there, which is smaller at the end of a dim.
Block extent(const Program& p, const int64_t* at) {
  Block b;
  b.n = 1;
  for (int j = 0; j < 3; ++j) {
    const int32_t d = p.axis[j];
    b.size[j] = d < 0 ? 1 : p.shape[d] - at[d] < p.block[d] ? p.shape[d] - at[d] : p.block[d];
    b.n *= b.size[j];
  }
  return b;
}

#include "elementwise_code.inl"

bool run_tiles(const Program& p, const Args& args, int64_t begin, int64_t end) {
  if (p.code) return run_code(p, args, begin, end);
  const int64_t table = ((p.nregs + 1) * int64_t(sizeof(Source)) + 63) / 64 * 64;
  char* memory = static_cast<char*>(scratch(kTileScratch, table + p.ncells * kCell + (p.nslots + 1) * p.slot_bytes));
  if (!memory) return false;
  Source* reg = reinterpret_cast<Source*>(memory) + 1;  // reg[-1]: the operand that an instruction has not
  char *cells = memory + table, *slots = cells + p.ncells * kCell, *raw = slots + p.nslots * p.slot_bytes;
  for (int32_t r = 0; r < p.nregs; ++r) {
    const int32_t place = p.place[r];
    if (place >= 0)
      reg[r] = {slots + place * p.slot_bytes, -1};
    else if (place <= kFirstCell)
      reg[r] = {cells + (kFirstCell - place) * kCell, 0};
    else
      reg[r] = {nullptr, -1};
  }
  bool in_place[kMaxOutputs];
  for (int32_t i = 0; i < p.nout; ++i) {
    in_place[i] = p.out[i].mode == kDirect;
    for (int32_t j = 0; j < p.nin; ++j) in_place[i] &= !(p.out[i].later >> j & 1) || args.in[j] != args.out[i];
  }
  for (int32_t i = 0; i < p.nscalars; ++i) fill_cell(reg[p.nin + i].p, p.type[p.nin + i], args.scalars[i]);
  int64_t at[kMaxDims] = {};
  Block b = extent(p, at);
  for (int32_t i = 0; i < p.nin; ++i) {
    const Port& port = p.in[i];
    const char* from = static_cast<const char*>(args.in[i]);
    if (port.mode == kConstant) fill_cell(reg[i].p, port.compute, port.dtype, from);
    if (port.keep) load(port, reg[i].p, from, b, raw);
  }
  locate(p, begin, at);
  for (int64_t t = begin; t < end; ++t, advance(p, at)) {
    b = extent(p, at);
    for (int32_t i = 0; i < p.nin; ++i) {
      const Port& port = p.in[i];
      if (port.keep || port.mode == kConstant) continue;
      const char* from = static_cast<const char*>(args.in[i]) + offset(p, port, at);
      if (port.mode == kDirect)
        reg[i].p = const_cast<char*>(from);
      else if (port.mode == kRow)
        fill_cell(reg[i].p, port.compute, port.dtype, from);
      else
        load(port, reg[i].p, from, b, raw);
    }
    for (int32_t i = 0; i < p.nout; ++i)
      if (in_place[i]) reg[p.out[i].reg].p = static_cast<char*>(args.out[i]) + offset(p, p.out[i], at);
    for (int32_t k = 0; k < p.ninstr; ++k) {
      const Instruction& in = p.instr[k];
      in.loop(b.n, reg[in.out].p, reg[in.arg[0]], reg[in.arg[1]], reg[in.arg[2]], in.far);
    }
    // Sums, which come last, may be of an operand that is then written over.
    for (int32_t i = p.nout - 1; i >= 0; --i)
      if (!in_place[i])
        store(p.out[i], static_cast<char*>(args.out[i]) + offset(p, p.out[i], at), reg[p.out[i].reg].p, b, raw);
  }
  stream_fence();
  return true;
}

Status run_program(const CpuPlan& plan, const Args& args) {
  const Program& p = *static_cast<const Program*>(plan.state);
  bool failed = false;
  parallel(p.total, p.grain, [&](int64_t begin, int64_t end) {
    if (!run_tiles(p, args, begin, end)) __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
  });
  return failed ? kOutOfMemory : kOk;
}

// ---- one instruction over memory and numbers: what eager ops are

struct Sources {
  alignas(64) char cells[3][kCell];
  Source arg[3];
  const Port* port[3];  // null: a number

  Sources(const Program& p, const Args& args) : arg(), port() {
    for (int j = 0; j < 3 && p.instr[0].arg[j] >= 0; ++j) {
      const int32_t r = p.instr[0].arg[j];
      if (r < p.nin && p.in[r].mode != kConstant) {
        arg[j] = {static_cast<char*>(const_cast<void*>(args.in[r])), -1};
        port[j] = &p.in[r];
        continue;
      }
      arg[j] = {cells[j], 0};
      if (r < p.nin)
        fill_cell(cells[j], p.in[r].compute, p.in[r].dtype, args.in[r]);
      else
        fill_cell(cells[j], p.type[r], args.scalars[r - p.nin]);
    }
  }
};

// All of it contiguous.
Status run_direct(const CpuPlan& plan, const Args& args) {
  const Program& p = *static_cast<const Program*>(plan.state);
  const Instruction& in = p.instr[0];
  const Sources from(p, args);
  char* out = static_cast<char*>(args.out[0]);
  const int64_t n = p.shape[0];
  if (n <= kGrain) {
    in.loop(n, out, from.arg[0], from.arg[1], from.arg[2], true);
    return kOk;
  }
  const int64_t bytes = p.out[0].bytes;
  parallel(n, kGrain, [&](int64_t begin, int64_t end) {
    Source part[3];
    for (int j = 0; j < 3; ++j)
      part[j] = {from.arg[j].p + (from.port[j] ? begin * from.port[j]->bytes : 0), from.arg[j].mask};
    in.loop(end - begin, out + begin * bytes, part[0], part[1], part[2], true);
  });
  return kOk;
}

constexpr int64_t kLeastRow = 64;  // elements; shorter rows are taken many at a time

// Rows that are contiguous, or one number throughout, of more than one dim.
bool has_rows(const Program& p) {
  const int32_t c = p.nd - 1;
  if (p.ninstr != 1 || p.nout != 1 || c == 0 || p.shape[c] < kLeastRow || p.shape[c] > kGrain) return false;
  for (int32_t i = 0; i <= p.nin; ++i) {
    const Port& port = i < p.nin ? p.in[i] : p.out[0];
    if (port.mode != kConstant && (port.convert || port.stride[c] != port.bytes)) return false;
  }
  return true;
}

Status run_rows(const CpuPlan& plan, const Args& args) {
  const Program& p = *static_cast<const Program*>(plan.state);
  const Instruction& in = p.instr[0];
  const Sources from(p, args);
  const int32_t c = p.nd - 1;
  const int64_t n = p.shape[c];
  int64_t rows = 1;
  for (int32_t d = 0; d < c; ++d) rows *= p.shape[d];
  parallel(rows, kGrain / n, [&](int64_t begin, int64_t end) {
    int64_t at[kMaxDims] = {};
    for (int64_t d = c - 1, rest = begin; d >= 0; rest /= p.shape[d--]) at[d] = rest % p.shape[d];
    for (int64_t row = begin; row < end; ++row) {
      Source part[3];
      for (int j = 0; j < 3; ++j)
        part[j] = {from.arg[j].p + (from.port[j] ? offset(p, *from.port[j], at) : 0), from.arg[j].mask};
      in.loop(n, static_cast<char*>(args.out[0]) + offset(p, p.out[0], at), part[0], part[1], part[2], true);
      for (int32_t d = c - 1; d >= 0; --d) {
        if (++at[d] < p.shape[d]) break;
        at[d] = 0;
      }
    }
  });
  return kOk;
}

// One input moved to one output of the same dtype: bytes, never converted.
Status run_move(const CpuPlan& plan, const Args& args) {
  const Program& p = *static_cast<const Program*>(plan.state);
  const Port &in = p.in[0], &out = p.out[0];
  if (p.nd == 1 && in.stride[0] == in.bytes && out.stride[0] == out.bytes) {
    const char* from = static_cast<const char*>(args.in[0]);
    char* to = static_cast<char*>(args.out[0]);
    if (from == to) return kOk;
    parallel(p.shape[0] * in.bytes, kGrain * 8,
             [&](int64_t begin, int64_t end) { copy_row(to + begin, from + begin, end - begin); });
    return kOk;
  }
  // A transposed block goes through L1 when the output's rows are far apart, as they may share a cache set.
  const bool across = p.axis[1] >= 0 && in.block.s[1] == in.bytes && in.block.s[2] != in.bytes && out.mode == kGathered;
  parallel(p.total, p.grain, [&](int64_t begin, int64_t end) {
    alignas(64) char tile[kMoveBytes];
    int64_t at[kMaxDims];
    locate(p, begin, at);
    for (int64_t t = begin; t < end; ++t, advance(p, at)) {
      const Block b = extent(p, at);
      const char* from = static_cast<const char*>(args.in[0]) + offset(p, in, at);
      char* to = static_cast<char*>(args.out[0]) + offset(p, out, at);
      const Strides dense = {{b.size[1] * b.size[2] * in.bytes, b.size[2] * in.bytes, in.bytes}};
      in.copy(across ? tile : to, across ? dense : out.block, from, in.block, b.size);
      if (across) out.copy(to, out.block, tile, dense, b.size);
    }
    stream_fence();
  });
  return kOk;
}

Status run_nothing(const CpuPlan&, const Args&) { return kOk; }

bool is_move(const Call& call) {
  if (call.nin != 1 || call.nscalars != 0 || call.nout != 1 || call.in[0].dtype != call.out[0].dtype) return false;
  const double* q = call.params;  // input type, instruction count, [op, type, x, y, z], output register
  const int32_t native = compute_dtype(call.in[0].dtype);
  if (q[0] != native) return false;
  return q[1] == 0 || (q[1] == 1 && (q[2] == kOp_copy || q[2] == kOp_cast) && q[3] == native && q[4] == 0 && q[7] == 1);
}

// The layout whose order of dims the tiles follow: the first output that is stored, else an input that is not expanded.
const Layout& lead_layout(const Call& call, int32_t nsums) {
  if (call.nout > nsums) return call.out[0];
  for (int32_t i = 0; i < call.nin; ++i) {
    bool whole = true;
    for (int32_t d = 0; d < call.in[i].ndim; ++d) whole &= call.in[i].shape[d] == 1 || call.in[i].strides[d] != 0;
    if (whole) return call.in[i];
  }
  return call.in[0];
}

// The last `nsums` outputs are sums, of stride 0 where they add.
Status make_tiles(CpuPlan& plan, int32_t nsums = 0) {
  const Call& call = plan.call;
  const int32_t given = call.nin + call.nscalars;
  if (call.nout < 1 || call.nout > kMaxOutputs || call.nin > kMaxInputs || call.nparams <= given) return kInvalid;
  const int32_t count = int32_t(call.params[given]);
  if (count < 0 || call.nparams != given + 1 + 5 * count + call.nout) return kInvalid;
  const Layout& lead = call.out[0];
  for (int32_t i = 0; i < call.nin + call.nout; ++i) {
    const Layout& layout = i < call.nin ? call.in[i] : call.out[i - call.nin];
    if (layout.ndim != lead.ndim) return kInvalid;
    for (int32_t d = 0; d < lead.ndim; ++d)
      if (layout.shape[d] != lead.shape[d]) return kInvalid;
  }
  plan.run = run_nothing;
  for (int32_t d = 0; d < lead.ndim; ++d)
    if (lead.shape[d] == 0) return kOk;

  const int32_t most = call.nin + given + count + call.nout;  // registers, casts included
  Program* program = static_cast<Program*>(plan_alloc(plan, sizeof(Program)));
  Port* ports = static_cast<Port*>(plan_alloc(plan, (call.nin + call.nout) * sizeof(Port)));
  Instruction* instr = static_cast<Instruction*>(plan_alloc(plan, most * sizeof(Instruction)));
  int32_t* numbers = static_cast<int32_t*>(plan_alloc(plan, 5 * most * sizeof(int32_t)));
  if (!program || !ports || !instr || !numbers) return kOutOfMemory;
  Program& p = *program;
  plan.state = program;
  p.nin = call.nin;
  p.nout = call.nout;
  p.nscalars = call.nscalars;
  p.in = ports;
  p.out = ports + call.nin;
  p.instr = instr;
  p.type = numbers;
  p.place = numbers + most;
  for (int32_t i = 0; i < call.nin + call.nout; ++i) {
    ports[i].dtype = i < call.nin ? call.in[i].dtype : call.out[i - call.nin].dtype;
    ports[i].bytes = dtype_bytes(ports[i].dtype);
    ports[i].slot = -1;
  }
  collapse(call, lead_layout(call, nsums), p);
  const bool move = nsums == 0 && is_move(call);
  choose_tiles(p, move ? kMoveBytes / ports[0].bytes : kTile);
  for (int32_t i = 0; i < call.nin + call.nout; ++i) choose_mode(p, ports[i], i < call.nin);
  for (int32_t i = call.nout - nsums; i < call.nout; ++i) {
    p.out[i].mode = kSummed;
    p.out[i].add = ports[call.nin + i].dtype == k_f32   ? add_tile<float>
                   : ports[call.nin + i].dtype == k_f64 ? add_tile<double>
                                                        : add_tile<int64_t>;
  }
  if (move) {
    plan.run = run_move;
    return kOk;
  }
  const Status status = read_program(call, p, numbers + 2 * most);
  if (status != kOk) return status;
  p.slot_bytes = kTile * 4;
  for (int32_t r = 0; r < p.nregs; ++r)
    if (p.type[r] == k_f64 || p.type[r] == k_i64) p.slot_bytes = kTile * 8;
  bool direct = p.ninstr == 1 && p.nout == 1 && p.nd == 1 && p.out[0].mode == kDirect;
  for (int32_t i = 0; i < p.nin; ++i) direct &= p.in[i].mode == kDirect || p.in[i].mode == kConstant;
  plan.run = direct ? run_direct : nsums == 0 && has_rows(p) ? run_rows : run_program;
  if (plan.run == run_program && find_code(plan, p)) return kOk;
  place_registers(p, numbers + 3 * most, numbers + 4 * most);
  return kOk;
}

Status make_elementwise(CpuPlan& plan) { return make_tiles(plan); }

// ---- programs that end in sums

#include "elementwise_sum.inl"

// ---- one program over many tensors

// Tiles [begin, end) of one of them.
struct Piece {
  int32_t part;
  int64_t begin, end;
};

struct Many {
  int32_t count, nin, nout;
  int64_t npieces;  // 0: too little for more than one thread
  CpuPlan* part;
  Piece* piece;
};

Args part_args(const Many& m, const Args& args, int32_t i) {
  return {args.in + i * m.nin, args.out + i * m.nout, args.scalars, args.fault};
}

Status run_many(const CpuPlan& plan, const Args& args) {
  const Many& m = *static_cast<const Many*>(plan.state);
  bool failed = false;
  if (m.npieces == 0) {
    for (int32_t i = 0; i < m.count; ++i) failed |= m.part[i].run(m.part[i], part_args(m, args, i)) != kOk;
    return failed ? kOutOfMemory : kOk;
  }
  parallel(m.npieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const Piece& piece = m.piece[k];
      const CpuPlan& part = m.part[piece.part];
      const Args own = part_args(m, args, piece.part);
      const bool done = part.run == run_program
                            ? run_tiles(*static_cast<const Program*>(part.state), own, piece.begin, piece.end)
                            : part.run(part, own) == kOk;
      if (!done) __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
    }
  });
  return failed ? kOutOfMemory : kOk;
}

Status make_many(CpuPlan& plan) {
  const Call& call = plan.call;
  if (call.nparams < 3) return kInvalid;
  const int32_t count = int32_t(call.params[0]), nin = int32_t(call.params[1]), nout = int32_t(call.params[2]);
  if (count < 1 || nin < 0 || nout < 1 || call.nin != count * nin || call.nout != count * nout) return kInvalid;
  Many* m = static_cast<Many*>(plan_alloc(plan, sizeof(Many)));
  CpuPlan* parts = static_cast<CpuPlan*>(plan_alloc(plan, count * sizeof(CpuPlan)));
  if (!m || !parts) return kOutOfMemory;
  *m = {count, nin, nout, 0, parts, nullptr};
  int64_t elements = 0, npieces = 0;
  for (int32_t i = 0; i < count; ++i) {
    parts[i].call = call;
    parts[i].call.nin = nin;
    parts[i].call.nout = nout;
    parts[i].call.in = call.in + i * nin;
    parts[i].call.out = call.out + i * nout;
    parts[i].call.params = call.params + 3;
    parts[i].call.nparams = call.nparams - 3;
    parts[i].owner = &plan;
    const Status status = make_tiles(parts[i]);
    if (status != kOk) return status;
    const Program* p = static_cast<const Program*>(parts[i].state);
    npieces += parts[i].run == run_program ? (p->total + p->grain - 1) / p->grain : 1;
    int64_t size = 1;
    for (int32_t d = 0; d < parts[i].call.out[0].ndim; ++d) size *= parts[i].call.out[0].shape[d];
    elements += size;
  }
  plan.state = m;
  plan.run = run_many;
  if (elements <= kGrain) return kOk;
  m->npieces = npieces;
  m->piece = static_cast<Piece*>(plan_alloc(plan, npieces * sizeof(Piece)));
  if (!m->piece) return kOutOfMemory;
  int64_t k = 0;
  for (int32_t i = 0; i < count; ++i) {
    const Program* p = static_cast<const Program*>(parts[i].state);
    if (parts[i].run != run_program) {
      m->piece[k++] = {i, 0, 1};
      continue;
    }
    for (int64_t t = 0; t < p->total; t += p->grain)
      m->piece[k++] = {i, t, p->total - t < p->grain ? p->total : t + p->grain};
  }
  return kOk;
}

}  // namespace

void register_elementwise() {
  register_kernel("elementwise", make_elementwise, "tiles");
  register_kernel("elementwiseMany", make_many, "tiles");
  register_kernel("elementwiseSum", make_sums, "tiles");
}

}  // namespace brasa::cpu::BRASA_ISA
