// Panels, which matrix products and convolutions read: their sizes, and packing into them. T is a compute type (float,
// double, int32_t, int64_t), S a storage type that packing converts. Included by per-ISA families; not a family itself.
//
// An operand is packed in panels of W lanes: panel[k * W + lane], lane = row of A (W = MR) or column of B (W = NR), the
// lanes beyond the matrix zero. Panel p starts at p * W * K, so rows k0..k1 of every panel are one stretch at offset k0
// * W and the panels of a K-block are `panel step` = W * K apart. Packers that know better than strides (im2col) fill
// such panels themselves.
//
//   A (M,K) -> ceil(M/MR) panels [K][MR]
//   B (K,N) -> ceil(N/NR) panels [K][NR]
#pragma once
#include "convert.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

// The micro-kernel's tile is MR rows by NV vectors: as many accumulators as leave registers for NV rows of B and one of
// A.
#if BRASA_SIMD_BYTES == 64
constexpr int MR = 14, NV = 2;  // 28 of 32 registers
#elif BRASA_SIMD_BYTES == 32
constexpr int MR = 6, NV = 2;  // 12 of 16
#elif defined(__aarch64__)
constexpr int MR = 8, NV = 3;  // 24 of 32
#else
constexpr int MR = 4, NV = 2;  // 8 of 16: without FMA each product needs a register of its own
#endif
template <class T>
constexpr int NR = NV* int(BRASA_SIMD_BYTES / sizeof(T));

// A task's A block (MC x KC) stays in L2 (512K and more) while B panels stream past it, each fetched during the one
// before; an A panel stays in L1 only for its turn. Long K-blocks, because C is read and written once in each; wide
// tiles, so that a task can pack its A block itself, into L2.
template <class T>
constexpr int KC = 2048 / sizeof(T);
constexpr int MC = MR * (128 / MR);
template <class T>
constexpr int NC = NR<T>*(16384 / int(sizeof(T)) / NR<T>);

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
template <class A>
constexpr A least(A a, A b) {
  return a < b ? a : b;
}

// f(Int<0>), f(Int<1>), ... f(Int<N-1>), unrolled before the compiler assigns registers.
template <int I>
struct Int {
  static constexpr int value = I;
  constexpr operator int() const { return I; }
};
template <int N, class F>
BRASA_INLINE void unroll(const F& f) {
  if constexpr (N > 0) {
    unroll<N - 1>(f);
    f(Int<N - 1>{});
  }
}

// Bare registers (arrays of them stay out of memory). Integer lanes are unsigned: products wrap.
template <class T>
struct LaneOf {
  using type = T;
};
template <>
struct LaneOf<int32_t> {
  using type = uint32_t;
};
template <>
struct LaneOf<int64_t> {
  using type = uint64_t;
};
template <class T>
struct Simd {
  static constexpr int N = BRASA_SIMD_BYTES / sizeof(T);
  using Lane = typename LaneOf<T>::type;
  typedef Lane Reg __attribute__((vector_size(BRASA_SIMD_BYTES)));
  typedef Lane Mem __attribute__((vector_size(BRASA_SIMD_BYTES), aligned(sizeof(T)), may_alias));
  static BRASA_INLINE Reg load(const T* p) { return *reinterpret_cast<const Mem*>(p); }
  static BRASA_INLINE void store(T* p, Reg v) { *reinterpret_cast<Mem*>(p) = v; }
};

// ---- packing

// Transposes N registers of N lanes: log2(N) rounds, each exchanging the off-diagonal halves of rows D apart.
template <int... L>
struct Lanes {};
template <int N, int... L>
struct Iota : Iota<N - 1, N - 1, L...> {};
template <int... L>
struct Iota<0, L...> {
  using type = Lanes<L...>;
};
template <int D, class Reg, int... L>
BRASA_INLINE void exchange(Reg& x, Reg& y, Lanes<L...>) {
  constexpr int N = sizeof...(L);
  const Reg x0 = x;
  x = __builtin_shufflevector(x0, y, (L & D ? N + L - D : L)...);
  y = __builtin_shufflevector(x0, y, (L & D ? N + L : L + D)...);
}
template <class T, int D = 1>
BRASA_INLINE void transpose(typename Simd<T>::Reg* r) {
  constexpr int N = Simd<T>::N;
  if constexpr (D < N) {
    unroll<N>([&](auto i) {
      if constexpr (!(i.value & D)) exchange<D>(r[i.value], r[i.value + D], typename Iota<N>::type{});
    });
    transpose<T, 2 * D>(r);
  }
}

// One panel: dst[kk * W + i] = src[i * lane_stride + kk * k_stride], i < lanes <= W, kk < k; lanes beyond are zero.
template <int W, class S>
void pack_panel(const S* src, int64_t lane_stride, int64_t k_stride, int64_t lanes, int64_t k, Compute<S>* dst) {
  using T = Compute<S>;
  constexpr int N = Vec<T>::N, G = ceil_div(W, N);
  int64_t kk = 0;
  if (lane_stride == 1 && lanes == W) {
    for (; kk < k; ++kk) {
      unroll<G>([&](auto g) {
        constexpr int n = least(N, W - g.value * N);
        const S* from = src + kk * k_stride + g * N;
        __builtin_prefetch(from + 16 * k_stride);  // another page, perhaps
        if constexpr (n == N)
          load_as<T>(from).store(dst + kk * W + g * N);
        else
          load_as<T>(from, n).store(dst + kk * W + g * N, n);
      });
    }
  } else if (k_stride == 1) {
    // Blocks of N lanes by N steps. A step's last store may run into the next step, which overwrites it; the block's
    // last may not.
    for (; kk + N <= k; kk += N) {
      typename Simd<T>::Reg r[G * N];
      unroll<G * N>([&](auto i) {
        r[i] = typename Simd<T>::Reg{};
        if (i < W && i < lanes) {
          const S* const from = src + i * lane_stride + kk;
          __builtin_prefetch(from + 1024 / sizeof(S), 0, 2);
          r[i] = (typename Simd<T>::Reg)load_as<T>(from).v;
        }
      });
      unroll<G>([&](auto g) { transpose<T>(r + g * N); });
      unroll<N>([&](auto l) {
        unroll<G>([&](auto g) {
          T* to = dst + (kk + l) * W + g * N;
          if (l + 1 < N || g * N + N <= W)
            Simd<T>::store(to, r[g * N + l]);
          else
            __builtin_memcpy(to, &r[g * N + l], least(N, W - g * N) * sizeof(T));
        });
      });
    }
  } else if (lane_stride == 1) {
    for (; kk < k; ++kk) {
      for (int64_t i = 0; i < W; i += N) {
        const int n = int(least<int64_t>(N, lanes > i ? lanes - i : 0));
        load_as<T>(src + kk * k_stride + i, n).store(dst + kk * W + i, int(least<int64_t>(N, W - i)));
      }
    }
  }
  for (; kk < k; ++kk) {
    const S* from = src + kk * k_stride;
    T* to = dst + kk * W;
    for (int i = 0; i < W; ++i) to[i] = i < lanes ? load_one(from + i * lane_stride) : T(0);
  }
}

// All panels of a (lanes, k) operand, panel_step elements apart in dst. Contiguous lanes are read some rows at a time
// across all panels: few pages and long stretches.
template <int W, class S>
void pack_panels(const S* src, int64_t lane_stride, int64_t k_stride, int64_t lanes, int64_t k, Compute<S>* dst,
                 int64_t panel_step) {
  const int64_t depth = lane_stride == 1 ? least<int64_t>(k, 16) : k;
  for (int64_t k0 = 0; k0 < k; k0 += depth) {
    for (int64_t i = 0; i < lanes; i += W)
      pack_panel<W>(src + i * lane_stride + k0 * k_stride, lane_stride, k_stride, least<int64_t>(W, lanes - i),
                    least(depth, k - k0), dst + i / W * panel_step + k0 * W);
  }
}

// to[j * to_col + i] = from[i * ld + j] (+ add), i < m, j < n; add: null, or element (i,j) at add[i * row + j * col].
template <class T>
void store_transposed(const T* from, int64_t ld, int64_t m, int64_t n, T* to, int64_t to_col, const T* add, int64_t row,
                      int64_t col) {
  constexpr int N = Simd<T>::N;
  using Reg = typename Simd<T>::Reg;
  for (int64_t i = 0; i < m; i += N) {
    const int lanes = int(least<int64_t>(N, m - i));
    for (int64_t j = 0; j < n; j += N) {
      const int cols = int(least<int64_t>(N, n - j));
      Reg r[N];
      unroll<N>([&](auto l) {
        r[l] = Reg{};
        if (l < lanes) r[l] = (Reg)Vec<T>::load(from + (i + l) * ld + j, cols).v;
      });
      transpose<T>(r);
      unroll<N>([&](auto l) {
        if (l >= cols) return;
        Vec<T> v((typename Vec<T>::Raw)r[l]);
        const T* const plus = add ? add + i * row + (j + l) * col : nullptr;
        if (plus && row == 1) {
          v = v + Vec<T>::load(plus, lanes);
        } else if (plus) {
          T x[N] = {};
          for (int e = 0; e < lanes; ++e) x[e] = plus[e * row];
          v = v + Vec<T>::load(x);
        }
        v.store(to + (j + l) * to_col + i, lanes);
      });
    }
  }
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
