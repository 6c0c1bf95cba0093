// Matmul in panels: K-blocks of both operands packed, tiles of y by the macro-kernel.
//
// What need not be packed is not. A whose rows are contiguous is read where it lies. A plain B that one row of tiles
// meets is packed by the first tile that reads it. And where both operands are contiguous along K (a batch times a
// weight kept as (out, in)), the larger is A: y^T is computed, and each tile transposed as it is stored.
#pragma once
#include "gemm_paths.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int64_t kDeep = 4096;            // steps of K packed at once
constexpr int64_t kPanelBytes = 16 << 20;  // packed operand kept at once
constexpr int64_t kCrossed = 512;          // columns of a tile that is stored transposed

// Whether A (k contiguous) is read where it lies: rows of a page's size apart evict one another from L1, and those half
// as far are worth packing for many columns.
template <class T>
bool rows_in_place(int64_t a_row, int64_t n) {
  const int64_t bytes = a_row * int64_t(sizeof(T));
  return bytes % 4096 != 0 && (bytes % 2048 != 0 || n <= 16 * NR<T>);
}

// y's rows are strided, its columns contiguous.
inline bool crossed(const Shape& s) { return s.y_col != 1 && s.n > 1; }

// How y is cut: tiles of tile_m x tile_n, columns of tiles outermost.
struct Tiling {
  int64_t tile_m, tile_n, rows, cols;
};
template <class T>
Tiling tiling(const Shape& s, int64_t widest) {
  const int64_t m = s.m, n = s.n;
  const auto cut = [](int64_t size, int64_t unit, int64_t most) {
    const int64_t panels = ceil_div(size, unit), parts = (panels * unit + most / 2) / most;
    return ceil_div(panels, parts > 0 ? parts : 1) * unit;
  };
  Tiling t;
  t.tile_m = cut(m, MR, MC);
  t.tile_n = cut(n, NR<T>, widest);
  // Few tiles: half as high, then narrower, for the threads to share. (Rather that: an A that one column of tiles meets
  // is packed, or read, straight into L2. But of an A whose columns are contiguous, high tiles read longer stretches.)
  const auto count = [&] { return ceil_div(m, t.tile_m) * ceil_div(n, t.tile_n); };
  if (count() < 12 && m >= 3 * t.tile_m && s.a_row != 1) t.tile_m = round_up(t.tile_m / 2, MR);
  while (count() < 8 && t.tile_n > 4 * NR<T>) t.tile_n = round_up(t.tile_n / 2, NR<T>);
  t.rows = ceil_div(m, t.tile_m);
  t.cols = ceil_div(n, t.tile_n);
  return t;
}
template <class T>
Tiling tiling(const Shape& s) {
  return tiling<T>(s, crossed(s) ? kCrossed : NC<T>);
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
  constexpr bool native = kSame<S, T>;
  const Tiling t = tiling<T>(s);
  const bool across = crossed(s), in_place = native && s.a_k == 1 && rows_in_place<T>(s.a_row, s.n);
  const bool own_a = !in_place && t.cols == 1, own_b = t.rows == 1;
  const int64_t deep = least(s.k, kDeep), held = kPanelBytes / int64_t(sizeof(T)) / (deep + 1);
  const int64_t block_m = own_a || in_place ? s.m : least(s.m, round_up(held, t.tile_m)),
                block_n = own_b ? s.n : least(s.n, round_up(held, t.tile_n));
  const bool shared_a = !own_a && !in_place;
  T* const pa = shared_a ? static_cast<T*>(scratch(0, sizeof(T) * round_up(block_m, MR) * deep + 64)) : nullptr;
  T* const pb = own_b ? nullptr : static_cast<T*>(scratch(1, sizeof(T) * round_up(block_n, NR<T>) * deep + 64));
  if ((shared_a && !pa) || (!own_b && !pb)) return kOutOfMemory;
  // Columns of B that a task packs just before they are used.
  const int64_t group = s.b_col == 1 ? round_up(128 / int64_t(sizeof(S)), NR<T>) : 4 * NR<T>;
  int failed = 0;

  // One block of y: rows i0.., columns j0.., steps k0.. of K.
  const auto block = [&](int64_t i0, int64_t m, int64_t j0, int64_t n, int64_t k0, int64_t k) {
    const int64_t a_panels = shared_a ? ceil_div(m, MR) : 0, b_panels = own_b || i0 > 0 ? 0 : ceil_div(n, NR<T>);
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
        T* own = nullptr;  // A's K-block, then a group of B's
        if (own_a || own_b) own = static_cast<T*>(scratch(3, sizeof(T) * (t.tile_m + group) * KC<T>));
        T* to;
        int64_t ld = y_row;
        if (kSame<O, T> && !across)
          to = reinterpret_cast<T*>(y) + (i0 + i) * y_row + j0 + j;
        else
          to = static_cast<T*>(scratch(2, sizeof(T) * t.tile_m * t.tile_n)), ld = t.tile_n;
        if (!to || ((own_a || own_b) && !own)) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
        const bool from_c = c && !across;
        if (from_c && k0 == 0) fill_from_c(s, c, i0 + i, i0 + i + tm, j0 + j, j0 + j + tn, to, ld);
        int64_t kk = 0;
        do {
          const int64_t kc = least(steps, k - kk);
          Left<T> xa{pa + i * k + kk * MR, MR * k, 0};
          if constexpr (native)
            if (in_place) xa = {a + (i0 + i) * s.a_row + k0 + kk, 0, s.a_row};
          if (own_a) {
            pack_panels<MR>(a + (k0 + kk) * s.a_k + (i0 + i) * s.a_row, s.a_row, s.a_k, tm, kc, own, MR * kc);
            xa = {own, MR * kc, 0};
          }
          // B's K-block, a group of panels at a time, packed just before it is used while the next is on its way.
          const S* const from = b + (k0 + kk) * s.b_k + (j0 + j) * s.b_col;
          const auto own_groups = [&](int64_t first, int64_t last, bool accumulate) {
            for (int64_t col = first; col < last; col += group) {
              const int64_t width = least(group, last - col);
              const S* const at = from + col * s.b_col;
              Right<T> x{own + t.tile_m * KC<T>, NR<T> * kc, nullptr, 0};
              if constexpr (native) x.rows = s.b_col == 1 ? at : nullptr, x.k_step = s.b_k;
              if (!x.rows) pack_panels<NR<T>>(at, s.b_col, s.b_k, width, kc, x.at, NR<T> * kc);
              x.ahead = col + group < tn ? at + group * s.b_col : from + kc * s.b_k;
              const int64_t bytes = sizeof(S);
              if (s.b_col == 1)
                x.ahead_step = s.b_k * bytes, x.ahead_call = kc / 4 * x.ahead_step, x.ahead_calls = 4;
              else
                x.ahead_step = s.b_col * bytes, x.ahead_call = 128, x.ahead_calls = s.b_k == 1 ? kc * bytes / 128 : 0;
              macro_kernel(tm, width, kc, xa, x, to + col, ld, accumulate);
            }
          };
          const bool final = k0 + kk + kc == s.k;
          const int64_t strip = final && then ? strip_of<T>(t.tile_m, tn) : tn;
          for (int64_t col = 0; col < tn; col += strip) {
            const int64_t width = least(strip, tn - col);
            const bool accumulate = from_c || k0 + kk > 0;
            if (own_b) {
              own_groups(col, col + width, accumulate);
            } else {
              const Right<T> xb{pb + (j + col) * k + kk * NR<T>, NR<T> * k, nullptr, 0};
              macro_kernel(tm, width, kc, xa, xb, to + col, ld, accumulate);
            }
            if (!final) continue;
            const int64_t r0 = i0 + i, c0 = j0 + j + col;
            if constexpr (kSame<O, S> && native)
              if (across)
                store_transposed(to + col, ld, tm, width, y + c0 * s.y_col + r0, s.y_col,
                                 c ? c + r0 * s.c_row + c0 * s.c_col : nullptr, s.c_row, s.c_col);
            if constexpr (!kSame<O, T>)
              for (int64_t r = 0; r < tm; ++r) store_row(y + (r0 + r) * y_row + c0, to + r * ld + col, width);
            if (then && !then->finish(r0, tm, c0, width)) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
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
  const Tiling t = tiling<T>(s);
  const int64_t slices = t.rows * t.cols > 2 ? 1 : least<int64_t>(16, s.k / (4 * KC<T>)+1);
  if (slices == 1 && (kSame<S, T> || s.k <= kDeep)) return {0, 0};
  return {slices, ceil_div(kChunk / 4, s.n * slices)};
}

// Whether y^T is to be computed instead, with B, the larger of two operands contiguous along K, as A.
template <class S>
bool worth_crossing(const Shape& s) {
  if (!kSame<S, Compute<S>> || s.a_k != 1 || s.b_k != 1 || s.b_col == 1 || s.y_col != 1) return false;
  if (s.m < NR<S> / 2 || s.k < 64 || 4 * s.n < 5 * s.m || !rows_in_place<S>(s.b_col, s.m)) return false;
  return s.k <= kDeep && slices_of<S>(transposed(s)).count == 0;
}

template <class S>
Grid packed_grid(const Shape& s) {
  const Tiling t = tiling<Compute<S>>(s);
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
