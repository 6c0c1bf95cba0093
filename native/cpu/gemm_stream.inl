// Few rows by a large matrix whose rows lie one after the other: B streams past once, at memory speed. K is cut into
// slices, so that each task reads one long stretch; their partial products, in the compute type, are then summed in
// order.
#pragma once
#include "gemm_paths.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int kStreamSteps = 16;           // rows of B that pass at a time
constexpr int64_t kStreamed = 1 << 19;     // bytes of B that are worth a slice
constexpr int64_t kStreamHeld = 32 << 10;  // partial sums that a task keeps near
constexpr int kStreamRows = BRASA_SIMD_BYTES == 64 ? 8 : 4;
constexpr int64_t kStreamAhead = 1024;  // bytes

// sum (R, V vectors) += a (steps,R) x b (steps, V vectors): rows of b b_k apart, of sum ld apart.
template <class S, int R, int V>
BRASA_INLINE void stream_tile(int64_t steps, const Compute<S>* a, const S* b, int64_t b_k, Compute<S>* sum,
                              int64_t ld) {
  using T = Compute<S>;
  using X = Simd<T>;
  typename X::Reg acc[R][V];
  unroll<R>([&](auto i) { unroll<V>([&](auto j) { acc[i][j] = X::load(sum + i * ld + j * X::N); }); });
  for (int64_t k = 0; k < steps; ++k, a += R, b += b_k) {
    typename X::Reg row[V];
    unroll<V>([&](auto j) {
      row[j] = (typename X::Reg)load_as<T>(b + j * X::N).v;
      if constexpr (j.value * X::N * sizeof(S) % 64 == 0)
        __builtin_prefetch(reinterpret_cast<const char*>(b + j * X::N) + kStreamAhead);
    });
    unroll<R>([&](auto i) { unroll<V>([&](auto j) { acc[i][j] += a[i] * row[j]; }); });
  }
  unroll<R>([&](auto i) { unroll<V>([&](auto j) { X::store(sum + i * ld + j * X::N, acc[i][j]); }); });
}

// All n columns; those beyond whole vectors one by one.
template <class S, int R>
void stream_rows(int64_t n, int64_t steps, const Compute<S>* a, const S* b, int64_t b_k, Compute<S>* sum, int64_t ld) {
  constexpr int N = Vec<Compute<S>>::N, V = R >= kStreamRows ? 2 : 4;
  int64_t j = 0;
  for (; j + V * N <= n; j += V * N) stream_tile<S, R, V>(steps, a, b + j, b_k, sum + j, ld);
  for (; j + N <= n; j += N) stream_tile<S, R, 1>(steps, a, b + j, b_k, sum + j, ld);
  for (; j < n; ++j)
    for (int64_t k = 0; k < steps; ++k)
      for (int i = 0; i < R; ++i) sum[i * ld + j] += a[k * R + i] * load_one(b + k * b_k + j);
}

template <class S>
struct StreamTable {
  using Fn = void (*)(int64_t, int64_t, const Compute<S>*, const S*, int64_t, Compute<S>*, int64_t);
  Fn fn[4] = {&stream_rows<S, 1>, &stream_rows<S, 2>, &stream_rows<S, 4>, &stream_rows<S, kStreamRows>};
};

struct Streams {
  int64_t cols, slices, rows;  // columns and steps of K of a task
};
template <class S>
Streams streams_of(const Shape& s) {
  const int64_t most = s.m <= 2 ? 16 : 8, cols = least(s.n, round_up(kStreamHeld / s.m, 256)),
                parts = ceil_div(s.n, cols), worth = s.k * cols * int64_t(sizeof(S)) / kStreamed,
                slices = least(ceil_div(most, parts), worth > 0 ? worth : 1),
                rows = round_up(ceil_div(s.k, slices), kStreamSteps);
  return {cols, ceil_div(s.k, rows), rows};
}
template <class S>
bool worth_streaming(const Shape& s) {
  return s.b_col == 1 && s.m <= kFewRows && s.n > 2 * kSmall && s.k >= kStreamSteps &&
         s.n * s.k * int64_t(sizeof(S)) >= 2 * kStreamed;
}

template <class S>
Grid stream_grid(const Shape& s) {
  return {s.m, round_up(ceil_div(kChunk / 8, s.m * streams_of<S>(s).slices), 256), nullptr};
}

template <class S>
Status stream_product(const Shape& s, const Operands<S>& o) {
  using T = Compute<S>;
  static constexpr StreamTable<S> table;
  const Streams t = streams_of<S>(s);
  const int64_t size = s.m * s.n, parts = ceil_div(s.n, t.cols);
  T* const part = static_cast<T*>(scratch(2, sizeof(T) * t.slices * size));
  if (!part) return kOutOfMemory;
  parallel(t.slices * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t slice = task / parts, j = task % parts * t.cols, n = least(t.cols, s.n - j);
      const int64_t k1 = least(s.k, (slice + 1) * t.rows);
      T* const sum = part + slice * size + j;
      for (int64_t i = 0; i < s.m; ++i) __builtin_memset(sum + i * s.n, 0, n * sizeof(T));
      for (int64_t k = slice * t.rows; k < k1; k += kStreamSteps) {
        const int64_t steps = least<int64_t>(kStreamSteps, k1 - k);
        for (int64_t i = 0; i < s.m;) {
          const int64_t left = s.m - i;
          const int which = left >= kStreamRows ? 3 : left >= 4 ? 2 : left >= 2 ? 1 : 0;
          const int64_t rows = which == 3 ? kStreamRows : int64_t(1) << which;
          T a[kStreamSteps * kStreamRows];
          for (int64_t r = 0; r < rows; ++r)
            for (int64_t l = 0; l < steps; ++l) a[l * rows + r] = load_one(o.a + (i + r) * s.a_row + (k + l) * s.a_k);
          table.fn[which](n, steps, a, o.b + k * s.b_k + j, s.b_k, sum + i * s.n, s.n);
          i += rows;
        }
      }
    }
  });
  int failed = 0;
  parallel(s.n, stream_grid<S>(s).cols, [&](int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    for (int64_t i = 0; i < s.m; ++i) {
      T* const sum = part + i * s.n + begin;
      for (int64_t slice = 1; slice < t.slices; ++slice)
        for (int64_t j = 0; j < n; ++j) sum[j] += sum[slice * size + j];
      if (o.c)
        for (int64_t j = 0; j < n; ++j) sum[j] += load_one(o.c + i * s.c_row + (begin + j) * s.c_col);
      store_row(o.y + i * s.y_row + begin, sum, n);
    }
    if (o.then && !o.then->finish(0, s.m, begin, n)) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
  });
  return failed ? kOutOfMemory : kOk;
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
