// What shaders share. Each is compiled for a compute type, COMPUTE_f32 and the like, and reads the storage types of it:
// dtype ids of dtypes.def, as specialisation constants. Variants _words are for devices without storage of 8 and 16 bits:
// such elements are parts of whole words. Memory is addressed by 64-bit numbers; indices have 32 bits.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_8bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require

const uint F32 = 0, F64 = 1, F16 = 2, BF16 = 3, I8 = 4, U8 = 5, I32 = 6, I64 = 7, BOOL = 8;

#if defined(COMPUTE_f32_words)
#define COMPUTE_f32
#define WORDS
#elif defined(COMPUTE_i32_words)
#define COMPUTE_i32
#define WORDS
#endif

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
#ifdef WORDS
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Word { uint v; };
uint load_bits(uint64_t at, uint mask) { return Word(at & ~uint64_t(3)).v >> (uint(at & 3) * 8) & mask; }
void store_bits(uint64_t at, uint mask, uint value) {  // others may write the rest of the word
  Word word = Word(at & ~uint64_t(3));
  const uint shift = uint(at & 3) * 8;
  atomicAnd(word.v, ~(mask << shift));
  atomicOr(word.v, (value & mask) << shift);
}
uint load_half(uint64_t at) { return load_bits(at, 0xffff); }
void store_half(uint64_t at, uint value) { store_bits(at, 0xffff, value); }
uint load_byte(uint64_t at) { return load_bits(at, 0xff); }
void store_byte(uint64_t at, uint value) { store_bits(at, 0xff, value); }
#else
layout(buffer_reference, std430, buffer_reference_align = 2) buffer Half { uint16_t v; };
layout(buffer_reference, std430, buffer_reference_align = 1) buffer Byte { uint8_t v; };
uint load_half(uint64_t at) { return uint(Half(at).v); }
void store_half(uint64_t at, uint value) { Half(at).v = uint16_t(value); }
uint load_byte(uint64_t at) { return uint(Byte(at).v); }
void store_byte(uint64_t at, uint value) { Byte(at).v = uint8_t(value); }
#endif

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
  const uint bits = load_half(base + uint64_t(i) * 2);
  return dtype == F16 ? from_f16(bits) : uintBitsToFloat(bits << 16);
}
void store(uint dtype, uint64_t base, uint i, T value) {
  if (dtype == F32)
    Plain32(base + uint64_t(i) * 4).v = value;
  else
    store_half(base + uint64_t(i) * 2, dtype == F16 ? to_f16(value) : to_bf16(value));
}
#else
T load(uint dtype, uint64_t base, uint i) {
  if (dtype == I32) return Plain32(base + uint64_t(i) * 4).v;
  const uint bits = load_byte(base + uint64_t(i));
  return dtype == I8 ? bitfieldExtract(int(bits), 0, 8) : int(bits);
}
void store(uint dtype, uint64_t base, uint i, T value) {
  if (dtype == I32)
    Plain32(base + uint64_t(i) * 4).v = value;
  else
    store_byte(base + uint64_t(i), uint(value));
}
#endif
