// Copies of strided blocks, by element size: rows, transposes in registers, and stores that bypass the caches.
#pragma once
#include "simd.h"

namespace brasa::cpu::BRASA_ISA {
namespace {

constexpr int kMaxBlock = 3;  // a block spans up to three dims: planes x rows x columns

// Strides in bytes of the planes, rows and columns of a block.
struct Strides {
  int64_t s[kMaxBlock];
};
using CopyBlock = void (*)(char* to, const Strides& ts, const char* from, const Strides& fs, const int64_t* size);

// A long row: faster than memcpy, which does not prefetch.
void copy_row(char* to, const char* from, int64_t bytes) {
  int64_t i = 0;
  for (; i + 64 <= bytes; i += 64) {
    prefetch_ahead(from + i);
    prefetch_ahead(to + i);
    __builtin_memcpy(to + i, from + i, 64);
  }
  __builtin_memcpy(to + i, from + i, bytes - i);
}

// Past the caches, for results that they would not keep: saves reading the lines first. stream_fence comes before
// another thread may look.
void stream_row(char* to, const char* from, int64_t bytes) {
#ifdef __x86_64__
  int64_t head = -reinterpret_cast<intptr_t>(to) & 63;
  if (head > bytes) head = bytes;
  __builtin_memcpy(to, from, head);
  int64_t i = head;
  for (; i + 64 <= bytes; i += 64)
#if BRASA_SIMD_BYTES == 64
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i), _mm512_loadu_si512(from + i));
#else
    for (int64_t j = i; j < i + 64; j += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + j), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + j)));
#endif
  __builtin_memcpy(to + i, from + i, bytes - i);
#else
  __builtin_memcpy(to, from, bytes);
#endif
}
BRASA_INLINE void stream_fence() {
#ifdef __x86_64__
  _mm_sfence();
#endif
}

// ---- transposes of N x N elements: log2(N) rounds, each interleaving row i with row i + N/2

template <int... I>
struct Indices {};
template <int N, int... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I>
struct MakeIndices<0, I...> {
  using type = Indices<I...>;
};

template <class E>
struct Square {
  static constexpr int kWidth = BRASA_SIMD_BYTES / sizeof(E), N = kWidth < 16 ? kWidth : 16;
  typedef E Row __attribute__((vector_size(N * sizeof(E))));

  template <int first, int... I>
  static BRASA_INLINE Row interleave(Row a, Row b, Indices<I...>) {
    return __builtin_shufflevector(a, b, (I % 2 * N + first + I / 2)...);
  }
  template <int... I>
  static BRASA_INLINE Row evens(Row a, Row b, Indices<I...>) {
    return __builtin_shufflevector(a, b, (2 * I)...);
  }
  // N elements from places 0, 2, 4, ... 2N - 2; reads one place more.
  static BRASA_INLINE void every_other(char* out, const char* in) {
    Row r[2];
    __builtin_memcpy(r, in, sizeof r);
    r[0] = evens(r[0], r[1], typename MakeIndices<N>::type{});
    __builtin_memcpy(out, r, sizeof(Row));
  }
  // Rows in[i * from] -> columns of the rows out[i * to]; strides in bytes.
  static BRASA_INLINE void transpose(char* out, int64_t to, const char* in, int64_t from) {
    using Lanes = typename MakeIndices<N>::type;
    Row r[N], t[N];
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) __builtin_memcpy(&r[i], in + i * from, sizeof(Row));
#pragma GCC unroll 4
    for (int round = 1; round < N; round *= 2) {
#pragma GCC unroll 8
      for (int i = 0; i < N / 2; ++i) {
        t[2 * i] = interleave<0>(r[i], r[i + N / 2], Lanes{});
        t[2 * i + 1] = interleave<N / 2>(r[i], r[i + N / 2], Lanes{});
      }
#pragma GCC unroll 16
      for (int i = 0; i < N; ++i) r[i] = t[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) __builtin_memcpy(out + i * to, &r[i], sizeof(Row));
  }
};

// One plane whose source has its rows, not its columns, next to one another.
template <class E>
void copy_across(char* to, int64_t tr, int64_t tc, const char* from, int64_t fc, int64_t rows, int64_t columns) {
  constexpr int64_t B = sizeof(E), N = Square<E>::N;
  const auto strip = [&](int64_t c, int64_t first) {  // rows first.. of column c
    for (int64_t r = first; r < rows; ++r) __builtin_memcpy(to + r * tr + c * tc, from + c * fc + r * B, B);
  };
  int64_t c = 0;
  for (; tc == B && c + N <= columns; c += N) {
    int64_t r = 0;
    for (; r + N <= rows; r += N) Square<E>::transpose(to + r * tr + c * B, tr, from + c * fc + r * B, fc);
    for (int64_t i = c; i < c + N; ++i) strip(i, r);
  }
  for (; c < columns; ++c) strip(c, 0);
}

template <class E, bool stream>
void copy_block(char* to, const Strides& ts, const char* from, const Strides& fs, const int64_t* size) {
  constexpr int64_t B = sizeof(E);
  const int64_t planes = size[0], rows = size[1], columns = size[2];
  const int64_t tr = ts.s[1], tc = ts.s[2], fr = fs.s[1], fc = fs.s[2];
  for (int64_t k = 0; k < planes; ++k, to += ts.s[0], from += fs.s[0]) {
    if (fr == B && fc != B && rows > 1) {
      copy_across<E>(to, tr, tc, from, fc, rows, columns);
      continue;
    }
    for (int64_t r = 0; r < rows; ++r) {
      const char* p = from + r * fr;
      char* q = to + r * tr;
      if (tc == B && fc == B) {
        if (stream && columns * B >= 64)
          stream_row(q, p, columns * B);
        else if (columns * B >= 64)
          copy_row(q, p, columns * B);
        else
          for (int64_t c = 0; c < columns; ++c) __builtin_memcpy(q + c * B, p + c * B, B);
      } else if (tc == B && fc == 0) {
        E value;
        __builtin_memcpy(&value, p, B);
        for (int64_t c = 0; c < columns; ++c) __builtin_memcpy(q + c * B, &value, B);
      } else {
        int64_t c = 0;
        for (; tc == B && fc == 2 * B && c + Square<E>::N < columns; c += Square<E>::N)
          Square<E>::every_other(q + c * B, p + c * fc);
        for (; c < columns; ++c) __builtin_memcpy(q + c * tc, p + c * fc, B);
      }
    }
  }
}

// bytes: of an element. stream: rows that are contiguous on both sides bypass the caches.
CopyBlock find_copy(int64_t bytes, bool stream) {
  const auto pick = [&](auto e) -> CopyBlock {
    return stream ? copy_block<decltype(e), true> : copy_block<decltype(e), false>;
  };
  return bytes == 1   ? pick(uint8_t{})
         : bytes == 2 ? pick(uint16_t{})
         : bytes == 4 ? pick(uint32_t{})
                      : pick(uint64_t{});
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
