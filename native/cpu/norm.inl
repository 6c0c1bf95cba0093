// layerNorm and batchNorm with their gradients: statistics by leaves (reducer.h), then one pass that writes.
#include "reducer.h"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int64_t kWhole = 16384;  // a row this long is brought to C once

template <class C>
BRASA_INLINE C sqrt_of(double x) {
  return static_cast<C>(__builtin_sqrt(x));
}

// All of a small dense tensor as C in the thread's scratch, or `fill` n times where there is no tensor.
template <class C>
const C* whole(const Layout* layout, const void* data, int64_t n, C fill, C* to) {
  if (layout) {
    const Layout* const layouts[] = {layout};
    const Axes axes = Axes::of((1u << layout->ndim) - 1, false, layouts, 1);
    return Rows<C>(axes, 0, *layout, data).load(0, 0, n, to);
  }
  for (int64_t i = 0; i < n; ++i) to[i] = fill;
  return to;
}

// Element i of a tensor of one dim.
template <class C>
C read_one(const Layout& layout, const void* data, int64_t i) {
  C value;
  load_run(layout.dtype, static_cast<const char*>(data), i * layout.strides[0], 1, 1, &value);
  return value;
}
template <class C>
void write_dense(const Layout& layout, void* data, int64_t i, int64_t n, const C* values) {
  store_run(layout.dtype, static_cast<char*>(data), i, 1, n, values);
}

// ---- layerNorm: rows (D), the last k dims of x, however strided

struct LayerPlan {
  Axes lead, row;  // operands: the inputs of x's shape, then the output
};

Status make_layer(CpuPlan& plan, int ninputs) {
  const Call& call = plan.call;
  const Layout* layouts[kOperands];
  for (int k = 0; k < ninputs; ++k) layouts[k] = &call.in[k];
  layouts[ninputs] = &call.out[0];
  const int ndim = call.in[0].ndim, k = static_cast<int>(call.params[0]);
  if (k < 1 || k > ndim) return kInvalid;
  for (int i = 1; i <= ninputs; ++i)
    if (!same_shape(*layouts[0], *layouts[i])) return kInvalid;
  for (int i = 0; i < call.nin; ++i)
    if (!float_dtype(call.in[i].dtype)) return kUnsupported;
  LayerPlan* state = static_cast<LayerPlan*>(plan_alloc(plan, sizeof(LayerPlan)));
  if (!state) return kOutOfMemory;
  const uint32_t lead = (1u << (ndim - k)) - 1, all = (1u << ndim) - 1;
  state->lead = Axes::of(lead, false, layouts, ninputs + 1);
  state->row = Axes::of(all & ~lead, false, layouts, ninputs + 1);
  for (int i = 0; i < call.nin; ++i) {  // weight and bias have the row's size
    if (i < ninputs || (ninputs == 2 && i < 4)) continue;
    int64_t n = 1;
    for (int d = 0; d < call.in[i].ndim; ++d) n *= call.in[i].shape[d];
    if (n != state->row.count) return kInvalid;
  }
  plan.state = state;
  return kOk;
}

template <class C>
Status run_layer(const CpuPlan& plan, const Args& args) {
  using V = Vec<C>;
  const LayerPlan& p = *static_cast<const LayerPlan*>(plan.state);
  const Call& call = plan.call;
  const int64_t D = p.row.count;
  const double eps = call.params[1];
  const bool has_weight = call.params[2] != 0, has_bias = call.params[3] != 0;
  const int bias_at = 1 + has_weight;
  C* const own = room<C>(2, 2 * D);
  if (!own) return kOutOfMemory;
  const C* const w = whole<C>(has_weight ? &call.in[1] : nullptr, args.in[has_weight], D, C(1), own);
  const C* const b =
      whole<C>(has_bias ? &call.in[bias_at] : nullptr, args.in[has_bias ? bias_at : 0], D, C(0), own + D);
  const Rows<C> in(p.row, 0, call.in[0], args.in[0]), out(p.row, 1, call.out[0], args.out[0]);
  bool failed = false;
  parallel(p.lead.count, lines_of(D), [&](int64_t begin, int64_t end) {
    const int64_t step = D <= kWhole ? kWhole : kLeaf;
    C* const buffer = room<C>(0, 2 * least(step, D));
    if (!buffer) {
      failed = true;
      return;
    }
    for (int64_t row = begin; row < end; ++row) {
      const int64_t from = p.lead.at(row, 0), to = p.lead.at(row, 1);
      double t[2] = {0, 0};
      const C* x = nullptr;
      for (int64_t i = 0; i < D; i += step) {
        const int64_t n = least(step, D - i);
        x = in.load(from, i, n, buffer);
        for (int64_t j = 0; j < n; j += kLeaf) {
          const C* const leaf = x + j;
          Moments<C>().row(0, &leaf, least(kLeaf, n - j), 0, i + j, t);
        }
      }
      const C mean = static_cast<C>(t[0]), rstd = C(1) / sqrt_of<C>(t[1] / D + eps);
      for (int64_t i = 0; i < D; i += step) {
        const int64_t n = least(step, D - i);
        if (D > step) x = in.load(from, i, n, buffer);
        C* const y = out.open(to, i, buffer + least(step, D));
        map_row(
            y, n, [&](V v, V u, V c) { return (v - V(mean)) * V(rstd) * u + c; }, x, w + i, b + i);
        out.close(to, i, n, y);
      }
      write_dense(call.out[1], args.out[1], row, 1, &mean);
      write_dense(call.out[2], args.out[2], row, 1, &rstd);
    }
  });
  return failed ? kOutOfMemory : kOk;
}

// dx = rstd * (g w - mean(g w) - xhat * mean(g w xhat)); dweight and dbias: a sum for each fixed block of rows, then
// their sum.
template <class C>
Status run_layer_grad(const CpuPlan& plan, const Args& args) {
  using V = Vec<C>;
  const LayerPlan& p = *static_cast<const LayerPlan*>(plan.state);
  const Call& call = plan.call;
  const int64_t D = p.row.count, count = p.lead.count;
  const int64_t block = least<int64_t>(512, most<int64_t>(32, lines_of(D))), blocks = ceil_div(count, block);
  C* const own = room<C>(2, D);
  C* const sums = room<C>(3, blocks * 2 * D);
  if (!own || !sums) return kOutOfMemory;
  const C* const w =
      whole<C>(call.params[1] != 0 ? &call.in[4] : nullptr, args.in[call.params[1] != 0 ? 4 : 0], D, C(1), own);
  const Rows<C> g_rows(p.row, 0, call.in[0], args.in[0]), x_rows(p.row, 1, call.in[1], args.in[1]);
  const Rows<C> out(p.row, 2, call.out[0], args.out[0]);
  bool failed = false;
  parallel(blocks, 1, [&](int64_t begin, int64_t end) {
    const int64_t step = D <= kWhole ? kWhole : kLeaf, pitch = least(step, D);
    C* const buffer = room<C>(0, 3 * pitch);
    if (!buffer) {
      failed = true;
      return;
    }
    for (int64_t i = begin; i < end; ++i) {
      C *const dw = sums + i * 2 * D, *const db = dw + D;
      for (int64_t j = 0; j < 2 * D; ++j) dw[j] = 0;
      for (int64_t row = i * block; row < least(count, (i + 1) * block); ++row) {
        const V mean(read_one<C>(call.in[2], args.in[2], row)), rstd(read_one<C>(call.in[3], args.in[3], row));
        const C *g = nullptr, *x = nullptr;
        const auto load = [&](int64_t at, int64_t n) {
          g = g_rows.load(p.lead.at(row, 0), at, n, buffer);
          x = x_rows.load(p.lead.at(row, 1), at, n, buffer + pitch);
        };
        double s1 = 0, s2 = 0;  // sums of g w and of g w xhat
        for (int64_t at = 0; at < D; at += step) {
          const int64_t piece = least(step, D - at);
          load(at, piece);
          for (int64_t j = 0; j < piece; j += kLeaf) {
            V a(C(0)), b(C(0));
            const C *gj = g + j, *xj = x + j, *wj = w + at + j;
            C *dwj = dw + at + j, *dbj = db + at + j;
            for_vectors<C>(least(kLeaf, piece - j), [&](int64_t l, auto k) {
              const V gv = get(gj + l, k), xhat = (get(xj + l, k) - mean) * rstd, gx = gv * xhat, wv = get(wj + l, k);
              put(dwj + l, get(dwj + l, k) + gx, k);
              put(dbj + l, get(dbj + l, k) + gv, k);
              a += gv * wv;
              b += only(gx * wv, k, C(0));
            });
            s1 += hsum(a);
            s2 += hsum(b);
          }
        }
        const V m1(static_cast<C>(s1 / D)), m2(static_cast<C>(s2 / D));
        for (int64_t at = 0; at < D; at += step) {
          const int64_t n = least(step, D - at);
          if (D > step) load(at, n);
          C* const y = out.open(p.lead.at(row, 2), at, buffer + 2 * pitch);
          map_row(
              y, n, [&](V gv, V xv, V wv) { return rstd * (gv * wv - m1 - (xv - mean) * rstd * m2); }, g, x, w + at);
          out.close(p.lead.at(row, 2), at, n, y);
        }
      }
    }
  });
  if (failed) return kOutOfMemory;
  parallel(2 * D, most<int64_t>(kBatch, lines_of(blocks)), [&](int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end;) {
      const bool bias = first >= D;
      const int64_t n = least(kBatch, least(end, bias ? 2 * D : D) - first);
      double total[kBatch] = {};
      C values[kBatch];
      for (int64_t i = 0; i < blocks; ++i)
        for (int64_t j = 0; j < n; ++j) total[j] += sums[i * 2 * D + first + j];
      for (int64_t j = 0; j < n; ++j) values[j] = static_cast<C>(total[j]);
      write_dense(call.out[1 + bias], args.out[1 + bias], bias ? first - D : first, n, values);
      first += n;
    }
  });
  return kOk;
}

Status make_layer_norm(CpuPlan& plan) {
  const Call& call = plan.call;
  if (call.nout != 3 || call.nparams < 4 || call.nin != 1 + (call.params[2] != 0) + (call.params[3] != 0))
    return kInvalid;
  plan.run = call.in[0].dtype == k_f64 ? run_layer<double> : run_layer<float>;
  return make_layer(plan, 1);
}
Status make_layer_norm_grad(CpuPlan& plan) {
  const Call& call = plan.call;
  if (call.nout != 3 || call.nparams < 2 || call.nin != 4 + (call.params[1] != 0)) return kInvalid;
  if (call.in[2].ndim != 1 || call.in[3].ndim != 1) return kInvalid;
  plan.run = call.in[0].dtype == k_f64 ? run_layer_grad<double> : run_layer_grad<float>;
  return make_layer(plan, 2);
}

// ---- batchNorm: channels are dim 1

struct BatchPlan {
  Reduction stats;   // over all dims but 1, of the inputs
  Axes rest, outer;  // those dims, and they without their last axis; operands: the inputs, then the output
  Axes line;         // what is walked innermost: the channels or the last axis of `rest`
  bool planes;       // a line lies in one channel
  int64_t stride[kOperands];
};

Status make_batch(CpuPlan& plan, int ninputs) {
  const Call& call = plan.call;
  const Layout* layouts[kOperands];
  for (int k = 0; k < ninputs; ++k) layouts[k] = &call.in[k];
  layouts[ninputs] = &call.out[0];
  if (call.in[0].ndim < 2) return kInvalid;
  for (int i = 1; i <= ninputs; ++i)
    if (!same_shape(*layouts[0], *layouts[i])) return kInvalid;
  for (int i = 0; i < call.nin; ++i) {
    if (!float_dtype(call.in[i].dtype)) return kUnsupported;
    if (i >= ninputs && (call.in[i].ndim != 1 || call.in[i].shape[0] != call.in[0].shape[1])) return kInvalid;
  }
  BatchPlan* state = static_cast<BatchPlan*>(plan_alloc(plan, sizeof(BatchPlan)));
  if (!state) return kOutOfMemory;
  const uint32_t rest = ((1u << call.in[0].ndim) - 1) & ~2u;
  state->stats = Reduction::of(rest, layouts, ninputs, ninputs);
  state->rest = Axes::of(rest, true, layouts, ninputs + 1);
  const Axes channels = Axes::of(2, true, layouts, ninputs + 1);
  state->planes = channels.count == 1 || state->rest.inner_stride(0) < channels.inner_stride(0);
  state->outer = state->planes ? state->rest.outer() : state->rest;
  state->line = state->planes ? state->rest.last() : channels;
  for (int k = 0; k <= ninputs; ++k) state->stride[k] = layouts[k]->strides[1];
  plan.state = state;
  return kOk;
}

// out = f(inputs..., p[0][c], p[1][c], p[2][c], p[3][c]) for all elements; p is (4,channels).
template <int kInputs, class C, class F>
Status each_channel(const CpuPlan& plan, const Args& args, int64_t channels, const C* p, const F& f) {
  using V = Vec<C>;
  const BatchPlan& b = *static_cast<const BatchPlan*>(plan.state);
  const int64_t length = b.line.count, lines = b.outer.count * (b.planes ? channels : 1);
  bool failed = false;
  parallel(lines, lines_of(length), [&](int64_t begin, int64_t end) {
    C* const buffer = room<C>(0, kLeaf * (kInputs + 1));
    if (!buffer) {
      failed = true;
      return;
    }
    const Rows<C> out(b.line, kInputs, plan.call.out[0], args.out[0]);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t c = b.planes ? i % channels : 0, a = b.planes ? i / channels : i;
      int64_t at[kInputs + 1];
      for (int k = 0; k <= kInputs; ++k) at[k] = b.outer.at(a, k) + c * b.stride[k];
      const V p0(p[c]), p1(p[channels + c]), p2(p[2 * channels + c]), p3(p[3 * channels + c]);
      for (int64_t j = 0; j < length; j += kLeaf) {
        const int64_t n = least(kLeaf, length - j);
        const C* x[kInputs];
        for (int k = 0; k < kInputs; ++k)
          x[k] = Rows<C>(b.line, k, plan.call.in[k], args.in[k]).load(at[k], j, n, buffer + k * kLeaf);
        C* const y = out.open(at[kInputs], j, buffer + kInputs * kLeaf);
        const C* const q = p + j;
        if (b.planes) {
          if constexpr (kInputs == 1)
            map_row(
                y, n, [&](V u) { return f(u, p0, p1, p2, p3); }, x[0]);
          else
            map_row(
                y, n, [&](V u, V v) { return f(u, v, p0, p1, p2, p3); }, x[0], x[1]);
        } else {
          if constexpr (kInputs == 1)
            map_row(y, n, f, x[0], q, q + channels, q + 2 * channels, q + 3 * channels);
          else
            map_row(y, n, f, x[0], x[1], q, q + channels, q + 2 * channels, q + 3 * channels);
        }
        out.close(at[kInputs], j, n, y);
      }
    }
  });
  return failed ? kOutOfMemory : kOk;
}

template <class C_>
struct BatchMoments : Moments<C_> {
  C_ *mean, *variance;
  double count;
  void finish(int64_t o, int64_t n, const double* t, int64_t ld) const {
    for (int64_t j = 0; j < n; ++j)
      mean[o + j] = static_cast<C_>(t[j]), variance[o + j] = static_cast<C_>(t[ld + j] / count);
  }
};

template <class C>
Status run_batch(const CpuPlan& plan, const Args& args) {
  using V = Vec<C>;
  const BatchPlan& b = *static_cast<const BatchPlan*>(plan.state);
  const Call& call = plan.call;
  const int64_t channels = call.in[0].shape[1];
  C* const p = room<C>(2, 8 * channels);  // mean, weight * rstd, bias, 0; variance, rstd, and room for weight and bias
  if (!p) return kOutOfMemory;
  C *const variance = p + 4 * channels, *const rstd = variance + channels;
  BatchMoments<C> moments;
  moments.mean = p, moments.variance = variance, moments.count = static_cast<double>(b.rest.count);
  if (const Status status = reduce(b.stats, moments, call.in, args.in)) return status;
  const C* const w = whole<C>(&call.in[1], args.in[1], channels, C(1), rstd + channels);
  const C* const bias = whole<C>(&call.in[2], args.in[2], channels, C(0), rstd + 2 * channels);
  for (int64_t c = 0; c < channels; ++c) {
    rstd[c] = C(1) / sqrt_of<C>(variance[c] + call.params[0]);
    p[channels + c] = w[c] * rstd[c];
    p[2 * channels + c] = bias[c];
    p[3 * channels + c] = 0;
  }
  write_dense(call.out[1], args.out[1], 0, channels, p);
  write_dense(call.out[2], args.out[2], 0, channels, variance);
  write_dense(call.out[3], args.out[3], 0, channels, rstd);
  return each_channel<1>(plan, args, channels, p,
                         [](V x, V mean, V scale, V shift, V) { return (x - mean) * scale + shift; });
}

// Sums over a channel of g and of g * (x - mean).
template <class C_>
struct BatchSums {
  using C = C_;
  static constexpr int kInputs = 2, kSlots = 2, kLanes = 2;
  const C* mean;
  double *sum_g, *sum_gx;

  void clear(double* t, int64_t ld, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) t[j] = t[ld + j] = 0;
  }
  void row(int64_t o, const C* const* x, int64_t n, int64_t, int64_t, double* t) const {
    const Vec<C> m(mean[o]);
    t[0] += fold<Add>(x[0], n);
    t[1] += sum_of<C>(n, [&](int64_t j, auto k) { return get(x[0] + j, k) * (get(x[1] + j, k) - m); });
  }
  void start(C* acc, int64_t ld, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) acc[j] = acc[ld + j] = 0;
  }
  void rows(int64_t o, const C* const* x, int64_t m, int64_t n, int64_t, C* acc, int64_t ld) const {
    for_vectors<C>(n, [&](int64_t j, auto k) {
      const Vec<C> center = get(mean + o + j, k);
      Vec<C> a = get(acc + j, k), b = get(acc + ld + j, k);
      for (int64_t i = 0; i < m; ++i) {
        const Vec<C> g = get(x[2 * i] + j, k);
        a += g;
        b += g * (get(x[2 * i + 1] + j, k) - center);
      }
      put(acc + j, a, k), put(acc + ld + j, b, k);
    });
  }
  void flush(const C* acc, int64_t ld, int64_t, int64_t n, int64_t, int64_t, double* t, int64_t tld) const {
    for (int64_t j = 0; j < n; ++j) t[j] += acc[j], t[tld + j] += acc[ld + j];
  }
  void merge(double* a, int64_t, const double* b, int64_t, int64_t ld, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) a[j] += b[j], a[ld + j] += b[ld + j];
  }
  void finish(int64_t o, int64_t n, const double* t, int64_t ld) const {
    for (int64_t j = 0; j < n; ++j) sum_g[o + j] = t[j], sum_gx[o + j] = t[ld + j];
  }
};

// dx = weight rstd (g - mean(g) - (x - mean) rstd^2 mean(g (x - mean)))
template <class C>
Status run_batch_grad(const CpuPlan& plan, const Args& args) {
  using V = Vec<C>;
  const BatchPlan& b = *static_cast<const BatchPlan*>(plan.state);
  const Call& call = plan.call;
  const int64_t channels = call.in[0].shape[1], count = b.rest.count;
  double* const sums = room<double>(2, 2 * channels + 8 * channels);
  if (!sums) return kOutOfMemory;
  C* const p = reinterpret_cast<C*>(sums + 2 * channels);  // mean, weight * rstd, mean(g), rstd^2 mean(g (x - mean))
  C *const dweight = p + 4 * channels, *const dbias = dweight + channels, *const own = dbias + channels;
  const C* const mean = whole<C>(&call.in[3], args.in[3], channels, C(0), own);
  for (int64_t c = 0; c < channels; ++c) p[c] = mean[c];
  if (const Status status = reduce(b.stats, BatchSums<C>{p, sums, sums + channels}, call.in, args.in)) return status;
  const C* const w = whole<C>(&call.in[2], args.in[2], channels, C(1), own);
  const C* const rstd = whole<C>(&call.in[4], args.in[4], channels, C(1), own + channels);
  for (int64_t c = 0; c < channels; ++c) {
    dbias[c] = static_cast<C>(sums[c]);
    dweight[c] = static_cast<C>(sums[channels + c] * rstd[c]);
    p[channels + c] = w[c] * rstd[c];
    p[2 * channels + c] = static_cast<C>(sums[c] / count);
    p[3 * channels + c] = static_cast<C>(sums[channels + c] / count * rstd[c] * rstd[c]);
  }
  write_dense(call.out[1], args.out[1], 0, channels, dweight);
  write_dense(call.out[2], args.out[2], 0, channels, dbias);
  return each_channel<2>(plan, args, channels, p,
                         [](V g, V x, V m, V scale, V mg, V mgx) { return scale * (g - mg - (x - m) * mgx); });
}

Status make_batch_norm(CpuPlan& plan) {
  const Call& call = plan.call;
  if (call.nin != 3 || call.nout != 4 || call.nparams < 1) return kInvalid;
  plan.run = call.in[0].dtype == k_f64 ? run_batch<double> : run_batch<float>;
  return make_batch(plan, 1);
}
Status make_batch_norm_grad(CpuPlan& plan) {
  const Call& call = plan.call;
  if (call.nin != 5 || call.nout != 3) return kInvalid;
  plan.run = call.in[0].dtype == k_f64 ? run_batch_grad<double> : run_batch_grad<float>;
  return make_batch(plan, 2);
}

}  // namespace

void register_norm() {
  register_kernel("layerNorm", make_layer_norm, "norm");
  register_kernel("layerNormGrad", make_layer_norm_grad, "norm");
  register_kernel("batchNorm", make_batch_norm, "norm");
  register_kernel("batchNormGrad", make_batch_norm_grad, "norm");
}

}  // namespace brasa::cpu::BRASA_ISA
