// softmax, logSoftmax and their gradients over one dim; crossEntropy, which never stores what logSoftmax would.
#include "fold.h"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int64_t kLeaf = 4096;     // elements of a long row that are in cache together
constexpr int64_t kWhole = 16384;   // a row this long is brought to C once
constexpr int64_t kTile = 1 << 17;  // elements of a tile of columns

// NaN is passed over: the sum of exponentials meets it again.
struct Peak {
  template <class C>
  static constexpr C identity() {
    return lowest_of<C>();
  }
  template <class C>
  static BRASA_INLINE Vec<C> of(Vec<C> a, Vec<C> b) {
    return max(b, a);
  }
  template <class C>
  static BRASA_INLINE C across(Vec<C> x) {
    return hmax(x);
  }
};

template <class C>
BRASA_INLINE C exp_of(C x) {
  return exp(Vec<C>(x))[0];
}
template <class C>
BRASA_INLINE C log_of(C x) {
  return log(Vec<C>(x))[0];
}

// What is subtracted before exp: the greatest element, but 0 where all are -inf.
template <class C>
BRASA_INLINE C shift_of(C peak) {
  return peak == lowest_of<C>() ? C(0) : peak;
}
template <class C>
BRASA_INLINE Vec<C> shift_of(Vec<C> peak) {
  return select(peak == Vec<C>(lowest_of<C>()), Vec<C>(C(0)), peak);
}

// ---- an op: the terms of a sum along dim, of (peak, inputs...); what the sum becomes; the result, of (peak, that,
// inputs...)

struct Softmax {
  static constexpr int kInputs = 1;
  static constexpr bool kPeak = true, kKeep = true;  // kKeep: the result is a stored term times the sum
  template <class V>
  static BRASA_INLINE V term(V m, V x) {
    return exp(x - m);
  }
  template <class V>
  static BRASA_INLINE V total(V sum) {
    return V(typename V::Elem(1)) / sum;
  }
  template <class V>
  static BRASA_INLINE V value(V m, V t, V x) {
    return exp(x - m) * t;
  }
};
struct LogSoftmax {
  static constexpr int kInputs = 1;
  static constexpr bool kPeak = true, kKeep = false;
  template <class V>
  static BRASA_INLINE V term(V m, V x) {
    return exp(x - m);
  }
  template <class V>
  static BRASA_INLINE V total(V sum) {
    return log(sum);
  }
  template <class V>
  static BRASA_INLINE V value(V m, V t, V x) {
    return (x - m) - t;
  }
};
struct SoftmaxGrad {
  static constexpr int kInputs = 2;
  static constexpr bool kPeak = false, kKeep = false;
  template <class V>
  static BRASA_INLINE V term(V, V g, V y) {
    return g * y;
  }
  template <class V>
  static BRASA_INLINE V total(V sum) {
    return sum;
  }
  template <class V>
  static BRASA_INLINE V value(V, V t, V g, V y) {
    return y * (g - t);
  }
};
struct LogSoftmaxGrad {
  static constexpr int kInputs = 2;
  static constexpr bool kPeak = false, kKeep = false;
  template <class V>
  static BRASA_INLINE V term(V, V g, V) {
    return g;
  }
  template <class V>
  static BRASA_INLINE V total(V sum) {
    return sum;
  }
  template <class V>
  static BRASA_INLINE V value(V, V t, V g, V y) {
    return g - exp(y) * t;
  }
};

// f over the inputs' vectors at j.
template <int kInputs, class C, class K, class F>
BRASA_INLINE Vec<C> with_inputs(const C* const* x, int64_t j, K k, const F& f) {
  if constexpr (kInputs == 1)
    return f(get(x[0] + j, k));
  else
    return f(get(x[0] + j, k), get(x[1] + j, k));
}

// The sum of a row so far, relative to exp(-peak).
template <class Op, class C>
struct Running {
  using V = Vec<C>;
  C peak = lowest_of<C>();
  double sum = 0;

  void merge(C other_peak, double other) {
    const C next = other_peak > peak ? other_peak : peak, shift = shift_of(next);
    if (Op::kPeak) {
      sum *= exp_of(peak - shift);
      other *= exp_of(other_peak - shift);
    }
    sum += other;
    peak = next;
  }
  // The terms are stored where `keep` is given.
  void take(const C* const* x, int64_t n, C* keep = nullptr) {
    const C top = Op::kPeak ? fold<Peak>(x[0], n) : peak;
    const V m(shift_of(top));
    const C part = sum_of<C>(n, [&](int64_t j, auto k) {
      const V term = with_inputs<Op::kInputs>(x, j, k, [&](auto... v) { return Op::term(m, v...); });
      if (Op::kKeep && keep) put(keep + j, term, k);
      return only(term, k, C(0));
    });
    if (sum == 0 && peak == lowest_of<C>())
      peak = top, sum = part;
    else
      merge(top, part);
  }
  void write(const C* const* x, int64_t n, C* y, bool kept = false) const {
    const V m(shift_of(peak)), t = Op::total(V(static_cast<C>(sum)));
    for_vectors<C>(n, [&](int64_t j, auto k) {
      if (Op::kKeep && kept)
        put(y + j, get(y + j, k) * t, k);
      else
        put(y + j, with_inputs<Op::kInputs>(x, j, k, [&](auto... v) { return Op::value(m, t, v...); }), k);
    });
  }
};

struct SoftmaxPlan {
  Axes dim, kept, outer, column;  // operands: the inputs, then out
  bool columns;
  int64_t width;  // columns of a tile
  int64_t part;   // elements of a row in a task, when there are few rows
};

template <class Op, class C>
struct Along {
  static constexpr int kInputs = Op::kInputs;
  using V = Vec<C>;
  const SoftmaxPlan& plan;
  const Call& call;
  const Args& args;

  Rows<C> input(const Axes& axes, int k) const { return Rows<C>(axes, k, call.in[k], args.in[k]); }
  Rows<C> output(const Axes& axes) const { return Rows<C>(axes, kInputs, call.out[0], args.out[0]); }

  // f(x, i, n) for the pieces of [begin, end) of a row.
  template <class F>
  void pieces(int64_t row, int64_t begin, int64_t end, C* buffer, const F& f) const {
    const int64_t step = end - begin <= kWhole ? kWhole : kLeaf;
    for (int64_t i = begin; i < end; i += step) {
      const int64_t n = least(step, end - i);
      const C* x[kInputs];
      for (int k = 0; k < kInputs; ++k) x[k] = input(plan.dim, k).load(plan.kept.at(row, k), i, n, buffer + k * kWhole);
      f(x, i, n);
    }
  }
  static C* buffer() { return room<C>(0, kWhole * (kInputs + 1)); }

  void write(const Running<Op, C>& running, int64_t row, int64_t begin, int64_t end, C* own) const {
    const Rows<C> out = output(plan.dim);
    const int64_t at = plan.kept.at(row, kInputs);
    pieces(row, begin, end, own, [&](const C* const* x, int64_t i, int64_t n) {
      C* y = out.open(at, i, own + kInputs * kWhole);
      running.write(x, n, y);
      out.close(at, i, n, y);
    });
  }

  Status rows() const {
    const int64_t count = plan.kept.count, length = plan.dim.count;
    const Rows<C> out = output(plan.dim);
    bool failed = false;
    if (plan.part == length) {
      parallel(count, lines_of(length), [&](int64_t begin, int64_t end) {
        C* const own = buffer();
        if (!own) {
          failed = true;
          return;
        }
        for (int64_t row = begin; row < end; ++row) {
          Running<Op, C> running;
          if (length > kWhole) {
            pieces(row, 0, length, own, [&](const C* const* x, int64_t, int64_t n) { running.take(x, n); });
            write(running, row, 0, length, own);
          } else {
            const int64_t at = plan.kept.at(row, kInputs);
            pieces(row, 0, length, own, [&](const C* const* x, int64_t i, int64_t n) {
              C* y = out.open(at, i, own + kInputs * kWhole);
              running.take(x, n, y);
              running.write(x, n, y, Op::kKeep);
              out.close(at, i, n, y);
            });
          }
        }
      });
      return failed ? kOutOfMemory : kOk;
    }
    const int64_t parts = ceil_div(length, plan.part);
    Running<Op, C>* const partial = room<Running<Op, C>>(3, count * parts);
    if (!partial) return kOutOfMemory;
    const auto each_part = [&](const auto& f) {
      parallel(count * parts, 1, [&](int64_t begin, int64_t end) {
        C* const own = buffer();
        if (!own) {
          failed = true;
          return;
        }
        for (int64_t i = begin; i < end; ++i)
          f(i, i / parts, i % parts * plan.part, least(length, (i % parts + 1) * plan.part), own);
      });
    };
    each_part([&](int64_t i, int64_t row, int64_t begin, int64_t end, C* own) {
      Running<Op, C> running;
      pieces(row, begin, end, own, [&](const C* const* x, int64_t, int64_t n) { running.take(x, n); });
      partial[i] = running;
    });
    if (failed) return kOutOfMemory;
    for (int64_t row = 0; row < count; ++row)
      for (int64_t i = 1; i < parts; ++i)
        partial[row * parts].merge(partial[row * parts + i].peak, partial[row * parts + i].sum);
    each_part([&](int64_t, int64_t row, int64_t begin, int64_t end, C* own) {
      write(partial[row * parts], row, begin, end, own);
    });
    return failed ? kOutOfMemory : kOk;
  }

  // Tiles of columns: dim is walked once for the peak, once for the sum, once to write.
  Status columns() const {
    const int64_t length = plan.dim.count, width = plan.column.count, ld = plan.width, tiles = ceil_div(width, ld);
    bool failed = false;
    parallel(plan.outer.count * tiles, lines_of(ld * length), [&](int64_t begin, int64_t end) {
      C* const peak = room<C>(0, ld * (kInputs + 4));
      if (!peak) {
        failed = true;
        return;
      }
      C *const sum = peak + ld, *const part = sum + ld, *const buffer = part + ld;
      for (int64_t tile = begin; tile < end; ++tile) {
        const int64_t a = tile / tiles, first = tile % tiles * ld, n = least(ld, width - first);
        const C* x[kInputs];
        const auto each_row = [&](const auto& f) {
          for (int64_t d = 0; d < length; ++d) {
            for (int k = 0; k < kInputs; ++k)
              x[k] =
                  input(plan.column, k).load(plan.outer.at(a, k) + plan.dim.at(d, k), first, n, buffer + (k + 1) * ld);
            f(d);
          }
        };
        for (int64_t j = 0; j < n; ++j) peak[j] = lowest_of<C>(), sum[j] = part[j] = 0;
        if (Op::kPeak) {
          each_row([&](int64_t) {
            map_row(
                peak, n, [](auto m, auto v) { return max(v, m); }, static_cast<const C*>(peak), x[0]);
          });
          map_row(
              peak, n, [](auto m) { return shift_of(m); }, static_cast<const C*>(peak));
        }
        each_row([&](int64_t d) {
          for_vectors<C>(n, [&](int64_t j, auto k) {
            const V m = get(peak + j, k);
            put(part + j,
                get(part + j, k) + with_inputs<kInputs>(x, j, k, [&](auto... v) { return Op::term(m, v...); }), k);
          });
          if (d % 128 != 127 && d != length - 1) return;  // sums of sums stay accurate
          map_row(
              sum, n, [](auto s, auto p) { return s + p; }, static_cast<const C*>(sum), static_cast<const C*>(part));
          for (int64_t j = 0; j < n; ++j) part[j] = 0;
        });
        map_row(
            sum, n, [](auto s) { return Op::total(s); }, static_cast<const C*>(sum));
        const Rows<C> out = output(plan.column);
        each_row([&](int64_t d) {
          const int64_t at = plan.outer.at(a, kInputs) + plan.dim.at(d, kInputs);
          C* y = out.open(at, first, buffer);
          for_vectors<C>(n, [&](int64_t j, auto k) {
            const V m = get(peak + j, k), t = get(sum + j, k);
            put(y + j, with_inputs<kInputs>(x, j, k, [&](auto... v) { return Op::value(m, t, v...); }), k);
          });
          out.close(at, first, n, y);
        });
      }
    });
    return failed ? kOutOfMemory : kOk;
  }
};

template <class Op, class C>
Status run_along(const CpuPlan& plan, const Args& args) {
  const SoftmaxPlan& p = *static_cast<const SoftmaxPlan*>(plan.state);
  if (p.dim.count == 0 || p.kept.count == 0) return kOk;
  const Along<Op, C> along{p, plan.call, args};
  return p.columns ? along.columns() : along.rows();
}

template <class Op>
Status make_along(CpuPlan& plan) {
  const Call& call = plan.call;
  if (call.nin != Op::kInputs || call.nout != 1 || call.nparams < 1) return kInvalid;
  const int dim = dim_of(call.params[0], call.in[0]);
  if (dim < 0) return kInvalid;
  const Layout* layouts[kOperands];
  for (int k = 0; k < call.nin; ++k) {
    layouts[k] = &call.in[k];
    if (!float_dtype(call.in[k].dtype)) return kUnsupported;
    if (!same_shape(call.in[k], call.out[0])) return kInvalid;
  }
  layouts[call.nin] = &call.out[0];
  if (!float_dtype(call.out[0].dtype)) return kUnsupported;
  SoftmaxPlan* state = static_cast<SoftmaxPlan*>(plan_alloc(plan, sizeof(SoftmaxPlan)));
  if (!state) return kOutOfMemory;
  const uint32_t all = (1u << call.in[0].ndim) - 1, mask = all & 1u << dim;
  state->dim = Axes::of(mask, true, layouts, call.nin + 1);
  state->kept = Axes::of(all & ~mask, true, layouts, call.nin + 1);
  state->outer = state->kept.outer();
  state->column = state->kept.last();
  const int64_t length = state->dim.count, width = state->column.count;
  state->columns = width >= 8 && state->kept.inner_stride(0) < state->dim.inner_stride(0);
  state->width =
      least<int64_t>(width, least<int64_t>(1024, most<int64_t>(64, kTile / most<int64_t>(1, length) / 64 * 64)));
  state->part = state->kept.count < 16 && length >= 2 * kTask ? kTask : length;
  plan.state = state;
  plan.run = call.in[0].dtype == k_f64 ? run_along<Op, double> : run_along<Op, float>;
  return kOk;
}

// ---- cross entropy: rows of logits (N,C), each read once, in pieces

struct Entropy {
  int64_t ignore;
  double smoothing, weights;  // weights: the sum of w
  const int64_t* target;
  int64_t N, C;
};

// Reads the targets into scratch, refusing those outside of [0, C), and w into C's (null when there is none).
template <class C>
Status begin_entropy(const CpuPlan& plan, const Args& args, int logits, int weight, Entropy* e, const C** w) {
  const Call& call = plan.call;
  const Layout& x = call.in[logits];
  e->N = x.shape[0], e->C = x.shape[1];
  e->ignore = static_cast<int64_t>(call.params[0]);
  e->smoothing = call.params[1];
  int64_t* const target = room<int64_t>(3, e->N);
  C* const own = room<C>(2, e->C);
  if (!target || !own) return kOutOfMemory;
  const Layout& t = call.in[logits + 1];
  load_run(t.dtype, static_cast<const char*>(args.in[logits + 1]), 0, t.strides[0], e->N, target);
  for (int64_t i = 0; i < e->N; ++i) {
    if (target[i] == e->ignore || (target[i] >= 0 && target[i] < e->C)) continue;
    args.fault[0] = target[i], args.fault[1] = e->C;
    return kIndexOutOfRange;
  }
  e->target = target;
  e->weights = static_cast<double>(e->C);
  *w = nullptr;
  if (weight < call.nin) {
    load_run(call.in[weight].dtype, static_cast<const char*>(args.in[weight]), 0, call.in[weight].strides[0], e->C,
             own);
    *w = own;
    e->weights = 0;
    for (int64_t c = 0; c < e->C; ++c) e->weights += own[c];
  }
  return kOk;
}

template <class C>
C load_one_of(const Layout& layout, const void* data, int64_t offset) {
  C value;
  load_run(layout.dtype, static_cast<const char*>(data), offset, 1, 1, &value);
  return value;
}
template <class C>
void store_one_of(const Layout& layout, void* data, int64_t offset, C value) {
  store_run(layout.dtype, static_cast<char*>(data), offset, 1, 1, &value);
}

Axes classes(const Layout& x) {
  const Layout* const layouts[] = {&x};
  return Axes::of(2, false, layouts, 1);
}

// Few classes, plain targets: a vector holds one class of many rows.
template <class C>
void short_entropy(const Call& call, const Args& args, const Entropy& e, int64_t begin, int64_t end) {
  using V = Vec<C>;
  const int64_t n = e.C, row = call.in[0].strides[0], column = call.in[0].strides[1], to = call.out[0].strides[0],
                to_lse = call.out[1].strides[0];
  C *const loss = static_cast<C*>(args.out[0]), *const lse = static_cast<C*>(args.out[1]);
  C x[V::N * V::N] = {}, top[V::N], log_sum[V::N];  // x: (class, row)
  for (int64_t first = begin; first < end; first += V::N) {
    const int64_t rows = least<int64_t>(V::N, end - first);
    const C* const logits = static_cast<const C*>(args.in[0]) + first * row;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < n; ++c) x[c * V::N + r] = logits[r * row + c * column];
    V peak = V::load(x), sum(C(0));
    for (int64_t c = 1; c < n; ++c) peak = Peak::of(peak, V::load(x + c * V::N));
    const V shift = shift_of(peak);
    for (int64_t c = 0; c < n; ++c) sum = sum + exp(V::load(x + c * V::N) - shift);
    peak.store(top);
    log(sum).store(log_sum);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t i = first + r, t = e.target[i];
      loss[i * to] = t == e.ignore ? C(0) : (top[r] - x[t * V::N + r]) + log_sum[r];
      lse[i * to_lse] = top[r] + log_sum[r];
    }
  }
}

template <class C>
Status run_entropy(const CpuPlan& plan, const Args& args) {
  const Call& call = plan.call;
  const Layout& x = call.in[0];
  Entropy e;
  const C* w;
  if (const Status status = begin_entropy<C>(plan, args, 0, 2, &e, &w)) return status;
  const int32_t own = sizeof(C) == 4 ? k_f32 : k_f64;
  const bool plain = x.dtype == own && call.out[0].dtype == own && call.out[1].dtype == own;
  if (plain && e.C > 0 && e.C <= Vec<C>::N && !w && e.smoothing == 0) {
    parallel(e.N, lines_of(e.C), [&](int64_t begin, int64_t end) { short_entropy<C>(call, args, e, begin, end); });
    return kOk;
  }
  const Axes axes = classes(x);
  const Rows<C> rows(axes, 0, x, args.in[0]);
  bool failed = false;
  parallel(e.N, lines_of(e.C), [&](int64_t begin, int64_t end) {
    C* const buffer = room<C>(0, kLeaf);
    if (!buffer) {
      failed = true;
      return;
    }
    for (int64_t i = begin; i < end; ++i) {
      Running<LogSoftmax, C> running;
      double weighted = 0;  // sum of w * x
      for (int64_t c = 0; c < e.C; c += kLeaf) {
        const int64_t n = least(kLeaf, e.C - c);
        const C* const piece = rows.load(i * x.strides[0], c, n, buffer);
        running.take(&piece, n);
        if (e.smoothing == 0) continue;
        if (w)
          weighted += sum_of<C>(n, [&](int64_t j, auto k) { return get(piece + j, k) * get(w + c + j, k); });
        else
          weighted += fold<Add>(piece, n);
      }
      const double top = running.peak, log_sum = log_of(static_cast<C>(running.sum));
      const int64_t t = e.target[i];
      double loss = 0;
      if (t != e.ignore) {
        const double xt = load_one_of<C>(x, args.in[0], i * x.strides[0] + t * x.strides[1]);
        loss = (1 - e.smoothing) * (w ? w[t] : C(1)) * ((top - xt) + log_sum);
        if (e.smoothing != 0) loss += e.smoothing / e.C * (e.weights * log_sum + (e.weights * top - weighted));
      }
      store_one_of(call.out[0], args.out[0], i * call.out[0].strides[0], static_cast<C>(loss));
      store_one_of(call.out[1], args.out[1], i * call.out[1].strides[0], static_cast<C>(top + log_sum));
    }
  });
  return failed ? kOutOfMemory : kOk;
}

template <class C>
void short_entropy_grad(const Call& call, const Args& args, const Entropy& e, int64_t begin, int64_t end) {
  using V = Vec<C>;
  const int n = int(e.C);
  const C *const g = static_cast<const C*>(args.in[0]), *const x = static_cast<const C*>(args.in[1]),
                 *const lse = static_cast<const C*>(args.in[3]);
  C* const dx = static_cast<C*>(args.out[0]);
  const int64_t from = call.in[1].strides[0], to = call.out[0].strides[0];
  for (int64_t i = begin; i < end; ++i) {
    const int64_t t = e.target[i];
    const C a = t == e.ignore ? C(0) : g[i * call.in[0].strides[0]];
    const V p = exp(V::load(x + i * from, n) - V(lse[i * call.in[3].strides[0]]));
    (t == e.ignore ? V(C(0)) : p * V(a)).store(dx + i * to, n);
    if (t != e.ignore) dx[i * to + t] -= a;
  }
}

// dx = g * (p * ((1-s) w[t] + s/C sum w) - s/C w - (1-s) w[t] onehot), p = exp(x - lse)
template <class C>
Status run_entropy_grad(const CpuPlan& plan, const Args& args) {
  const Call& call = plan.call;
  const Layout &x = call.in[1], &y = call.out[0];
  Entropy e;
  const C* w;
  if (const Status status = begin_entropy<C>(plan, args, 1, 4, &e, &w)) return status;
  const int32_t own = sizeof(C) == 4 ? k_f32 : k_f64;
  const bool plain = x.dtype == own && y.dtype == own && call.in[0].dtype == own && call.in[3].dtype == own &&
                     x.strides[1] == 1 && y.strides[1] == 1;
  if (plain && e.C > 0 && e.C <= Vec<C>::N && !w && e.smoothing == 0) {
    parallel(e.N, lines_of(e.C), [&](int64_t begin, int64_t end) { short_entropy_grad<C>(call, args, e, begin, end); });
    return kOk;
  }
  const Axes from = classes(x), to = classes(y);
  const Rows<C> rows(from, 0, x, args.in[1]), out(to, 0, y, args.out[0]);
  bool failed = false;
  parallel(e.N, lines_of(e.C), [&](int64_t begin, int64_t end) {
    using V = Vec<C>;
    C* const buffer = room<C>(0, 2 * kLeaf);
    if (!buffer) {
      failed = true;
      return;
    }
    for (int64_t i = begin; i < end; ++i) {
      const int64_t t = e.target[i];
      const bool ignored = t == e.ignore;
      const C g = load_one_of<C>(call.in[0], args.in[0], i * call.in[0].strides[0]);
      const V lse(load_one_of<C>(call.in[3], args.in[3], i * call.in[3].strides[0]));
      const double hit = ignored ? 0 : g * (1 - e.smoothing) * (w ? w[t] : C(1)), smooth = g * e.smoothing / e.C;
      const V a(static_cast<C>(hit + smooth * e.weights)), b(static_cast<C>(smooth));
      for (int64_t c = 0; c < e.C; c += kLeaf) {
        const int64_t n = least(kLeaf, e.C - c);
        C* const piece = out.open(i * y.strides[0], c, buffer + kLeaf);
        if (ignored) {
          for (int64_t j = 0; j < n; ++j) piece[j] = 0;
        } else {
          const C* const from_row = rows.load(i * x.strides[0], c, n, buffer);
          if (w)
            map_row(
                piece, n, [&](V v, V u) { return exp(v - lse) * a - b * u; }, from_row, w + c);
          else
            map_row(
                piece, n, [&](V v) { return exp(v - lse) * a - b; }, from_row);
          if (t >= c && t < c + n) piece[t - c] -= static_cast<C>(hit);
        }
        out.close(i * y.strides[0], c, n, piece);
      }
    }
  });
  return failed ? kOutOfMemory : kOk;
}

// in: [g,] logits, target, [lse,] [weight]
template <bool kGrad>
Status make_entropy(CpuPlan& plan) {
  const Call& call = plan.call;
  const int fixed = kGrad ? 4 : 2;
  if (call.nin < fixed || call.nin > fixed + 1 || call.nout != (kGrad ? 1 : 2) || call.nparams < 2) return kInvalid;
  const Layout &x = call.in[kGrad], &target = call.in[kGrad + 1];
  if (x.ndim != 2 || target.ndim != 1 || target.shape[0] != x.shape[0]) return kInvalid;
  if (call.nin > fixed && (call.in[fixed].ndim != 1 || call.in[fixed].shape[0] != x.shape[1])) return kInvalid;
  if (!float_dtype(x.dtype) || float_dtype(target.dtype)) return kUnsupported;
  const bool wide = x.dtype == k_f64;
  if constexpr (kGrad)
    plan.run = wide ? run_entropy_grad<double> : run_entropy_grad<float>;
  else
    plan.run = wide ? run_entropy<double> : run_entropy<float>;
  return kOk;
}

}  // namespace

void register_softmax() {
  register_kernel("softmax", make_along<Softmax>, "softmax");
  register_kernel("softmaxGrad", make_along<SoftmaxGrad>, "softmax");
  register_kernel("logSoftmax", make_along<LogSoftmax>, "softmax");
  register_kernel("logSoftmaxGrad", make_along<LogSoftmaxGrad>, "softmax");
  register_kernel("crossEntropy", make_entropy<false>, "entropy");
  register_kernel("crossEntropyGrad", make_entropy<true>, "entropy");
}

}  // namespace brasa::cpu::BRASA_ISA
