// One vector type over the compiler's vector extensions: 16, 32 or 64 bytes wide, as BRASA_SIMD_BYTES says.
// Included only by per-ISA sources, inside namespace brasa::cpu::BRASA_ISA; no standard headers below this line.
#pragma once
#include "kernel.h"
#ifdef __x86_64__
#pragma GCC diagnostic push
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wuninitialized"  // inside g++ 12's own header
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

struct half_t {
  uint16_t bits;
};
struct bfloat16_t {
  uint16_t bits;
};
struct bool8_t {
  uint8_t value;
};

namespace brasa::cpu::BRASA_ISA {
namespace {

BRASA_PARALLEL

#define BRASA_INLINE inline __attribute__((always_inline))

template <class T>
struct IntOf;  // the integer of the same width: what a comparison gives
template <>
struct IntOf<float> {
  using type = int32_t;
};
template <>
struct IntOf<int32_t> {
  using type = int32_t;
};
template <>
struct IntOf<double> {
  using type = int64_t;
};
template <>
struct IntOf<int64_t> {
  using type = int64_t;
};

template <class T>
struct RawOf {
  typedef T type __attribute__((vector_size(BRASA_SIMD_BYTES)));
  typedef T loose __attribute__((vector_size(BRASA_SIMD_BYTES), aligned(sizeof(T)), may_alias));
};

template <class T>
struct Vec {
  static constexpr int N = BRASA_SIMD_BYTES / sizeof(T);
  using Raw = typename RawOf<T>::type;
  using Loose = typename RawOf<T>::loose;
  using Elem = T;
  using Int = Vec<typename IntOf<T>::type>;  // also the mask: each lane all ones or all zeros
  Raw v;

  Vec() = default;
  BRASA_INLINE Vec(Raw raw) : v(raw) {}
  BRASA_INLINE explicit Vec(T s) : v(s - Raw{}) {}  // broadcast (x - 0 keeps -0 and NaN)

  static BRASA_INLINE Vec load(const T* p) { return Vec(static_cast<Raw>(*reinterpret_cast<const Loose*>(p))); }
  BRASA_INLINE void store(T* p) const { *reinterpret_cast<Loose*>(p) = v; }
  // The first n lanes, 0 <= n <= N; the others are 0 and their memory is not touched.
  static BRASA_INLINE Vec load(const T* p, int n);
  BRASA_INLINE void store(T* p, int n) const;
  static BRASA_INLINE Vec iota() {  // 0, 1, 2, ...
    Vec r{};
    for (int i = 0; i < N; ++i) r.v[i] = T(i);
    return r;
  }

  BRASA_INLINE T operator[](int i) const { return v[i]; }

#define BRASA_OPERATOR(op)                                                      \
  friend BRASA_INLINE Vec operator op(Vec a, Vec b) { return Vec(a.v op b.v); } \
  BRASA_INLINE Vec& operator op##=(Vec b) { return v = v op b.v, *this; }
  BRASA_OPERATOR(+)
  BRASA_OPERATOR(-)
  BRASA_OPERATOR(*)
  BRASA_OPERATOR(/)
  BRASA_OPERATOR(&)
  BRASA_OPERATOR(|)
  BRASA_OPERATOR(^)
#undef BRASA_OPERATOR
#define BRASA_COMPARE(op) \
  friend BRASA_INLINE Int operator op(Vec a, Vec b) { return Int(static_cast<typename Int::Raw>(a.v op b.v)); }
  BRASA_COMPARE(==)
  BRASA_COMPARE(!=)
  BRASA_COMPARE(<)
  BRASA_COMPARE(<=)
  BRASA_COMPARE(>)
  BRASA_COMPARE(>=)
#undef BRASA_COMPARE
  friend BRASA_INLINE Vec operator-(Vec a) { return Vec(-a.v); }
  friend BRASA_INLINE Vec operator~(Vec a) { return Vec(~a.v); }
  friend BRASA_INLINE Vec operator<<(Vec a, int n) { return Vec(a.v << n); }
  friend BRASA_INLINE Vec operator>>(Vec a, int n) { return Vec(a.v >> n); }  // arithmetic
};

using F32 = Vec<float>;
using F64 = Vec<double>;
using I32 = Vec<int32_t>;
using I64 = Vec<int64_t>;

// ---- partial loads and stores

template <class T>
BRASA_INLINE Vec<T> Vec<T>::load(const T* p, int n) {
#if BRASA_SIMD_BYTES == 64
  if constexpr (sizeof(T) == 4)
    return Vec((Raw)_mm512_maskz_loadu_epi32(__mmask16((1u << n) - 1), p));
  else
    return Vec((Raw)_mm512_maskz_loadu_epi64(__mmask8((1u << n) - 1), p));
#elif BRASA_SIMD_BYTES == 32
  const typename Int::Raw mask = (Int::iota() < Int(n)).v;
  if constexpr (sizeof(T) == 4)
    return Vec((Raw)_mm256_maskload_epi32((const int*)p, (__m256i)mask));
  else
    return Vec((Raw)_mm256_maskload_epi64((const long long*)p, (__m256i)mask));
#else
  Vec r{};
  for (int i = 0; i < N; ++i)
    if (i < n) r.v[i] = p[i];
  return r;
#endif
}

template <class T>
BRASA_INLINE void Vec<T>::store(T* p, int n) const {
#if BRASA_SIMD_BYTES == 64
  if constexpr (sizeof(T) == 4)
    _mm512_mask_storeu_epi32(p, __mmask16((1u << n) - 1), (__m512i)v);
  else
    _mm512_mask_storeu_epi64(p, __mmask8((1u << n) - 1), (__m512i)v);
#elif BRASA_SIMD_BYTES == 32
  const typename Int::Raw mask = (Int::iota() < Int(n)).v;
  if constexpr (sizeof(T) == 4)
    _mm256_maskstore_epi32((int*)p, (__m256i)mask, (__m256i)v);
  else
    _mm256_maskstore_epi64((long long*)p, (__m256i)mask, (__m256i)v);
#else
  for (int i = 0; i < N; ++i)
    if (i < n) p[i] = v[i];
#endif
}

// ---- lanes

template <class T>
BRASA_INLINE Vec<T> select(typename Vec<T>::Int mask, Vec<T> a, Vec<T> b) {
  return Vec<T>(mask.v ? a.v : b.v);
}

template <class T>
BRASA_INLINE typename Vec<T>::Int bits(Vec<T> x) {
  return typename Vec<T>::Int((typename Vec<T>::Int::Raw)x.v);
}
template <class T>
BRASA_INLINE Vec<T> from_bits(typename Vec<T>::Int x) {
  return Vec<T>((typename Vec<T>::Raw)x.v);
}

// The same number of lanes: f32 <-> i32 and f64 <-> i64; towards zero, out of range is unspecified.
template <class To, class From>
BRASA_INLINE Vec<To> convert(Vec<From> x) {
  if constexpr (sizeof(To) == sizeof(From)) return Vec<To>(__builtin_convertvector(x.v, typename Vec<To>::Raw));
}

// One lane at a time, for what has no vector form.
template <class T, class F>
BRASA_INLINE Vec<T> map(Vec<T> x, const F& f) {
  Vec<T> r;
  for (int i = 0; i < Vec<T>::N; ++i) r.v[i] = f(x.v[i]);
  return r;
}
template <class T, class F>
BRASA_INLINE Vec<T> map(Vec<T> x, Vec<T> y, const F& f) {
  Vec<T> r;
  for (int i = 0; i < Vec<T>::N; ++i) r.v[i] = f(x.v[i], y.v[i]);
  return r;
}

// a * b + c, in one rounding where the machine has it.
template <class T>
BRASA_INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
  return Vec<T>(a.v * b.v + c.v);
}

BRASA_INLINE F32 abs(F32 x) { return from_bits<float>(bits(x) & I32(0x7fffffff)); }
BRASA_INLINE F64 abs(F64 x) { return from_bits<double>(bits(x) & I64(0x7fffffffffffffff)); }
BRASA_INLINE I32 abs(I32 x) { return select(x < I32(0), -x, x); }
BRASA_INLINE I64 abs(I64 x) { return select(x < I64(0), -x, x); }

// The sign bit of y on the magnitude of x.
template <class T>
BRASA_INLINE Vec<T> copysign(Vec<T> x, Vec<T> y) {
  using I = typename Vec<T>::Int;
  const I sign = bits(Vec<T>(T(-0.0)));
  return from_bits<T>((bits(x) & ~sign) | (bits(y) & sign));
}

// ---- what has an instruction but no operator

// Without NaN handling: b where either is NaN. maximum and minimum in math.inl let NaN win.
template <class T>
BRASA_INLINE Vec<T> max(Vec<T> a, Vec<T> b) {
  return select(a > b, a, b);
}
template <class T>
BRASA_INLINE Vec<T> min(Vec<T> a, Vec<T> b) {
  return select(a < b, a, b);
}

#ifdef __x86_64__
#if BRASA_SIMD_BYTES == 64
#define BRASA_MM(name) _mm512_##name
#define BRASA_M(suffix) __m512##suffix
#define BRASA_ROUNDING(type) _mm512_roundscale_##type
#elif BRASA_SIMD_BYTES == 32
#define BRASA_MM(name) _mm256_##name
#define BRASA_M(suffix) __m256##suffix
#define BRASA_ROUNDING(type) _mm256_round_##type
#else
#define BRASA_MM(name) _mm_##name
#define BRASA_M(suffix) __m128##suffix
#define BRASA_ROUNDING(type) _mm_round_##type
#endif
#define BRASA_ROUND(name, mode)                                                                    \
  BRASA_INLINE F32 name(F32 x) { return F32((F32::Raw)BRASA_ROUNDING(ps)((BRASA_M())x.v, mode)); } \
  BRASA_INLINE F64 name(F64 x) { return F64((F64::Raw)BRASA_ROUNDING(pd)((BRASA_M(d))x.v, mode)); }
BRASA_ROUND(round, 8)  // half to even
BRASA_ROUND(floor, 9)
BRASA_ROUND(ceil, 10)
BRASA_ROUND(trunc, 11)
#undef BRASA_ROUND
BRASA_INLINE F32 sqrt(F32 x) { return F32((F32::Raw)BRASA_MM(sqrt_ps)((BRASA_M())x.v)); }
BRASA_INLINE F64 sqrt(F64 x) { return F64((F64::Raw)BRASA_MM(sqrt_pd)((BRASA_M(d))x.v)); }
BRASA_INLINE F32 max(F32 a, F32 b) { return F32((F32::Raw)BRASA_MM(max_ps)((BRASA_M())a.v, (BRASA_M())b.v)); }
BRASA_INLINE F64 max(F64 a, F64 b) { return F64((F64::Raw)BRASA_MM(max_pd)((BRASA_M(d))a.v, (BRASA_M(d))b.v)); }
BRASA_INLINE F32 min(F32 a, F32 b) { return F32((F32::Raw)BRASA_MM(min_ps)((BRASA_M())a.v, (BRASA_M())b.v)); }
BRASA_INLINE F64 min(F64 a, F64 b) { return F64((F64::Raw)BRASA_MM(min_pd)((BRASA_M(d))a.v, (BRASA_M(d))b.v)); }
#if BRASA_SIMD_BYTES == 64
// x * 2^n; the exponent and the mantissa, in [1, 2) and NaN for what is negative; 1 / sqrt(x) to 14 bits.
BRASA_INLINE F32 scalef(F32 x, F32 n) { return F32((F32::Raw)_mm512_scalef_ps((__m512)x.v, (__m512)n.v)); }
BRASA_INLINE F64 scalef(F64 x, F64 n) { return F64((F64::Raw)_mm512_scalef_pd((__m512d)x.v, (__m512d)n.v)); }
BRASA_INLINE F32 exponent_of(F32 x) { return F32((F32::Raw)_mm512_getexp_ps((__m512)x.v)); }
BRASA_INLINE F64 exponent_of(F64 x) { return F64((F64::Raw)_mm512_getexp_pd((__m512d)x.v)); }
BRASA_INLINE F32 mantissa_of(F32 x) {
  return F32((F32::Raw)_mm512_getmant_ps((__m512)x.v, _MM_MANT_NORM_1_2, _MM_MANTISSA_SIGN_ENUM(3)));
}
BRASA_INLINE F64 mantissa_of(F64 x) {
  return F64((F64::Raw)_mm512_getmant_pd((__m512d)x.v, _MM_MANT_NORM_1_2, _MM_MANTISSA_SIGN_ENUM(3)));
}
BRASA_INLINE F32 rsqrt14(F32 x) { return F32((F32::Raw)_mm512_rsqrt14_ps((__m512)x.v)); }
BRASA_INLINE bool any(I32 mask) { return _mm512_movepi32_mask((__m512i)mask.v) != 0; }
BRASA_INLINE bool any(I64 mask) { return _mm512_movepi64_mask((__m512i)mask.v) != 0; }
#else
BRASA_INLINE bool any(I32 mask) { return BRASA_MM(movemask_ps)((BRASA_M())mask.v) != 0; }
BRASA_INLINE bool any(I64 mask) { return BRASA_MM(movemask_pd)((BRASA_M(d))mask.v) != 0; }
#endif
#else
#define BRASA_LANES(name, builtin)                        \
  BRASA_INLINE F32 name(F32 x) {                          \
    return map(x, [](float s) { return builtin##f(s); }); \
  }                                                       \
  BRASA_INLINE F64 name(F64 x) {                          \
    return map(x, [](double s) { return builtin(s); });   \
  }
BRASA_LANES(sqrt, __builtin_sqrt)
BRASA_LANES(round, __builtin_rint)
BRASA_LANES(floor, __builtin_floor)
BRASA_LANES(ceil, __builtin_ceil)
BRASA_LANES(trunc, __builtin_trunc)
#undef BRASA_LANES
template <class T>
BRASA_INLINE bool any(Vec<T> mask) {
  T r = 0;
  for (int i = 0; i < Vec<T>::N; ++i) r |= mask.v[i];
  return r != 0;
}
#endif
template <class T>
BRASA_INLINE bool all(Vec<T> mask) {
  return !any(~mask);
}

// Asks for what a loop will reach some 2 KB later: hardware prefetchers stop at pages of 4 KB. Past the end is
// harmless.
BRASA_INLINE void prefetch_ahead(const void* p) {
  if (BRASA_SIMD_BYTES >= 32) __builtin_prefetch(static_cast<const char*>(p) + 2048);
}

// ---- reductions over the lanes, always by halves: lane i with lane i + N/2, and so on

template <class T, int bytes>
struct Tree {
  typedef T Raw __attribute__((vector_size(bytes)));
  template <class F>
  static BRASA_INLINE T reduce(Raw v, const F& f) {
    if constexpr (bytes == 2 * sizeof(T)) {
      return f(T(v[0]), T(v[1]));
    } else {
      typename Tree<T, bytes / 2>::Raw lo, hi;
      __builtin_memcpy(&lo, &v, bytes / 2);
      __builtin_memcpy(&hi, reinterpret_cast<const char*>(&v) + bytes / 2, bytes / 2);
      return Tree<T, bytes / 2>::reduce(f(lo, hi), f);
    }
  }
};

template <class T>
BRASA_INLINE T hsum(Vec<T> x) {
  return Tree<T, BRASA_SIMD_BYTES>::reduce(x.v, [](auto a, auto b) { return a + b; });
}
template <class T>
BRASA_INLINE T hprod(Vec<T> x) {
  return Tree<T, BRASA_SIMD_BYTES>::reduce(x.v, [](auto a, auto b) { return a * b; });
}
// Without NaN: b where either is NaN.
template <class T>
BRASA_INLINE T hmax(Vec<T> x) {
  return Tree<T, BRASA_SIMD_BYTES>::reduce(x.v, [](auto a, auto b) { return a > b ? a : b; });
}
template <class T>
BRASA_INLINE T hmin(Vec<T> x) {
  return Tree<T, BRASA_SIMD_BYTES>::reduce(x.v, [](auto a, auto b) { return a < b ? a : b; });
}

// ---- f32 <-> f64: the lower and upper half of a vector of floats

typedef float HalfF32 __attribute__((vector_size(BRASA_SIMD_BYTES / 2)));
struct F64x2 {
  F64 lo, hi;
};

BRASA_INLINE F64x2 widen(F32 x) {
#if BRASA_SIMD_BYTES == 64
  return {F64((F64::Raw)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)x.v))),
          F64((F64::Raw)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)x.v, 1)))};
#elif BRASA_SIMD_BYTES == 32
  return {F64((F64::Raw)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)x.v))),
          F64((F64::Raw)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)x.v, 1)))};
#elif defined(__x86_64__)
  return {F64((F64::Raw)_mm_cvtps_pd((__m128)x.v)),
          F64((F64::Raw)_mm_cvtps_pd(_mm_movehl_ps((__m128)x.v, (__m128)x.v)))};
#else
  HalfF32 lo, hi;
  __builtin_memcpy(&lo, &x.v, sizeof lo);
  __builtin_memcpy(&hi, reinterpret_cast<const char*>(&x.v) + sizeof lo, sizeof hi);
  return {F64(__builtin_convertvector(lo, F64::Raw)), F64(__builtin_convertvector(hi, F64::Raw))};
#endif
}
BRASA_INLINE F32 narrow(F64 lo, F64 hi) {
#if BRASA_SIMD_BYTES == 64
  return F32((F32::Raw)_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps((__m512d)lo.v)),
                                          _mm512_cvtpd_ps((__m512d)hi.v), 1));
#elif BRASA_SIMD_BYTES == 32
  return F32((F32::Raw)_mm256_set_m128(_mm256_cvtpd_ps((__m256d)hi.v), _mm256_cvtpd_ps((__m256d)lo.v)));
#elif defined(__x86_64__)
  return F32((F32::Raw)_mm_movelh_ps(_mm_cvtpd_ps((__m128d)lo.v), _mm_cvtpd_ps((__m128d)hi.v)));
#else
  const HalfF32 a = __builtin_convertvector(lo.v, HalfF32), b = __builtin_convertvector(hi.v, HalfF32);
  F32 r;
  __builtin_memcpy(&r.v, &a, sizeof a);
  __builtin_memcpy(reinterpret_cast<char*>(&r.v) + sizeof a, &b, sizeof b);
  return r;
#endif
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
