// matmul: y (...,M,N) = a (...,M,K) x b (...,K,N) (+ c), any strides, nothing copied but into panels. One plan chooses
// among
//   rows    few rows of one operand and a long dimension: dot products along contiguous K, at memory speed
//   direct  small matrices, or few rows of A: the micro-kernel reads both operands where they lie
//   packed  all else: panels packed once, by all threads, then tiles of y
// and the plain reference, which takes any layout. Partitions depend on shapes only. matmulThen runs a tile program
// over each block of y that one of them has finished. Attention and lstm, which are products too, are registered here.
#include "attention_grad.inl"
#include "gemm_packed.inl"
#include "lstm.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

struct Matmul {
  Shape shape;
  bool has_c;
  int32_t y;                 // which of the call's outputs
  const Epilogue* epilogue;  // null: nothing follows
  int64_t batches;
  int32_t batch_ndim, batch_dim[kMaxDims];  // which of y's dims
  int64_t batch_shape[kMaxDims];
  int64_t batch_strides[4][kMaxDims];  // a, b, c, y
};

// Offsets of batch item i in elements.
struct Offsets {
  int64_t at[4];
};
inline Offsets offsets(const Matmul& p, int64_t i, int64_t* index) {
  Offsets o{};
  for (int d = p.batch_ndim - 1; d >= 0; --d) {
    index[d] = i % p.batch_shape[d];
    i /= p.batch_shape[d];
    for (int t = 0; t < 4; ++t) o.at[t] += index[d] * p.batch_strides[t][d];
  }
  return o;
}

template <class S, class F>
Status one_product(const Matmul& p, const Args& args, int64_t i, const F& product) {
  Then then{p.epilogue, args, {}};
  const Offsets o = offsets(p, i, then.at);
  const S* const a = static_cast<const S*>(args.in[p.shape.swapped ? 1 : 0]);
  const S* const b = static_cast<const S*>(args.in[p.shape.swapped ? 0 : 1]);
  return product(p.shape,
                 Operands<S>{a + o.at[0], b + o.at[1], p.has_c ? static_cast<const S*>(args.in[2]) + o.at[2] : nullptr,
                             static_cast<S*>(args.out[p.y]) + o.at[3], p.epilogue ? &then : nullptr});
}

template <class S, class F>
Status each_batch(const CpuPlan& plan, const Args& args, const F& product) {
  const Matmul& p = *static_cast<const Matmul*>(plan.state);
  const int64_t work = p.shape.m * p.shape.n * (p.shape.k + 1);
  int failed = 0;
  // Large products are parallel inside; batches of small ones are shared out whole.
  if (work < kLarge && p.batches > 1) {
    parallel(p.batches, ceil_div(kChunk, work + 1), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        if (one_product<S>(p, args, i, product) != kOk) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    });
    return failed ? kOutOfMemory : kOk;
  }
  for (int64_t i = 0; i < p.batches; ++i)
    if (const Status status = one_product<S>(p, args, i, product)) return status;
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
  p->has_c = call.nin > 2;
  p->y = 0;
  p->epilogue = nullptr;
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
      p->batch_dim[t] = p->batch_dim[t - 1];
      for (int i = 0; i < 4; ++i) p->batch_strides[i][t] = p->batch_strides[i][t - 1];
    }
    p->batch_shape[0] = size;
    p->batch_dim[0] = d;
    const int64_t strides[] = {a.strides[d], b.strides[d], c.strides[d], y.strides[d]};
    for (int i = 0; i < 4; ++i) p->batch_strides[i][0] = strides[i];
  }
  return true;
}

void swap_operands(Matmul* p) {
  p->shape = transposed(p->shape);
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
RunFn choose(Matmul* p, Grid* grid) {
  using T = Compute<S>;
  constexpr bool native = kSame<S, T>;
  const Shape& s = p->shape;
  const auto found = [&](const Grid& blocks, RunFn fn) {
    *grid = blocks;
    return fn;
  };
  if (p->batches * s.m * s.n == 0) return run_nothing;
  if constexpr (!kSame<T, float> && !kSame<T, double>)
    return found(sum_grid(s), run<S, sum_product<S>>);
  else {
    // Few rows against many, both along contiguous K: the few are A, B streams.
    if (s.n < s.m && s.n <= kFewRows && s.a_k == 1) swap_operands(p);
    if (s.m <= kFewRows && s.b_k == 1 && s.k >= 2 * Vec<T>::N) return found(rows_grid(s), run<S, rows_product<S>>);
    // Everything else stores rows of y.
    if ((s.y_col != 1 && s.n > 1) || (s.n == 1 && s.m > 1 && s.y_row == 1)) swap_operands(p);
    if (s.y_col != 1 && s.n > 1) return nullptr;
    if constexpr (native) {
      const bool tiny = s.m <= kTiny && s.n <= kTiny && s.k <= kTiny &&
                        s.m * s.n * s.k <= kTiny;  // packing all of B first would cost as much as the product
      if (tiny || (s.b_col == 1 && (s.m <= kFewRows || (s.n <= kSmall && s.k <= 2 * kSmall && s.m <= 2 * kSmall))))
        return found(direct_grid<S>(s), run<S, direct_product<S>>);
      if (worth_crossing<S>(s)) swap_operands(p);
    }
    return found(packed_grid<S>(s), run<S, packed_product<S>>);
  }
}

// What computes the call, and the blocks in which it does.
RunFn choose_any(const Call& call, Matmul* p, Grid* grid) {
  if (!describe(call, p)) return nullptr;
  return visit_dtype(call.out[0].dtype, [&](auto x) -> RunFn {
    if constexpr (kSame<decltype(x), bool8_t>)
      return nullptr;
    else
      return choose<decltype(x)>(p, grid);
  });
}

Status finish_plan(CpuPlan& plan, const Matmul& p, RunFn fn) {
  if (!fn) return kUnsupported;
  void* state = plan_alloc(plan, sizeof p);
  if (!state) return kOutOfMemory;
  __builtin_memcpy(state, &p, sizeof p);
  plan.state = state;
  plan.run = fn;
  return kOk;
}

Status make_matmul(CpuPlan& plan) {
  Matmul p;
  Grid grid{};
  const RunFn fn = choose_any(plan.call, &p, &grid);
  return finish_plan(plan, p, fn);
}

Status make_reference(CpuPlan& plan) {
  Matmul p;
  if (!describe(plan.call, &p)) return kUnsupported;
  return finish_plan(plan, p, visit_dtype(plan.call.out[0].dtype, [](auto x) -> RunFn {
                       return run<decltype(x), reference_product<decltype(x)>>;
                     }));
}

// Whether an operand of the program follows where rows of y from several items of a batch were made one matrix.
bool rows_merge(const Matmul& p, const Layout& y, const Layout& x) {
  const int row = y.ndim - 2;
  int64_t rows = y.shape[row];
  for (int d = row - 1; d >= 0; --d) {
    bool batch = y.shape[d] == 1;
    for (int32_t i = 0; i < p.batch_ndim; ++i) batch |= p.batch_dim[i] == d;
    if (batch) continue;
    if (x.strides[d] != rows * x.strides[row]) return false;
    rows *= y.shape[d];
  }
  return true;
}

Status make_matmul_then(CpuPlan& plan) {
  Followed call;
  Status status = take_apart(plan, "matmul", &call);
  if (status != kOk) return status;
  Matmul p;
  Grid grid{};
  const RunFn fn = choose_any(call.plain, &p, &grid);
  if (!fn || fn == run_nothing) return kUnsupported;
  const Layout& y = call.plain.out[0];
  for (int32_t i = 0; i < call.program.nin; ++i)
    if (!rows_merge(p, y, call.program.in[i])) return kUnsupported;
  for (int32_t i = 0; i < call.program.nout; ++i)
    if (!rows_merge(p, y, call.program.out[i])) return kUnsupported;
  p.y = call.y;

  int32_t dims[kMaxDims], nd = 0;
  for (; nd < p.batch_ndim; ++nd) dims[nd] = p.batch_dim[nd];
  dims[nd++] = p.shape.swapped ? y.ndim - 1 : y.ndim - 2;
  dims[nd++] = p.shape.swapped ? y.ndim - 2 : y.ndim - 1;
  Epilogue* epilogue;
  status = make_epilogue(plan, call, nd, dims, &epilogue);
  if (status != kOk) return status;
  p.epilogue = epilogue;
  const Shape& s = p.shape;
  int64_t size[kMaxDims];
  for (int32_t d = 0; d < nd; ++d) size[d] = 1;
  const auto expect = [&](int64_t rows, int64_t cols) {
    size[nd - 2] = rows, size[nd - 1] = cols;
    if (status == kOk) status = expect_block(plan, epilogue, size);
  };
  const int64_t heights[] = {least(grid.rows, s.m), s.m % grid.rows},
                widths[] = {least(grid.cols, s.n), s.n % grid.cols};
  for (const int64_t rows : heights) {
    for (const int64_t cols : widths) {
      if (rows == 0 || cols == 0) continue;
      const int64_t strip = grid.strip ? grid.strip(grid.rows, cols) : cols;
      expect(rows, least(strip, cols));
      expect(rows, cols % strip);
    }
  }
  return status == kOk ? finish_plan(plan, p, fn) : status;
}

}  // namespace

void register_gemm() {
  register_kernel("matmul", make_matmul, "gemm");
  register_kernel("matmul", make_reference, "reference");
  register_kernel("matmulThen", make_matmul_then, "blocks");
  register_kernel(
      "matmulThen", [](CpuPlan& plan) { return make_whole(plan, "matmul"); }, "whole");
  register_kernel("attention", make_attention, "blocks");
  register_kernel("attentionGrad", make_attention_grad, "blocks");
  register_kernel("lstm", make_lstm, "sequence");
  register_kernel("lstmGrad", make_lstm_grad, "sequence");
}

}  // namespace brasa::cpu::BRASA_ISA
