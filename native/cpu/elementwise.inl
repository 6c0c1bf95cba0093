// Elementwise programs, interpreted tile by tile: each instruction is one vector loop over about 1024 elements that
// stay in L1. An operand whose tile is contiguous and of its compute type is read or written where it lies; others pass
// through registers. An output may lie exactly over an input of the same layout.
#include "blocks.inl"
#include "loops.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int64_t kTile = 1024;       // elements
constexpr int64_t kGrain = 32768;     // elements a thread takes at a time
constexpr int64_t kMoveBytes = 4096;  // of a tile that is only moved
constexpr int32_t kMaxInputs = 64, kMaxOutputs = 16;
constexpr int64_t kStream = int64_t(32) << 20;  // bytes of an output that no cache would keep

struct Instruction {
  Loop loop;
  int32_t out, arg[3];  // registers, -1: none
  bool far;             // one of them lies in memory
};

enum Mode : int32_t {
  kConstant,   // an input that is one number: in a cell, once a chunk
  kRow,        // one number in each tile: in a cell
  kDirect,     // where it lies
  kConverted,  // contiguous, of a storage type: through a slot
  kGathered,   // strided: through a slot
};

constexpr int32_t kMemory = -1, kFirstCell = -2;

// An input or output of the program.
struct Port {
  Mode mode;
  int32_t reg, dtype, compute;  // compute: the register's type
  int64_t bytes;                // of an element
  bool keep;                    // the same block in every tile: loaded once a chunk
  uint64_t later;               // of an output: the inputs that are read after it is written, should they lie under it
  int64_t stride[kMaxDims];     // bytes, along the program's dims
  Strides block;                // bytes, along the tile's planes, rows and columns
  Convert convert;              // null when the dtype is the compute type
  CopyBlock copy;
};

struct Program {
  int32_t nd, nin, nout, nscalars, nregs, nslots, ncells, ninstr;
  int64_t shape[kMaxDims], block[kMaxDims], tiles[kMaxDims];  // elements, elements a tile, tiles along each dim
  int32_t axis[3];                                            // the dims of a tile's planes, rows, columns; -1: none
  int64_t total, grain;                                       // tiles
  int64_t slot_bytes;
  Port *in, *out;
  int32_t* type;   // of each register: a compute dtype
  int32_t* place;  // of each register: its slot, kMemory, or kFirstCell - its cell
  Instruction* instr;
};

// ---- making the plan

// The dims in the order of out[0]'s memory, those of size 1 dropped and those that every operand walks as one merged.
void collapse(const Call& call, Program& p) {
  const Layout& lead = call.out[0];
  int32_t order[kMaxDims], nd = 0;
  for (int32_t d = 0; d < lead.ndim; ++d) {
    if (lead.shape[d] == 1) continue;
    int32_t i = nd++;
    for (; i > 0 && lead.strides[order[i - 1]] < lead.strides[d]; --i) order[i] = order[i - 1];
    order[i] = d;
  }
  const auto port = [&](int i) -> Port& { return i < p.nin ? p.in[i] : p.out[i - p.nin]; };
  const auto layout = [&](int i) -> const Layout& { return i < p.nin ? call.in[i] : call.out[i - p.nin]; };
  const int nports = p.nin + p.nout;
  p.nd = 0;
  for (int32_t j = 0; j < nd; ++j) {
    const int32_t d = order[j];
    bool merge = p.nd > 0;
    for (int i = 0; merge && i < nports; ++i)
      merge = port(i).stride[p.nd - 1] == layout(i).strides[d] * port(i).bytes * lead.shape[d];
    const int32_t to = merge ? p.nd - 1 : p.nd++;
    p.shape[to] = (merge ? p.shape[to] : 1) * lead.shape[d];
    for (int i = 0; i < nports; ++i) port(i).stride[to] = layout(i).strides[d] * port(i).bytes;
  }
  if (p.nd == 0) {
    p.nd = 1;
    p.shape[0] = 1;
    for (int i = 0; i < nports; ++i) port(i).stride[0] = port(i).bytes;
  }
}

// Long rows are cut into pieces; short ones are taken many at a time; against a transposed operand tiles are square.
// most: elements in a tile.
void choose_tiles(Program& p, int64_t most) {
  const int32_t c = p.nd - 1;
  const int64_t columns = p.shape[c];
  for (int32_t d = 0; d < p.nd; ++d) p.block[d] = 1;
  p.axis[0] = p.axis[1] = -1;
  p.axis[2] = c;
  int32_t across = -1;  // the dim that a transposed operand has innermost
  int64_t line = 0;     // and how many of its elements to read together
  for (int i = 0; i < p.nin && across < 0; ++i) {
    const Port& port = p.in[i];
    for (int32_t d = 0; d < c; ++d)
      if (port.stride[c] != 0 && port.stride[c] != port.bytes && port.stride[d] == port.bytes && p.shape[d] >= 8) {
        across = d;
        line = port.bytes == 1 ? 64 : 128 / port.bytes;
      }
  }
  const auto smaller = [](int64_t a, int64_t b) { return a < b ? a : b; };
  if (across >= 0) {
    p.axis[1] = across;
    p.block[c] = smaller(columns, most / smaller(p.shape[across], line));
    p.block[across] = smaller(p.shape[across], most / p.block[c]);
  } else if (columns > 128) {
    const int64_t pieces = (columns + most - 1) / most;
    p.block[c] = ((columns + pieces - 1) / pieces + 15) / 16 * 16;
  } else {
    int64_t left = most / columns;
    p.block[c] = columns;
    for (int j = 1; j >= 0 && c - 2 + j >= 0; --j) {
      const int32_t d = c - 2 + j;
      p.axis[j] = d;
      p.block[d] = smaller(p.shape[d], left);
      left /= p.shape[d];
      if (left < 2) break;
    }
  }
  p.total = 1;
  int64_t elements = 1;
  for (int32_t d = 0; d < p.nd; ++d) {
    p.block[d] = smaller(p.block[d], p.shape[d]);
    p.tiles[d] = (p.shape[d] + p.block[d] - 1) / p.block[d];
    p.total *= p.tiles[d];
    elements *= p.block[d];
  }
  p.grain = elements < kGrain ? kGrain / elements : 1;
}

// How a port's tiles lie in memory.
void choose_mode(const Program& p, Port& port, bool input) {
  bool constant = true, contiguous = true;
  int64_t bytes = port.bytes;
  port.keep = input;
  for (int32_t d = 0; d < p.nd; ++d) {
    bytes *= p.shape[d];
    constant &= port.stride[d] == 0;
    port.keep &= port.stride[d] == 0 || p.block[d] == p.shape[d];
  }
  int64_t dense = port.bytes;
  bool whole = true;  // the dims further in are covered by one tile
  for (int j = 2; j >= 0; --j) {
    const int32_t d = p.axis[j];
    port.block.s[j] = d < 0 ? 0 : port.stride[d];
    if (d < 0 || p.block[d] == 1) continue;
    contiguous &= whole && port.stride[d] == dense;
    dense *= p.block[d];
    whole = p.block[d] == p.shape[d];
  }
  const bool native = port.dtype == compute_dtype(port.dtype);
  const bool one_row = (p.axis[1] < 0 || p.block[p.axis[1]] == 1) && (p.axis[0] < 0 || p.block[p.axis[0]] == 1);
  port.mode = constant && input                                                ? kConstant
              : input && one_row && port.stride[p.axis[2]] == 0 && !contiguous ? kRow
              : !contiguous                                                    ? kGathered
              : native                                                         ? kDirect
                                                                               : kConverted;
  port.keep &= port.mode == kConverted || port.mode == kGathered;
  port.convert = native ? nullptr : input ? find_load(port.dtype) : find_store(port.dtype);
  port.copy = find_copy(port.bytes, !input && bytes >= kStream);
}

// The call's instructions, with the casts that the operands' storage types ask for.
// ours: registers as the call numbers them -> as the plan does.
Status read_program(const Call& call, Program& p, int32_t* ours) {
  const double* params = call.params;
  const int32_t given = p.nin + p.nscalars, count = int32_t(params[given]);
  params += given + 1;
  int32_t next = given;
  const auto emit = [&](Loop loop, int32_t type, int32_t x, int32_t y, int32_t z) {
    p.instr[p.ninstr++] = {loop, next, {x, y, z}, false};
    p.type[next] = type;
    return next++;
  };
  for (int32_t i = 0; i < given; ++i) {
    const int32_t type = int32_t(call.params[i]);
    if (!is_compute(type)) return kInvalid;
    p.type[i] = type;
    ours[i] = i;
    if (i >= p.nin) continue;
    Port& port = p.in[i];
    port.reg = i;
    const bool cell = port.mode == kConstant || port.mode == kRow;  // converted when the cell is filled
    port.compute = p.type[i] = cell ? type : compute_dtype(port.dtype);
    if (port.compute != type) ours[i] = emit(find_cast(port.compute, type), type, i, -1, -1);
  }
  for (int32_t k = 0; k < count; ++k, params += 5) {
    const int32_t op = int32_t(params[0]), type = int32_t(params[1]);
    int32_t arg[3];
    for (int j = 0; j < 3; ++j) {
      const int32_t r = int32_t(params[2 + j]);
      if (r >= given + k || (j == 0 && r < 0)) return kInvalid;
      arg[j] = r < 0 ? -1 : ours[r];
    }
    if (!is_compute(type)) return kInvalid;
    Loop loop = op == kOp_cast ? find_cast(p.type[arg[0]], type) : find_loop(op, type);
    if (!loop) return kUnsupported;
    for (int j = 0; j < 3; ++j)
      if (j < arity(op) ? arg[j] < 0 || (op != kOp_cast && p.type[arg[j]] != type) : arg[j] >= 0) return kInvalid;
    const bool same = (op == kOp_copy || op == kOp_cast) && p.type[arg[0]] == type;
    ours[given + k] = same ? arg[0] : emit(loop, type, arg[0], arg[1], arg[2]);
  }
  const int32_t computed = next;
  for (int32_t i = 0; i < p.nout; ++i) {
    const int32_t named = int32_t(params[i]);
    if (named < 0 || named >= given + count) return kInvalid;
    Port& port = p.out[i];
    int32_t reg = ours[named];
    const int32_t type = p.type[reg];
    port.compute = compute_dtype(port.dtype);
    bool taken = reg < given || reg >= computed;
    for (int32_t j = 0; j < i; ++j) taken |= p.out[j].reg == reg;
    // Each output has an instruction of its own that writes it.
    if (port.dtype == k_bool && type != k_i32)
      reg = emit(find_truth(type), k_i32, reg, -1, -1);
    else if (type != port.compute)
      reg = emit(find_cast(type, port.compute), port.compute, reg, -1, -1);
    else if (taken)
      reg = emit(find_loop(kOp_copy, type), type, reg, -1, -1);
    port.reg = reg;
  }
  p.nregs = next;
  return kOk;
}

// Gives every register a slot, a cell or memory. A slot is free again after its register's last use.
void place_registers(Program& p, int32_t* last, int32_t* free_slots) {
  const int32_t never = p.ninstr + 1;
  for (int32_t r = 0; r < p.nregs; ++r) {
    last[r] = -1;
    p.place[r] = kMemory;
  }
  for (int32_t k = 0; k < p.ninstr; ++k) {
    for (const int32_t r : p.instr[k].arg)
      if (r >= 0) last[r] = k;
  }
  for (int32_t i = 0; i < p.nin; ++i)
    if (p.in[i].keep) last[p.in[i].reg] = never;
  for (int32_t i = 0; i < p.nout; ++i) {
    Port& out = p.out[i];
    int32_t born = 0;
    while (p.instr[born].out != out.reg) ++born;
    // Written where it lies unless an input that lies under it is read later: then through a slot.
    for (int32_t j = 0; j < p.nin && out.mode == kDirect; ++j) {
      const Port& in = p.in[j];
      bool same = in.mode == kDirect && in.dtype == out.dtype && last[in.reg] > born;
      for (int32_t d = 0; d < p.nd; ++d) same &= in.stride[d] == out.stride[d];
      if (same) out.later |= uint64_t(1) << j;
    }
    last[out.reg] = never;
  }
  int32_t nfree = 0;
  const auto take = [&] { return nfree ? free_slots[--nfree] : p.nslots++; };
  for (int32_t i = 0; i < p.nin + p.nscalars; ++i) {
    const Mode mode = i < p.nin ? p.in[i].mode : kConstant;
    if (mode == kConstant || mode == kRow)
      p.place[i] = kFirstCell - p.ncells++;
    else if (mode != kDirect)
      p.place[i] = take();
  }
  for (int32_t k = 0; k < p.ninstr; ++k) {
    Instruction& in = p.instr[k];
    bool direct = false, memory = false;
    for (int32_t i = 0; i < p.nout; ++i) {
      memory |= p.out[i].reg == in.out && p.out[i].mode == kDirect;
      direct |= p.out[i].reg == in.out && p.out[i].mode == kDirect && p.out[i].later == 0;
    }
    // A slot may be written while it is read, lane by lane, if the elements have one size.
    const bool cast = p.type[in.arg[0]] != p.type[in.out];
    if (!direct && cast) p.place[in.out] = take();
    for (const int32_t r : in.arg) {
      if (r < 0 || last[r] != k || p.place[r] < 0) continue;
      free_slots[nfree++] = p.place[r];
      last[r] = never;  // once
    }
    if (!direct && !cast) p.place[in.out] = take();
    in.far = memory;
    for (const int32_t r : in.arg) in.far |= r >= 0 && p.place[r] == kMemory;
  }
}

// ---- running it

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

int64_t offset(const Program& p, const Port& port, const int64_t* at) {
  int64_t bytes = 0;
  for (int32_t d = 0; d < p.nd; ++d) bytes += at[d] * port.stride[d];
  return bytes;
}

// Where tile t starts, in elements, and its extent, which is smaller at the end of a dim.
Block locate(const Program& p, int64_t t, int64_t* at) {
  for (int32_t d = p.nd - 1; d >= 0; --d) {
    const int64_t next = d ? t / p.tiles[d] : 0;
    at[d] = (t - next * p.tiles[d]) * p.block[d];
    t = next;
  }
  Block b;
  b.n = 1;
  for (int j = 0; j < 3; ++j) {
    const int32_t d = p.axis[j];
    b.size[j] = d < 0 ? 1 : p.shape[d] - at[d] < p.block[d] ? p.shape[d] - at[d] : p.block[d];
    b.n *= b.size[j];
  }
  return b;
}

bool run_tiles(const Program& p, const Args& args, int64_t begin, int64_t end) {
  const int64_t table = ((p.nregs + 1) * int64_t(sizeof(Source)) + 63) / 64 * 64;
  char* memory = static_cast<char*>(scratch(0, table + p.ncells * kCell + (p.nslots + 1) * p.slot_bytes));
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
  int64_t at[kMaxDims];
  Block b = locate(p, 0, at);
  for (int32_t i = 0; i < p.nin; ++i) {
    const Port& port = p.in[i];
    const char* from = static_cast<const char*>(args.in[i]);
    if (port.mode == kConstant) fill_cell(reg[i].p, port.compute, port.dtype, from);
    if (port.keep) load(port, reg[i].p, from, b, raw);
  }
  for (int64_t t = begin; t < end; ++t) {
    b = locate(p, t, at);
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
    for (int32_t i = 0; i < p.nout; ++i)
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

// One instruction over contiguous memory and numbers: what eager ops are.
Status run_direct(const CpuPlan& plan, const Args& args) {
  const Program& p = *static_cast<const Program*>(plan.state);
  const Instruction& in = p.instr[0];
  alignas(64) char cells[3][kCell];
  Source arg[3];
  int64_t step[3] = {};  // bytes an element
  for (int j = 0; j < 3 && in.arg[j] >= 0; ++j) {
    const int32_t r = in.arg[j];
    if (r < p.nin && p.in[r].mode == kDirect) {
      arg[j] = {static_cast<char*>(const_cast<void*>(args.in[r])), -1};
      step[j] = p.in[r].bytes;
      continue;
    }
    arg[j] = {cells[j], 0};
    if (r < p.nin)
      fill_cell(cells[j], p.in[r].compute, p.in[r].dtype, args.in[r]);
    else
      fill_cell(cells[j], p.type[r], args.scalars[r - p.nin]);
  }
  char* out = static_cast<char*>(args.out[0]);
  const int64_t n = p.shape[0];
  if (n <= kGrain) {
    in.loop(n, out, arg[0], arg[1], arg[2], true);
    return kOk;
  }
  const int64_t bytes = p.out[0].bytes;
  parallel(n, kGrain, [&](int64_t begin, int64_t end) {
    Source part[3];
    for (int j = 0; j < 3; ++j) part[j] = {arg[j].p + begin * step[j], arg[j].mask};
    in.loop(end - begin, out + begin * bytes, part[0], part[1], part[2], true);
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
    for (int64_t t = begin; t < end; ++t) {
      const Block b = locate(p, t, at);
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

Status make_elementwise(CpuPlan& plan) {
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
  }
  collapse(call, p);
  const bool move = is_move(call);
  choose_tiles(p, move ? kMoveBytes / ports[0].bytes : kTile);
  for (int32_t i = 0; i < call.nin + call.nout; ++i) choose_mode(p, ports[i], i < call.nin);
  if (move) {
    plan.run = run_move;
    return kOk;
  }
  const Status status = read_program(call, p, numbers + 2 * most);
  if (status != kOk) return status;
  place_registers(p, numbers + 3 * most, numbers + 4 * most);
  p.slot_bytes = kTile * 4;
  for (int32_t r = 0; r < p.nregs; ++r)
    if (p.type[r] == k_f64 || p.type[r] == k_i64) p.slot_bytes = kTile * 8;
  bool direct = p.ninstr == 1 && p.nout == 1 && p.nd == 1 && p.out[0].mode == kDirect;
  for (int32_t i = 0; i < p.nin; ++i) direct &= p.in[i].mode == kDirect || p.in[i].mode == kConstant;
  plan.run = direct ? run_direct : run_program;
  return kOk;
}

}  // namespace

void register_elementwise() { register_kernel("elementwise", make_elementwise, "tiles"); }

}  // namespace brasa::cpu::BRASA_ISA
