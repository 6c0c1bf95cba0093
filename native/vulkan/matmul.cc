// Matrix products of any strides, and what may follow one: an elementwise program over y.
#include "product.h"

namespace brasa::vk {
namespace {

const uint32_t kF32[] = {
#include "matmul_f32.inc"
};
const uint32_t kF64[] = {
#include "matmul_f64.inc"
};
const uint32_t kI32[] = {
#include "matmul_i32.inc"
};
const uint32_t kI64[] = {
#include "matmul_i64.inc"
};
const uint32_t kF32Words[] = {
#include "matmul_f32_words.inc"
};
const uint32_t kI32Words[] = {
#include "matmul_i32_words.inc"
};

Shader shader_of(int32_t compute, const TargetDevice& target) {
  const bool words = !target.storage8 || !target.storage16;
  if (words && compute == k_f32) return {kF32Words, sizeof kF32Words};
  if (words && compute == k_i32) return {kI32Words, sizeof kI32Words};
  switch (compute) {
    case k_f64:
      return {kF64, sizeof kF64};
    case k_i32:
      return {kI32, sizeof kI32};
    case k_i64:
      return {kI64, sizeof kI64};
    default:
      return {kF32, sizeof kF32};
  }
}

constexpr int64_t kTile = 64, kMost = int64_t{1} << 31;

// y by the op alone, whole; then the program, whose input at `place` is y.
Status make_then(Maker& m, const char* op) {
  const Call& call = m.call;
  if (call.nparams < 4) return kInvalid;
  const auto nin = static_cast<int32_t>(call.params[0]), nparams = static_cast<int32_t>(call.params[1]),
             made = static_cast<int32_t>(call.params[2]), place = static_cast<int32_t>(call.params[3]);
  const int32_t own = made < 0, y = made < 0 ? 0 : made, further = call.nin - nin;
  if (nin < 0 || further < 0 || nparams < 0 || 4 + nparams > call.nparams || place < 0 || place > further ||
      y >= call.nout || own >= call.nout)
    return kInvalid;
  const Call plain = {op_id(op), nin, 1, nparams, 0, call.in, call.out + y, call.params + 4};
  Maker first = {m.gpu, m.plan, plain, {}, m.first_scalar};
  for (int32_t i = 0; i < nin; ++i) first.operands.push_back(m.in(i));
  first.operands.push_back(m.out(y));
  const Status status = make_call(first);
  if (status != kOk) return status;
  std::vector<Layout> in;
  std::vector<Source> operands;
  for (int32_t i = 0; i <= further; ++i) {
    const int32_t at = nin + i - (i > place);
    in.push_back(i == place ? call.out[y] : call.in[at]);
    operands.push_back(i == place ? m.out(y) : m.in(at));
  }
  for (int32_t i = own; i < call.nout; ++i) operands.push_back(m.out(i));
  const Call program = {op_id("elementwise"), further + 1, call.nout - own, call.nparams - 4 - nparams,
                        call.nscalars,        in.data(),   call.out + own,  call.params + 4 + nparams};
  Maker last = {m.gpu, m.plan, program, operands, m.first_scalar};
  return make_elementwise(last);
}

}  // namespace

Status add_product(Maker& m, const Product& p) {
  const int32_t compute = compute_dtype(p.in);
  if (p.in == k_bool || compute_dtype(p.out) != compute) return kUnsupported;
  if (compute == k_f64 && !m.gpu.features().target.float64) return kUnsupported;
  int64_t batches = 1;
  for (const Product::Dim& dim : p.batch) batches *= dim.size;
  if (p.m == 0 || p.n == 0 || batches == 0) return kOk;
  for (const int64_t bytes : {p.a.bytes, p.b.bytes, p.y.bytes})
    if (bytes >= kMost * item_bytes(p.in)) return kUnsupported;
  const int64_t most = m.gpu.features().most_turns / kTurns, steps = (p.inner + kStep - 1) / kStep;
  if (p.outer * steps > most) {
    // The first steps, then the rest on top of their result.
    if (p.outer > 1) return kUnsupported;
    Product head = p, tail = p;
    head.inner = most * kStep;
    tail.inner -= head.inner;
    const auto skip = [&](Matrix& x, int64_t stride) {
      const int64_t bytes = head.inner * stride * item_bytes(p.in);
      x.source.begin += bytes;
      x.bytes -= bytes;
    };
    skip(tail.a, p.a.column);
    skip(tail.b, p.b.row);
    tail.has_c = true;
    tail.c = p.y;
    for (Product::Dim& dim : tail.batch) dim.c = dim.y;
    const Status status = add_product(m, head);
    return status == kOk ? add_product(m, tail) : status;
  }
  Dispatch d;
  d.port(p.a.source.operand, p.a.source.begin, p.a.bytes, false);
  d.port(p.b.source.operand, p.b.source.begin, p.b.bytes, false);
  d.port(p.y.source.operand, p.y.source.begin, p.y.bytes, true);
  if (p.has_c)
    d.port(p.c.source.operand, p.c.source.begin, p.c.bytes, false);
  else
    d.put(uint64_t{0});
  for (const int64_t value :
       {p.m, p.n, p.inner, p.outer, batches, p.a.row, p.a.column, p.a.outer, p.b.row, p.b.column, p.b.outer, p.y.row,
        p.y.column, p.c.row, p.c.column, static_cast<int64_t>(p.batch.size())})
    d.put(static_cast<uint32_t>(value));
  for (const Product::Dim& dim : p.batch)
    for (const int64_t value : {dim.size, dim.a, dim.b, dim.y, dim.c}) d.put(static_cast<uint32_t>(value));
  d.groups[0] = static_cast<uint32_t>((p.n + kTile - 1) / kTile);
  d.groups[1] = static_cast<uint32_t>((p.m + kTile - 1) / kTile);
  d.groups[2] = groups_for(m.gpu, batches, 1);
  if (d.groups[0] > m.gpu.features().most_groups || d.groups[1] > m.gpu.features().most_groups) return kUnsupported;
  const Status status =
      m.gpu.pipeline(shader_of(compute, m.gpu.features().target),
                     {static_cast<uint32_t>(p.in), static_cast<uint32_t>(p.out), p.has_c}, &d.pipeline);
  if (status == kOk) m.add() = std::move(d);
  return status;
}

Status make_matmul(Maker& m) {
  const Call& call = m.call;
  if (call.nin < 2 || call.nin > 3 || call.nout != 1) return kInvalid;
  const Layout &a = call.in[0], &b = call.in[1], &y = call.out[0], &c = call.nin == 3 ? call.in[2] : y;
  const int nd = y.ndim, row = nd - 2, column = nd - 1;
  if (nd < 2 || a.ndim != nd || b.ndim != nd || c.ndim != nd) return kInvalid;
  if (b.dtype != a.dtype || (call.nin == 3 && c.dtype != a.dtype)) return kUnsupported;
  if (a.shape[row] != y.shape[row] || b.shape[row] != a.shape[column] || b.shape[column] != y.shape[column])
    return kInvalid;
  const auto matrix = [&](const Source& source, const Layout& layout) {
    return Matrix{source, reach_of(layout) * item_bytes(layout.dtype), layout.strides[row], layout.strides[column]};
  };
  Product p = {a.dtype, y.dtype, y.shape[row], y.shape[column], a.shape[column]};
  p.a = matrix(m.in(0), a);
  p.b = matrix(m.in(1), b);
  p.y = matrix(m.out(0), y);
  p.has_c = call.nin == 3;
  p.c = p.has_c ? matrix(m.in(2), c) : p.y;
  for (int i = 0; i < row; ++i) p.batch.push_back({y.shape[i], a.strides[i], b.strides[i], y.strides[i], c.strides[i]});
  return add_product(m, p);
}

Status make_matmul_then(Maker& m) { return make_then(m, "matmul"); }
Status make_conv2d_then(Maker& m) { return make_then(m, "conv2d"); }
Status make_conv2d_grad_input_then(Maker& m) { return make_then(m, "conv2dGradInput"); }

}  // namespace brasa::vk
