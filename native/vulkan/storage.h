// Elements of storage types as values of their compute type, for shaders that are written at run time.
#pragma once
#include "../backend.h"
#include "value.h"

namespace brasa::vk {
namespace {

inline bool is_compute(int32_t dtype) { return dtype == k_f32 || dtype == k_f64 || dtype == k_i32 || dtype == k_i64; }

inline Type storage_type(int32_t dtype) {
  static const Type types[] = {Type::kF32, Type::kF64, Type::kU16, Type::kU16, Type::kU8,
                               Type::kU8,  Type::kU32, Type::kU64, Type::kU8};
  return types[dtype];
}

inline bool is_narrow(int32_t dtype) {
  const Type type = storage_type(dtype);
  return type == Type::kU8 || type == Type::kU16;
}
// The bits of an element; of one of less than 32, in a u32.
inline Id load_bits(int32_t dtype, Id address) {
  const Type type = storage_type(dtype);
  return is_narrow(dtype) ? recording->load_narrow(type, address) : recording->load(type, address);
}
inline void store_bits(int32_t dtype, Id address, Id value) {
  const Type type = storage_type(dtype);
  is_narrow(dtype) ? recording->store_narrow(type, address, value) : recording->store(type, address, value);
}

inline F32 from_f16(I32 x) {
  const I32 magnitude = (x & I32(0x7fff)) << 13;
  const I32 scaled = bits(from_bits<float>(magnitude) * F32(0x1p112f));  // rebias; right for denormals too
  const I32 special = (magnitude >= I32(0x7c00 << 13)) & I32(0x7f800000);
  return from_bits<float>(scaled | special | ((x & I32(0x8000)) << 16));
}
// To nearest even; as the CPU's, in integers, for devices may round as they like.
inline I32 to_f16(F32 x) {
  const I32 b = bits(x), u = b & I32(0x7fffffff);
  const I32 normal = (u - I32(112 << 23) + I32(0xfff) + ((u >> 13) & I32(1))) >> 13;
  const I32 denormal = bits(from_bits<float>(u) + F32(0.5f)) - I32(0x3f000000);  // the adder rounds at 2^-24
  const I32 special = select(u > I32(0x7f800000), I32(0x7e00) | ((u >> 13) & I32(0x3ff)), I32(0x7c00));
  const I32 finite = select(u < I32(113 << 23), denormal, normal);
  return select(u >= I32(0x47800000), special, finite) | ((b >> 16) & I32(0x8000));
}
inline I32 to_bf16(F32 x) {
  const I32 b = bits(x);
  const I32 rounded = (b + I32(0x7fff) + ((b >> 16) & I32(1))) >> 16;
  return select(x != x, (b >> 16) | I32(0x40), rounded);
}

// The element at an address, as its compute type.
inline Id load_element(int32_t dtype, Id address) {
  const Id raw = load_bits(dtype, address);
  switch (dtype) {
    case k_f16:
      return from_f16(I32::of(raw)).id();
    case k_bf16:
      return from_bits<float>(I32::of(raw) << 16).id();
    case k_i8:
      return ((I32::of(raw) << 24) >> 24).id();
    case k_bool:
      return ((I32::of(raw) != I32(0)) & I32(1)).id();
    default:
      return raw;
  }
}
inline void store_element(int32_t dtype, Id address, Id value) {
  switch (dtype) {
    case k_f16:
      value = to_f16(F32::of(value)).id();
      break;
    case k_bf16:
      value = to_bf16(F32::of(value)).id();
      break;
    case k_bool:
      value = ((I32::of(value) != I32(0)) & I32(1)).id();
      break;
    default:
      break;
  }
  store_bits(dtype, address, value);
}

// A value of one compute type as another.
inline Id cast_value(int32_t from, int32_t to, Id value) {
  return visit_compute(from, [&](auto f) {
    return visit_compute(to, [&](auto t) { return cast<decltype(t)>(Vec<decltype(f)>::of(value)).id(); });
  });
}
// 1 where it is not 0, in i32.
inline Id truth_of(int32_t from, Id value) {
  return visit_compute(from, [&](auto f) {
    using V = Vec<decltype(f)>;
    return select(I32::mask((V::of(value) != V(decltype(f)(0))).condition()), I32(1), I32(0)).id();
  });
}

}  // namespace
}  // namespace brasa::vk
