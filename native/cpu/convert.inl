// Conversion between storage types (dtypes.def) and compute types, at load and store. Vectors: load_as, store_as; rows
// of n elements: load_row, store_row; f16 and bf16 round to nearest even, floats become integers by truncation, then
// wrap.
#pragma once
#include "simd.h"

namespace brasa::cpu::BRASA_ISA {
namespace {

template <class S>
struct ComputeOf;
template <>
struct ComputeOf<float> {
  using type = float;
};
template <>
struct ComputeOf<double> {
  using type = double;
};
template <>
struct ComputeOf<half_t> {
  using type = float;
};
template <>
struct ComputeOf<bfloat16_t> {
  using type = float;
};
template <>
struct ComputeOf<int8_t> {
  using type = int32_t;
};
template <>
struct ComputeOf<uint8_t> {
  using type = int32_t;
};
template <>
struct ComputeOf<int32_t> {
  using type = int32_t;
};
template <>
struct ComputeOf<int64_t> {
  using type = int64_t;
};
template <>
struct ComputeOf<bool8_t> {
  using type = int32_t;
};
template <class S>
using Compute = typename ComputeOf<S>::type;

template <class A, class B>
constexpr bool kSame = false;
template <class A>
constexpr bool kSame<A, A> = true;

// Calls f with a value of the dtype's storage type: visit_dtype(dtype, [&](auto s) { using S = decltype(s); ... }).
template <class F>
inline auto visit_dtype(int32_t dtype, const F& f) {
  switch (dtype) {
#define DTYPE(id, name, ctype, bytes, compute) \
  case k_##name:                               \
    return f(ctype{});
#include "../dtypes.def"
#undef DTYPE
  }
  return f(float{});
}
inline int64_t dtype_bytes(int32_t dtype) {
  return visit_dtype(dtype, [](auto s) { return int64_t(sizeof s); });
}
inline int32_t compute_dtype(int32_t dtype) {
  switch (dtype) {
#define DTYPE(id, name, ctype, bytes, compute) \
  case k_##name:                               \
    return k_##compute;
#include "../dtypes.def"
#undef DTYPE
  }
  return k_f32;
}

// ---- one vector: the bits of a narrow type in lanes of 32

typedef uint16_t Narrow16 __attribute__((vector_size(BRASA_SIMD_BYTES / 2)));
typedef uint8_t Narrow8 __attribute__((vector_size(BRASA_SIMD_BYTES / 4)));
typedef int8_t NarrowI8 __attribute__((vector_size(BRASA_SIMD_BYTES / 4)));
typedef uint32_t Wide __attribute__((vector_size(BRASA_SIMD_BYTES)));

BRASA_INLINE I32 widen_bits(Narrow16 x) { return I32((I32::Raw) __builtin_convertvector(x, Wide)); }
BRASA_INLINE Narrow16 narrow_bits(I32 x) { return __builtin_convertvector((Wide)x.v, Narrow16); }

BRASA_INLINE F32 from_storage(half_t, Narrow16 h) {
#if BRASA_SIMD_BYTES == 64
  return F32((F32::Raw)_mm512_cvtph_ps((__m256i)h));
#elif BRASA_SIMD_BYTES == 32
  return F32((F32::Raw)_mm256_cvtph_ps((__m128i)h));
#else
  const I32 x = widen_bits(h), magnitude = (x & I32(0x7fff)) << 13;
  const I32 scaled = bits(from_bits<float>(magnitude) * F32(0x1p112f));  // rebias; right for denormals too
  const I32 special = (magnitude >= I32(0x7c00 << 13)) & I32(0x7f800000);
  return from_bits<float>(scaled | special | ((x & I32(0x8000)) << 16));
#endif
}
BRASA_INLINE Narrow16 to_storage(half_t, F32 x) {
#if BRASA_SIMD_BYTES == 64
  return (Narrow16)_mm512_cvtps_ph((__m512)x.v, 0);
#elif BRASA_SIMD_BYTES == 32
  return (Narrow16)_mm256_cvtps_ph((__m256)x.v, 0);
#else
  const I32 b = bits(x), u = b & I32(0x7fffffff);
  const I32 normal = (u - I32(112 << 23) + I32(0xfff) + ((u >> 13) & I32(1))) >> 13;
  const I32 denormal = bits(from_bits<float>(u) + F32(0.5f)) - I32(0x3f000000);  // the adder rounds at 2^-24
  const I32 special = select(u > I32(0x7f800000), I32(0x7e00) | ((u >> 13) & I32(0x3ff)), I32(0x7c00));
  const I32 finite = select(u < I32(113 << 23), denormal, normal);
  return narrow_bits(select(u >= I32(0x47800000), special, finite) | ((b >> 16) & I32(0x8000)));
#endif
}
BRASA_INLINE F32 from_storage(bfloat16_t, Narrow16 h) { return from_bits<float>(widen_bits(h) << 16); }
BRASA_INLINE Narrow16 to_storage(bfloat16_t, F32 x) {
  const I32 b = bits(x);
  const I32 rounded = (b + I32(0x7fff) + ((b >> 16) & I32(1))) >> 16;
  return narrow_bits(select(x != x, (b >> 16) | I32(0x40), rounded));
}
// Compilers take the conversions between 8 and 32 bits apart, lane by lane: on x86 they are spelled out.
#ifdef __x86_64__
BRASA_INLINE __m128i in_128(Narrow8 x) {
  __m128i r = _mm_setzero_si128();
  __builtin_memcpy(&r, &x, sizeof x);
  return r;
}
#if BRASA_SIMD_BYTES == 64
BRASA_INLINE I32 from_storage(int8_t, Narrow8 x) { return I32((I32::Raw)_mm512_cvtepi8_epi32(in_128(x))); }
BRASA_INLINE I32 from_storage(uint8_t, Narrow8 x) { return I32((I32::Raw)_mm512_cvtepu8_epi32(in_128(x))); }
BRASA_INLINE Narrow8 low_bytes(I32 x) { return (Narrow8)_mm512_cvtepi32_epi8((__m512i)x.v); }
#else
BRASA_INLINE I32 from_storage(int8_t, Narrow8 x) { return I32((I32::Raw)BRASA_MM(cvtepi8_epi32)(in_128(x))); }
BRASA_INLINE I32 from_storage(uint8_t, Narrow8 x) { return I32((I32::Raw)BRASA_MM(cvtepu8_epi32)(in_128(x))); }
BRASA_INLINE Narrow8 low_bytes(I32 x) {
#if BRASA_SIMD_BYTES == 32
  const __m256i each =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
  const __m256i packed = _mm256_shuffle_epi8((__m256i)x.v, each);
  const __m128i r = _mm_unpacklo_epi32(_mm256_castsi256_si128(packed), _mm256_extracti128_si256(packed, 1));
#else
  const __m128i each = _mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const __m128i r = _mm_shuffle_epi8((__m128i)x.v, each);
#endif
  Narrow8 y;
  __builtin_memcpy(&y, &r, sizeof y);
  return y;
}
#endif
#else
BRASA_INLINE I32 from_storage(int8_t, Narrow8 x) { return I32(__builtin_convertvector((NarrowI8)x, I32::Raw)); }
BRASA_INLINE I32 from_storage(uint8_t, Narrow8 x) { return I32(__builtin_convertvector(x, I32::Raw)); }
BRASA_INLINE Narrow8 low_bytes(I32 x) { return __builtin_convertvector((Wide)x.v, Narrow8); }
#endif
BRASA_INLINE I32 from_storage(bool8_t, Narrow8 x) { return (from_storage(uint8_t{}, x) != I32(0)) & I32(1); }
BRASA_INLINE Narrow8 to_storage(int8_t, I32 x) { return low_bytes(x); }
BRASA_INLINE Narrow8 to_storage(uint8_t, I32 x) { return low_bytes(x); }
BRASA_INLINE Narrow8 to_storage(bool8_t, I32 x) { return low_bytes((x != I32(0)) & I32(1)); }

// ---- memory. A storage type loads as its compute type: f32, f16, bf16 as f32; i8, u8, bool, i32 as i32; f64 and i64
// as themselves.

template <class S>
constexpr bool kNative = kSame<S, Compute<S>>;
template <class S>
using NarrowOf = decltype(to_storage(S{}, Vec<Compute<S>>{}));

// N elements, or the first n of them (the other lanes are 0).
template <class T, class S>
BRASA_INLINE Vec<T> load_as(const S* p) {
  static_assert(kSame<T, Compute<S>>, "load as the compute type, then convert");
  if constexpr (kNative<S>) {
    return Vec<T>::load(p);
  } else {
    NarrowOf<S> x;
    __builtin_memcpy(&x, p, sizeof x);
    return from_storage(S{}, x);
  }
}
template <class T, class S>
BRASA_INLINE void store_as(S* p, Vec<T> v) {
  static_assert(kSame<T, Compute<S>>, "convert to the compute type, then store");
  if constexpr (kNative<S>) {
    v.store(p);
  } else {
    const NarrowOf<S> x = to_storage(S{}, v);
    __builtin_memcpy(p, &x, sizeof x);
  }
}
template <class T, class S>
BRASA_INLINE Vec<T> load_as(const S* p, int n) {
  if constexpr (kNative<S>) {
    return Vec<T>::load(p, n);
  } else {
    S part[Vec<T>::N] = {};
    for (int i = 0; i < n; ++i) part[i] = p[i];
    return load_as<T>(static_cast<const S*>(part));
  }
}
template <class T, class S>
BRASA_INLINE void store_as(S* p, Vec<T> v, int n) {
  if constexpr (kNative<S>) {
    v.store(p, n);
  } else {
    S part[Vec<T>::N];
    store_as<T>(part, v);
    for (int i = 0; i < n; ++i) p[i] = part[i];
  }
}

// ---- one element

template <class S>
BRASA_INLINE Compute<S> load_one(const S* p) {
  if constexpr (kNative<S>)
    return *p;
  else if constexpr (kSame<S, bool8_t>)
    return p->value != 0;
  else if constexpr (kSame<S, half_t> || kSame<S, bfloat16_t>)
    return load_as<float>(p, 1)[0];
  else
    return *p;
}
template <class S>
BRASA_INLINE void store_one(S* p, Compute<S> x) {
  if constexpr (kNative<S>)
    *p = x;
  else
    store_as<Compute<S>>(p, Vec<Compute<S>>(x), 1);
}

// ---- rows of n elements

template <class S>
inline void load_row(Compute<S>* to, const S* from, int64_t n) {
  using T = Compute<S>;
  constexpr int N = Vec<T>::N;
  int64_t i = 0;
  for (; i + N <= n; i += N) {
    prefetch_ahead(from + i);
    load_as<T>(from + i).store(to + i);
  }
  if (i < n) load_as<T>(from + i, int(n - i)).store(to + i, int(n - i));
}
template <class S>
inline void store_row(S* to, const Compute<S>* from, int64_t n) {
  using T = Compute<S>;
  constexpr int N = Vec<T>::N;
  int64_t i = 0;
  for (; i + N <= n; i += N) {
    prefetch_ahead(to + i);
    store_as<T>(to + i, Vec<T>::load(from + i));
  }
  if (i < n) store_as<T>(to + i, Vec<T>::load(from + i, int(n - i)), int(n - i));
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
