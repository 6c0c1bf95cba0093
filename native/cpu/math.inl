// The intrinsics of ../math.inl over vectors: first what they ask of a vector type beyond its operators, lane by lane.
#pragma once
#include "simd.h"

#define BRASA_VECTORS brasa::cpu::BRASA_ISA
#if defined(__FMA__) || !defined(__x86_64__)
#define BRASA_FMA 1
#endif

namespace brasa::cpu::BRASA_ISA {
namespace {

// y, but f() in the lanes of a mask that is seldom set.
template <class T, class F>
BRASA_INLINE Vec<T> seldom(typename Vec<T>::Int mask, Vec<T> y, const F& f) {
  return __builtin_expect(any(mask), 0) ? select(mask, f(), y) : y;
}

BRASA_INLINE F64 far_sin(F64 x) {
  return map(x, [](double v) { return __builtin_sin(v); });
}
BRASA_INLINE F64 far_cos(F64 x) {
  return map(x, [](double v) { return __builtin_cos(v); });
}
BRASA_INLINE F64 far_tan(F64 x) {
  return map(x, [](double v) { return __builtin_tan(v); });
}
BRASA_INLINE F64 far_fmod(F64 x, F64 y) {
  return map(x, y, [](double a, double b) { return __builtin_fmod(a, b); });
}
BRASA_INLINE F32 far_fmod(F32 x, F32 y) {
  return map(x, y, [](float a, float b) { return float(__builtin_fmod(double(a), double(b))); });
}
BRASA_INLINE F64 pow_of(F64 x, F64 y) {
  return map(x, y, [](double a, double b) { return __builtin_pow(a, b); });
}

// 0 where y is 0; wraps where x is the least and y is -1.
BRASA_INLINE int64_t quotient(int64_t a, int64_t b) { return b == 0 ? 0 : b == -1 ? int64_t(0 - uint64_t(a)) : a / b; }
BRASA_INLINE int32_t quotient(int32_t a, int32_t b) { return b == 0 ? 0 : b == -1 ? int32_t(0 - uint32_t(a)) : a / b; }
template <class T>
BRASA_INLINE Vec<T> divide(Vec<T> x, Vec<T> y) {
  return map(x, y, [](T a, T b) { return quotient(a, b); });
}
// base^n for n >= 0, by squaring.
template <class T>
BRASA_INLINE Vec<T> power(Vec<T> base, Vec<T> n) {
  const Vec<T> zero(T(0)), one(T(1));
  Vec<T> r = one;
  while (any(n != zero)) {
    r = select((n & one) != zero, r * base, r);
    base *= base;
    n = n >> 1;
  }
  return r;
}
template <class T>
BRASA_INLINE Vec<T> shift_left_by(Vec<T> x, Vec<T> n) {
  return Vec<T>(x.v << n.v);
}
template <class T>
BRASA_INLINE Vec<T> shift_right_by(Vec<T> x, Vec<T> n) {
  return Vec<T>(x.v >> n.v);
}

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA

#include "../math.inl"
