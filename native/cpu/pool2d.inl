// Pooling over NCHW planes, a plane a task. Each reads its input as rows in the compute type: where they lie when they
// are neighbouring elements of that type, else through a converted copy.
#include "convert.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t larger(int64_t a, int64_t b) { return a < b ? b : a; }
constexpr int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One operand; every one has 4 dims and the same n and c.
struct Planes {
  int64_t n, c, h, w, sn, sc, sh, sw;
  int64_t offset(int64_t plane) const { return plane / c * sn + plane % c * sc; }
};

struct Window {
  int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w;
};

struct PoolPlan {
  Planes x, y;  // the larger side and the pooled side
  Planes index;
  Window window;
  bool include_pad;
  double divisor;
};

Planes planes_of(const Layout& l) {
  return {l.shape[0], l.shape[1], l.shape[2], l.shape[3], l.strides[0], l.strides[1], l.strides[2], l.strides[3]};
}

template <class S>
BRASA_INLINE constexpr bool rows_in_place(const Planes& p) {
  return kNative<S> && (p.sw == 1 || p.w == 1);
}

// A plane as rows of T, W apart in `copy` unless it is read in place. `step` is the distance of rows.
template <class S, class T = Compute<S>>
const T* read_plane(const Planes& p, const S* from, T* copy, int64_t* step) {
  if constexpr (kNative<S>) {
    if (rows_in_place<S>(p)) return *step = p.sh, from;
  }
  for (int64_t h = 0; h < p.h; ++h, from += p.sh) {
    if (p.sw == 1)
      load_row(copy + h * p.w, from, p.w);
    else
      for (int64_t w = 0; w < p.w; ++w) copy[h * p.w + w] = load_one(from + w * p.sw);
  }
  return *step = p.w, copy;
}

// Where a plane's results are computed, and how they come to their place.
template <class S, class T = Compute<S>>
T* begin_plane(const Planes& p, S* to, T* copy, int64_t* step) {
  if constexpr (kNative<S>) {
    if (rows_in_place<S>(p)) return *step = p.sh, to;
  }
  return *step = p.w, copy;
}
template <class S, class T = Compute<S>>
void end_plane(const Planes& p, S* to, const T* copy) {
  if (rows_in_place<S>(p)) return;
  for (int64_t h = 0; h < p.h; ++h, to += p.sh) {
    if (p.sw == 1)
      store_row(to, copy + h * p.w, p.w);
    else
      for (int64_t w = 0; w < p.w; ++w) store_one(to + w * p.sw, copy[h * p.w + w]);
  }
}

// f(plane, scratch for x's plane, for y's, for the indices) for every plane; false when out of memory.
template <class T, class F>
Status each_plane(const PoolPlan& plan, const F& f) {
  const int64_t x_size = plan.x.h * plan.x.w, y_size = plan.y.h * plan.y.w;
  bool failed = false;
  parallel(plan.x.n * plan.x.c, larger(1, 32768 / larger(1, x_size + y_size)), [&](int64_t begin, int64_t end) {
    T* x = static_cast<T*>(scratch(1, x_size * sizeof(T) + 64));
    T* y = static_cast<T*>(scratch(2, y_size * sizeof(T) + 64));
    int32_t* index = static_cast<int32_t*>(scratch(3, y_size * 4 + 64));
    if (!x || !y || !index) return __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
    for (int64_t i = begin; i < end; ++i) f(i, x, y, index);
  });
  return failed ? kOutOfMemory : kOk;
}

// The kernel rows of output row o that lie in the input: [from, to).
BRASA_INLINE void valid_taps(int64_t o, int64_t stride, int64_t pad, int64_t dil, int64_t kernel, int64_t size,
                             int64_t* from, int64_t* to) {
  const int64_t first = o * stride - pad;
  *from = first >= 0 ? 0 : smaller(kernel, div_up(-first, dil));
  *to = larger(*from, first >= size ? 0 : smaller(kernel, (size - 1 - first) / dil + 1));
}

// ---- max

// Elements p[0], p[Step], p[2 Step], ...; `left` is how many elements may be read from p on.
template <int Step, class T>
BRASA_INLINE Vec<T> load_steps(const T* p, int64_t left) {
  constexpr int N = Vec<T>::N;
  if constexpr (Step == 1) {
    return left >= N ? Vec<T>::load(p) : Vec<T>::load(p, int(left));
  } else {
    typename Vec<T>::Int::Raw even;
    for (int i = 0; i < N; ++i) even[i] = 2 * i;
    if (left >= 2 * N) return Vec<T>(__builtin_shuffle(Vec<T>::load(p).v, Vec<T>::load(p + N).v, even));
    const Vec<T> lo = Vec<T>::load(p, int(smaller(left, N))),
                 hi = left > N ? Vec<T>::load(p + N, int(left - N)) : Vec<T>{};
    return Vec<T>(__builtin_shuffle(lo.v, hi.v, even));
  }
}

BRASA_INLINE void store_index(int32_t* to, I32 v, int n) { v.store(to, n); }
BRASA_INLINE void store_index(int32_t* to, I64 v, int n) {
  for (int i = 0; i < n; ++i) to[i] = int32_t(v[i]);
}

// N outputs at once, for windows that lie inside the row: output columns [from, to). x: the window's first row.
template <int Step, class T>
void max_inside(const Window& k, const T* x, int64_t x_step, int64_t row, int64_t rows, int64_t w, int64_t from,
                int64_t to, T* y, int32_t* index) {
  using V = Vec<T>;
  using I = typename V::Int;
  using E = typename I::Elem;
  for (int64_t o = from; o < to; o += V::N) {
    const int64_t col = o * Step - k.pad_w;
    const I at = I::iota() * I(E(Step)) + I(E(row * w + col));
    V best = load_steps<Step>(x + col, w - col);
    I best_at = at;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t t = r == 0; t < k.kernel_w; ++t) {
        const V v = load_steps<Step>(x + r * k.dil_h * x_step + col + t * k.dil_w, w - col - t * k.dil_w);
        const I wins = (v > best) | (v != v);
        best = select(wins, v, best);
        best_at = select(wins, at + I(E(r * k.dil_h * w + t * k.dil_w)), best_at);
      }
    const int n = int(smaller(V::N, to - o));
    best.store(y + o, n);
    store_index(index + o, best_at, n);
  }
}

// One output row, from the input row `row` on; `rows` kernel rows lie in the plane. A window that dilation carries past
// every element gives -Infinity (0 for integers) and the index -1, which the gradient skips.
template <class T>
void max_row(const Window& k, const T* x, int64_t x_step, int64_t row, int64_t rows, int64_t w, int64_t out_w, T* y,
             int32_t* index) {
  int64_t inside = 0, outside = 0;
  if (rows > 0) {
    const int64_t room = w + k.pad_w - (k.kernel_w - 1) * k.dil_w - 1;
    inside = smaller(out_w, div_up(k.pad_w, k.stride_w));
    outside = larger(inside, room < 0 ? 0 : smaller(out_w, room / k.stride_w + 1));
    if (k.stride_w == 1)
      max_inside<1>(k, x, x_step, row, rows, w, inside, outside, y, index);
    else if (k.stride_w == 2)
      max_inside<2>(k, x, x_step, row, rows, w, inside, outside, y, index);
    else
      outside = inside;
  }
  for (int64_t o = 0; o < out_w; ++o) {
    if (o == inside && inside < outside) o = outside;
    if (o == out_w) break;
    int64_t t0, t1;
    valid_taps(o, k.stride_w, k.pad_w, k.dil_w, k.kernel_w, w, &t0, &t1);
    if (rows == 0 || t0 == t1) {
      y[o] = T(0.5) != 0 ? T(-__builtin_inf()) : T(0), index[o] = -1;
      continue;
    }
    const int64_t col = o * k.stride_w - k.pad_w;
    int64_t best_at = row * w + col + t0 * k.dil_w;
    T best = x[col + t0 * k.dil_w];
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t t = t0; t < t1; ++t) {
        const T v = x[r * k.dil_h * x_step + col + t * k.dil_w];
        if (v > best || v != v) best = v, best_at = (row + r * k.dil_h) * w + col + t * k.dil_w;
      }
    y[o] = best;
    index[o] = int32_t(best_at);
  }
}

template <class S>
Status run_max_pool(const CpuPlan& cpu_plan, const Args& args) {
  using T = Compute<S>;
  const PoolPlan& plan = *static_cast<const PoolPlan*>(cpu_plan.state);
  const Window& k = plan.window;
  return each_plane<T>(plan, [&](int64_t i, T* x_copy, T* y_copy, int32_t* index_copy) {
    int64_t x_step, y_step, index_step;
    const T* x = read_plane(plan.x, static_cast<const S*>(args.in[0]) + plan.x.offset(i), x_copy, &x_step);
    S* y_out = static_cast<S*>(args.out[0]) + plan.y.offset(i);
    int32_t* index_out = static_cast<int32_t*>(args.out[1]) + plan.index.offset(i);
    T* y = begin_plane(plan.y, y_out, y_copy, &y_step);
    int32_t* index = begin_plane(plan.index, index_out, index_copy, &index_step);
    for (int64_t o = 0; o < plan.y.h; ++o) {
      int64_t t0, t1;
      valid_taps(o, k.stride_h, k.pad_h, k.dil_h, k.kernel_h, plan.x.h, &t0, &t1);
      const int64_t row = o * k.stride_h - k.pad_h + t0 * k.dil_h;
      max_row(k, x + row * x_step, x_step, row, t1 - t0, plan.x.w, plan.y.w, y + o * y_step, index + o * index_step);
    }
    end_plane(plan.y, y_out, y);
    end_plane(plan.index, index_out, index);
  });
}

// dx[index] += g, in the order of g.
template <class S>
Status run_max_pool_grad(const CpuPlan& cpu_plan, const Args& args) {
  using T = Compute<S>;
  const PoolPlan& plan = *static_cast<const PoolPlan*>(cpu_plan.state);
  const int64_t size = plan.x.h * plan.x.w;
  int64_t outside = -1;
  const Status status = each_plane<T>(plan, [&](int64_t i, T* x_copy, T* y_copy, int32_t* index_copy) {
    int64_t g_step, index_step;
    const T* g = read_plane(plan.y, static_cast<const S*>(args.in[0]) + plan.y.offset(i), y_copy, &g_step);
    const int32_t* index =
        read_plane(plan.index, static_cast<const int32_t*>(args.in[1]) + plan.index.offset(i), index_copy, &index_step);
    S* out = static_cast<S*>(args.out[0]) + plan.x.offset(i);
    const bool whole = rows_in_place<S>(plan.x) && plan.x.sh == plan.x.w;
    T* x = x_copy;
    if constexpr (kNative<S>) x = whole ? out : x_copy;
    __builtin_memset(x, 0, size * sizeof(T));
    for (int64_t h = 0; h < plan.y.h; ++h)
      for (int64_t w = 0; w < plan.y.w; ++w) {
        const int64_t at = index[h * index_step + w];
        if (uint64_t(at) < uint64_t(size))
          x[at] += g[h * g_step + w];
        else if (at != -1)
          __atomic_store_n(&outside, at, __ATOMIC_RELAXED);
      }
    if (whole) return;
    for (int64_t h = 0; h < plan.x.h; ++h)
      for (int64_t w = 0; w < plan.x.w; ++w) store_one(out + h * plan.x.sh + w * plan.x.sw, x[h * plan.x.w + w]);
  });
  if (status == kOk && outside != -1) {
    args.fault[0] = outside, args.fault[1] = size;
    return kIndexOutOfRange;
  }
  return status;
}

// ---- average. A window is rows [h0, h1) by columns [w0, w1) of the plane; `area` is what its sum is divided by.

struct Span {
  int64_t from, to, padded;  // padded: its size with the padding it covers
};
BRASA_INLINE Span window_span(int64_t o, int64_t kernel, int64_t stride, int64_t pad, int64_t size) {
  const int64_t from = o * stride - pad, to = smaller(from + kernel, size + pad);
  const int64_t lo = smaller(larger(from, 0), size);
  return {lo, larger(lo, smaller(to, size)), to - from};
}
BRASA_INLINE Span adaptive_span(int64_t o, int64_t size, int64_t out) {
  return {o * size / out, div_up((o + 1) * size, out), 1};
}

template <bool Adaptive>
BRASA_INLINE Span row_span(const PoolPlan& p, int64_t o) {
  if constexpr (Adaptive)
    return adaptive_span(o, p.x.h, p.y.h);
  else
    return window_span(o, p.window.kernel_h, p.window.stride_h, p.window.pad_h, p.x.h);
}
template <bool Adaptive>
BRASA_INLINE Span col_span(const PoolPlan& p, int64_t o) {
  if constexpr (Adaptive)
    return adaptive_span(o, p.x.w, p.y.w);
  else
    return window_span(o, p.window.kernel_w, p.window.stride_w, p.window.pad_w, p.x.w);
}
template <bool Adaptive>
BRASA_INLINE int64_t area(const PoolPlan& p, const Span& h, const Span& w) {
  return !Adaptive && p.include_pad ? h.padded * w.padded : (h.to - h.from) * (w.to - w.from);
}

// Rows are added up first, as vectors; then each window's columns.
template <bool Adaptive, class S>
Status run_avg_pool(const CpuPlan& cpu_plan, const Args& args) {
  using T = Compute<S>;
  const PoolPlan& plan = *static_cast<const PoolPlan*>(cpu_plan.state);
  const int64_t w = plan.x.w;
  return each_plane<T>(plan, [&](int64_t i, T* x_copy, T* y_copy, int32_t*) {
    T* sums = static_cast<T*>(scratch(3, w * sizeof(T) + 64));
    if (!sums) return;
    int64_t x_step, y_step;
    const T* x = read_plane(plan.x, static_cast<const S*>(args.in[0]) + plan.x.offset(i), x_copy, &x_step);
    S* out = static_cast<S*>(args.out[0]) + plan.y.offset(i);
    T* y = begin_plane(plan.y, out, y_copy, &y_step);
    for (int64_t oh = 0; oh < plan.y.h; ++oh) {
      const Span rows = row_span<Adaptive>(plan, oh);
      for (int64_t j = 0; j < w; ++j) sums[j] = rows.from < rows.to ? x[rows.from * x_step + j] : T(0);
      for (int64_t h = rows.from + 1; h < rows.to; ++h)
        for (int64_t j = 0; j < w; ++j) sums[j] += x[h * x_step + j];
      for (int64_t ow = 0; ow < plan.y.w; ++ow) {
        const Span cols = col_span<Adaptive>(plan, ow);
        T sum = 0;
        for (int64_t j = cols.from; j < cols.to; ++j) sum += sums[j];
        const int64_t count = area<Adaptive>(plan, rows, cols);
        const bool empty = rows.from >= rows.to || cols.from >= cols.to;
        y[oh * y_step + ow] = empty ? T(0) : sum / (plan.divisor != 0 ? T(plan.divisor) : T(count));
      }
    }
    end_plane(plan.y, out, y);
  });
}

// Each g, divided, is spread over a row of column sums that every row of its window then receives.
template <bool Adaptive, class S>
Status run_avg_pool_grad(const CpuPlan& cpu_plan, const Args& args) {
  using T = Compute<S>;
  const PoolPlan& plan = *static_cast<const PoolPlan*>(cpu_plan.state);
  const int64_t w = plan.x.w;
  return each_plane<T>(plan, [&](int64_t i, T* x_copy, T* y_copy, int32_t*) {
    T* spread = static_cast<T*>(scratch(3, w * sizeof(T) + 64));
    if (!spread) return;
    int64_t x_step, g_step;
    const T* g = read_plane(plan.y, static_cast<const S*>(args.in[0]) + plan.y.offset(i), y_copy, &g_step);
    S* out = static_cast<S*>(args.out[0]) + plan.x.offset(i);
    T* x = begin_plane(plan.x, out, x_copy, &x_step);
    for (int64_t h = 0; h < plan.x.h; ++h) __builtin_memset(x + h * x_step, 0, w * sizeof(T));
    for (int64_t oh = 0; oh < plan.y.h; ++oh) {
      const Span rows = row_span<Adaptive>(plan, oh);
      __builtin_memset(spread, 0, w * sizeof(T));
      for (int64_t ow = 0; ow < plan.y.w; ++ow) {
        const Span cols = col_span<Adaptive>(plan, ow);
        const int64_t count = area<Adaptive>(plan, rows, cols);
        if (rows.from >= rows.to || cols.from >= cols.to) continue;
        const T each = g[oh * g_step + ow] / (plan.divisor != 0 ? T(plan.divisor) : T(count));
        for (int64_t j = cols.from; j < cols.to; ++j) spread[j] += each;
      }
      for (int64_t h = rows.from; h < rows.to; ++h)
        for (int64_t j = 0; j < w; ++j) x[h * x_step + j] += spread[j];
    }
    end_plane(plan.x, out, x);
  });
}

// ---- registration

Status pool_window(const Call& call, Window* k) {
  if (call.nparams < 8) return kUnsupported;
  int64_t* to = &k->kernel_h;
  for (int i = 0; i < 8; ++i) to[i] = int64_t(call.params[i]);
  const bool sane = k->kernel_h > 0 && k->kernel_w > 0 && k->stride_h > 0 && k->stride_w > 0 && k->pad_h >= 0 &&
                    k->pad_w >= 0 && k->pad_h * 2 <= k->kernel_h && k->pad_w * 2 <= k->kernel_w && k->dil_h > 0 &&
                    k->dil_w > 0;
  return sane ? kOk : kInvalid;
}

template <class F>
Status for_float(int32_t dtype, const F& f) {
  switch (dtype) {
    case k_f32:
      return f(float());
    case k_f64:
      return f(double());
    case k_f16:
      return f(half_t());
    case k_bf16:
      return f(bfloat16_t());
  }
  return kUnsupported;
}

PoolPlan* new_plan(CpuPlan& plan, int nin, int nout) {
  const Call& call = plan.call;
  if (call.nin != nin || call.nout != nout || call.in[0].ndim != 4 || call.out[0].ndim != 4) return nullptr;
  if (call.in[0].dtype != call.out[0].dtype) return nullptr;
  PoolPlan* p = static_cast<PoolPlan*>(plan_alloc(plan, sizeof(PoolPlan)));
  plan.state = p;
  return p;
}

Status make_max_pool(CpuPlan& plan) {
  const Call& call = plan.call;
  PoolPlan* p = new_plan(plan, 1, 2);
  if (!p || call.out[1].dtype != k_i32) return kUnsupported;
  p->x = planes_of(call.in[0]), p->y = planes_of(call.out[0]), p->index = planes_of(call.out[1]);
  if (const Status status = pool_window(call, &p->window)) return status;
  return visit_dtype(call.in[0].dtype, [&](auto s) {
    plan.run = run_max_pool<decltype(s)>;
    return kOk;
  });
}

Status make_max_pool_grad(CpuPlan& plan) {
  const Call& call = plan.call;
  PoolPlan* p = new_plan(plan, 2, 1);
  if (!p || call.in[1].dtype != k_i32) return kUnsupported;
  p->y = planes_of(call.in[0]), p->index = planes_of(call.in[1]), p->x = planes_of(call.out[0]);
  return for_float(call.in[0].dtype, [&](auto s) {
    plan.run = run_max_pool_grad<decltype(s)>;
    return kOk;
  });
}

template <bool Adaptive, bool Grad>
Status make_avg_pool(CpuPlan& plan) {
  const Call& call = plan.call;
  PoolPlan* p = new_plan(plan, 1, 1);
  if (!p) return kUnsupported;
  p->x = planes_of(Grad ? call.out[0] : call.in[0]), p->y = planes_of(Grad ? call.in[0] : call.out[0]);
  if constexpr (!Adaptive) {
    if (call.nparams < 10) return kUnsupported;
    if (const Status status = pool_window(call, &p->window)) return status;
    if (p->window.dil_h != 1 || p->window.dil_w != 1) return kUnsupported;
    p->include_pad = call.params[8] != 0, p->divisor = call.params[9];
  }
  return for_float(call.in[0].dtype, [&](auto s) {
    using S = decltype(s);
    if constexpr (Grad)
      plan.run = run_avg_pool_grad<Adaptive, S>;
    else
      plan.run = run_avg_pool<Adaptive, S>;
    return kOk;
  });
}

}  // namespace

void register_pool2d() {
  register_kernel("maxPool2d", make_max_pool, "planes");
  register_kernel("maxPool2dGrad", make_max_pool_grad, "planes");
  register_kernel("avgPool2d", make_avg_pool<false, false>, "planes");
  register_kernel("avgPool2dGrad", make_avg_pool<false, true>, "planes");
  register_kernel("adaptiveAvgPool2d", make_avg_pool<true, false>, "planes");
  register_kernel("adaptiveAvgPool2dGrad", make_avg_pool<true, true>, "planes");
}

}  // namespace brasa::cpu::BRASA_ISA
