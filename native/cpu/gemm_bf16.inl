// matmul of bf16 where the machine multiplies pairs of them (AVX512_BF16): no widening, sums in f32, y rounded once.
#pragma once
#include "dot_product.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

struct PairsBf16 {
  using Elem = bfloat16_t;
  static constexpr int G = 2;
  bfloat16_t zero() const { return {0}; }
  BRASA_INLINE I32 along(const bfloat16_t* p) const {
    I32 word;
    __builtin_memcpy(&word, p, sizeof word);
    return word;
  }
  BRASA_INLINE I32 across(const bfloat16_t* const* rows, int n) const {
    return lanes(rows[0], n) | (lanes(rows[1], n) << 16);
  }
  static BRASA_INLINE I32 lanes(const bfloat16_t* p, int n) {
    Narrow16 x{};
    if (n == I32::N)
      __builtin_memcpy(&x, p, sizeof x);
    else
      for (int i = 0; i < n; ++i) x[i] = p[i].bits;
    return widen_bits(x);
  }
};

constexpr int64_t kPairsDeep = 1 << 16;  // y is rounded once: all of K is packed at once

inline bool worth_pairs(const Shape& s) {
  return bf16_kernels() && s.k > 0 && s.k <= kPairsDeep && s.m * s.n * s.k > kTiny;
}
inline Grid pairs_grid(const Shape& s) {
  const Tiling t = tiling<float>(s, kDotWide);
  return {t.tile_m, t.tile_n, nullptr};
}

Status pairs_product(const Shape& s, const Operands<bfloat16_t>& o) {
  const auto store = [&](float* tile, int64_t ld, int64_t i, int64_t m, int64_t j, int64_t n, int64_t, int64_t,
                         const Sums&) {
    for (int64_t r = 0; r < m; ++r) {
      float* const row = tile + r * ld;
      if (o.c)
        for (int64_t c = 0; c < n; ++c) row[c] += load_one(o.c + (i + r) * s.c_row + (j + c) * s.c_col);
      store_row(o.y + (i + r) * s.y_row + j, row, n);
    }
    return !o.then || o.then->finish(i, m, j, n);
  };
  return dot_product<float>(bf16_kernels(), s, PairsBf16{}, PairsBf16{}, o.a, o.b, nullptr, false, kPairsDeep, store);
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
