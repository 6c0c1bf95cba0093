// The micro-kernel of dot.h for one instruction D: D::Acc accumulators, D::dot(sums, a, b) adds the products of words.
#pragma once
#include "dot.h"
#include "panels.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

using Words = Simd<uint32_t>;

template <class D, int R>
void dot_kernel(int64_t steps, const uint32_t* a, const uint32_t* b, const uint32_t* next, void* out, int64_t ldc,
                bool accumulate) {
  using Acc = Simd<typename D::Acc>;
  typename D::Acc* const c = static_cast<typename D::Acc*>(out);
  typename Acc::Reg sum[R][NV];
  unroll<R>([&](auto i) { unroll<NV>([&](auto j) { sum[i][j] = typename Acc::Reg{}; }); });
  const auto step = [&](auto at) __attribute__((always_inline)) {
    Words::Reg row[NV];
    unroll<NV>([&](auto j) { row[j] = Words::load(b + (at * NV + j) * Words::N); });
    unroll<R>([&](auto i) {
      const Words::Reg x = Words::Reg{} + a[at * MR + i];
      unroll<NV>([&](auto j) { sum[i][j] = D::dot(sum[i][j], x, row[j]); });
    });
  };
  // Towards the end C's rows are fetched, one each 4 steps, as in micro_kernel.
  const typename D::Acc* to = c;
  int64_t before = steps / 4 - (R + 4);
  for (; steps >= 4; steps -= 4) {
    __builtin_prefetch(next, 0, 2), next += 16;
    if (--before < 0) {
      unroll<NV>([&](auto j) { __builtin_prefetch(to + j * Acc::N, 1, 2); });
      to += ldc;
    }
    unroll<4>(step);
    a += 4 * MR, b += 4 * NV * Words::N;
  }
  for (; steps > 0; --steps) step(Int<0>{}), a += MR, b += NV * Words::N;
  unroll<R>([&](auto i) {
    unroll<NV>([&](auto j) {
      typename D::Acc* const at = c + i * ldc + j * Acc::N;
      Acc::store(at, accumulate ? Acc::load(at) + sum[i][j] : sum[i][j]);
    });
  });
}

// Heights from which every number of rows is made of few.
template <class D>
const DotKernel* dot_table() {
  static constexpr DotKernel table[] = {
    {MR, &dot_kernel<D, MR>},
#if BRASA_SIMD_BYTES == 64
    {8, &dot_kernel<D, 8>},
#endif
    {MR > 4 ? 4 : 2, &dot_kernel < D, MR <= 4 ? 2 : 4 > },
    {1, &dot_kernel<D, 1>}
  };
  return table;
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
