/** f16 and bf16 words to and from numbers, rounding to nearest even; for reading and writing tensors. */
const word = new Uint32Array(1);
const real = new Float32Array(word.buffer);

export function floatToBf16(value: number): number {
  real[0] = value;
  const bits = word[0]!;
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

export function bf16ToFloat(bits: number): number {
  word[0] = bits << 16;
  return real[0]!;
}

export function floatToF16(value: number): number {
  real[0] = value;
  const bits = word[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const exponent = (bits >>> 23) & 0xff;
  const mantissa = bits & 0x7fffff;
  if (exponent === 255) return sign | 0x7c00 | (mantissa ? 0x200 : 0);
  const e = exponent - 112;
  if (e >= 31) return sign | 0x7c00;
  if (e <= 0) {
    if (e < -10) return sign;
    const full = mantissa | 0x800000;
    const shift = 14 - e;
    const half = 1 << (shift - 1);
    const rest = full & ((1 << shift) - 1);
    const low = full >>> shift;
    return sign | (low + (rest > half || (rest === half && low & 1) ? 1 : 0));
  }
  const rest = mantissa & 0x1fff;
  const low = (e << 10) | (mantissa >>> 13);
  return sign | (low + (rest > 0x1000 || (rest === 0x1000 && low & 1) ? 1 : 0));
}

export function f16ToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const mantissa = bits & 0x3ff;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}
