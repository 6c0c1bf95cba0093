// Bytes as words of dot.h's kinds, and products of few rows of bytes by a large matrix of them.
#pragma once
#include "dot_product.inl"
#include "gemm_stream.inl"

namespace brasa::cpu::BRASA_ISA {
namespace {

// u8 x i8 as they lie; flip 0x80 moves by 128, from i8 to u8 or back.
struct Bytes {
  using Elem = uint8_t;
  static constexpr int G = 4;
  int32_t flip;  // 0 or 0x80
  uint8_t zero() const { return uint8_t(flip); }
  BRASA_INLINE I32 moved(I32 word) const { return word ^ I32(flip * 0x01010101); }
  BRASA_INLINE I32 along(const uint8_t* p) const {
    I32 word;
    __builtin_memcpy(&word, p, sizeof word);
    return moved(word);
  }
  BRASA_INLINE I32 across(const uint8_t* const* rows, int n) const {
    I32 word(0);
    unroll<G>([&](auto e) { word = word | (load_lanes(rows[e], n) << (8 * e)); });
    return moved(word);
  }
  static BRASA_INLINE I32 load_lanes(const uint8_t* p, int n) {
    return n == I32::N ? load_as<int32_t>(p) : load_as<int32_t>(p, n);
  }
};

// Numbers of 16 bits: ((byte ^ sign) - sign) & 0xffff is a signed byte's for sign = 0x80, an unsigned one's for 0.
struct Pairs {
  using Elem = uint8_t;
  static constexpr int G = 2;
  int32_t sign;
  uint8_t zero() const { return 0; }
  BRASA_INLINE I32 pair(I32 low, I32 high) const {
    const I32 s(sign);
    return (((low ^ s) - s) & I32(0xffff)) | (((high ^ s) - s) << 16);
  }
  BRASA_INLINE I32 along(const uint8_t* p) const {
#ifdef __x86_64__
    typedef uint16_t Halves __attribute__((vector_size(BRASA_SIMD_BYTES)));
#if BRASA_SIMD_BYTES == 64
    const Halves x = (Halves)_mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif BRASA_SIMD_BYTES == 32
    const Halves x = (Halves)_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
    const Halves x = (Halves)_mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
#endif
    const Halves s = Halves{} + uint16_t(sign);
    return I32((I32::Raw)((x ^ s) - s));
#else
    Narrow16 x;
    __builtin_memcpy(&x, p, sizeof x);
    const I32 both = widen_bits(x);
    return pair(both & I32(0xff), both >> 8);
#endif
  }
  BRASA_INLINE I32 across(const uint8_t* const* rows, int n) const {
    return pair(Bytes::load_lanes(rows[0], n), Bytes::load_lanes(rows[1], n));
  }
};

// Two products of 16 bits each, added up in 32.
struct MultiplyPairs {
  using Acc = int32_t;
  using Reg = Simd<int32_t>::Reg;
  static BRASA_INLINE Reg dot(Reg sum, Words::Reg a, Words::Reg b) {
#if BRASA_SIMD_BYTES == 64
    return sum + (Reg)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif BRASA_SIMD_BYTES == 32
    return sum + (Reg)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
    return sum + (Reg)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    typedef int32_t Signed __attribute__((vector_size(BRASA_SIMD_BYTES)));
    const Signed x = (Signed)a, y = (Signed)b;
    return sum + (Reg)(((x << 16) >> 16) * ((y << 16) >> 16)) + (Reg)((x >> 16) * (y >> 16));
#endif
  }
};

constexpr int64_t kFewBytes = 8;  // rows

// f(Int<R>, row) for groups of 8, 4, 2 and 1 of m rows.
template <class F>
void each_group(int64_t m, const F& f) {
  int64_t i = 0;
  for (; i + 8 <= m; i += 8) f(Int<8>{}, i);
  if (i + 4 <= m) f(Int<4>{}, i), i += 4;
  if (i + 2 <= m) f(Int<2>{}, i), i += 2;
  if (i < m) f(Int<1>{}, i);
}

// out[r] = row r of a, in words, rows `ld` vectors apart, by a column: `whole` vectors of it, and its last, if any.
template <int R>
void few_column(int64_t whole, const uint8_t* column, Pairs words, const I32* a, int64_t ld, const I32* last,
                int32_t* out) {
  constexpr int BYTES = 2 * I32::N;
  using Reg = MultiplyPairs::Reg;
  Reg sum[R];
  unroll<R>([&](auto r) { sum[r] = Reg{}; });
  for (int64_t l = 0; l < whole; ++l, column += BYTES) {
    __builtin_prefetch(column + 1024);
    const Words::Reg word = (Words::Reg)words.along(column).v;
    unroll<R>([&](auto r) { sum[r] = MultiplyPairs::dot(sum[r], (Words::Reg)a[r * ld + l].v, word); });
  }
  if (last)
    unroll<R>(
        [&](auto r) { sum[r] = MultiplyPairs::dot(sum[r], (Words::Reg)a[r * ld + whole].v, (Words::Reg)last->v); });
  // By way of memory: what reads halves of a sum, as hsum does, would keep g++ from giving it a register.
  unroll<R>([&](auto r) {
    int32_t lanes[I32::N];
    I32((I32::Raw)sum[r]).store(lanes);
    uint32_t total = 0;
    for (int i = 0; i < I32::N; ++i) total += uint32_t(lanes[i]);
    out[r] = int32_t(total);
  });
}

// Columns of B along K: a is packed into words once, and each column meets all its rows.
inline Status few_along(const Shape& s, const Operands<uint8_t, int32_t>& o, Pairs of_a, Pairs of_b) {
  constexpr int N = I32::N, BYTES = 2 * N;
  const int64_t blocks = ceil_div(s.k, BYTES), whole = s.k / BYTES;
  I32* const a = static_cast<I32*>(scratch(0, s.m * blocks * sizeof(I32) + 64));
  if (!a) return kOutOfMemory;
  const auto block = [&](const uint8_t* from, int64_t stride, int64_t first, const Pairs& words) {
    if (stride == 1 && first + BYTES <= s.k) return words.along(from + first);
    uint8_t part[BYTES] = {};
    for (int64_t k = first; k < least(s.k, first + BYTES); ++k) part[k - first] = from[k * stride];
    return words.along(part);
  };
  for (int64_t i = 0; i < s.m; ++i)
    for (int64_t l = 0; l < blocks; ++l) a[i * blocks + l] = block(o.a + i * s.a_row, s.a_k, l * BYTES, of_a);
  parallel(s.n, ceil_div(kChunk / 2, s.m * s.k + 1), [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      const uint8_t* const column = o.b + j * s.b_col;
      const I32 last = whole < blocks ? block(column, 1, whole * BYTES, of_b) : I32(0);
      each_group(s.m, [&](auto rows, int64_t i) {
        int32_t out[rows.value];
        few_column<rows.value>(whole, column, of_b, a + i * blocks, blocks, whole < blocks ? &last : nullptr, out);
        for (int r = 0; r < rows.value; ++r) o.y[(i + r) * s.y_row + j * s.y_col] = out[r];
      });
    }
  });
  return kOk;
}

// Rows of B along N, two a step, in slices of K as in stream_product.
inline Status few_across(const Shape& s, const Operands<uint8_t, int32_t>& o, Pairs of_a, Pairs of_b) {
  constexpr int N = I32::N;
  const Streams t = streams_of<uint8_t>(s);
  const int64_t size = s.m * s.n, parts = ceil_div(s.n, t.cols);
  int32_t* const part = static_cast<int32_t*>(scratch(2, sizeof(int32_t) * t.slices * size + 64));
  if (!part) return kOutOfMemory;
  const auto value = [&](int64_t i, int64_t k) {
    return ((int32_t(o.a[i * s.a_row + k * s.a_k]) ^ of_a.sign) - of_a.sign) & 0xffff;
  };
  parallel(t.slices * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t slice = task / parts, j0 = task % parts * t.cols, n = least(t.cols, s.n - j0);
      const int64_t k0 = slice * t.rows, k1 = least(s.k, k0 + t.rows);
      int32_t* const sums = part + slice * size + j0;
      for (int64_t i = 0; i < s.m; ++i) __builtin_memset(sums + i * s.n, 0, n * sizeof(int32_t));
      for (int64_t k = k0; k < k1; k += kStreamSteps) {
        const int64_t left = least<int64_t>(kStreamSteps, k1 - k), steps = ceil_div(left, 2);
        each_group(s.m, [&](auto rows, int64_t i) {
          constexpr int R = rows.value;
          uint32_t a[kStreamSteps / 2][R];
          for (int64_t l = 0; l < steps; ++l)
            for (int r = 0; r < R; ++r)
              a[l][r] = value(i + r, k + 2 * l) | (2 * l + 1 < left ? uint32_t(value(i + r, k + 2 * l + 1)) << 16 : 0);
          for (int64_t j = 0; j < n; j += N) {
            const int lanes = int(least<int64_t>(N, n - j));
            int32_t* const to = sums + i * s.n + j;
            typename MultiplyPairs::Reg sum[R];
            unroll<R>([&](auto r) { sum[r] = (typename MultiplyPairs::Reg)I32::load(to + r * s.n, lanes).v; });
            const uint8_t* row = o.b + k * s.b_k + j0 + j;
            for (int64_t l = 0; l < steps; ++l, row += 2 * s.b_k) {
              // An odd last row meets itself and a zero.
              const uint8_t* const two[] = {row, 2 * l + 1 < left ? row + s.b_k : row};
              const Words::Reg word = (Words::Reg)of_b.across(two, lanes).v;
              if (j % 64 < N) __builtin_prefetch(two[0] + 512), __builtin_prefetch(two[1] + 512);
              unroll<R>([&](auto r) { sum[r] = MultiplyPairs::dot(sum[r], Words::Reg{} + a[l][r], word); });
            }
            unroll<R>([&](auto r) { I32((I32::Raw)sum[r]).store(to + r * s.n, lanes); });
          }
        });
      }
    }
  });
  parallel(s.n, round_up(ceil_div(kChunk / 8, s.m * t.slices), 256), [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < s.m; ++i) {
      for (int64_t j = begin; j < end; ++j) {
        uint32_t sum = 0;
        for (int64_t slice = 0; slice < t.slices; ++slice) sum += uint32_t(part[slice * size + i * s.n + j]);
        o.y[i * s.y_row + j * s.y_col] = int32_t(sum);
      }
    }
  });
  return kOk;
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
