// Elementwise programs whose instructions all have machine code (jit/jit.h): one pass over each tile, values in
// registers. Where every operand is contiguous there are no tiles but one run over each thread's share. Included by
// elementwise.inl.

// How the code sees a port: where it lies, or, when it is strided or summed, as a slot of its compute type.
bool takes_slot(const Port& port, bool input) {
  return port.mode == kGathered || port.mode == kSummed || (input && port.mode == kConverted && port.keep);
}
bool is_number(const Port& port) { return port.mode == kConstant || port.mode == kRow; }

// Finds the program's code, and gives its operands slots and cells. False when there is none.
bool find_code(CpuPlan& plan, Program& p) {
  const int32_t count = p.nin + p.nscalars + p.nout;
  jit::Operand* operands = static_cast<jit::Operand*>(plan_alloc(plan, count * sizeof(jit::Operand)));
  jit::Step* steps = static_cast<jit::Step*>(plan_alloc(plan, (p.ninstr + 1) * sizeof(jit::Step)));
  if (!operands || !steps) return false;
  for (int32_t i = 0; i < p.nin; ++i) {
    const Port& in = p.in[i];
    const bool slot = takes_slot(in, true), number = is_number(in);
    operands[i] = {number ? jit::kNumber : jit::kStream, number || slot ? in.compute : in.dtype, i, !number && !slot};
  }
  for (int32_t i = p.nin; i < p.nin + p.nscalars; ++i) operands[i] = {jit::kNumber, p.type[i], i, false};
  for (int32_t i = 0; i < p.nout; ++i) {
    const Port& out = p.out[i];
    const bool slot = takes_slot(out, false);
    operands[p.nin + p.nscalars + i] = {jit::kResult, slot ? p.type[out.reg] : out.dtype, out.reg, !slot};
  }
  for (int32_t k = 0; k < p.ninstr; ++k) {
    const Instruction& in = p.instr[k];
    steps[k] = {in.op, p.type[in.out], in.out, {in.arg[0], in.arg[1], in.arg[2]}, arity(in.op), in.loop};
  }
  p.code = jit::find({count, p.ninstr, p.nregs, operands, steps, p.type});
  if (!p.code) return false;
  plan_at_end(
      plan, [](const void* code) { jit::release(static_cast<const jit::Compiled*>(code)); }, p.code);
  p.whole = p.nd == 1;
  p.ncells = p.nscalars;
  for (int32_t i = 0; i < p.nin + p.nout; ++i) {
    Port& port = i < p.nin ? p.in[i] : p.out[i - p.nin];
    if (takes_slot(port, i < p.nin)) port.slot = p.nslots++;
    p.ncells += is_number(port);
    p.whole &= port.mode == kDirect || port.mode == kConverted || port.mode == kConstant;
    p.whole &= port.slot < 0;
  }
  return true;
}

bool run_code(const Program& p, const Args& args, int64_t begin, int64_t end) {
  const int32_t count = p.nin + p.nscalars + p.nout;
  const int64_t table = (count * int64_t(sizeof(char*)) + 63) / 64 * 64;
  const int64_t slot_bytes = p.whole ? 0 : (p.nslots + 1) * p.slot_bytes;
  char* memory = static_cast<char*>(scratch(kTileScratch, table + p.ncells * kCell + slot_bytes));
  if (!memory) return false;
  char** at = reinterpret_cast<char**>(memory);
  char *cell = memory + table, *slots = cell + p.ncells * kCell, *raw = slots + p.nslots * p.slot_bytes;
  char **in = at, **out = at + p.nin + p.nscalars;
  for (int32_t i = 0; i < p.nin; ++i) {
    const Port& port = p.in[i];
    if (!is_number(port)) continue;
    if (port.mode == kConstant) fill_cell(cell, port.compute, port.dtype, args.in[i]);
    in[i] = cell;
    cell += kCell;
  }
  for (int32_t i = 0; i < p.nscalars; ++i, cell += kCell) {
    fill_cell(cell, p.type[p.nin + i], args.scalars[i]);
    in[p.nin + i] = cell;
  }
  const auto input = [&](int32_t i, int64_t bytes) {
    return static_cast<char*>(const_cast<void*>(args.in[i])) + bytes;
  };
  const auto output = [&](int32_t i, int64_t bytes) { return static_cast<char*>(args.out[i]) + bytes; };
  if (p.whole) {
    const int64_t from = begin * p.block[0], to = end * p.block[0] < p.shape[0] ? end * p.block[0] : p.shape[0];
    for (int32_t i = 0; i < p.nin; ++i)
      if (p.in[i].mode != kConstant) in[i] = input(i, from * p.in[i].bytes);
    for (int32_t i = 0; i < p.nout; ++i) out[i] = output(i, from * p.out[i].bytes);
    p.code->run(to - from, reinterpret_cast<const void* const*>(at));
    return true;
  }
  int64_t place[kMaxDims] = {};
  Block b = extent(p, place);
  for (int32_t i = 0; i < p.nin; ++i) {
    const Port& port = p.in[i];
    if (port.slot < 0) continue;
    in[i] = slots + port.slot * p.slot_bytes;
    if (port.keep) load(port, in[i], input(i, 0), b, raw);
  }
  for (int32_t i = 0; i < p.nout; ++i)
    if (p.out[i].slot >= 0) out[i] = slots + p.out[i].slot * p.slot_bytes;
  locate(p, begin, place);
  for (int64_t t = begin; t < end; ++t, advance(p, place)) {
    b = extent(p, place);
    for (int32_t i = 0; i < p.nin; ++i) {
      const Port& port = p.in[i];
      if (port.keep || port.mode == kConstant) continue;
      char* from = input(i, offset(p, port, place));
      if (port.mode == kRow)
        fill_cell(in[i], port.compute, port.dtype, from);
      else if (port.slot >= 0)
        load(port, in[i], from, b, raw);
      else
        in[i] = from;
    }
    for (int32_t i = 0; i < p.nout; ++i)
      if (p.out[i].slot < 0) out[i] = output(i, offset(p, p.out[i], place));
    p.code->run(b.n, reinterpret_cast<const void* const*>(at));
    for (int32_t i = p.nout - 1; i >= 0; --i)
      if (p.out[i].slot >= 0) store(p.out[i], output(i, offset(p, p.out[i], place)), out[i], b, raw);
  }
  stream_fence();
  return true;
}
