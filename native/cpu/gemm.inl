// matmul: y (...,M,N) = a (...,M,K) x b (...,K,N) (+ c), any strides, nothing copied but into panels. One plan chooses
// among
//   rows    few rows of one operand and a long dimension: dot products along contiguous K, at memory speed
//   stream  few rows of A and a large B with contiguous rows: also at memory speed
//   direct  small matrices, or few rows of A: the micro-kernel reads both operands where they lie
//   pairs   bf16, where the machine multiplies pairs of them
//   packed  all else: panels packed once, by all threads, widened to f32 from less, then tiles of y
// and the plain reference, which takes any layout. Partitions depend on shapes only. matmulThen runs a tile program
// over each block of y that one of them has finished. Attention and lstm, which are products too, are registered here.
#include "attention_grad.inl"
#include "gemm_bf16.inl"
#include "gemm_call.inl"
#include "gemm_packed.inl"
#include "gemm_stream.inl"
#include "lstm.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

// ---- kernels

template <class S, Status (*product)(const Shape&, const Operands<S>&)>
Status run(const CpuPlan& plan, const Args& args) {
  return each_batch<S>(plan, args, product);
}

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
    if (worth_streaming<S>(s)) return found(stream_grid<S>(s), run<S, stream_product<S>>);
    if constexpr (native) {
      const bool tiny = s.m <= kTiny && s.n <= kTiny && s.k <= kTiny &&
                        s.m * s.n * s.k <= kTiny;  // packing all of B first would cost as much as the product
      if (tiny || (s.b_col == 1 && (s.m <= kFewRows || (s.n <= kSmall && s.k <= 2 * kSmall && s.m <= 2 * kSmall))))
        return found(direct_grid<S>(s), run<S, direct_product<S>>);
      if (worth_crossing<S>(s)) swap_operands(p);
    }
#if BRASA_SIMD_BYTES == 64
    if constexpr (kSame<S, bfloat16_t>)
      if (worth_pairs(s)) return found(pairs_grid(s), run<S, pairs_product>);
#endif
    return found(packed_grid<S>(s), run<S, packed_product<S>>);
  }
}

bool of_one_type(const Call& call) {
  bool same = call.out[0].dtype != k_bool;
  for (int32_t i = 0; i < call.nin; ++i) same &= call.in[i].dtype == call.out[0].dtype;
  return same;
}

// What computes the call, and the blocks in which it does.
RunFn choose_any(const Call& call, Matmul* p, Grid* grid) {
  if (!describe(call, p) || !of_one_type(call)) return nullptr;
  return visit_dtype(call.out[0].dtype, [&](auto x) -> RunFn {
    if constexpr (kSame<decltype(x), bool8_t>)
      return nullptr;
    else
      return choose<decltype(x)>(p, grid);
  });
}

Status make_matmul(CpuPlan& plan) {
  Matmul p;
  Grid grid{};
  const RunFn fn = choose_any(plan.call, &p, &grid);
  return finish_plan(plan, p, fn);
}

Status make_reference(CpuPlan& plan) {
  Matmul p;
  if (!describe(plan.call, &p) || !of_one_type(plan.call)) return kUnsupported;
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
