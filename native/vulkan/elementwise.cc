// Elementwise programs as shaders that are written when they are first needed: one for a program, the dtypes of its
// operands and how each lies, whatever the sizes. An invocation takes one element at a time, so an output may lie
// exactly over an input.
#include <string>

#include "expressions.h"
#include "kernel.h"

namespace brasa::vk {
namespace {

constexpr int kMostPorts = 80;
// Elements of one dispatch, and from the first to the last of each operand: indices have 32 bits.
constexpr int64_t kMost = int64_t{1} << 31;

enum class Mode : char { kConstant = 'c', kDense = 'd', kStrided = 's' };

struct Side {
  int32_t dtype, bytes;
  Mode mode;
  int64_t strides[kMaxDims];  // elements, along the program's dims
};

// A program over one common shape.
struct Job {
  int32_t nd = 0;
  int64_t shape[kMaxDims], count = 1;
  std::vector<Side> sides;  // inputs, then outputs
};

// The dims in the order of the first output's memory, those of size 1 dropped and those that every operand walks as one
// merged.
void collapse(const Call& call, Job& job) {
  const Layout& lead = call.out[0];
  int32_t order[kMaxDims], nd = 0;
  for (int32_t d = 0; d < lead.ndim; ++d) {
    if (lead.shape[d] == 1) continue;
    int32_t i = nd++;
    for (; i > 0 && lead.strides[order[i - 1]] < lead.strides[d]; --i) order[i] = order[i - 1];
    order[i] = d;
  }
  const int sides = call.nin + call.nout;
  for (int i = 0; i < sides; ++i) {
    const int32_t dtype = i < call.nin ? call.in[i].dtype : call.out[i - call.nin].dtype;
    job.sides.push_back({dtype, item_bytes(dtype), Mode::kStrided, {}});
  }
  const auto stride = [&](int i, int d) {
    return i < call.nin ? call.in[i].strides[d] : call.out[i - call.nin].strides[d];
  };
  for (int32_t j = 0; j < nd; ++j) {
    const int32_t d = order[j];
    bool merge = job.nd > 0;
    for (int i = 0; merge && i < sides; ++i) merge = job.sides[i].strides[job.nd - 1] == stride(i, d) * lead.shape[d];
    const int32_t to = merge ? job.nd - 1 : job.nd++;
    job.shape[to] = (merge ? job.shape[to] : 1) * lead.shape[d];
    job.count *= lead.shape[d];
    for (int i = 0; i < sides; ++i) job.sides[i].strides[to] = stride(i, d);
  }
  for (Side& side : job.sides) {
    bool constant = true, dense = true;
    int64_t expected = 1;
    for (int32_t d = job.nd - 1; d >= 0; --d) {
      constant &= side.strides[d] == 0;
      dense &= side.strides[d] == expected;
      expected *= job.shape[d];
    }
    side.mode = dense ? Mode::kDense : constant ? Mode::kConstant : Mode::kStrided;
  }
}

// Where things lie in the argument block, in bytes.
struct Block {
  int32_t scalars, shape, strides;
};
Block block_of(const Job& job, int32_t nscalars) {
  const auto sides = static_cast<int32_t>(job.sides.size());
  const int32_t scalars = 8 * sides, shape = scalars + 8 * nscalars;
  return {scalars, shape, shape + 4 * (1 + job.nd)};
}

// The shader; empty when an instruction does not take its type.
std::vector<uint32_t> record(const Gpu& gpu, const Call& call, const Job& job) {
  Module module(gpu.features().group, gpu.features().target);
  recording = &module;
  const Block block = block_of(job, call.nscalars);
  const auto at = [&](Id base, int64_t bytes) {
    return module.pure(spv::IAdd, Type::kU64, {base, module.constant(Type::kU64, static_cast<uint64_t>(bytes))});
  };
  const auto argument = [&](Type type, int64_t bytes) { return module.load(type, at(module.argument_block(), bytes)); };
  const int sides = call.nin + call.nout;
  std::vector<Id> base(sides), reg;
  std::vector<int32_t> type;
  for (int i = 0; i < sides; ++i) base[i] = argument(Type::kU64, 8 * i);
  const Id count = argument(Type::kU32, block.shape);
  std::vector<Id> size(job.nd);
  for (int d = 1; d < job.nd; ++d) size[d] = argument(Type::kU32, block.shape + 4 * (1 + d));
  std::vector<std::vector<Id>> strides(sides);
  int32_t next = block.strides;
  for (int i = 0; i < sides; ++i) {
    if (job.sides[i].mode != Mode::kStrided) continue;
    for (int d = 0; d < job.nd; ++d, next += 4) strides[i].push_back(argument(Type::kU32, next));
  }
  const auto converted = [&](int i, Id value) { return cast_value(compute_dtype(job.sides[i].dtype), type[i], value); };
  for (int i = 0; i < call.nin + call.nscalars; ++i) type.push_back(static_cast<int32_t>(call.params[i]));
  reg.resize(type.size());
  for (int i = 0; i < call.nin; ++i) {
    if (job.sides[i].mode == Mode::kConstant) reg[i] = converted(i, load_element(job.sides[i].dtype, base[i]));
  }
  for (int i = 0; i < call.nscalars; ++i)
    reg[call.nin + i] = argument(storage_type(type[call.nin + i]), block.scalars + 8 * i);

  const Id index = module.begin_loop(module.invocation(), count, module.invocations());
  // The index along each dim, where an operand asks for it.
  std::vector<Id> along(job.nd);
  const auto coordinates = [&] {
    if (job.nd == 0 || along[0]) return;
    Id rest = index;
    for (int d = job.nd - 1; d > 0; --d) {
      const Id above = module.pure(spv::UDiv, Type::kU32, {rest, size[d]});
      along[d] = module.pure(spv::ISub, Type::kU32, {rest, module.pure(spv::IMul, Type::kU32, {above, size[d]})});
      rest = above;
    }
    along[0] = rest;
  };
  const auto place = [&](int i) {
    const Side& side = job.sides[i];
    Id element = side.mode == Mode::kDense ? index : module.constant(Type::kU32, 0);
    if (side.mode == Mode::kStrided) {
      coordinates();
      for (int d = 0; d < job.nd; ++d) {
        const Id step = module.pure(spv::IMul, Type::kU32, {along[d], strides[i][d]});
        element = d == 0 ? step : module.pure(spv::IAdd, Type::kU32, {element, step});
      }
    }
    const Id bytes = module.pure(spv::IMul, Type::kU64,
                                 {module.pure(spv::UConvert, Type::kU64, {element}),
                                  module.constant(Type::kU64, static_cast<uint64_t>(side.bytes))});
    return module.pure(spv::IAdd, Type::kU64, {base[i], bytes});
  };
  for (int i = 0; i < call.nin; ++i) {
    if (job.sides[i].mode != Mode::kConstant) reg[i] = converted(i, load_element(job.sides[i].dtype, place(i)));
  }
  const double* code = call.params + call.nin + call.nscalars;
  const int32_t instructions = static_cast<int32_t>(*code++);
  if (!record_instructions(code, instructions, reg, type)) return {};
  code += 5 * instructions;
  for (int i = 0; i < call.nout; ++i) {
    const auto from = static_cast<int32_t>(code[i]);
    const int32_t dtype = job.sides[call.nin + i].dtype;
    store_element(dtype, place(call.nin + i), stored_value(dtype, type[from], reg[from]));
  }
  module.end_loop();
  recording = nullptr;
  return module.finish();
}

}  // namespace

bool sane_program(const Call& call) {
  const int32_t given = call.nin + call.nscalars;
  if (call.nout < 1 || call.nin + call.nout > kMostPorts || call.nparams <= given) return false;
  std::vector<int32_t> type;
  for (int i = 0; i < given; ++i) {
    type.push_back(static_cast<int32_t>(call.params[i]));
    if (!is_compute(type.back())) return false;
  }
  const double* code = call.params + given;
  const auto instructions = static_cast<int32_t>(*code++);
  if (instructions < 0 || call.nparams != given + 1 + 5 * instructions + call.nout) return false;
  for (int32_t k = 0; k < instructions; ++k, code += 5) {
    const auto op = static_cast<int32_t>(code[0]), to = static_cast<int32_t>(code[1]);
    const int arity = arity_of(op);
    if (!arity || !is_compute(to)) return false;
    for (int j = 0; j < 3; ++j) {
      const auto r = static_cast<int32_t>(code[2 + j]);
      if (j >= arity ? r >= 0 : r < 0 || r >= given + k) return false;
      if (j < arity && op != kCast && type[r] != to) return false;
    }
    type.push_back(to);
  }
  for (int i = 0; i < call.nout; ++i) {
    if (code[i] < 0 || code[i] >= given + instructions) return false;
  }
  return true;
}

namespace {

// A dispatch for the job, or for each half of it where indices would not reach; begin: elements, of each operand.
void dispatch(Maker& m, const Job& job, VkPipeline pipeline, std::vector<int64_t> begin) {
  const Call& call = m.call;
  bool fits = job.count < kMost;
  std::vector<int64_t> reach;
  for (const Side& side : job.sides) {
    reach.push_back(1);
    for (int d = 0; d < job.nd; ++d) reach.back() += (job.shape[d] - 1) * side.strides[d];
    fits &= reach.back() < kMost;
  }
  if (!fits) {
    int32_t widest = 0;
    for (int d = 1; d < job.nd; ++d)
      if (job.shape[d] > job.shape[widest]) widest = d;
    Job low = job, high = job;
    low.shape[widest] = job.shape[widest] / 2;
    high.shape[widest] -= low.shape[widest];
    low.count = job.count / job.shape[widest] * low.shape[widest];
    high.count = job.count - low.count;
    dispatch(m, low, pipeline, begin);
    for (size_t i = 0; i < begin.size(); ++i) begin[i] += low.shape[widest] * job.sides[i].strides[widest];
    return dispatch(m, high, pipeline, begin);
  }
  Dispatch& d = m.add();
  d.pipeline = pipeline;
  d.groups[0] = groups_for(m.gpu, job.count, m.gpu.features().group);
  for (size_t i = 0; i < job.sides.size(); ++i) {
    const int64_t bytes = job.sides[i].bytes;
    d.port(m.operands[i].operand, m.operands[i].begin + begin[i] * bytes, reach[i] * bytes,
           static_cast<int32_t>(i) >= call.nin);
  }
  for (int i = 0; i < call.nscalars; ++i)
    d.scalars.push_back({m.first_scalar + i, static_cast<int32_t>(call.params[call.nin + i]), d.put(int64_t{0})});
  d.put(static_cast<uint32_t>(job.count));
  for (int k = 0; k < job.nd; ++k) d.put(static_cast<uint32_t>(job.shape[k]));
  for (const Side& side : job.sides) {
    if (side.mode != Mode::kStrided) continue;
    for (int k = 0; k < job.nd; ++k) d.put(static_cast<uint32_t>(side.strides[k]));
  }
}

}  // namespace

Status make_elementwise(Maker& m) {
  const Call& call = m.call;
  if (!sane_program(call)) return kInvalid;
  for (int i = 0; i < call.nin + call.nout; ++i) {
    const Layout& layout = i < call.nin ? call.in[i] : call.out[i - call.nin];
    if (layout.ndim != call.out[0].ndim) return kInvalid;
    for (int d = 0; d < layout.ndim; ++d)
      if (layout.shape[d] != call.out[0].shape[d]) return kInvalid;
    if (layout.dtype == k_f64 && !m.gpu.features().target.float64) return kUnsupported;
  }
  Job job;
  collapse(call, job);
  if (job.count == 0) return kOk;
  // A dense operand's strides are in no block: halves of a job that is too large for one dispatch are dense no more.
  if (job.count >= kMost)
    for (Side& side : job.sides)
      if (side.mode == Mode::kDense) side.mode = Mode::kStrided;
  std::string key = "elementwise " + std::to_string(job.nd);
  for (const Side& side : job.sides) {
    key += static_cast<char>(side.mode);
    key += static_cast<char>('0' + side.dtype);
  }
  key += std::to_string(call.nscalars);
  for (int i = 0; i < call.nparams; ++i) key += ' ' + std::to_string(static_cast<int32_t>(call.params[i]));
  VkPipeline pipeline = VK_NULL_HANDLE;
  const Status status = m.gpu.pipeline(
      key, [&] { return record(m.gpu, call, job); }, &pipeline);
  if (status == kOk) dispatch(m, job, pipeline, std::vector<int64_t>(job.sides.size(), 0));
  return status;
}

// The same program over several groups of operands.
Status make_elementwise_many(Maker& m) {
  const Call& call = m.call;
  if (call.nparams < 3) return kInvalid;
  const auto count = static_cast<int32_t>(call.params[0]), nin = static_cast<int32_t>(call.params[1]),
             nout = static_cast<int32_t>(call.params[2]);
  if (count < 0 || nin < 0 || nout < 1 || count * nin != call.nin || count * nout != call.nout) return kInvalid;
  for (int32_t k = 0; k < count; ++k) {
    const Call one = {
        call.op, nin, nout, call.nparams - 3, call.nscalars, call.in + k * nin, call.out + k * nout, call.params + 3};
    Maker part = {m.gpu, m.plan, one, {}, m.first_scalar};
    for (int i = 0; i < nin; ++i) part.operands.push_back(m.in(k * nin + i));
    for (int i = 0; i < nout; ++i) part.operands.push_back(m.out(k * nout + i));
    const Status status = make_elementwise(part);
    if (status != kOk) return status;
  }
  return kOk;
}

}  // namespace brasa::vk
