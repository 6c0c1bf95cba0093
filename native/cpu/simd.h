// One vector type over the compiler's vector extensions: 16, 32 or 64 bytes wide, as BRASA_SIMD_BYTES says.
// Included only by per-ISA sources, inside namespace brasa::cpu::BRASA_ISA; no standard headers below this line.
#pragma once
#include "kernel.h"

using half_t = _Float16;
struct bfloat16_t { uint16_t bits; };
struct bool8_t { uint8_t value; };

namespace brasa::cpu::BRASA_ISA {
namespace {

BRASA_PARALLEL

#define BRASA_INLINE inline __attribute__((always_inline))

template <class T> struct IntOf;  // the integer of the same width: what a comparison gives
template <> struct IntOf<float> { using type = int32_t; };
template <> struct IntOf<int32_t> { using type = int32_t; };
template <> struct IntOf<double> { using type = int64_t; };
template <> struct IntOf<int64_t> { using type = int64_t; };

template <class T>
struct Vec {
  static constexpr int N = BRASA_SIMD_BYTES / sizeof(T);
  typedef T Raw __attribute__((vector_size(BRASA_SIMD_BYTES)));
  typedef T Loose __attribute__((vector_size(BRASA_SIMD_BYTES), aligned(sizeof(T)), may_alias));
  using Elem = T;
  using Int = Vec<typename IntOf<T>::type>;
  Raw v;

  Vec() = default;
  BRASA_INLINE Vec(Raw raw) : v(raw) {}
  BRASA_INLINE explicit Vec(T s) : v(s - Raw{}) {}  // broadcast (x - 0 keeps -0 and NaN)

  static BRASA_INLINE Vec load(const T* p) { return Vec(static_cast<Raw>(*reinterpret_cast<const Loose*>(p))); }
  BRASA_INLINE void store(T* p) const { *reinterpret_cast<Loose*>(p) = v; }
  // The first n lanes; the others are 0.
  static BRASA_INLINE Vec load(const T* p, int n) { Vec r{Raw{}}; __builtin_memcpy(&r.v, p, n * sizeof(T)); return r; }
  BRASA_INLINE void store(T* p, int n) const { __builtin_memcpy(p, &v, n * sizeof(T)); }

  BRASA_INLINE T operator[](int i) const { return v[i]; }
};

}  // namespace
}  // namespace brasa::cpu::BRASA_ISA
