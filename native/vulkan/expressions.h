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

constexpr int32_t kCopy = 1, kCast = 121;  // ops.def

// Instructions of an elementwise program, as ops.def has them, over the registers and their types; false when one does
// not take its type.
inline bool record_instructions(const double* code, int32_t count, std::vector<Id>& reg, std::vector<int32_t>& type) {
  for (int32_t k = 0; k < count; ++k, code += 5) {
    const auto op = static_cast<int32_t>(code[0]), to = static_cast<int32_t>(code[1]);
    const auto operand = [&](int j) { return code[j] < 0 ? 0 : reg[static_cast<int32_t>(code[j])]; };
    const int32_t from = type[static_cast<int32_t>(code[2])];
    const Id made =
        op == kCast || (op == kCopy && from != to)
            ? cast_value(from, to, operand(2))
            : visit_compute(to, [&](auto t) { return record_op<decltype(t)>(op, operand(2), operand(3), operand(4)); });
    if (!made) return false;
    reg.push_back(made);
    type.push_back(to);
  }
  return true;
}

// A register as an element of a storage type, in its compute type.
inline Id stored_value(int32_t dtype, int32_t from, Id value) {
  if (dtype == k_bool) return truth_of(from, value);
  return cast_value(from, dtype == k_f16 || dtype == k_bf16 ? k_f32 : is_compute(dtype) ? dtype : k_i32, value);
}

}  // namespace
}  // namespace brasa::vk
