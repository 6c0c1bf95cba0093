// softmax, logSoftmax and their gradients along a dim; crossEntropy, which never stores what logSoftmax would.
#include "rows.h"

namespace brasa::vk {
namespace {

bool of_floats(int32_t dtype) {
  const int32_t compute = compute_dtype(dtype);
  return compute == k_f32 || compute == k_f64;
}
template <class F>
Status by_compute(int32_t dtype, const F& f) {
  return compute_dtype(dtype) == k_f64 ? f(double{}) : f(float{});
}

// The greatest of a row, and the sum of exp(x - shift). A row of -inf is shifted by 0.
template <class T>
struct Peak {
  Vec<T> top, shift, sum;
};
template <class T>
Vec<T> shift_of(Vec<T> top) {
  return select(top == Vec<T>(T(-__builtin_inf())), Vec<T>(T(0)), top);
}
template <class T, class F>
Peak<T> peak_of(Rows& rows, bool held, const F& value) {
  using V = Vec<T>;
  if (held) {
    const V top = rows.fold_of<T>(Fold::kMax, value), shift = shift_of(top);
    return {top, shift, rows.fold_of<T>(Fold::kSum, [&](const Rows::Slot& slot) { return exp(value(slot) - shift); })};
  }
  // Both in one reading: sums are brought to the greater top.
  const Monoid both = {{kDtypeOf<T>, kDtypeOf<T>},
                       [] {
                         return State{V(T(-__builtin_inf())).id(), V(T(0)).id()};
                       },
                       [](const State& a, const State& b) {
                         const V x = V::of(a[0]), y = V::of(b[0]), top = maximum(x, y), shift = shift_of(top);
                         const V sum = V::of(a[1]) * exp(x - shift) + V::of(b[1]) * exp(y - shift);
                         return State{top.id(), sum.id()};
                       }};
  const State state = rows.fold(both, [&](const Rows::Slot& slot) { return State{value(slot).id(), V(T(1)).id()}; });
  return {V::of(state[0]), shift_of(V::of(state[0])), V::of(state[1])};
}

// Long rows, and too few of them to keep a device busy: better as the ops that they are made of.
bool too_few(const Dims& kept, const Dims& over) { return over.count() >= 1 << 16 && kept.count() < 32; }

enum class Along { kSoftmax, kSoftmaxGrad, kLog, kLogGrad };

Status make_along(Maker& m, Along kind) {
  const Call& call = m.call;
  const bool grad = kind == Along::kSoftmaxGrad || kind == Along::kLogGrad;
  const bool log_form = kind == Along::kLog || kind == Along::kLogGrad;
  if (call.nin != (grad ? 2 : 1) || call.nout != 1 || call.nparams < 1) return kInvalid;
  const Layout& y = call.out[0];
  const int dim = static_cast<int>(call.params[0]);
  if (dim < 0 || dim >= y.ndim) return kInvalid;
  std::vector<Layout> layouts(call.in, call.in + call.nin);
  layouts.push_back(y);
  for (const Layout& layout : layouts) {
    if (layout.ndim != y.ndim) return kInvalid;
    if (!of_floats(layout.dtype) || compute_dtype(layout.dtype) != compute_dtype(y.dtype)) return kUnsupported;
  }
  if (count_of(y) == 0) return kOk;
  const Dims kept = Dims::of(layouts, ~(1u << dim)), over = Dims::of(layouts, 1u << dim);
  if (too_few(kept, over)) return kUnsupported;
  const Spread spread = Spread::of(m.gpu, kept, over, true);
  return by_compute(y.dtype, [&](auto zero) {
    using T = decltype(zero);
    using V = Vec<T>;
    Shade s(m, spread.group);
    const Shade::Tensor first = s.in(0), second = grad ? s.in(1) : first, to = s.out(0);
    Rows rows(s, spread, kept, over, layouts.size());
    const auto write = [&](const auto& f) {
      rows.write([&](const Rows::Slot& slot) { s.store(to, slot.at[layouts.size() - 1], f(slot).id()); });
    };
    const auto x = [&](const Rows::Slot& slot) { return rows.load<T>(first, 0, slot); };
    const auto z = [&](const Rows::Slot& slot) { return rows.load<T>(second, 1, slot); };
    if (!grad) {
      const Peak<T> peak = peak_of<T>(rows, spread.held, x);
      const V t = log_form ? log(peak.sum) : V(T(1)) / peak.sum;
      write([&](const Rows::Slot& slot) {
        return log_form ? (x(slot) - peak.shift) - t : exp(x(slot) - peak.shift) * t;
      });
    } else {
      const V sum =
          rows.fold_of<T>(Fold::kSum, [&](const Rows::Slot& slot) { return log_form ? x(slot) : x(slot) * z(slot); });
      write(
          [&](const Rows::Slot& slot) { return log_form ? x(slot) - exp(z(slot)) * sum : z(slot) * (x(slot) - sum); });
    }
    return s.finish();
  });
}

// Rows (C) of logits (N,C): layouts of what has one number a row, or one a class, over both dims.
Layout by_row(const Layout& x, const Layout& one) {
  return {one.dtype, 2, {x.shape[0], x.shape[1]}, {one.strides[0], 0}};
}
Layout by_class(const Layout& x, const Layout& one) {
  return {one.dtype, 2, {x.shape[0], x.shape[1]}, {0, one.strides[0]}};
}

bool integers(int32_t dtype) { return dtype == k_i8 || dtype == k_u8 || dtype == k_i32 || dtype == k_i64; }

// A row's target: whether it counts, and which class it is.
struct Target {
  I64 ignored;
  U32 at;  // 0 where it does not count
};
Target target_of(Shade& s, Rows& rows, Id fault, const Shade::Tensor& x, size_t operand, I64 ignore, U32 classes) {
  const I64 given = I64::of(cast_value(compute_dtype(x.dtype), k_i64, s.load(x, rows.start(operand))));
  const I64 count = I64::of(recording->pure(spv::UConvert, Type::kU64, {classes.id()}));
  const I64 ignored = given == ignore, inside = (given >= I64(0)) & (given < count);
  rows.once([&] { s.module().when((~(ignored | inside)).condition(), [&] { s.raise(fault, given, count); }); });
  return {ignored, U32::of(cast<int32_t>(select(inside & ~ignored, given, I64(0))).id())};
}

// in: [g,] logits, target, [lse,] [weight]; params: ignoreIndex, labelSmoothing
bool entropy_sane(const Call& call, bool grad) {
  const int fixed = grad ? 4 : 2;
  if (call.nin < fixed || call.nin > fixed + 1 || call.nout != (grad ? 1 : 2) || call.nparams < 2) return false;
  const Layout &x = call.in[grad], &target = call.in[grad + 1];
  if (x.ndim != 2 || target.ndim != 1 || target.shape[0] != x.shape[0]) return false;
  return call.nin == fixed || (call.in[fixed].ndim == 1 && call.in[fixed].shape[0] == x.shape[1]);
}
bool entropy_takes(const Call& call, bool grad) {
  for (int i = 0; i < call.nin; ++i)
    if (i == grad + 1 ? !integers(call.in[i].dtype)
                      : compute_dtype(call.in[i].dtype) != compute_dtype(call.in[grad].dtype))
      return false;
  return of_floats(call.in[grad].dtype) && call.in[grad].shape[1] > 0;
}

}  // namespace

Status make_softmax(Maker& m) { return make_along(m, Along::kSoftmax); }
Status make_softmax_grad(Maker& m) { return make_along(m, Along::kSoftmaxGrad); }
Status make_log_softmax(Maker& m) { return make_along(m, Along::kLog); }
Status make_log_softmax_grad(Maker& m) { return make_along(m, Along::kLogGrad); }

// loss = (1-s) w[t] (lse - x[t]) + s/C sum_c w[c] (lse - x[c])
Status make_cross_entropy(Maker& m) {
  const Call& call = m.call;
  if (!entropy_sane(call, false)) return kInvalid;
  if (!entropy_takes(call, false)) return kUnsupported;
  const Layout& xl = call.in[0];
  if (xl.shape[0] == 0) return kOk;
  const bool weighted = call.nin > 2, smooth = call.params[1] != 0;
  enum { kX, kTarget, kLoss, kLse, kWeight };
  std::vector<Layout> layouts = {xl, by_row(xl, call.in[1]), by_row(xl, call.out[0]), by_row(xl, call.out[1])};
  if (weighted) layouts.push_back(by_class(xl, call.in[2]));
  const Dims kept = Dims::of(layouts, 1), over = Dims::of(layouts, 2);
  const Spread spread = Spread::of(m.gpu, kept, over, true);
  return by_compute(xl.dtype, [&](auto zero) {
    using T = decltype(zero);
    using V = Vec<T>;
    Shade s(m, spread.group);
    const Shade::Tensor logits = s.in(0), targets = s.in(1), loss = s.out(0), lse = s.out(1);
    const Shade::Tensor weight = weighted ? s.in(2) : logits;
    const Id fault = s.fault();
    const I64 ignore = s.number(static_cast<int64_t>(call.params[0]));
    const V share = s.number(static_cast<T>(1 - call.params[1]));
    const V each = s.number(static_cast<T>(call.params[1] / static_cast<double>(xl.shape[1])));
    const U32 step = s.u32(xl.strides[1]), weight_step = s.u32(weighted ? call.in[2].strides[0] : 0);
    Rows rows(s, spread, kept, over, layouts.size());
    const auto x = [&](const Rows::Slot& slot) { return rows.load<T>(logits, kX, slot); };
    const auto w = [&](const Rows::Slot& slot) { return weighted ? rows.load<T>(weight, kWeight, slot) : V(T(1)); };
    const Peak<T> peak = peak_of<T>(rows, spread.held, x);
    const V rest = log(peak.sum);
    V sums[2];
    if (smooth) {  // of w (top - x), and of w
      const State state = rows.fold(monoid_of<T>(Fold::kSum, 2), [&](const Rows::Slot& slot) {
        return State{(w(slot) * (peak.top - x(slot))).id(), w(slot).id()};
      });
      for (int i = 0; i < 2; ++i) sums[i] = V::of(state[i]);
    }
    const Target t = target_of(s, rows, fault, targets, kTarget, ignore, rows.length());
    rows.once([&] {
      const V xt = V::of(s.load(logits, rows.start(kX) + t.at * step));
      V value = (peak.top - xt) + rest;
      if (weighted) value = value * V::of(s.load(weight, t.at * weight_step));
      if (smooth) value = share * value + each * (sums[1] * rest + sums[0]);
      using I = typename V::Int;
      s.store(loss, rows.start(kLoss), select(I::mask(t.ignored.condition()), V(T(0)), value).id());
      s.store(lse, rows.start(kLse), (peak.top + rest).id());
    });
    return s.finish();
  });
}

// dx = g (p ((1-s) w[t] + s/C sum w) - s/C w - (1-s) w[t] [c = t]), p = exp(x - lse)
Status make_cross_entropy_grad(Maker& m) {
  const Call& call = m.call;
  if (!entropy_sane(call, true)) return kInvalid;
  if (!entropy_takes(call, true) || compute_dtype(call.out[0].dtype) != compute_dtype(call.in[1].dtype))
    return kUnsupported;
  const Layout& xl = call.in[1];
  if (xl.shape[0] == 0) return kOk;
  const bool weighted = call.nin > 4, smooth = call.params[1] != 0;
  enum { kX, kTarget, kG, kLse, kOut, kWeight };
  std::vector<Layout> layouts = {xl, by_row(xl, call.in[2]), by_row(xl, call.in[0]), by_row(xl, call.in[3]),
                                 call.out[0]};
  if (weighted) layouts.push_back(by_class(xl, call.in[4]));
  const Dims kept = Dims::of(layouts, 1), over = Dims::of(layouts, 2);
  const Spread spread = Spread::of(m.gpu, kept, over, true);
  return by_compute(xl.dtype, [&](auto zero) {
    using T = decltype(zero);
    using V = Vec<T>;
    Shade s(m, spread.group);
    const Shade::Tensor g = s.in(0), logits = s.in(1), targets = s.in(2), lses = s.in(3), to = s.out(0);
    const Shade::Tensor weight = weighted ? s.in(4) : logits;
    const Id fault = s.fault();
    const I64 ignore = s.number(static_cast<int64_t>(call.params[0]));
    const V share = s.number(static_cast<T>(1 - call.params[1]));
    const V each = s.number(static_cast<T>(call.params[1] / static_cast<double>(xl.shape[1])));
    const V classes = s.number(static_cast<T>(xl.shape[1]));
    const U32 weight_step = s.u32(weighted ? call.in[4].strides[0] : 0);
    Rows rows(s, spread, kept, over, layouts.size());
    const auto w = [&](const Rows::Slot& slot) { return weighted ? rows.load<T>(weight, kWeight, slot) : V(T(1)); };
    const V total = smooth && weighted ? rows.fold_of<T>(Fold::kSum, w) : classes;
    const Target t = target_of(s, rows, fault, targets, kTarget, ignore, rows.length());
    const V given = V::of(s.load(g, rows.start(kG))), lse = V::of(s.load(lses, rows.start(kLse)));
    V hit = given;
    if (smooth) hit = hit * share;
    if (weighted) hit = hit * V::of(s.load(weight, t.at * weight_step));
    const V even = smooth ? given * each : V(T(0)), all = smooth ? hit + even * total : hit;
    rows.write([&](const Rows::Slot& slot) {
      using I = typename V::Int;
      const V p = exp(rows.load<T>(logits, kX, slot) - lse);
      V value = p * all;
      if (smooth) value = value - even * w(slot);
      const Id own = recording->pure(spv::IEqual, Type::kBool, {slot.j.id(), t.at.id()});
      value = select(I::mask(own), value - hit, value);
      s.store(to, slot.at[kOut], select(I::mask(t.ignored.condition()), V(T(0)), value).id());
    });
    return s.finish();
  });
}

}  // namespace brasa::vk
