// What shaders share. Each is compiled for a compute type, COMPUTE_f32 and the like, and reads the storage types of it:
// dtype ids of dtypes.def, as specialisation constants. Memory is addressed by 64-bit numbers; indices have 32 bits.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_8bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require

const uint F32 = 0, F64 = 1, F16 = 2, BF16 = 3, I8 = 4, U8 = 5, I32 = 6, I64 = 7, BOOL = 8;

#if defined(COMPUTE_f32)
#define T float
#elif defined(COMPUTE_f64)
#define T double
#elif defined(COMPUTE_i32)
#define T int
#else
#define T int64_t
#endif

layout(buffer_reference, std430, buffer_reference_align = 8) buffer Plain64 { T v; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Plain32 { T v; };
layout(buffer_reference, std430, buffer_reference_align = 2) buffer Half { uint16_t v; };
layout(buffer_reference, std430, buffer_reference_align = 1) buffer Byte { uint8_t v; };
layout(buffer_reference, std430, buffer_reference_align = 1) buffer SignedByte { int8_t v; };

#if defined(COMPUTE_f64) || defined(COMPUTE_i64)
T load(uint dtype, uint64_t base, uint i) { return Plain64(base + uint64_t(i) * 8).v; }
void store(uint dtype, uint64_t base, uint i, T value) { Plain64(base + uint64_t(i) * 8).v = value; }
#elif defined(COMPUTE_f32)
float from_f16(uint x) {
  const uint magnitude = (x & 0x7fff) << 13;
  const uint scaled = floatBitsToUint(uintBitsToFloat(magnitude) * 5.192296858534828e33);  // 2^112: right for denormals too
  const uint special = magnitude >= (0x7c00u << 13) ? 0x7f800000u : 0u;
  return uintBitsToFloat(scaled | special | ((x & 0x8000) << 16));
}
// To nearest even, in integers: devices may round as they like.
uint to_f16(float x) {
  const uint b = floatBitsToUint(x), u = b & 0x7fffffff;
  const uint normal = (u - (112u << 23) + 0xfff + ((u >> 13) & 1)) >> 13;
  const uint denormal = floatBitsToUint(uintBitsToFloat(u) + 0.5) - 0x3f000000;
  const uint special = u > 0x7f800000 ? 0x7e00 | ((u >> 13) & 0x3ff) : 0x7c00;
  return (u >= 0x47800000 ? special : u < (113u << 23) ? denormal : normal) | ((b >> 16) & 0x8000);
}
uint to_bf16(float x) {
  const uint b = floatBitsToUint(x);
  return isnan(x) ? (b >> 16) | 0x40 : (b + 0x7fff + ((b >> 16) & 1)) >> 16;
}
T load(uint dtype, uint64_t base, uint i) {
  if (dtype == F32) return Plain32(base + uint64_t(i) * 4).v;
  const uint bits = uint(Half(base + uint64_t(i) * 2).v);
  return dtype == F16 ? from_f16(bits) : uintBitsToFloat(bits << 16);
}
void store(uint dtype, uint64_t base, uint i, T value) {
  if (dtype == F32)
    Plain32(base + uint64_t(i) * 4).v = value;
  else
    Half(base + uint64_t(i) * 2).v = uint16_t(dtype == F16 ? to_f16(value) : to_bf16(value));
}
#else
T load(uint dtype, uint64_t base, uint i) {
  if (dtype == I32) return Plain32(base + uint64_t(i) * 4).v;
  return dtype == I8 ? int(SignedByte(base + uint64_t(i)).v) : int(Byte(base + uint64_t(i)).v);
}
void store(uint dtype, uint64_t base, uint i, T value) {
  if (dtype == I32)
    Plain32(base + uint64_t(i) * 4).v = value;
  else
    Byte(base + uint64_t(i)).v = uint8_t(value);
}
#endif
