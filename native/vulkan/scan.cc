// cumsum and cumprod: an invocation for each line, in order.
#include "shade.h"

namespace brasa::vk {
namespace {

template <class F>
Status scan(Maker& m, int first, const F& step) {
  const Call& call = m.call;
  if (call.nin != 1 || call.nout != 1 || call.nparams < 1) return kInvalid;
  const Layout &in = call.in[0], &out = call.out[0];
  const int dim = static_cast<int>(call.params[0]);
  if (in.ndim != out.ndim || dim < 0 || dim >= in.ndim) return kInvalid;
  const int32_t compute = compute_dtype(in.dtype);
  const bool floats = compute == k_f32 || compute == k_f64;
  if (floats ? out.dtype != in.dtype : out.dtype != k_i64) return kUnsupported;
  Shade s(m);
  Shade::Tensor x = s.in(0), y = s.out(0);
  s.strides(x, in);
  s.strides(y, out);
  Layout lines = in;
  lines.shape[dim] = 1;
  const auto sizes = s.sizes(lines);
  const U32 n = s.u32(in.shape[dim]);
  s.turns(in.shape[dim]);
  visit_compute(floats ? compute : static_cast<int32_t>(k_i64), [&](auto zero) {
    using T = decltype(zero);
    s.each(in.shape[dim] == 0 ? 0 : count_of(lines), [&](U32 line) {
      const auto along = s.unravel(line, sizes);
      const U32 from = s.offset(x, along), to = s.offset(y, along);
      Var<T> sum{Vec<T>(T(first))};
      s.loop(U32(0), n, U32(1), [&](U32 i) {
        const Vec<T> value = Vec<T>::of(cast_value(compute, kDtypeOf<T>, s.load(x, from + i * x.strides[dim])));
        const Vec<T> next = step(sum.get(), value);
        sum.set(next);
        s.store(y, to + i * y.strides[dim], next.id());
      });
    });
  });
  return s.finish();
}

}  // namespace

Status make_cumsum(Maker& m) {
  return scan(m, 0, [](auto a, auto b) { return a + b; });
}
Status make_cumprod(Maker& m) {
  return scan(m, 1, [](auto a, auto b) { return a * b; });
}

}  // namespace brasa::vk
