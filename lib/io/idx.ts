import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { FormatError } from '../core/error.js';
import type { Tensor } from '../core/tensor.js';
import { byteSize, fromBytes, swapBytes } from './bytes.js';

// IDX, the format of MNIST: 0 0 type ndim, then ndim big-endian u32 sizes, then big-endian data, first index slowest.
const TYPES = {
  8: { dtype: 'u8', bytes: 1 },
  9: { dtype: 'i8', bytes: 1 },
  12: { dtype: 'i32', bytes: 4 },
  13: { dtype: 'f32', bytes: 4 },
  14: { dtype: 'f64', bytes: 8 },
} as const;

/** The most bytes a compressed file may unpack to: a few kilobytes of gzip can hold gigabytes. */
const MAX_UNPACKED = 2 ** 31;

/**
 * Reads an IDX file (a path or its bytes; gzip is recognised) into a tensor of the file's own type (u8, i8, i32, f32, f64).
 * Throws FormatError when the bytes are not an IDX file, are cut short, or go on after the last element.
 */
export function readIdx(source: string | URL | Uint8Array): Tensor {
  const bytes = unpack(source instanceof Uint8Array ? source : readFileSync(source));
  if (bytes.length < 4 || bytes[0] !== 0 || bytes[1] !== 0)
    throw bad('not an IDX file: it must begin with two zero bytes');
  const code = bytes[2]!;
  const ndim = bytes[3]!;
  if (!Object.hasOwn(TYPES, code)) throw bad(`unsupported type code ${code}`);
  const type = TYPES[code as keyof typeof TYPES];
  if (ndim === 0) throw bad('no dimensions');
  const start = 4 + 4 * ndim;
  if (bytes.length < start) throw bad(`${bytes.length} bytes end inside the header`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const shape = Array.from({ length: ndim }, (_, d) => view.getUint32(4 + 4 * d));
  const size = byteSize(shape, type.bytes);
  if (size === null) throw bad(`impossible shape (${shape})`);
  if (bytes.length - start !== size)
    throw bad(`${type.dtype} (${shape}) needs ${size} bytes of data, not ${bytes.length - start}`);
  return fromBytes(swapBytes(bytes.subarray(start), type.bytes), shape, type.dtype);
}

function unpack(bytes: Uint8Array): Uint8Array {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    return gunzipSync(bytes, { maxOutputLength: MAX_UNPACKED });
  } catch (error) {
    throw bad(`gzip: ${(error as Error).message}`);
  }
}

function bad(message: string): FormatError {
  return new FormatError(message, { op: 'readIdx' });
}
