// The ways matmul computes one product without panels: rows, direct, reference. See gemm.inl for who takes which.
#pragma once
#include "epilogue.inl"
#include "gemm_kernel.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

// y (m,n) = a (m,k) x b (k,n) (+ c). Strides in elements. Swapped: a is the call's second operand, transposed.
struct Shape {
  int64_t m, n, k;
  int64_t a_row, a_k, b_k, b_col, c_row, c_col, y_row, y_col;
  bool swapped;
};
// y^T = b^T a^T.
inline Shape transposed(const Shape& s) {
  return {s.n, s.m, s.k, s.b_col, s.b_k, s.a_k, s.a_row, s.c_col, s.c_row, s.y_col, s.y_row, !s.swapped};
}
// What follows each block of one y (epilogue.inl).
struct Then {
  const Epilogue* epilogue;
  const Args& args;
  int64_t at[kMaxDims];  // of the batch

  // y's rows i.. and columns j.. are final.
  bool finish(int64_t i, int64_t rows, int64_t j, int64_t cols) const {
    const int32_t nd = epilogue->nd;
    int64_t place[kMaxDims], size[kMaxDims];
    for (int32_t d = 0; d < nd - 2; ++d) place[d] = at[d], size[d] = 1;
    place[nd - 2] = i, size[nd - 2] = rows;
    place[nd - 1] = j, size[nd - 1] = cols;
    return finish_block(*epilogue, args, place, size) == kOk;
  }
};
template <class S, class Y = S>
struct Operands {
  const S *a, *b;
  const Y* c;  // may be null
  Y* y;
  const Then* then;  // null: nothing follows
};
// The blocks in which a path finishes y. strip: null, or how many columns of a block of `cols` are finished at a time.
struct Grid {
  int64_t rows, cols;
  int64_t (*strip)(int64_t rows, int64_t cols);
};

constexpr int64_t kFewRows = 2 * MR;   // rows of A that B streams past
constexpr int64_t kSmall = 128;        // direct: the operands lie in L1 and L2
constexpr int64_t kTiny = 32768;       // multiplications of a product that is not worth packing
constexpr int64_t kChunk = 256 << 10;  // multiply-adds that are worth a chunk of their own, about 5 us
constexpr int64_t kLarge = 64 << 20;   // multiply-adds that are worth both threads

// y's rows i0..i1, columns j0..j1 get c, in the compute type.
template <class S>
void fill_from_c(const Shape& s, const S* c, int64_t i0, int64_t i1, int64_t j0, int64_t j1, Compute<S>* to,
                 int64_t ld) {
  for (int64_t i = i0; i < i1; ++i, to += ld) {
    const S* from = c + i * s.c_row + j0 * s.c_col;
    if (s.c_col == 1)
      load_row(to, from, j1 - j0);
    else
      for (int64_t j = 0; j < j1 - j0; ++j) to[j] = load_one(from + j * s.c_col);
  }
}

// ---- reference

template <class S>
Status reference_product(const Shape& s, const Operands<S>& o) {
  using T = typename Simd<Compute<S>>::Lane;  // unsigned: integers wrap
  for (int64_t i = 0; i < s.m; ++i) {
    for (int64_t j = 0; j < s.n; ++j) {
      T sum = o.c ? T(load_one(o.c + i * s.c_row + j * s.c_col)) : T(0);
      for (int64_t k = 0; k < s.k; ++k)
        sum += T(load_one(o.a + i * s.a_row + k * s.a_k)) * T(load_one(o.b + k * s.b_k + j * s.b_col));
      store_one(o.y + i * s.y_row + j * s.y_col, Compute<S>(sum));
    }
  }
  return kOk;
}

// ---- integers: one row of y at a time, rows of B added to it; any strides

Grid sum_grid(const Shape& s) {
  const int64_t work = s.n * s.k + 1;
  return {work < kChunk ? kChunk / work : 1, s.n, nullptr};
}

template <class S>
Status sum_product(const Shape& s, const Operands<S>& o) {
  using T = Compute<S>;
  using U = typename Simd<T>::Lane;  // unsigned: integers wrap
  int32_t failed = 0;
  parallel(s.m, sum_grid(s).rows, [&](int64_t begin, int64_t end) {
    T* sum = static_cast<T*>(scratch(0, 2 * s.n * sizeof(T)));
    if (!sum) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    T* row = sum + s.n;
    for (int64_t i = begin; i < end; ++i) {
      if (o.c)
        fill_from_c(s, o.c, i, i + 1, 0, s.n, sum, s.n);
      else
        __builtin_memset(sum, 0, s.n * sizeof(T));
      for (int64_t k = 0; k < s.k; ++k) {
        const U a = U(load_one(o.a + i * s.a_row + k * s.a_k));
        const S* b = o.b + k * s.b_k;
        if (s.b_col == 1)
          load_row(row, b, s.n);
        else
          for (int64_t j = 0; j < s.n; ++j) row[j] = load_one(b + j * s.b_col);
        for (int64_t j = 0; j < s.n; ++j) sum[j] = T(U(sum[j]) + a * U(row[j]));
      }
      for (int64_t j = 0; j < s.n; ++j) store_one(o.y + i * s.y_row + j * s.y_col, sum[j]);
    }
    if (o.then && !o.then->finish(begin, end - begin, 0, s.n)) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
  });
  return failed ? kOutOfMemory : kOk;
}

// ---- rows: dot products along contiguous K

// R rows of a (of T, row stride a_row) by J columns of b (row stride b_col), each pair in a register; sums to
// out[R][J].
template <class S, int R, int J>
void dot_kernel(int64_t k, const Compute<S>* a, int64_t a_row, const S* b, int64_t b_col, Compute<S>* out) {
  using T = Compute<S>;
  using V = Simd<T>;
  typename V::Reg acc[R][J];
  unroll<R>([&](auto i) { unroll<J>([&](auto j) { acc[i][j] = typename V::Reg{}; }); });
  int64_t kk = 0;
  for (; kk + V::N <= k; kk += V::N) {
    typename V::Reg x[J];
    unroll<J>([&](auto j) { x[j] = (typename V::Reg)load_as<T>(b + j * b_col + kk).v; });
    unroll<R>([&](auto i) {
      const auto row = V::load(a + i * a_row + kk);
      unroll<J>([&](auto j) { acc[i][j] += row * x[j]; });
    });
  }
  if (kk < k) {
    const int n = int(k - kk);
    unroll<J>([&](auto j) {
      const auto x = (typename V::Reg)load_as<T>(b + j * b_col + kk, n).v;
      unroll<R>([&](auto i) { acc[i][j] += (typename V::Reg)Vec<T>::load(a + i * a_row + kk, n).v * x; });
    });
  }
  // All by way of memory: what reads halves of a sum, as hsum does, would keep g++ from giving it a register.
  T lanes[R * J * V::N];
  unroll<R>([&](auto i) { unroll<J>([&](auto j) { V::store(lanes + (i * J + j) * V::N, acc[i][j]); }); });
  for (int p = 0; p < R * J; ++p) out[p] = hsum(Vec<T>::load(lanes + p * V::N));
}

constexpr int kDotRows = BRASA_SIMD_BYTES == 64 ? 6 : 2, kDotCols = 4;

template <class S>
struct DotTable {
  using Fn = void (*)(int64_t, const Compute<S>*, int64_t, const S*, int64_t, Compute<S>*);
  Fn wide[kDotRows], narrow[kDotRows];
  constexpr DotTable() : wide(), narrow() { fill<1>(); }
  template <int R>
  constexpr void fill() {
    wide[R - 1] = &dot_kernel<S, R, kDotCols>;
    narrow[R - 1] = &dot_kernel<S, R, 1>;
    if constexpr (R < kDotRows) fill<R + 1>();
  }
};

Grid rows_grid(const Shape& s) { return {s.m, round_up(ceil_div(kChunk / 2, s.m * s.k), kDotCols), nullptr}; }

template <class S>
Status rows_product(const Shape& s, const Operands<S>& o) {
  using T = Compute<S>;
  static constexpr DotTable<S> table;
  const T* a = nullptr;
  int64_t a_row = s.a_row;
  if constexpr (kSame<S, T>) a = s.a_k == 1 ? o.a : nullptr;
  if (!a) {
    T* copy = static_cast<T*>(scratch(0, sizeof(T) * s.m * s.k + 64));
    if (!copy) return kOutOfMemory;
    for (int64_t i = 0; i < s.m; ++i)
      for (int64_t k = 0; k < s.k; ++k) copy[i * s.k + k] = load_one(o.a + i * s.a_row + k * s.a_k);
    a = copy;
    a_row = s.k;
  }
  int failed = 0;
  parallel(s.n, rows_grid(s).cols, [&](int64_t j0, int64_t j1) {
    T out[kDotRows * kDotCols];
    for (int64_t j = j0; j < j1;) {
      const int64_t cols = j + kDotCols <= j1 ? kDotCols : 1;
      for (int64_t i = 0; i < s.m; i += kDotRows) {
        const int64_t rows = least<int64_t>(kDotRows, s.m - i);
        (cols == 1 ? table.narrow : table.wide)[rows - 1](s.k, a + i * a_row, a_row, o.b + j * s.b_col, s.b_col, out);
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t l = 0; l < cols; ++l) {
            typename Simd<T>::Lane sum = out[r * cols + l];
            if (o.c) sum += load_one(o.c + (i + r) * s.c_row + (j + l) * s.c_col);
            store_one(o.y + (i + r) * s.y_row + (j + l) * s.y_col, T(sum));
          }
        }
      }
      j += cols;
    }
    if (o.then && !o.then->finish(0, s.m, j0, j1 - j0)) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
  });
  return failed ? kOutOfMemory : kOk;
}

// ---- direct: operands read where they lie, rows of B contiguous

// All of K at once while B is small; else a few rows of B, each a stream, whose width the tile sweeps.
inline bool all_of_k(const Shape& s) { return s.n <= kSmall * 2; }

template <class T>
Grid direct_grid(const Shape& s) {
  Grid g{s.m, s.n, nullptr};
  if (s.m > kFewRows)
    g.rows = round_up(ceil_div(kChunk, s.n * (s.k + 1)), MR);
  else if (!all_of_k(s))
    g.cols = round_up(least<int64_t>(ceil_div(kChunk, s.m * (s.k + 1)) + 8 * NR<T>, 4096), NR<T>);
  return g;
}

template <class T>
Status direct_product(const Shape& s, const Operands<T>& o) {
  const int64_t kc = all_of_k(s) ? KC<T> : 16;
  const int64_t whole = s.n / Simd<T>::N * Simd<T>::N;
  const Grid g = direct_grid<T>(s);
  const int64_t row_blocks = ceil_div(s.m, g.rows > 0 ? g.rows : 1),
                blocks = row_blocks * ceil_div(s.n, g.cols > 0 ? g.cols : 1);
  int failed = 0;
  parallel(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t i0 = block % row_blocks * g.rows, i1 = least(s.m, i0 + g.rows);
      const int64_t j0 = block / row_blocks * g.cols, j1 = least(s.n, j0 + g.cols);
      const int64_t mid = s.b_col == 1 ? least(whole, j1) : j0;
      if (o.c) fill_from_c(s, o.c, i0, i1, j0, j1, o.y + i0 * s.y_row + j0, s.y_row);
      int64_t k0 = 0;
      do {
        const int64_t k = least(kc, s.k - k0);
        const bool accumulate = o.c || k0 > 0;
        for (int64_t j = j0; j < mid; j += NR<T>) {
          for (int64_t i = i0; i < i1; i += MR) {
            const Step<T> step{
                o.a + i * s.a_row + k0 * s.a_k, s.a_row, s.a_k, o.b + k0 * s.b_k + j, s.b_k, nullptr, nullptr};
            tile_kernel<T, Place::direct>(least<int64_t>(MR, i1 - i), least<int64_t>(NR<T>, mid - j), k, step,
                                          o.y + i * s.y_row + j, s.y_row, accumulate);
          }
        }
        k0 += k;
      } while (k0 < s.k);
      // The columns beyond whole vectors, or all of them where they do not lie side by side, as panels.
      for (int64_t j = mid; j < j1; j += NR<T>) {
        const int64_t n = least<int64_t>(NR<T>, j1 - j);
        T* panel = static_cast<T*>(scratch(3, sizeof(T) * KC<T> * NR<T>));
        if (!panel) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
        k0 = 0;
        do {
          const int64_t k = least<int64_t>(KC<T>, s.k - k0);
          pack_panel<NR<T>>(o.b + k0 * s.b_k + j * s.b_col, s.b_col, s.b_k, n, k, panel);
          for (int64_t i = i0; i < i1; i += MR) {
            const Step<T> step{o.a + i * s.a_row + k0 * s.a_k, s.a_row, s.a_k, panel, NR<T>, nullptr, nullptr};
            tile_kernel<T, Place::direct>(least<int64_t>(MR, i1 - i), n, k, step, o.y + i * s.y_row + j, s.y_row,
                                          o.c || k0 > 0);
          }
          k0 += k;
        } while (k0 < s.k);
      }
      if (o.then && !o.then->finish(i0, i1 - i0, j0, j1 - j0)) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    }
  });
  return failed ? kOutOfMemory : kOk;
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
