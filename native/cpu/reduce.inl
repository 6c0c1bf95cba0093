// Reductions over any set of dims: sum, sum of squares, mean, prod, amax, amin, argmax, argmin, variance.
#include "reducer.h"

namespace brasa::cpu::BRASA_ISA {
namespace {

// ---- reducers (see reducer.h)

// Writes totals as dtype O, in the order of the kept dims.
template <class O>
struct Output {
  Rows<O> rows;
  double scale;  // what a float total is divided by

  template <class T>
  void write(int64_t o, int64_t n, const T* totals) const {
    O values[kColumns];
    if constexpr (kFloating<O>) {
      for (int64_t j = 0; j < n; ++j) values[j] = static_cast<O>(totals[j] / scale);
    } else {
      for (int64_t j = 0; j < n; ++j) values[j] = static_cast<O>(totals[j]);
    }
    rows.store(0, o, n, values);
  }
};

template <class C_, class Op, class Term = Itself>
struct Fold {
  using C = C_;
  using T = Total<C>;
  static constexpr int kInputs = 1, kSlots = 1, kLanes = 1;
  Output<C> out;

  void clear(T* totals, int64_t, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) totals[j] = Op::template identity<T>();
  }
  void row(int64_t, const C* const* x, int64_t n, int64_t, int64_t, T* t) const {
    t[0] = Op::of(t[0], T(fold<Op, Term>(x[0], n)));
  }
  void start(C* acc, int64_t, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) acc[j] = Op::template identity<C>();
  }
  void rows(int64_t, const C* const* x, int64_t m, int64_t n, int64_t, C* acc, int64_t) const {
    fold_rows<Op, Term>(acc, x, m, n);
  }
  void flush(const C* acc, int64_t, int64_t, int64_t n, int64_t, int64_t, T* t, int64_t) const {
    for (int64_t j = 0; j < n; ++j) t[j] = Op::of(t[j], T(acc[j]));
  }
  void merge(T* a, int64_t, const T* b, int64_t, int64_t, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) a[j] = Op::of(a[j], b[j]);
  }
  void finish(int64_t o, int64_t n, const T* t, int64_t) const { out.write(o, n, t); }
};

// Totals: the best value, and where it is.
template <class C_, class Op>
struct Arg {
  using C = C_;
  using T = Total<C>;
  static constexpr int kInputs = 1, kSlots = 2, kLanes = 2;
  Output<int32_t> out;

  void clear(T* t, int64_t ld, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) t[j] = Op::template identity<T>(), t[ld + j] = 0;
  }
  // A row of nothing but the identity (-inf for argmax) leaves index 0, its first element.
  void row(int64_t, const C* const* x, int64_t n, int64_t begin, int64_t, T* t) const {
    const C best = fold<Op>(x[0], n);
    if (!Op::better(T(best), t[0])) return;
    int64_t i = 0;
    if (best == best)
      while (x[0][i] != best) ++i;
    else
      while (x[0][i] == x[0][i]) ++i;
    t[0] = best;
    t[1] = begin + i;
  }
  // The second lane is the row within the leaf, exact in any C.
  void start(C* acc, int64_t ld, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) acc[j] = Op::template identity<C>(), acc[ld + j] = 0;
  }
  void rows(int64_t, const C* const* x, int64_t m, int64_t n, int64_t first, C* acc, int64_t ld) const {
    for (int64_t r = 0; r < m; ++r) {
      const C* row = x[r];
      const C at = static_cast<C>(first + r);
      for (int64_t j = 0; j < n; ++j) {
        const bool better = Op::better(row[j], acc[j]);
        acc[j] = better ? row[j] : acc[j];
        acc[ld + j] = better ? at : acc[ld + j];
      }
    }
  }
  void flush(const C* acc, int64_t ld, int64_t, int64_t n, int64_t begin, int64_t, T* t, int64_t tld) const {
    for (int64_t j = 0; j < n; ++j)
      if (Op::better(T(acc[j]), t[j])) t[j] = T(acc[j]), t[tld + j] = begin + T(acc[ld + j]);
  }
  void merge(T* a, int64_t, const T* b, int64_t, int64_t ld, int64_t n) const {
    for (int64_t j = 0; j < n; ++j)
      if (Op::better(b[j], a[j])) a[j] = b[j], a[ld + j] = b[ld + j];
  }
  void finish(int64_t o, int64_t n, const T* t, int64_t ld) const { out.write(o, n, t + ld); }
};

template <class C_>
struct Variance : Moments<C_> {
  Output<C_> out;
  void finish(int64_t o, int64_t n, const double* t, int64_t ld) const { out.write(o, n, t + ld); }
};

// ---- plans

Status make_reduction(CpuPlan& plan, uint32_t mask, bool needs_range) {
  const Call& call = plan.call;
  if (call.nin != 1 || call.nout != 1 || call.in[0].ndim != call.out[0].ndim) return kInvalid;
  const Layout* const layouts[] = {&call.in[0], &call.out[0]};
  Reduction* state = static_cast<Reduction*>(plan_alloc(plan, sizeof(Reduction)));
  if (!state) return kOutOfMemory;
  *state = Reduction::of(mask, layouts, 1, 2);
  if (needs_range && state->reduced.count == 0 && state->kept.count > 0) return kInvalid;
  plan.state = state;
  return kOk;
}

uint32_t reduced_dims(const Call& call) {
  uint32_t mask = 0;
  for (int d = 0; d < call.in[0].ndim; ++d)
    if (call.out[0].shape[d] == 1 && call.in[0].shape[d] != 1) mask |= 1u << d;
  return mask;
}

const Reduction& reduction(const CpuPlan& plan) { return *static_cast<const Reduction*>(plan.state); }

template <class O>
Output<O> output(const CpuPlan& plan, const Args& args, double scale) {
  return {Rows<O>(reduction(plan).kept, 1, plan.call.out[0], args.out[0]), scale};
}

template <class C, class Op>
Status run_fold(const CpuPlan& plan, const Args& args) {
  return reduce(reduction(plan), Fold<C, Op>{output<C>(plan, args, 1)}, plan.call.in, args.in);
}
template <class C>
Status run_squares(const CpuPlan& plan, const Args& args) {
  return reduce(reduction(plan), Fold<C, Add, Square>{output<C>(plan, args, 1)}, plan.call.in, args.in);
}
template <class C>
Status run_mean(const CpuPlan& plan, const Args& args) {
  const double count = static_cast<double>(reduction(plan).reduced.count);
  return reduce(reduction(plan), Fold<C, Add>{output<C>(plan, args, count)}, plan.call.in, args.in);
}
template <class C>
Status run_variance(const CpuPlan& plan, const Args& args) {
  const double degrees = reduction(plan).reduced.count - plan.call.params[0];
  return reduce(reduction(plan), Variance<C>{{}, output<C>(plan, args, degrees > 0 ? degrees : 0)}, plan.call.in,
                args.in);
}
template <class C, class Op>
Status run_arg(const CpuPlan& plan, const Args& args) {
  return reduce(reduction(plan), Arg<C, Op>{output<int32_t>(plan, args, 1)}, plan.call.in, args.in);
}

template <class Op>
Status make_fold(CpuPlan& plan) {
  const int32_t dtype = plan.call.in[0].dtype;
  plan.run = dtype == k_f64 ? run_fold<double, Op> : float_dtype(dtype) ? run_fold<float, Op> : run_fold<int64_t, Op>;
  return make_reduction(plan, reduced_dims(plan.call), false);
}
Status make_squares(CpuPlan& plan) {
  const int32_t dtype = plan.call.in[0].dtype;
  if (!float_dtype(dtype)) return kUnsupported;
  plan.run = dtype == k_f64 ? run_squares<double> : run_squares<float>;
  return make_reduction(plan, reduced_dims(plan.call), false);
}
Status make_mean(CpuPlan& plan) {
  const int32_t dtype = plan.call.in[0].dtype;
  if (!float_dtype(dtype)) return kUnsupported;
  plan.run = dtype == k_f64 ? run_mean<double> : run_mean<float>;
  return make_reduction(plan, reduced_dims(plan.call), false);
}
Status make_variance(CpuPlan& plan) {
  const int32_t dtype = plan.call.in[0].dtype;
  if (!float_dtype(dtype)) return kUnsupported;
  if (plan.call.nparams < 1) return kInvalid;
  plan.run = dtype == k_f64 ? run_variance<double> : run_variance<float>;
  return make_reduction(plan, reduced_dims(plan.call), false);
}
template <bool kMax>
Status make_extreme(CpuPlan& plan) {
  using Op = Extreme<kMax>;
  const int32_t dtype = plan.call.in[0].dtype;
  plan.run = dtype == k_f64       ? run_fold<double, Op>
             : dtype == k_i64     ? run_fold<int64_t, Op>
             : float_dtype(dtype) ? run_fold<float, Op>
                                  : run_fold<int32_t, Op>;
  return make_reduction(plan, reduced_dims(plan.call), true);
}
template <bool kMax>
Status make_arg(CpuPlan& plan) {
  using Op = Extreme<kMax>;
  const int32_t dtype = plan.call.in[0].dtype;
  const int dim = plan.call.nparams ? dim_of(plan.call.params[0], plan.call.in[0]) : -1;
  if (dim < 0) return kInvalid;
  plan.run = dtype == k_f64       ? run_arg<double, Op>
             : dtype == k_i64     ? run_arg<int64_t, Op>
             : float_dtype(dtype) ? run_arg<float, Op>
                                  : run_arg<int32_t, Op>;
  return make_reduction(plan, 1u << dim, true);
}

}  // namespace

void register_reduce() {
  register_kernel("sum", make_fold<Add>, "reduce");
  register_kernel("sumSquares", make_squares, "reduce");
  register_kernel("mean", make_mean, "reduce");
  register_kernel("prod", make_fold<Multiply>, "reduce");
  register_kernel("amax", make_extreme<true>, "reduce");
  register_kernel("amin", make_extreme<false>, "reduce");
  register_kernel("argmax", make_arg<true>, "reduce");
  register_kernel("argmin", make_arg<false>, "reduce");
  register_kernel("variance", make_variance, "reduce");
}

}  // namespace brasa::cpu::BRASA_ISA
