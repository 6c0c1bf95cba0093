// matmul: y (...,M,N) = a (...,M,K) x b (...,K,N) (+ c), any strides, nothing copied but into panels. One plan chooses
// among
//   rows    few rows of one operand and a long dimension: dot products along contiguous K, at memory speed
//   direct  small matrices, or few rows of A: the micro-kernel reads both operands where they lie
//   packed  all else: panels packed once, by all threads, then tiles of y
// and the plain reference, which takes any layout. Partitions depend on shapes only.
#include "gemm_paths.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

struct Matmul {
  Shape shape;
  int64_t batches;
  int32_t batch_ndim;
  int64_t batch_shape[kMaxDims];
  int64_t batch_strides[4][kMaxDims];  // a, b, c, y
};

// Offsets of batch item i in elements.
struct Offsets {
  int64_t at[4];
};
inline Offsets offsets(const Matmul& p, int64_t i) {
  Offsets o{};
  for (int d = p.batch_ndim - 1; d >= 0; --d) {
    const int64_t at = i % p.batch_shape[d];
    i /= p.batch_shape[d];
    for (int t = 0; t < 4; ++t) o.at[t] += at * p.batch_strides[t][d];
  }
  return o;
}

template <class S>
Operands<S> operands(const Matmul& p, const Args& args, bool has_c, int64_t i) {
  const Offsets o = offsets(p, i);
  const S* const a = static_cast<const S*>(args.in[p.shape.swapped ? 1 : 0]);
  const S* const b = static_cast<const S*>(args.in[p.shape.swapped ? 0 : 1]);
  return {a + o.at[0], b + o.at[1], has_c ? static_cast<const S*>(args.in[2]) + o.at[2] : nullptr,
          static_cast<S*>(args.out[0]) + o.at[3]};
}

template <class S, class F>
Status each_batch(const CpuPlan& plan, const Args& args, const F& product) {
  const Matmul& p = *static_cast<const Matmul*>(plan.state);
  const bool has_c = plan.call.nin > 2;
  const int64_t work = p.shape.m * p.shape.n * (p.shape.k + 1);
  int failed = 0;
  // Large products are parallel inside; batches of small ones are shared out whole.
  if (work < kLarge && p.batches > 1) {
    parallel(p.batches, ceil_div(kChunk, work + 1), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        if (product(p.shape, operands<S>(p, args, has_c, i)) != kOk) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    });
    return failed ? kOutOfMemory : kOk;
  }
  for (int64_t i = 0; i < p.batches; ++i)
    if (const Status status = product(p.shape, operands<S>(p, args, has_c, i))) return status;
  return kOk;
}

// Reads the call into a Matmul; false when the dtypes are not one floating or integer type.
bool describe(const Call& call, Matmul* p) {
  if (call.nin < 2 || call.nin > 3 || call.nout != 1) return false;
  const Layout &a = call.in[0], &b = call.in[1], &y = call.out[0];
  const Layout& c = call.nin > 2 ? call.in[2] : y;
  const int nd = y.ndim;
  if (nd < 2 || a.ndim != nd || b.ndim != nd || c.ndim != nd || y.dtype == k_bool) return false;
  if (a.dtype != y.dtype || b.dtype != y.dtype || c.dtype != y.dtype) return false;
  Shape& s = p->shape;
  s = {y.shape[nd - 2],   y.shape[nd - 1],   a.shape[nd - 1],   a.strides[nd - 2], a.strides[nd - 1], b.strides[nd - 2],
       b.strides[nd - 1], c.strides[nd - 2], c.strides[nd - 1], y.strides[nd - 2], y.strides[nd - 1], false};
  p->batches = 1;
  p->batch_ndim = 0;
  for (int d = 0; d < nd - 2; ++d) p->batches *= y.shape[d];
  for (int d = nd - 3; d >= 0; --d) {
    const int64_t size = y.shape[d];
    if (size == 1) continue;
    // A batch of A against one B is one taller A.
    if (p->batch_ndim == 0 && b.strides[d] == 0 && a.strides[d] == s.m * s.a_row && y.strides[d] == s.m * s.y_row &&
        (call.nin == 2 || c.strides[d] == s.m * s.c_row)) {
      s.m *= size;
      p->batches = size == 0 ? 0 : p->batches / size;
      continue;
    }
    // Innermost dims were met first; offsets() wants them last.
    for (int t = p->batch_ndim++; t > 0; --t) {
      p->batch_shape[t] = p->batch_shape[t - 1];
      for (int i = 0; i < 4; ++i) p->batch_strides[i][t] = p->batch_strides[i][t - 1];
    }
    p->batch_shape[0] = size;
    const int64_t strides[] = {a.strides[d], b.strides[d], c.strides[d], y.strides[d]};
    for (int i = 0; i < 4; ++i) p->batch_strides[i][0] = strides[i];
  }
  return true;
}

// y^T = b^T a^T.
void swap_operands(Matmul* p) {
  const Shape s = p->shape;
  p->shape = {s.n, s.m, s.k, s.b_col, s.b_k, s.a_k, s.a_row, s.c_col, s.c_row, s.y_col, s.y_row, !s.swapped};
  for (int d = 0; d < p->batch_ndim; ++d) {
    const int64_t t = p->batch_strides[0][d];
    p->batch_strides[0][d] = p->batch_strides[1][d];
    p->batch_strides[1][d] = t;
  }
}

// ---- kernels

template <class S, Status (*product)(const Shape&, const Operands<S>&)>
Status run(const CpuPlan& plan, const Args& args) {
  return each_batch<S>(plan, args, product);
}

Status run_nothing(const CpuPlan&, const Args&) { return kOk; }

template <class S>
RunFn choose(Matmul* p) {
  using T = Compute<S>;
  constexpr bool native = kSame<S, T>;
  const Shape& s = p->shape;
  if (p->batches * s.m * s.n == 0) return run_nothing;
  if constexpr (!kSame<T, float> && !kSame<T, double>)
    return run<S, sum_product<S>>;
  else {
    // Few rows against many, both along contiguous K: the few are A, B streams.
    if (s.n < s.m && s.n <= kFewRows && s.a_k == 1) swap_operands(p);
    if (s.m <= kFewRows && s.b_k == 1 && s.k >= 2 * Vec<T>::N) return run<S, rows_product<S>>;
    // Everything else stores rows of y.
    if ((s.y_col != 1 && s.n > 1) || (s.n == 1 && s.m > 1 && s.y_row == 1)) swap_operands(p);
    if (s.y_col != 1 && s.n > 1) return nullptr;
    if constexpr (native) {
      if (s.b_col == 1 && (s.m <= kFewRows || (s.n <= kSmall && s.k <= 2 * kSmall && s.m <= 2 * kSmall)))
        return run<S, direct_product<S>>;
    }
    return run<S, packed_product<S>>;
  }
}

Status make_matmul(CpuPlan& plan) {
  Matmul p;
  if (!describe(plan.call, &p)) return kUnsupported;
  const RunFn fn = visit_dtype(plan.call.out[0].dtype, [&](auto x) -> RunFn {
    if constexpr (kSame<decltype(x), bool8_t>)
      return nullptr;
    else
      return choose<decltype(x)>(&p);
  });
  if (!fn) return kUnsupported;
  void* state = plan_alloc(plan, sizeof p);
  if (!state) return kOutOfMemory;
  __builtin_memcpy(state, &p, sizeof p);
  plan.state = state;
  plan.run = fn;
  return kOk;
}

Status make_reference(CpuPlan& plan) {
  Matmul p;
  if (!describe(plan.call, &p)) return kUnsupported;
  void* state = plan_alloc(plan, sizeof p);
  if (!state) return kOutOfMemory;
  __builtin_memcpy(state, &p, sizeof p);
  plan.state = state;
  plan.run = visit_dtype(plan.call.out[0].dtype,
                         [](auto x) -> RunFn { return run<decltype(x), reference_product<decltype(x)>>; });
  return kOk;
}

}  // namespace

void register_gemm() {
  register_kernel("matmul", make_matmul, "gemm");
  register_kernel("matmul", make_reference, "reference");
}

}  // namespace brasa::cpu::BRASA_ISA
