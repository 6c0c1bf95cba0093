// cumsum and cumprod along one dim. What is carried from vector to vector and row to row is f64 (i64 for integers).
#include "reducer.h"

namespace brasa::cpu::BRASA_ISA {
namespace {

template <int... i>
struct Lanes {};
template <int n, int... i>
struct LanesOf : LanesOf<n - 1, n - 1, i...> {};
template <int... i>
struct LanesOf<0, i...> {
  using type = Lanes<i...>;
};

// x moved up by `by` lanes, the identity below.
template <class Op, int by, class C, int... i>
BRASA_INLINE Vec<C> moved(Vec<C> x, Lanes<i...>) {
  const Vec<C> fill(Op::template identity<C>());
  return Vec<C>(__builtin_shufflevector(x.v, fill.v, (i < by ? Vec<C>::N : i - by)...));
}
template <class Op, int by = 1, class C>
BRASA_INLINE Vec<C> prefix(Vec<C> x) {
  if constexpr (by < Vec<C>::N)
    return prefix<Op, by * 2>(Op::of(moved<Op, by>(x, typename LanesOf<Vec<C>::N>::type{}), x));
  else
    return x;
}

// y[j] = carry op x[0] op ... op x[j]; the carry that follows. f32 is scanned as f64 and rounded once.
template <class Op, class C>
inline Total<C> scan_row(const C* x, C* y, int64_t n, Total<C> carry) {
  using T = Total<C>;
  using V = Vec<T>;
  const auto last = [](V v) { return v[V::N - 1]; };
  for_vectors<C>(n, [&](int64_t j, auto k) {
    const Vec<C> v = only(get(x + j, k), k, Op::template identity<C>());
    if constexpr (kSame<C, T>) {
      const V p = prefix<Op>(v);
      put(y + j, Op::of(V(carry), p), k);
      carry = Op::of(carry, last(p));
    } else {
      const F64x2 wide = widen(v);
      const V lo = prefix<Op>(wide.lo), hi = Op::of(V(last(lo)), prefix<Op>(wide.hi));
      put(y + j, narrow(Op::of(V(carry), lo), Op::of(V(carry), hi)), k);
      carry = Op::of(carry, last(hi));
    }
  });
  return carry;
}

struct ScanPlan {
  Axes dim, kept, outer, column;  // operands: in, out
  bool columns;
  int64_t part, parts;  // elements of a row in a task, when there are few rows; of a row
  int64_t grain;        // parts in a task
};

template <class Op, class C>
struct Scan {
  using T = Total<C>;
  const ScanPlan& plan;
  const Call& call;
  const Args& args;

  Rows<C> input(const Axes& axes) const { return Rows<C>(axes, 0, call.in[0], args.in[0]); }
  Rows<C> output(const Axes& axes) const { return Rows<C>(axes, 1, call.out[0], args.out[0]); }

  void row(int64_t row, int64_t begin, int64_t end, T carry, C* buffer) const {
    const Rows<C> in = input(plan.dim), out = output(plan.dim);
    for (int64_t i = begin; i < end; i += kLeaf) {
      const int64_t n = least(kLeaf, end - i), to = plan.kept.at(row, 1);
      C* y = out.open(to, i, buffer + kLeaf);
      carry = scan_row<Op>(in.load(plan.kept.at(row, 0), i, n, buffer), y, n, carry);
      out.close(to, i, n, y);
    }
  }

  Status rows() const {
    const int64_t count = plan.kept.count, length = plan.dim.count, part = plan.part, parts = plan.parts;
    T* const total = room<T>(3, count * parts);
    if (!total) return kOutOfMemory;
    bool failed = false;
    const auto each_part = [&](const auto& f) {
      parallel(count * parts, plan.grain, [&](int64_t begin, int64_t end) {
        C* const own = room<C>(0, 2 * kLeaf);
        if (!own) {
          failed = true;
          return;
        }
        for (int64_t i = begin; i < end; ++i) {
          const int64_t line = parts > 1 ? i / parts : i, first = (i - line * parts) * part;
          f(i, line, first, least(length, first + part), own);
        }
      });
    };
    for (int64_t i = 0; i < count * parts; ++i) total[i] = Op::template identity<T>();
    if (parts > 1) {
      const Rows<C> in = input(plan.dim);
      each_part([&](int64_t i, int64_t row, int64_t begin, int64_t end, C* own) {
        for (int64_t j = begin; j < end; j += kLeaf) {
          const int64_t n = least(kLeaf, end - j);
          total[i] = scan_row<Op>(in.load(plan.kept.at(row, 0), j, n, own), own + kLeaf, n, total[i]);
        }
      });
      for (int64_t row = 0; row < count && !failed; ++row) {
        T carry = Op::template identity<T>();
        for (int64_t i = row * parts; i < (row + 1) * parts; ++i) {
          const T next = Op::of(carry, total[i]);
          total[i] = carry;
          carry = next;
        }
      }
    }
    if (failed) return kOutOfMemory;
    each_part([&](int64_t i, int64_t r, int64_t begin, int64_t end, C* own) { row(r, begin, end, total[i], own); });
    return failed ? kOutOfMemory : kOk;
  }

  Status columns() const {
    const int64_t length = plan.dim.count, width = plan.column.count, ld = least(width, kBatch),
                  tiles = ceil_div(width, ld);
    const Rows<C> in = input(plan.column), out = output(plan.column);
    bool failed = false;
    parallel(plan.outer.count * tiles, lines_of(ld * length), [&](int64_t begin, int64_t end) {
      C* const buffer = room<C>(0, 2 * ld);
      if (!buffer) {
        failed = true;
        return;
      }
      for (int64_t tile = begin; tile < end; ++tile) {
        const int64_t a = tile / tiles, first = tile % tiles * ld, n = least(ld, width - first);
        T carry[kBatch];
        for (int64_t j = 0; j < n; ++j) carry[j] = Op::template identity<T>();
        for (int64_t d = 0; d < length; ++d) {
          const int64_t to = plan.outer.at(a, 1) + plan.dim.at(d, 1);
          const C* x = in.load(plan.outer.at(a, 0) + plan.dim.at(d, 0), first, n, buffer);
          C* y = out.open(to, first, buffer + ld);
          for (int64_t j = 0; j < n; ++j) {
            carry[j] = Op::of(carry[j], T(x[j]));
            y[j] = static_cast<C>(carry[j]);
          }
          out.close(to, first, n, y);
        }
      }
    });
    return failed ? kOutOfMemory : kOk;
  }
};

template <class Op, class C>
Status run_scan(const CpuPlan& plan, const Args& args) {
  const ScanPlan& p = *static_cast<const ScanPlan*>(plan.state);
  if (p.dim.count == 0 || p.kept.count == 0) return kOk;
  const Scan<Op, C> scan{p, plan.call, args};
  return p.columns ? scan.columns() : scan.rows();
}

template <class Op>
Status make_scan(CpuPlan& plan) {
  const Call& call = plan.call;
  if (call.nin != 1 || call.nout != 1 || call.nparams < 1 || !same_shape(call.in[0], call.out[0])) return kInvalid;
  const int dim = dim_of(call.params[0], call.in[0]);
  if (dim < 0) return kInvalid;
  if (float_dtype(call.in[0].dtype) != float_dtype(call.out[0].dtype)) return kUnsupported;
  ScanPlan* state = static_cast<ScanPlan*>(plan_alloc(plan, sizeof(ScanPlan)));
  if (!state) return kOutOfMemory;
  const Layout* const layouts[] = {&call.in[0], &call.out[0]};
  const uint32_t all = (1u << call.in[0].ndim) - 1, mask = all & 1u << dim;
  state->dim = Axes::of(mask, true, layouts, 2);
  state->kept = Axes::of(all & ~mask, true, layouts, 2);
  state->outer = state->kept.outer();
  state->column = state->kept.last();
  const int64_t length = state->dim.count;
  state->columns = state->column.count >= 8 && state->kept.inner_stride(0) < state->dim.inner_stride(0);
  state->part = most<int64_t>(1, state->kept.count < 16 && length >= 4 * kTask ? kTask : length);
  state->parts = ceil_div(length, state->part);
  state->grain = state->parts > 1 ? 1 : lines_of(length);
  plan.state = state;
  const int32_t dtype = call.in[0].dtype;
  plan.run = dtype == k_f64 ? run_scan<Op, double> : float_dtype(dtype) ? run_scan<Op, float> : run_scan<Op, int64_t>;
  return kOk;
}

}  // namespace

void register_scan() {
  register_kernel("cumsum", make_scan<Add>, "scan");
  register_kernel("cumprod", make_scan<Multiply>, "scan");
}

}  // namespace brasa::cpu::BRASA_ISA
