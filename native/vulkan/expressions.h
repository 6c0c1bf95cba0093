// The elementwise ops of ops.def, recorded: an op's expression over values of a compute type.
#pragma once
#include "storage.h"

namespace brasa::vk {
namespace {

template <class T>
T as_SAME(T x) {
  return x;
}
template <class T>
T as_BOOL(typename T::Int mask) {
  return select(mask, T(typename T::Elem(1)), T(typename T::Elem(0)));
}

template <class E>
constexpr bool kTypes_FLOAT = kIsFloat<E>;
template <class E>
constexpr bool kTypes_INT = !kIsFloat<E>;
template <class E>
constexpr bool kTypes_ALL = true;

inline int arity_of(int32_t op) {
  switch (op) {
#define UNARY(number, name, types, result, expr) \
  case number:                                   \
    return 1;
#define BINARY(number, name, types, result, expr) \
  case number:                                    \
    return 2;
#define TERNARY(number, name, types, result, expr) \
  case number:                                     \
    return 3;
#define KERNEL(id, name)
#include "../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KERNEL
  }
  return 0;
}

// 0: the op does not take this type.
template <class E>
Id record_op(int32_t op, Id a, Id b, Id c) {
  using T = Vec<E>;
  const T x = T::of(a), y = T::of(b), z = T::of(c);
  (void)y, (void)z;
  switch (op) {
#define UNARY(number, name, types, result, expr)                       \
  case number:                                                         \
    if constexpr (kTypes_##types<E>) return as_##result<T>(expr).id(); \
    return 0;
#define BINARY(number, name, types, result, expr)                      \
  case number:                                                         \
    if constexpr (kTypes_##types<E>) return as_##result<T>(expr).id(); \
    return 0;
#define TERNARY(number, name, types, result, expr)                     \
  case number:                                                         \
    if constexpr (kTypes_##types<E>) return as_##result<T>(expr).id(); \
    return 0;
#define KERNEL(id, name)
#include "../ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef KERNEL
  }
  return 0;
}

}  // namespace
}  // namespace brasa::vk
