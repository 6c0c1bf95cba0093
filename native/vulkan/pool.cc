// Pooling over the last two dims, an invocation for each element of the result. Gradients gather: each input element
// asks the windows that hold it.
#include "shade.h"

namespace brasa::vk {
namespace {

I32 whole(U32 x) { return I32::of(x.id()); }
U32 index_of(I32 x) { return U32::of(x.id()); }
I32 quotient(I32 a, I32 b) { return I32::of(recording->pure(spv::SDiv, Type::kU32, {a.id(), b.id()})); }

template <class F>
Status by_type(int32_t dtype, const F& f) {
  const int32_t compute = compute_dtype(dtype);
  if (compute != k_f32 && compute != k_f64) return kUnsupported;
  return compute == k_f64 ? f(double{}) : f(float{});
}

bool planes(const Call& call, int nin, int nout) {
  if (call.nin != nin || call.nout != nout) return false;
  for (int i = 0; i < nin + nout; ++i)
    if ((i < nin ? call.in[i] : call.out[i - nin]).ndim != 4) return false;
  return true;
}

// One dim of a pooling window.
struct Axis {
  I32 kernel, stride, pad, dilation, size, windows;
};
// x: the layout of the input side, y: of the windows.
void axes(Shade& s, const Call& call, const Layout& x, const Layout& y, Axis* out) {
  for (int i = 0; i < 2; ++i) {
    const auto param = [&](int k) { return whole(s.u32(static_cast<int64_t>(call.params[2 * k + i]))); };
    out[i].kernel = param(0);
    out[i].stride = param(1);
    out[i].pad = param(2);
    out[i].dilation = param(3);
    out[i].size = whole(s.u32(x.shape[2 + i]));
    out[i].windows = whole(s.u32(y.shape[2 + i]));
  }
}

// Input elements [from, to) of window o; `padded`: with those of the padding.
struct Span {
  I32 from, to, padded;
};
Span span_of(const Axis& a, bool adaptive, I32 o) {
  if (adaptive) {
    const I32 from = quotient(o * a.size, a.windows);
    return {from, quotient((o + I32(1)) * a.size + a.windows - I32(1), a.windows), I32(1)};
  }
  const I32 start = o * a.stride - a.pad, end = start + a.kernel;
  return {max(start, I32(0)), min(end, a.size), min(end, a.size + a.pad) - start};
}
// Windows [from, to) that may hold input element i.
Span windows_of(const Axis& a, bool adaptive, I32 i) {
  if (adaptive) {
    const I32 from = quotient(i * a.windows, a.size);
    return {from, quotient((i + I32(1)) * a.windows + a.size - I32(1), a.size), I32(1)};
  }
  const I32 first = i + a.pad - a.kernel;  // the last place before a window that holds i may begin
  const I32 from = select(first < I32(0), I32(0), quotient(first, a.stride) + I32(1));
  return {from, min(quotient(i + a.pad, a.stride) + I32(1), a.windows), I32(1)};
}

struct Average {
  bool adaptive, include_pad;
  double divisor;
};
Average average_of(const Call& call, bool adaptive) {
  return adaptive ? Average{true, false, 0} : Average{false, call.params[8] != 0, call.params[9]};
}
bool takes(const Call& call, bool adaptive) {
  return adaptive || (call.nparams == 10 && call.params[6] == 1 && call.params[7] == 1);
}

// By how much a window's sum is divided.
template <class T>
Vec<T> area(const Average& average, Vec<T> divisor, const Span& h, const Span& w) {
  if (average.divisor != 0) return divisor;
  return cast<T>(average.include_pad ? h.padded * w.padded : (h.to - h.from) * (w.to - w.from));
}

template <class F>
void loop(Shade& s, I32 from, I32 to, const F& f) {
  s.loop(index_of(from), index_of(max(to, from)), U32(1), f);
}

Status average_pool(Maker& m, bool adaptive) {
  const Call& call = m.call;
  if (!planes(call, 1, 1)) return kInvalid;
  if (!takes(call, adaptive) || call.in[0].dtype != call.out[0].dtype) return kUnsupported;
  const Average average = average_of(call, adaptive);
  return by_type(call.out[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const Layout &xl = call.in[0], &yl = call.out[0];
    Shade s(m);
    Shade::Tensor x = s.in(0), y = s.out(0);
    s.strides(x, xl);
    s.strides(y, yl);
    Axis axis[2];
    if (adaptive)
      for (int i = 0; i < 2; ++i)
        axis[i].size = whole(s.u32(xl.shape[2 + i])), axis[i].windows = whole(s.u32(yl.shape[2 + i]));
    else
      axes(s, call, xl, yl, axis);
    const Vec<T> divisor = s.number(static_cast<T>(average.divisor));
    const auto sizes = s.sizes(yl);
    s.turns(xl.shape[2] * xl.shape[3]);
    s.each(count_of(yl), [&](U32 index) {
      const auto at = s.unravel(index, sizes);
      const Span rows = span_of(axis[0], adaptive, whole(at[2])), columns = span_of(axis[1], adaptive, whole(at[3]));
      Var<T> sum(Vec<T>(T(0)));
      loop(s, rows.from, rows.to, [&](U32 h) {
        loop(s, columns.from, columns.to, [&](U32 w) {
          sum.set(sum.get() + Vec<T>::of(s.load(x, s.offset(x, {at[0], at[1], h, w}))));
        });
      });
      const Vec<T> zero_sum(T(0)), total = sum.get();
      const I32 empty = (rows.from >= rows.to) | (columns.from >= columns.to);
      using I = typename Vec<T>::Int;
      s.store(y, s.offset(y, at),
              select(I::mask(empty.condition()), zero_sum, total / area(average, divisor, rows, columns)).id());
    });
    return s.finish();
  });
}

Status average_pool_grad(Maker& m, bool adaptive) {
  const Call& call = m.call;
  if (!planes(call, 1, 1)) return kInvalid;
  if (!takes(call, adaptive) || call.in[0].dtype != call.out[0].dtype) return kUnsupported;
  const Average average = average_of(call, adaptive);
  return by_type(call.out[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const Layout &gl = call.in[0], &xl = call.out[0];
    Shade s(m);
    Shade::Tensor g = s.in(0), x = s.out(0);
    s.strides(g, gl);
    s.strides(x, xl);
    Axis axis[2];
    if (adaptive)
      for (int i = 0; i < 2; ++i)
        axis[i].size = whole(s.u32(xl.shape[2 + i])), axis[i].windows = whole(s.u32(gl.shape[2 + i]));
    else
      axes(s, call, xl, gl, axis);
    const Vec<T> divisor = s.number(static_cast<T>(average.divisor));
    const auto sizes = s.sizes(xl);
    s.turns(gl.shape[2] * gl.shape[3]);
    s.each(count_of(xl), [&](U32 index) {
      const auto at = s.unravel(index, sizes);
      const Span rows = windows_of(axis[0], adaptive, whole(at[2])),
                 columns = windows_of(axis[1], adaptive, whole(at[3]));
      Var<T> sum(Vec<T>(T(0)));
      loop(s, rows.from, rows.to, [&](U32 oh) {
        loop(s, columns.from, columns.to, [&](U32 ow) {
          const Span h = span_of(axis[0], adaptive, whole(oh)), w = span_of(axis[1], adaptive, whole(ow));
          const Vec<T> share = Vec<T>::of(s.load(g, s.offset(g, {at[0], at[1], oh, ow})));
          sum.set(sum.get() + share / area(average, divisor, h, w));
        });
      });
      s.store(x, s.offset(x, at), sum.get().id());
    });
    return s.finish();
  });
}

}  // namespace

Status make_avg_pool(Maker& m) { return average_pool(m, false); }
Status make_avg_pool_grad(Maker& m) { return average_pool_grad(m, false); }
Status make_adaptive_pool(Maker& m) { return average_pool(m, true); }
Status make_adaptive_pool_grad(Maker& m) { return average_pool_grad(m, true); }

// out: y, indices i32 into the plane: the first of equals; NaN wins.
Status make_max_pool(Maker& m) {
  const Call& call = m.call;
  if (!planes(call, 1, 2) || call.nparams != 8) return kInvalid;
  if (call.in[0].dtype != call.out[0].dtype || call.out[1].dtype != k_i32) return kUnsupported;
  return by_type(call.out[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const Layout &xl = call.in[0], &yl = call.out[0];
    Shade s(m);
    Shade::Tensor x = s.in(0), y = s.out(0), indices = s.out(1);
    s.strides(x, xl);
    s.strides(y, yl);
    s.strides(indices, call.out[1]);
    Axis axis[2];
    axes(s, call, xl, yl, axis);
    const auto sizes = s.sizes(yl);
    s.turns(xl.shape[2] * xl.shape[3]);
    s.each(count_of(yl), [&](U32 index) {
      const auto at = s.unravel(index, sizes);
      Var<T> best(Vec<T>(T(-__builtin_inf())));
      Var<int32_t> place(I32(-1));
      const auto along = [&](int i, U32 k) {
        return whole(at[2 + i]) * axis[i].stride - axis[i].pad + whole(k) * axis[i].dilation;
      };
      const auto inside = [&](int i, I32 v) { return (v >= I32(0)) & (v < axis[i].size); };
      s.loop(U32(0), index_of(axis[0].kernel), U32(1), [&](U32 kh) {
        const I32 h = along(0, kh);
        s.loop(U32(0), index_of(axis[1].kernel), U32(1), [&](U32 kw) {
          const I32 w = along(1, kw);
          s.module().when((inside(0, h) & inside(1, w)).condition(), [&] {
            const Vec<T> value = Vec<T>::of(s.load(x, s.offset(x, {at[0], at[1], index_of(h), index_of(w)})));
            const Vec<T> known = best.get();
            const auto better = (value > known) | ((value != value) & (known == known));
            const I32 chosen = I32::mask(better.condition()) | (place.get() < I32(0));
            using I = typename Vec<T>::Int;
            best.set(select(I::mask(chosen.condition()), value, known));
            place.set(select(chosen, h * axis[1].size + w, place.get()));
          });
        });
      });
      s.store(y, s.offset(y, at), best.get().id());
      s.store(indices, s.offset(indices, at), place.get().id());
    });
    return s.finish();
  });
}

// in: g, indices
Status make_max_pool_grad(Maker& m) {
  const Call& call = m.call;
  if (!planes(call, 2, 1) || call.nparams != 8) return kInvalid;
  if (call.in[0].dtype != call.out[0].dtype || call.in[1].dtype != k_i32) return kUnsupported;
  return by_type(call.out[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const Layout &gl = call.in[0], &xl = call.out[0];
    Shade s(m);
    Shade::Tensor g = s.in(0), indices = s.in(1), x = s.out(0);
    s.strides(g, gl);
    s.strides(indices, call.in[1]);
    s.strides(x, xl);
    Axis axis[2];
    axes(s, call, xl, gl, axis);
    // From its first to its last tap.
    for (Axis& a : axis) a.kernel = (a.kernel - I32(1)) * a.dilation + I32(1);
    const auto sizes = s.sizes(xl);
    s.turns(gl.shape[2] * gl.shape[3]);
    s.each(count_of(xl), [&](U32 index) {
      const auto at = s.unravel(index, sizes);
      const I32 own = whole(at[2]) * axis[1].size + whole(at[3]);
      const Span rows = windows_of(axis[0], false, whole(at[2])), columns = windows_of(axis[1], false, whole(at[3]));
      Var<T> sum(Vec<T>(T(0)));
      loop(s, rows.from, rows.to, [&](U32 oh) {
        loop(s, columns.from, columns.to, [&](U32 ow) {
          const std::vector<U32> window = {at[0], at[1], oh, ow};
          const I32 chosen = I32::of(s.load(indices, s.offset(indices, window)));
          s.module().when((chosen == own).condition(),
                          [&] { sum.set(sum.get() + Vec<T>::of(s.load(g, s.offset(g, window)))); });
        });
      });
      s.store(x, s.offset(x, at), sum.get().id());
    });
    return s.finish();
  });
}

}  // namespace brasa::vk
