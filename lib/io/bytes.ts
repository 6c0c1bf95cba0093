import { canonicalDevice, defaultDevice } from '../core/device.js';
import type { DType } from '../core/dtype.js';
import { layoutOf, MAX_DIMS } from '../core/layout.js';
import type { Tensor } from '../core/tensor.js';
import { fromBytes as fill } from '../ops/free.js';

/** A tensor of raw little-endian elements, row-major: what `x.bytes()` gives. The bytes may lie anywhere and are copied. */
export function fromBytes(bytes: Uint8Array, shape: readonly number[], dtype: DType, device = defaultDevice()): Tensor {
  return fill(layoutOf(shape, dtype, canonicalDevice(device)), bytes);
}

/** Reverses the bytes of every element (big-endian files; every platform of brasa is little-endian), in a copy. */
export function swapBytes(bytes: Uint8Array, width: number): Uint8Array {
  if (width === 1) return bytes;
  const out = Buffer.from(bytes);
  if (width === 2) return out.swap16();
  if (width === 4) return out.swap32();
  return out.swap64();
}

/**
 * Bytes of an array, or null when no array can have that shape: more than 16 dims, or sizes whose product leaves the exact
 * integers (zeros aside, as strides are products too).
 */
export function byteSize(shape: readonly number[], width: number): number | null {
  let bound = width;
  for (const n of shape) {
    bound *= Math.max(n, 1);
    if (!(Number.isSafeInteger(n) && n >= 0 && bound <= Number.MAX_SAFE_INTEGER)) return null;
  }
  return shape.length > MAX_DIMS ? null : shape.includes(0) ? 0 : bound;
}

/** Whether every byte is 0 or 1, as a bool's must be: kernels may rely on it. */
export function areBools(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte <= 1);
}
