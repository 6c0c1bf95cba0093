// layerNorm, a row of lanes for each row; batchNorm: moments of each channel, then one pass. And their gradients.
#include "reduction.h"

namespace brasa::vk {
namespace {

bool alike(const Call& call) {  // floats of one compute type
  const int32_t compute = compute_dtype(call.out[0].dtype);
  for (int i = 0; i < call.nin + call.nout; ++i)
    if (compute_dtype((i < call.nin ? call.in[i] : call.out[i - call.nin]).dtype) != compute) return false;
  return compute == k_f32 || compute == k_f64;
}
template <class F>
Status by_compute(int32_t dtype, const F& f) {
  return compute_dtype(dtype) == k_f64 ? f(double{}) : f(float{});
}

// Over x's dims: a tensor of the last k of them, one number for each of the rest in row-major order, one for each
// channel.
Layout over_last(const Layout& x, const Layout& one, int k) {
  Layout layout = x;
  layout.dtype = one.dtype;
  for (int d = 0; d < x.ndim; ++d) layout.strides[d] = d < x.ndim - k ? 0 : one.strides[d - (x.ndim - k)];
  return layout;
}
Layout over_rows(const Layout& x, const Layout& one, int k) {
  Layout layout = x;
  layout.dtype = one.dtype;
  int64_t stride = one.strides[0];
  for (int d = x.ndim - 1; d >= 0; --d) {
    layout.strides[d] = d < x.ndim - k ? stride : 0;
    if (d < x.ndim - k) stride *= x.shape[d];
  }
  return layout;
}
Layout over_channels(const Layout& x, const Layout& one) {
  Layout layout = x;
  layout.dtype = one.dtype;
  for (int d = 0; d < x.ndim; ++d) layout.strides[d] = d == 1 ? one.strides[0] : 0;
  return layout;
}
bool same_shape(const Layout& a, const Layout& b) {
  if (a.ndim != b.ndim) return false;
  for (int d = 0; d < a.ndim; ++d)
    if (a.shape[d] != b.shape[d]) return false;
  return true;
}

// An elementwise program of binary ops over operands of one shape and compute type.
struct Step {
  const char* op;
  int x, y;  // registers
};
Status add_program(Maker& m, const std::vector<Layout>& in, const Layout& out, const std::vector<Source>& operands,
                   const std::vector<Step>& steps) {
  const int32_t compute = compute_dtype(out.dtype);
  std::vector<double> params(in.size(), compute);
  params.push_back(static_cast<double>(steps.size()));
  for (const Step& step : steps)
    for (const int value : {op_id(step.op), compute, step.x, step.y, -1}) params.push_back(value);
  params.push_back(static_cast<double>(in.size() + steps.size() - 1));
  const Call call = {
      op_id("elementwise"), static_cast<int32_t>(in.size()), 1, static_cast<int32_t>(params.size()), 0, in.data(), &out,
      params.data()};
  Maker part = {m.gpu, m.plan, call, operands, 0};
  return make_elementwise(part);
}

}  // namespace

// in: x, optionally weight, bias of the last k dims; out: y, mean, rstd of the rows
Status make_layer_norm(Maker& m) {
  const Call& call = m.call;
  if (call.nout != 3 || call.nparams < 4) return kInvalid;
  const int k = static_cast<int>(call.params[0]);
  const bool weighted = call.params[2] != 0, biased = call.params[3] != 0;
  const Layout& xl = call.in[0];
  if (call.nin != 1 + weighted + biased || k < 1 || k > xl.ndim || !same_shape(xl, call.out[0])) return kInvalid;
  if (!alike(call)) return kUnsupported;
  enum { kX, kY, kMean, kRstd, kWeight, kBias };
  std::vector<Layout> layouts = {xl, call.out[0], over_rows(xl, call.out[1], k), over_rows(xl, call.out[2], k)};
  layouts.push_back(weighted ? over_last(xl, call.in[1], k) : xl);
  layouts.push_back(biased ? over_last(xl, call.in[1 + weighted], k) : xl);
  const uint32_t mask = ((1u << xl.ndim) - 1) & ~((1u << (xl.ndim - k)) - 1);
  const Dims kept = Dims::of(layouts, ~mask), over = Dims::of(layouts, mask);
  if (kept.count() == 0) return kOk;
  if (over.count() == 0 || (over.count() >= 1 << 16 && kept.count() < 32)) return kUnsupported;
  const Spread spread = Spread::of(m.gpu, kept, over, true);
  return by_compute(xl.dtype, [&](auto zero) {
    using T = decltype(zero);
    using V = Vec<T>;
    Shade s(m, spread.group);
    const Shade::Tensor x = s.in(0), y = s.out(0), means = s.out(1), rstds = s.out(2);
    const Shade::Tensor weight = weighted ? s.in(1) : x, bias = biased ? s.in(1 + weighted) : x;
    const V n = s.number(static_cast<T>(over.count())), eps = s.number(static_cast<T>(call.params[1]));
    Rows rows(s, spread, kept, over, layouts.size());
    const auto value = [&](const Rows::Slot& slot) { return rows.load<T>(x, kX, slot); };
    const V mean = rows.fold_of<T>(Fold::kSum, value) / n;
    const V squares = rows.fold_of<T>(Fold::kSum, [&](const Rows::Slot& slot) {
      const V d = value(slot) - mean;
      return d * d;
    });
    const V rstd = V(T(1)) / sqrt(squares / n + eps);
    rows.write([&](const Rows::Slot& slot) {
      V result = (value(slot) - mean) * rstd;
      if (weighted) result = result * rows.load<T>(weight, kWeight, slot);
      if (biased) result = result + rows.load<T>(bias, kBias, slot);
      s.store(y, slot.at[kY], result.id());
    });
    rows.once([&] {
      s.store(means, rows.start(kMean), mean.id());
      s.store(rstds, rows.start(kRstd), rstd.id());
    });
    return s.finish();
  });
}

// in: g, x, mean, rstd, optionally weight; out: dx, dweight, dbias.
// dx = rstd (g w - mean(g w) - xhat mean(g w xhat))
Status make_layer_norm_grad(Maker& m) {
  const Call& call = m.call;
  if (call.nout != 3 || call.nparams < 2) return kInvalid;
  const int k = static_cast<int>(call.params[0]);
  const bool weighted = call.params[1] != 0;
  if (call.nin != 4 + weighted) return kInvalid;
  const Layout& xl = call.in[1];
  if (k < 1 || k > xl.ndim || !same_shape(xl, call.out[0]) || !same_shape(xl, call.in[0])) return kInvalid;
  if (!alike(call)) return kUnsupported;
  enum { kX, kG, kDx, kMean, kRstd, kWeight, kDweight, kDbias };
  std::vector<Layout> layouts = {xl, call.in[0], call.out[0], over_rows(xl, call.in[2], k),
                                 over_rows(xl, call.in[3], k)};
  layouts.push_back(weighted ? over_last(xl, call.in[4], k) : xl);
  for (int i = 1; i < 3; ++i) layouts.push_back(over_last(xl, call.out[i], k));
  const uint32_t mask = ((1u << xl.ndim) - 1) & ~((1u << (xl.ndim - k)) - 1);
  const Dims kept = Dims::of(layouts, ~mask), over = Dims::of(layouts, mask);
  if (over.count() == 0 || (over.count() >= 1 << 16 && kept.count() < 32)) return kUnsupported;
  return by_compute(xl.dtype, [&](auto zero) {
    using T = decltype(zero);
    using V = Vec<T>;
    if (kept.count() > 0) {
      const Spread spread = Spread::of(m.gpu, kept, over, true);
      Shade s(m, spread.group);
      const Shade::Tensor g = s.in(0), x = s.in(1), means = s.in(2), rstds = s.in(3), dx = s.out(0);
      const Shade::Tensor weight = weighted ? s.in(4) : x;
      const V n = s.number(static_cast<T>(over.count()));
      Rows rows(s, spread, kept, over, layouts.size());
      const V mean = V::of(s.load(means, rows.start(kMean))), rstd = V::of(s.load(rstds, rows.start(kRstd)));
      const auto normal = [&](const Rows::Slot& slot) { return (rows.load<T>(x, kX, slot) - mean) * rstd; };
      const auto scaled = [&](const Rows::Slot& slot) {
        const V value = rows.load<T>(g, kG, slot);
        return weighted ? value * rows.load<T>(weight, kWeight, slot) : value;
      };
      const State sums = rows.fold(monoid_of<T>(Fold::kSum, 2), [&](const Rows::Slot& slot) {
        const V value = scaled(slot);
        return State{value.id(), (value * normal(slot)).id()};
      });
      const V first = V::of(sums[0]) / n, second = V::of(sums[1]) / n;
      rows.write([&](const Rows::Slot& slot) {
        s.store(dx, slot.at[kDx], (rstd * (scaled(slot) - first - normal(slot) * second)).id());
      });
      const Status status = s.finish();
      if (status != kOk) return status;
    }
    Shade* shade = nullptr;
    Shade::Tensor g, x, means, rstds, dweight, dbias;
    Reduction r;
    r.monoid = monoid_of<T>(Fold::kSum, 2);
    r.kept = over;
    r.over = kept;
    r.operands = layouts.size();
    r.open = [&](Shade& s) { g = s.in(0), x = s.in(1), means = s.in(2), rstds = s.in(3); };
    r.open_results = [&](Shade& s) { dweight = s.out(1), dbias = s.out(2); };
    r.numbers = [&](Shade& s) { shade = &s; };
    r.element = [&](Rows& rows, const Rows::Slot& slot) {
      const V value = rows.load<T>(g, kG, slot), mean = rows.load<T>(means, kMean, slot);
      return State{(value * ((rows.load<T>(x, kX, slot) - mean) * rows.load<T>(rstds, kRstd, slot))).id(), value.id()};
    };
    r.finish = [&](Rows& rows, const State& state) {
      shade->store(dweight, rows.start(kDweight), state[0]);
      shade->store(dbias, rows.start(kDbias), state[1]);
    };
    return add_reduction(m, r);
  });
}

// in: x (N,C,...), weight, bias (C); out: y, mean, variance, rstd (C)
Status make_batch_norm(Maker& m) {
  const Call& call = m.call;
  if (call.nin != 3 || call.nout != 4 || call.nparams < 1 || call.in[0].ndim < 2) return kInvalid;
  const Layout& xl = call.in[0];
  if (!same_shape(xl, call.out[0])) return kInvalid;
  // The second pass reads what the first one stored.
  if (!alike(call) || compute_dtype(call.out[1].dtype) != call.out[1].dtype || call.out[1].dtype != call.out[3].dtype)
    return kUnsupported;
  if (count_of(xl) == 0) return kUnsupported;
  std::vector<Layout> layouts = {xl};
  for (int i = 1; i < 4; ++i) layouts.push_back(over_channels(xl, call.out[i]));
  const Status status = by_compute(xl.dtype, [&](auto zero) {
    using T = decltype(zero);
    using V = Vec<T>;
    Shade* shade = nullptr;
    Shade::Tensor x, results[3];
    V n, eps;
    Reduction r;
    r.monoid = moments<T>();
    r.kept = Dims::of(layouts, 2);
    r.over = Dims::of(layouts, ~2u);
    r.operands = layouts.size();
    r.open = [&](Shade& s) { x = s.in(0); };
    r.open_results = [&](Shade& s) {
      for (int i = 0; i < 3; ++i) results[i] = s.out(1 + i);
    };
    r.numbers = [&](Shade& s) {
      shade = &s;
      n = s.number(static_cast<T>(r.over.count()));
      eps = s.number(static_cast<T>(call.params[0]));
    };
    r.element = [&](Rows& rows, const Rows::Slot& slot) { return moment_of<T>(rows.load<T>(x, 0, slot)); };
    r.finish = [&](Rows& rows, const State& state) {
      const V variance = V::of(state[2]) / n;
      const Id values[] = {state[1], variance.id(), (V(T(1)) / sqrt(variance + eps)).id()};
      for (int i = 0; i < 3; ++i) shade->store(results[i], rows.start(1 + i), values[i]);
    };
    return add_reduction(m, r);
  });
  if (status != kOk) return status;
  // (x - mean) (weight rstd) + bias
  return add_program(m, {xl, layouts[1], over_channels(xl, call.in[1]), layouts[3], over_channels(xl, call.in[2])},
                     call.out[0], {m.in(0), m.out(1), m.in(1), m.out(3), m.in(2), m.out(0)},
                     {{"sub", 0, 1}, {"mul", 2, 3}, {"mul", 5, 6}, {"add", 7, 4}});
}

// in: g, x, weight, mean, rstd; out: dx, dweight, dbias.
// dx = weight rstd (g - mean(g) - (x - mean) rstd^2 mean(g (x - mean)))
Status make_batch_norm_grad(Maker& m) {
  const Call& call = m.call;
  if (call.nin != 5 || call.nout != 3 || call.in[1].ndim < 2) return kInvalid;
  const Layout& xl = call.in[1];
  if (!same_shape(xl, call.out[0]) || !same_shape(xl, call.in[0])) return kInvalid;
  if (!alike(call) || count_of(xl) == 0) return kUnsupported;
  const int32_t compute = compute_dtype(xl.dtype);
  enum { kX, kG, kMean, kRstd, kDweight, kDbias, kEven, kSlope };
  std::vector<Layout> layouts = {xl, call.in[0]};
  for (const Layout* one : {&call.in[3], &call.in[4], &call.out[1], &call.out[2]})
    layouts.push_back(over_channels(xl, *one));
  // mean(g) and rstd^2 mean(g (x - mean)) of each channel
  const Layout line = line_of(compute, xl.shape[1]);
  const Source even = m.scratch(xl.shape[1] * item_bytes(compute)),
               slope = m.scratch(xl.shape[1] * item_bytes(compute));
  for (int i = 0; i < 2; ++i) layouts.push_back(over_channels(xl, line));
  const Status status = by_compute(xl.dtype, [&](auto zero) {
    using T = decltype(zero);
    using V = Vec<T>;
    Shade* shade = nullptr;
    Shade::Tensor g, x, means, rstds, results[4];
    V n;
    Reduction r;
    r.monoid = monoid_of<T>(Fold::kSum, 2);
    r.kept = Dims::of(layouts, 2);
    r.over = Dims::of(layouts, ~2u);
    r.operands = layouts.size();
    r.open = [&](Shade& s) { g = s.in(0), x = s.in(1), means = s.in(3); };
    r.open_results = [&](Shade& s) {
      rstds = s.in(4);
      for (int i = 0; i < 2; ++i) results[i] = s.out(1 + i);
      results[2] = s.operand(even, line, true);
      results[3] = s.operand(slope, line, true);
    };
    r.numbers = [&](Shade& s) {
      shade = &s;
      n = s.number(static_cast<T>(r.over.count()));
    };
    r.element = [&](Rows& rows, const Rows::Slot& slot) {
      const V value = rows.load<T>(g, kG, slot), mean = V::of(shade->load(means, rows.start(kMean)));
      return State{value.id(), (value * (rows.load<T>(x, kX, slot) - mean)).id()};
    };
    r.finish = [&](Rows& rows, const State& state) {
      const V rstd = V::of(shade->load(rstds, rows.start(kRstd))), first = V::of(state[0]), second = V::of(state[1]);
      const V values[] = {second * rstd, first, first / n, second / n * rstd * rstd};
      for (int i = 0; i < 4; ++i) shade->store(results[i], rows.start(kDweight + i), values[i].id());
    };
    return add_reduction(m, r);
  });
  if (status != kOk) return status;
  const std::vector<Layout> in = {
      call.in[0], layouts[kEven], xl, layouts[kMean], layouts[kSlope], over_channels(xl, call.in[2]), layouts[kRstd]};
  return add_program(m, in, call.out[0], {m.in(0), even, m.in(1), m.in(3), slope, m.in(2), m.in(4), m.out(0)},
                     {{"sub", 0, 1}, {"sub", 2, 3}, {"mul", 8, 4}, {"sub", 7, 9}, {"mul", 5, 6}, {"mul", 11, 10}});
}

}  // namespace brasa::vk
