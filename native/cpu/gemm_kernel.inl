// The micro-kernels of a matrix product and the macro-kernel over them: C (m,n) (+)= A (m,k) x B (k,n), C with unit
// column stride and row stride ldc.
#pragma once
#include "panels.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

// ---- micro-kernel

// Where a micro-kernel finds its operands.
//   packed  A and B in panels
//   rows    A where it lies, k contiguous: a[i * a_row + k]; B in a panel
//   direct  both where they lie: a[i * a_row + k * a_k], rows of B b_k apart
enum class Place { packed, rows, direct };

// C (R, V vectors) (+)= A (R,k) x B (k, V vectors).
template <class T>
struct Step {
  const T* a;
  int64_t a_row, a_k;
  const T* b;
  int64_t b_k;
  const void* next;         // packed B: fetched meanwhile, 128 bytes each 4 steps
  T* panel;                 // Keep: B is read where it lies, and left here packed
  int64_t next_step = 128;  // bytes
};

template <class T, int R, int V, Place P, bool Keep>
void micro_kernel(int64_t k, const Step<T>& s, T* c, int64_t ldc, bool accumulate) {
  using S = Simd<T>;
  constexpr bool in_place = P != Place::packed, b_packed = P != Place::direct && !Keep;
  typename S::Reg acc[R][V];
  unroll<R>([&](auto i) { unroll<V>([&](auto j) { acc[i][j] = typename S::Reg{}; }); });
  const T* a = s.a;
  const T* b = s.b;
  T* keep = s.panel;
  const int64_t a_row = s.a_row,
                a_k = P == Place::packed ? MR
                      : P == Place::rows ? 1
                                         : s.a_k,
                b_k = b_packed ? NR<T> : s.b_k;
  // Rows of A off one pointer in threes, which is what an address can say.
  constexpr int G = in_place ? ceil_div(R, 3) : 1;
  const int64_t twice = 2 * a_row;
  const T* rows[G];
  unroll<G>([&](auto g) { rows[g] = a + 3 * g * a_row; });
  const auto step = [&](int64_t at) __attribute__((always_inline)) {
    typename S::Reg row[V];
    unroll<V>([&](auto j) { row[j] = S::load(b + at * b_k + j * S::N); });
    if constexpr (Keep) {
      unroll<V>([&](auto j) { S::store(keep + at * NR<T> + j * S::N, row[j]); });
      unroll<V>([&](auto j) { __builtin_prefetch(b + (at + 16) * b_k + j * S::N); });
    }
    unroll<R>([&](auto i) {
      typename S::Lane x;
      if constexpr (in_place)
        x = (rows[i / 3] + (i % 3 == 2 ? twice : i % 3 == 1 ? a_row : 0))[at * a_k];
      else
        x = a[at * MR + i];
      unroll<V>([&](auto j) { acc[i][j] += x * row[j]; });
    });
  };
  const auto advance = [&](int64_t by) __attribute__((always_inline)) {
    a += by * a_k;
    if constexpr (in_place) unroll<G>([&](auto g) { rows[g] += by * a_k; });
    if constexpr (Keep) keep += by * NR<T>;
    b += by * b_k;
  };
  // Towards the end C's rows are fetched, one each 4 steps: all at once they would hold up the loads. (A few more than
  // there are, so that the last is in time.) Into L2: in L1 rows a power of two apart evict one another.
  const char* next = static_cast<const char*>(s.next);
  const T* row = c;
  int64_t before = k / 4 - (R + 4);
  for (; k >= 4; k -= 4) {
    if constexpr (b_packed) {
      __builtin_prefetch(next, 0, 2);
      __builtin_prefetch(next + 64, 0, 2);
      next += s.next_step;
    }
    if (--before < 0) {
      unroll<V>([&](auto j) { __builtin_prefetch(row + j * S::N, 1, 2); });
      row += ldc;
    }
#pragma GCC unroll 4
    for (int64_t at = 0; at < 4; ++at) step(at);
    advance(4);
  }
  for (; k > 0; --k) step(0), advance(1);
  unroll<R>([&](auto i) {
    unroll<V>([&](auto j) {
      T* to = c + i * ldc + j * S::N;
      S::store(to, accumulate ? S::load(to) + acc[i][j] : acc[i][j]);
    });
  });
}

// The micro-kernels of each width 1..NV and of each height up to MR but 5, 7, 9 and so on, which would be a third of
// the time that this file takes to compile.
constexpr bool has_height(int64_t rows) { return rows < 5 || rows % 2 == 0; }

template <class T, Place P>
struct MicroTable {
  using Fn = void (*)(int64_t, const Step<T>&, T*, int64_t, bool);
  Fn fn[MR][NV];
  constexpr MicroTable() : fn() { fill<0>(); }
  template <int I>
  constexpr void fill() {
    if constexpr (has_height(I / NV + 1)) fn[I / NV][I % NV] = &micro_kernel<T, I / NV + 1, I % NV + 1, P, false>;
    if constexpr (I + 1 < MR * NV) fill<I + 1>();
  }
};

// One tile of any size m <= MR, n <= NR. A column tail goes through a tile on the stack.
template <class T, Place P>
void tile_kernel(int64_t m, int64_t n, int64_t k, const Step<T>& s, T* c, int64_t ldc, bool accumulate) {
  static constexpr MicroTable<T, P> table;
  constexpr int N = Simd<T>::N;
  if (!has_height(m)) {
    Step<T> last = s;
    last.a += (m - 1) * (P == Place::packed ? 1 : s.a_row);
    tile_kernel<T, P>(1, n, k, last, c + (m - 1) * ldc, ldc, accumulate);
    m -= 1;
  }
  const auto fn = table.fn[m - 1][(n - 1) / N];
  if (n % N == 0) return fn(k, s, c, ldc, accumulate);
  alignas(64) T tile[MR * NR<T>];
  if (accumulate)
    for (int64_t i = 0; i < m; ++i) load_row(tile + i * NR<T>, c + i * ldc, n);
  fn(k, s, tile, NR<T>, accumulate);
  for (int64_t i = 0; i < m; ++i) store_row(c + i * ldc, tile + i * NR<T>, n);
}

// ---- macro-kernel

// A (m,k): in panels `panel` elements apart, or (row > 0) where it lies, k contiguous.
template <class T>
struct Left {
  const T* at;
  int64_t panel, row;
};
// B (k,n): in panels `panel` elements apart. rows: null, or where B lies, n contiguous and rows k_step apart: the
// panels are filled from there as the product goes.
template <class T>
struct Right {
  T* at;
  int64_t panel;
  const T* rows;
  int64_t k_step;
  // Null, or what will be packed next, fetched meanwhile: call c, of ahead_calls, fetches 128 bytes from c * ahead_call
  // on, then ahead_step further, for each 4 steps of k.
  const void* ahead = nullptr;
  int64_t ahead_step = 0, ahead_call = 0, ahead_calls = 0;
};

// C (m,n) (+)= A (m,k) x B (k,n). k is a K-block (at most about KC), m and n what L2 holds (about MC and NC); k = 0
// stores zeros or leaves C. P: packed if A is in panels, else rows.
template <Place P, class T>
void tiles(int64_t m, int64_t n, int64_t k, const Left<T>& a, const Right<T>& b, T* c, int64_t ldc, bool accumulate) {
  int64_t call = 0;
  for (int64_t j = 0; j < n; j += NR<T>) {
    T* const panel = b.at + j / NR<T> * b.panel;
    const int64_t width = least<int64_t>(n - j, NR<T>);
    const bool keep = b.rows && width == NR<T> && m >= MR;  // B's panel is packed by the first tile that reads it
    if (b.rows && !keep) pack_panel<NR<T>>(b.rows + j, 1, b.k_step, width, k, panel);
    for (int64_t i = 0; i < m; i += MR) {
      // Each tile fetches its share of the next B panel.
      const T* const next = b.rows ? panel : panel + b.panel + i / MR * k * (32 / int(sizeof(T)));
      T* const to = c + i * ldc + j;
      Step<T> s{a.row ? a.at + i * a.row : a.at + i / MR * a.panel, a.row, 1, panel, NR<T>, next, nullptr};
      if (b.ahead && call < b.ahead_calls)
        s.next = static_cast<const char*>(b.ahead) + call * b.ahead_call, s.next_step = b.ahead_step;
      else if (b.ahead)
        s.next = panel, s.next_step = 0;
      if (i == 0 && keep) {
        s.b = b.rows + j, s.b_k = b.k_step, s.panel = panel;
        micro_kernel<T, MR, NV, P, true>(k, s, to, ldc, accumulate);
      } else {
        tile_kernel<T, P>(least<int64_t>(m - i, MR), width, k, s, to, ldc, accumulate);
        ++call;
      }
    }
  }
}

template <class T>
void macro_kernel(int64_t m, int64_t n, int64_t k, const Left<T>& a, const Right<T>& b, T* c, int64_t ldc,
                  bool accumulate) {
  (a.row ? tiles<Place::rows, T> : tiles<Place::packed, T>)(m, n, k, a, b, c, ldc, accumulate);
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
