// The ways matmul computes one product: rows, direct, packed, reference. See gemm.inl for who takes which.
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
template <class S>
struct Operands {
  const S *a, *b, *c;  // c may be null
  S* y;
  const Then* then;  // null: nothing follows
};
// The blocks in which a path finishes y. strip: null, or how many columns of a block of `cols` are finished at a time.
struct Grid {
  int64_t rows, cols;
  int64_t (*strip)(int64_t rows, int64_t cols);
};

constexpr int64_t kFewRows = 2 * MR;       // rows of A that B streams past
constexpr int64_t kSmall = 128;            // direct: the operands lie in L1 and L2
constexpr int64_t kTiny = 32768;           // multiplications of a product that is not worth packing
constexpr int64_t kChunk = 256 << 10;      // multiply-adds that are worth a chunk of their own, about 5 us
constexpr int64_t kLarge = 64 << 20;       // multiply-adds that are worth both threads
constexpr int64_t kDeep = 4096;            // steps of K packed at once
constexpr int64_t kPanelBytes = 16 << 20;  // packed operand kept at once

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
  typename V::Reg acc[R][J] = {};
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
  unroll<R>(
      [&](auto i) { unroll<J>([&](auto j) { out[i * J + j] = hsum(Vec<T>((typename Vec<T>::Raw)acc[i][j])); }); });
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
            const Step<T> step{o.a + i * s.a_row + k0 * s.a_k, s.a_row, s.a_k, o.b + k0 * s.b_k + j, s.b_k, nullptr};
            tile_kernel<T, true>(least<int64_t>(MR, i1 - i), least<int64_t>(NR<T>, mid - j), k, step,
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
            const Step<T> step{o.a + i * s.a_row + k0 * s.a_k, s.a_row, s.a_k, panel, NR<T>, nullptr};
            tile_kernel<T, true>(least<int64_t>(MR, i1 - i), n, k, step, o.y + i * s.y_row + j, s.y_row, o.c || k0 > 0);
          }
          k0 += k;
        } while (k0 < s.k);
      }
      if (o.then && !o.then->finish(i0, i1 - i0, j0, j1 - j0)) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    }
  });
  return failed ? kOutOfMemory : kOk;
}

// ---- packed

// How y is cut: tiles of tile_m x tile_n, columns of tiles outermost.
struct Tiling {
  int64_t tile_m, tile_n, rows, cols;
};
template <class T>
Tiling tiling(int64_t m, int64_t n) {
  const auto cut = [](int64_t size, int64_t unit, int64_t most) {
    const int64_t panels = ceil_div(size, unit), parts = (panels * unit + most / 2) / most;
    return ceil_div(panels, parts > 0 ? parts : 1) * unit;
  };
  Tiling t;
  t.tile_m = cut(m, MR, MC);
  t.tile_n = cut(n, NR<T>, NC<T>);
  // Small matrices: narrower tiles, for the threads to share.
  while (ceil_div(m, t.tile_m) * ceil_div(n, t.tile_n) < 16 && t.tile_n > 4 * NR<T>)
    t.tile_n = round_up(t.tile_n / 2, NR<T>);
  t.rows = ceil_div(m, t.tile_m);
  t.cols = ceil_div(n, t.tile_n);
  return t;
}

// A tile of y is finished in strips of about 64K elements, which L2 holds beside the panels: columns of one strip.
template <class T>
int64_t strip_of(int64_t tile_m, int64_t cols) {
  return round_up(ceil_div(cols, ceil_div(tile_m * cols, 65536)), NR<T>);
}

// O is the compute type (y may then be accumulated into), or S, for which each task keeps a tile in the compute type
// and K is at most kDeep. An operand that one row or column of tiles meets is packed by that task, K-block by K-block;
// else beforehand, by all threads, as much of it as kPanelBytes hold.
template <class S, class O>
Status packed_into(const Shape& s, const S* a, const S* b, const S* c, O* y, int64_t y_row,
                   const Then* then = nullptr) {
  using T = Compute<S>;
  const Tiling t = tiling<T>(s.m, s.n);
  const bool own_a = t.cols == 1, own_b = t.rows == 1;
  const int64_t deep = least(s.k, kDeep), held = kPanelBytes / int64_t(sizeof(T)) / (deep + 1);
  const int64_t block_m = own_a ? s.m : least(s.m, round_up(held, t.tile_m)),
                block_n = own_b ? s.n : least(s.n, round_up(held, t.tile_n));
  T* const pa = own_a ? nullptr : static_cast<T*>(scratch(0, sizeof(T) * round_up(block_m, MR) * deep + 64));
  T* const pb = own_b ? nullptr : static_cast<T*>(scratch(1, sizeof(T) * round_up(block_n, NR<T>) * deep + 64));
  if ((!own_a && !pa) || (!own_b && !pb)) return kOutOfMemory;
  int failed = 0;

  // One block of y: rows i0.., columns j0.., steps k0.. of K.
  const auto block = [&](int64_t i0, int64_t m, int64_t j0, int64_t n, int64_t k0, int64_t k) {
    const int64_t a_panels = own_a ? 0 : ceil_div(m, MR), b_panels = own_b || i0 > 0 ? 0 : ceil_div(n, NR<T>);
    parallel(a_panels + b_panels, ceil_div(kChunk / 8, k * MR + 1), [&](int64_t begin, int64_t end) {
      const int64_t b0 = least(begin, b_panels), b1 = least(end, b_panels), a0 = begin - b0, a1 = end - b1;
      if (b0 < b1)
        pack_panels<NR<T>>(b + k0 * s.b_k + (j0 + b0 * NR<T>)*s.b_col, s.b_col, s.b_k,
                           least(n, b1 * NR<T>) - b0 * NR<T>, k, pb + b0 * NR<T> * k, NR<T> * k);
      if (a0 < a1)
        pack_panels<MR>(a + k0 * s.a_k + (i0 + a0 * MR) * s.a_row, s.a_row, s.a_k, least(m, a1 * MR) - a0 * MR, k,
                        pa + a0 * MR * k, MR * k);
    });
    const int64_t rows = ceil_div(m, t.tile_m), steps = ceil_div(k, ceil_div(k + (k == 0), KC<T>));
    parallel(rows * ceil_div(n, t.tile_n), 1, [&](int64_t begin, int64_t end) {
      for (int64_t tile = begin; tile < end; ++tile) {
        const int64_t i = tile % rows * t.tile_m, tm = least(t.tile_m, m - i), j = tile / rows * t.tile_n,
                      tn = least(t.tile_n, n - j);
        T* own = nullptr;  // A's, then B's K-block
        if (own_a || own_b) own = static_cast<T*>(scratch(3, sizeof(T) * (t.tile_m + t.tile_n) * KC<T>));
        T* to;
        int64_t ld = y_row;
        if constexpr (kSame<O, T>)
          to = y + (i0 + i) * y_row + j0 + j;
        else
          to = static_cast<T*>(scratch(2, sizeof(T) * t.tile_m * t.tile_n)), ld = t.tile_n;
        if (!to || ((own_a || own_b) && !own)) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
        if (c && k0 == 0) fill_from_c(s, c, i0 + i, i0 + i + tm, j0 + j, j0 + j + tn, to, ld);
        int64_t kk = 0;
        do {
          const int64_t kc = least(steps, k - kk);
          const T* xa = pa + i * k + kk * MR;
          const T* xb = pb + j * k + kk * NR<T>;
          if (own_a) {
            pack_panels<MR>(a + (k0 + kk) * s.a_k + (i0 + i) * s.a_row, s.a_row, s.a_k, tm, kc, own, MR * kc);
            xa = own;
          }
          if (own_b) {
            T* const to_b = own + t.tile_m * KC<T>;
            pack_panels<NR<T>>(b + (k0 + kk) * s.b_k + (j0 + j) * s.b_col, s.b_col, s.b_k, tn, kc, to_b, NR<T> * kc);
            xb = to_b;
          }
          const bool last = then && k0 + kk + kc == s.k;
          const int64_t strip = last ? strip_of<T>(t.tile_m, tn) : tn, b_step = own_b ? kc : k;
          for (int64_t col = 0; col < tn; col += strip) {
            const int64_t width = least(strip, tn - col);
            macro_kernel(tm, width, kc, xa, MR * (own_a ? kc : k), xb + col * b_step, NR<T> * b_step, to + col, ld,
                         c || k0 + kk > 0);
            if constexpr (!kSame<O, T>)
              if (k0 + kk + kc == s.k)
                for (int64_t r = 0; r < tm; ++r)
                  store_row(y + (i0 + i + r) * y_row + j0 + j + col, to + r * ld + col, width);
            if (last && !then->finish(i0 + i, tm, j0 + j + col, width)) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
          }
          kk += kc;
        } while (kk < k);
      }
    });
  };
  int64_t k0 = 0;
  do {
    const int64_t k = least(deep, s.k - k0);
    for (int64_t j0 = 0; j0 < s.n; j0 += block_n)
      for (int64_t i0 = 0; i0 < s.m; i0 += block_m)
        block(i0, least(block_m, s.m - i0), j0, least(block_n, s.n - j0), k0, k);
    k0 += k;
  } while (k0 < s.k);
  return failed ? kOutOfMemory : kOk;
}

// A long K is cut into slices when y alone has too few tiles for the threads; their partial products, and those of a
// narrow type with a long K, are kept in the compute type and summed in order.
struct Slices {
  int64_t count, rows;  // 0: y is computed at once; rows that are summed at a time
};
template <class S>
Slices slices_of(const Shape& s) {
  using T = Compute<S>;
  const Tiling t = tiling<T>(s.m, s.n);
  const int64_t slices = t.rows * t.cols > 2 ? 1 : least<int64_t>(16, s.k / (4 * KC<T>)+1);
  if (slices == 1 && (kSame<S, T> || s.k <= kDeep)) return {0, 0};
  return {slices, ceil_div(kChunk / 4, s.n * slices)};
}

template <class S>
Grid packed_grid(const Shape& s) {
  const Tiling t = tiling<Compute<S>>(s.m, s.n);
  const Slices slices = slices_of<S>(s);
  return slices.count ? Grid{slices.rows, s.n, nullptr} : Grid{t.tile_m, t.tile_n, strip_of<Compute<S>>};
}

template <class S>
Status packed_product(const Shape& s, const Operands<S>& o) {
  using T = Compute<S>;
  const Slices cut = slices_of<S>(s);
  const int64_t slices = cut.count;
  if (slices == 0) return packed_into(s, o.a, o.b, o.c, o.y, s.y_row, o.then);
  const int64_t size = s.m * s.n, step = round_up(ceil_div(s.k, slices), KC<T>);
  T* const part = static_cast<T*>(scratch(2, sizeof(T) * slices * size));
  if (!part) return kOutOfMemory;
  int failed = 0;
  parallel(slices, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t from = least(s.k, i * step);
      Shape slice = s;
      slice.k = least(step, s.k - from);
      if (packed_into(slice, o.a + from * s.a_k, o.b + from * s.b_k, static_cast<const S*>(nullptr), part + i * size,
                      s.n) != kOk)
        __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    }
  });
  parallel(s.m, cut.rows, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T* const sum = part + i * s.n;
      for (int64_t slice = 1; slice < slices; ++slice)
        for (int64_t j = 0; j < s.n; ++j)
          sum[j] = T(typename Simd<T>::Lane(sum[j]) + typename Simd<T>::Lane(sum[slice * size + j]));
      if (o.c)
        for (int64_t j = 0; j < s.n; ++j)
          sum[j] =
              T(typename Simd<T>::Lane(sum[j]) + typename Simd<T>::Lane(load_one(o.c + i * s.c_row + j * s.c_col)));
      store_row(o.y + i * s.y_row, sum, s.n);
    }
    if (o.then && !o.then->finish(begin, end - begin, 0, s.n)) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
  });
  return failed ? kOutOfMemory : kOk;
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
