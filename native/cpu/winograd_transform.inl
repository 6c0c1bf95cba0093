// The transforms of Winograd's minimal filtering F(M x M, 3 x 3) (Lavin and Gray 2015): a tile of M x M outputs of a
// 3x3 convolution costs A x A products for each pair of channels, A = M + 2, in place of 9 M^2. Every lane of a vector
// is a tile (of weights: an output channel).
#pragma once
#include "panels.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

using Reg = Simd<float>::Reg;

// One dimension of each transform. M = 2 interpolates at 0, 1, -1; M = 4 at 2, -2 too, whose powers lose digits.
template <int M>
struct Minimal;
template <>
struct Minimal<2> {
  static BRASA_INLINE void input(const Reg* d, Reg* v) {
    v[0] = d[0] - d[2], v[1] = d[1] + d[2], v[2] = d[2] - d[1], v[3] = d[1] - d[3];
  }
  static BRASA_INLINE void weight(const Reg* g, Reg* u) {
    const Reg even = 0.5f * (g[0] + g[2]), odd = 0.5f * g[1];
    u[0] = g[0], u[1] = even + odd, u[2] = even - odd, u[3] = g[2];
  }
  static BRASA_INLINE void output(const Reg* m, Reg* y) { y[0] = m[0] + m[1] + m[2], y[1] = m[1] - m[2] - m[3]; }
};
template <>
struct Minimal<4> {
  static BRASA_INLINE void input(const Reg* d, Reg* v) {
    const Reg a = d[4] - 4.f * d[2], b = d[3] - 4.f * d[1], c = d[4] - d[2], e = 2.f * (d[3] - d[1]);
    v[0] = 4.f * d[0] - 5.f * d[2] + d[4], v[1] = a + b, v[2] = a - b;
    v[3] = c + e, v[4] = c - e, v[5] = 4.f * d[1] - 5.f * d[3] + d[5];
  }
  static BRASA_INLINE void weight(const Reg* g, Reg* u) {
    const Reg a = (-1.f / 6) * (g[0] + g[2]), b = (-1.f / 6) * g[1];
    const Reg c = (1.f / 24) * g[0] + (1.f / 6) * g[2], e = (1.f / 12) * g[1];
    u[0] = 0.25f * g[0], u[1] = a + b, u[2] = a - b, u[3] = c + e, u[4] = c - e, u[5] = g[2];
  }
  static BRASA_INLINE void output(const Reg* m, Reg* y) {
    const Reg a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], e = m[3] - m[4];
    y[0] = m[0] + a + c, y[1] = b + 2.f * e, y[2] = a + 4.f * c, y[3] = b + 8.f * e + m[5];
  }
};

// The N tiles side by side whose first has its corner at `d`, a row of a slab whose columns are sorted by residue of M,
// `cols` of each: v[(i * A + j) * step] = the transform's element (i, j).
template <int M>
void transform_input(const float* d, int64_t pitch, int64_t cols, float* v, int64_t step) {
  constexpr int A = M + 2;
  Reg t[A][A];
  unroll<A>([&](auto i) {
    Reg row[A];
    unroll<A>([&](auto j) { row[j] = Simd<float>::load(d + i * pitch + j.value % M * cols + j.value / M); });
    Minimal<M>::input(row, t[i]);
  });
  unroll<A>([&](auto j) {
    Reg column[A], out[A];
    unroll<A>([&](auto i) { column[i] = t[i][j]; });
    Minimal<M>::input(column, out);
    unroll<A>([&](auto i) { Simd<float>::store(v + (i * A + j) * step, out[i]); });
  });
}

// x0 y0 x1 y1 ...: the lower N, then the upper.
template <int... L>
BRASA_INLINE void interleave(Reg x, Reg y, Reg* out, Lanes<L...>) {
  constexpr int N = sizeof...(L);
  out[0] = __builtin_shufflevector(x, y, (L / 2 + L % 2 * N)...);
  out[1] = __builtin_shufflevector(x, y, (N / 2 + L / 2 + L % 2 * N)...);
}

// N tiles: y (M rows, N * M columns), rows y_row apart = the output of m[(i * A + j) * step], + bias.
template <int M>
void transform_output(const float* m, int64_t step, float bias, float* y, int64_t y_row) {
  constexpr int A = M + 2, N = Simd<float>::N;
  using Order = typename Iota<N>::type;
  Reg t[A][M];
  unroll<A>([&](auto i) {
    Reg row[A];
    unroll<A>([&](auto j) { row[j] = Simd<float>::load(m + (i * A + j) * step); });
    Minimal<M>::output(row, t[i]);
  });
  Reg out[M][M];  // of the tiles' column, row
  unroll<M>([&](auto j) {
    Reg column[A];
    unroll<A>([&](auto i) { column[i] = t[i][j]; });
    Minimal<M>::output(column, out[j]);
  });
  unroll<M>([&](auto i) {
    Reg line[M];
    unroll<M>([&](auto j) { line[j] = out[j][i] + bias; });
    if constexpr (M == 4) {
      Reg even[2], odd[2];
      interleave(line[0], line[2], even, Order{});
      interleave(line[1], line[3], odd, Order{});
      interleave(even[0], odd[0], line, Order{});
      interleave(even[1], odd[1], line + 2, Order{});
    } else {
      const Reg x = line[0], z = line[1];
      interleave(x, z, line, Order{});
    }
    unroll<M>([&](auto j) { Simd<float>::store(y + i * y_row + j * N, line[j]); });
  });
}

// One input channel of a panel of MR output channels: g (9, MR) -> u[(i * A + j) * step] (MR).
template <int M>
void transform_weight(const float* const* g, float* u, int64_t step) {
  constexpr int A = M + 2, N = Simd<float>::N;
  for (int lane = 0; lane < MR; lane += N) {
    Reg t[3][A];
    unroll<3>([&](auto c) {
      Reg column[3];
      unroll<3>([&](auto r) { column[r] = Simd<float>::load(g[r * 3 + c] + lane); });
      Minimal<M>::weight(column, t[c]);
    });
    unroll<A>([&](auto i) {
      Reg row[3], out[A];
      unroll<3>([&](auto c) { row[c] = t[c][i]; });
      Minimal<M>::weight(row, out);
      unroll<A>([&](auto j) {
        Vec<float>((Vec<float>::Raw)out[j]).store(u + (i * A + j) * step + lane, least(N, MR - lane));
      });
    });
  }
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
