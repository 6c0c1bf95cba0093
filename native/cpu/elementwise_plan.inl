// What an elementwise program is made into: how its operands lie in tiles, which registers are slots, cells or memory.
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
  int32_t op;           // of ops.def, or jit::kTruth
  int32_t out, arg[3];  // registers, -1: none
  bool far;             // one of them lies in memory
};

enum Mode : int32_t {
  kConstant,   // an input that is one number: in a cell, once a chunk
  kRow,        // one number in each tile: in a cell
  kDirect,     // where it lies
  kConverted,  // contiguous, of a storage type: through a slot
  kGathered,   // strided: through a slot
  kSummed,     // an output that tiles are added to
};

constexpr int32_t kMemory = -1, kFirstCell = -2;

// Adds a dense tile to elements that lie `strides` bytes apart along planes, rows and columns: 0 where they are summed.
using AddTile = void (*)(char* to, const Strides& strides, const char* from, const int64_t* size);

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
  AddTile add;   // of sums
  int32_t slot;  // where code finds it; -1: where it lies
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
  const jit::Compiled* code;  // all instructions at once; null: they are interpreted
  bool whole;                 // of contiguous operands, without tiles
};

// ---- making the plan

// The dims in the order of lead's memory, those of size 1 dropped and those that every operand walks as one merged.
void collapse(const Call& call, const Layout& lead, Program& p) {
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
  const auto emit = [&](int32_t op, Loop loop, int32_t type, int32_t x, int32_t y, int32_t z) {
    p.instr[p.ninstr++] = {loop, op, next, {x, y, z}, false};
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
    if (port.compute != type) ours[i] = emit(kOp_cast, find_cast(port.compute, type), type, i, -1, -1);
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
    ours[given + k] = same ? arg[0] : emit(op, loop, type, arg[0], arg[1], arg[2]);
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
    // Each output has an instruction of its own that writes it; a sum only reads.
    const bool number = reg < given && (reg >= p.nin || p.in[reg].mode == kConstant || p.in[reg].mode == kRow);
    if (port.mode == kSummed) taken = number;
    if (port.dtype == k_bool && type != k_i32)
      reg = emit(jit::kTruth, find_truth(type), k_i32, reg, -1, -1);
    else if (type != port.compute)
      reg = emit(kOp_cast, find_cast(type, port.compute), port.compute, reg, -1, -1);
    else if (taken)
      reg = emit(kOp_copy, find_loop(kOp_copy, type), type, reg, -1, -1);
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
  for (int32_t i = 0; i < p.nout; ++i)
    if (p.out[i].mode == kSummed) last[p.out[i].reg] = never;  // read after the last instruction
  for (int32_t i = 0; i < p.nout; ++i) {
    Port& out = p.out[i];
    if (out.mode == kSummed) continue;
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

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
