// Compute types as types of C++, for what records the expressions of ops.def instead of computing them.
#pragma once
#include "backend.h"

namespace brasa {
namespace {

// Of the same bits.
template <class T>
struct IntOf {
  using type = T;
};
template <>
struct IntOf<float> {
  using type = int32_t;
};
template <>
struct IntOf<double> {
  using type = int64_t;
};

template <class T>
constexpr bool kIsFloat = T(0.5) != T(0);
template <class T>
constexpr int32_t kDtypeOf = sizeof(T) == 4 ? (kIsFloat<T> ? k_f32 : k_i32)
                             : kIsFloat<T>  ? k_f64
                                            : k_i64;

// Whether an op of these types (ops.def) takes T.
template <class T>
constexpr bool kTypes_FLOAT = kIsFloat<T>;
template <class T>
constexpr bool kTypes_INT = !kIsFloat<T>;
template <class T>
constexpr bool kTypes_ALL = true;

// Calls f with a value of the compute type.
template <class F>
auto visit_compute(int32_t dtype, const F& f) {
  switch (dtype) {
    case k_f64:
      return f(double{});
    case k_i32:
      return f(int32_t{});
    case k_i64:
      return f(int64_t{});
    default:
      return f(float{});
  }
}

}  // namespace
}  // namespace brasa
