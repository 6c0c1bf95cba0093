// A call of a matrix product read into shapes and strides, and its batches. Included by the families of products.
#pragma once
#include "gemm_paths.inl"

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

template <class S, class Y, class F>
Status one_product(const Matmul& p, const Args& args, int64_t i, const F& product) {
  Then then{p.epilogue, args, {}};
  const Offsets o = offsets(p, i, then.at);
  const S* const a = static_cast<const S*>(args.in[p.shape.swapped ? 1 : 0]);
  const S* const b = static_cast<const S*>(args.in[p.shape.swapped ? 0 : 1]);
  const Y* const c = p.has_c ? static_cast<const Y*>(args.in[2]) + o.at[2] : nullptr;
  return product(p.shape, Operands<S, Y>{a + o.at[0], b + o.at[1], c, static_cast<Y*>(args.out[p.y]) + o.at[3],
                                         p.epilogue ? &then : nullptr});
}

template <class S, class Y = S, class F>
Status each_batch(const CpuPlan& plan, const Args& args, const F& product) {
  const Matmul& p = *static_cast<const Matmul*>(plan.state);
  const int64_t work = p.shape.m * p.shape.n * (p.shape.k + 1);
  int failed = 0;
  // Large products are parallel inside; batches of small ones are shared out whole.
  if (work < kLarge && p.batches > 1) {
    parallel(p.batches, ceil_div(kChunk, work + 1), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        if (one_product<S, Y>(p, args, i, product) != kOk) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    });
    return failed ? kOutOfMemory : kOk;
  }
  for (int64_t i = 0; i < p.batches; ++i)
    if (const Status status = one_product<S, Y>(p, args, i, product)) return status;
  return kOk;
}

// Reads the call into a Matmul, whatever its dtypes; false when it is no product.
bool describe(const Call& call, Matmul* p) {
  if (call.nin < 2 || call.nin > 3 || call.nout != 1) return false;
  const Layout &a = call.in[0], &b = call.in[1], &y = call.out[0];
  const Layout& c = call.nin > 2 ? call.in[2] : y;
  const int nd = y.ndim;
  if (nd < 2 || a.ndim != nd || b.ndim != nd || c.ndim != nd) return false;
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

Status run_nothing(const CpuPlan&, const Args&) { return kOk; }

Status finish_plan(CpuPlan& plan, const Matmul& p, RunFn fn) {
  if (!fn) return kUnsupported;
  void* state = plan_alloc(plan, sizeof p);
  if (!state) return kOutOfMemory;
  __builtin_memcpy(state, &p, sizeof p);
  plan.state = state;
  plan.run = fn;
  return kOk;
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
