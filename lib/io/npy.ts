import { readFile } from 'node:fs/promises';
import type { DType } from '../core/dtype.js';
import { DTypeError, FormatError } from '../core/error.js';
import type { Tensor } from '../core/tensor.js';
import { bytes as rawBytes } from '../ops/read.js';
import { permute } from '../ops/view.js';
import { writeFileAtomic } from './atomic.js';
import { areBools, byteSize, fromBytes, swapBytes } from './bytes.js';
import { readZip, writeZip } from './zip.js';

// NumPy's formats: \x93NUMPY major minor, header length (u16, from version 2 on u32), a Python dict literal, the data.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. A .npz is a ZIP file of .npy files.

const MAGIC = '\x93NUMPY';
const KINDS: Record<string, DType> = {
  f8: 'f64',
  f4: 'f32',
  f2: 'f16',
  i8: 'i64',
  i4: 'i32',
  i1: 'i8',
  u1: 'u8',
  b1: 'bool',
};
const MAX_HEADER_BYTES = 1_000_000;

/** Reads a .npy file. Throws FormatError for anything else, for pickled objects and for types brasa has not. */
export async function loadNpy(path: string | URL): Promise<Tensor> {
  return decodeNpy(await readFile(path));
}

/** Writes a tensor as .npy, atomically. bf16 has no NumPy type: convert with `x.to('f32')`. */
export async function saveNpy(path: string, x: Tensor): Promise<void> {
  await writeFileAtomic(path, encodeNpy(x));
}

/** Reads a .npz archive into a record without prototype: array name -> tensor. */
export async function loadNpz(path: string | URL): Promise<Record<string, Tensor>> {
  const arrays: Record<string, Tensor> = Object.create(null);
  for (const [name, bytes] of readZip(await readFile(path))) arrays[name.replace(/\.npy$/, '')] = decodeNpy(bytes);
  return arrays;
}

/** Writes a record of tensors as .npz, atomically; `compress` deflates as `numpy.savez_compressed` does. */
export async function saveNpz(
  path: string,
  arrays: Record<string, Tensor>,
  { compress = false }: { compress?: boolean } = {},
): Promise<void> {
  const files = Object.entries(arrays).map(([name, x]): [string, Uint8Array] => [
    `${name}.npy`,
    Buffer.concat(encodeNpy(x)),
  ]);
  await writeFileAtomic(path, writeZip(files, compress));
}

export function decodeNpy(bytes: Uint8Array): Tensor {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (buffer.length < 10 || buffer.toString('latin1', 0, 6) !== MAGIC) throw bad('not a .npy file');
  const major = buffer[6]!;
  if (major < 1 || major > 3) throw bad(`unsupported version ${major}`);
  const start = major === 1 ? 10 : 12;
  if (buffer.length < start) throw bad('file ends inside the header');
  const length = major === 1 ? buffer.readUInt16LE(8) : buffer.readUInt32LE(8);
  if (length > MAX_HEADER_BYTES || start + length > buffer.length) throw bad(`header of ${length} bytes is too long`);
  const { dtype, width, bigEndian, fortran, shape } = parseHeader(buffer.toString('latin1', start, start + length));
  let data: Uint8Array = buffer.subarray(start + length);
  const size = byteSize(shape, width);
  if (size === null) throw bad(`impossible shape (${shape})`);
  if (data.length !== size) throw bad(`${dtype} (${shape}) needs ${size} bytes of data, not ${data.length}`);
  if (dtype === 'bool' && !areBools(data)) throw bad('bool array has bytes other than 0 and 1');
  if (bigEndian) data = swapBytes(data, width);
  if (!fortran) return fromBytes(data, shape, dtype);
  return permute(
    fromBytes(data, shape.toReversed(), dtype),
    shape.map((_, d) => shape.length - 1 - d),
  );
}

export function encodeNpy(x: Tensor): Uint8Array[] {
  const kind = Object.keys(KINDS).find((k) => KINDS[k] === x.dtype);
  if (!kind) throw new DTypeError(`NumPy has no type for ${x.dtype}; convert with x.to('f32')`, { op: 'npy' });
  const descr = (kind.endsWith('1') ? '|' : '<') + kind;
  const shape = x.shape.length === 1 ? `(${x.shape[0]},)` : `(${x.shape.join(', ')})`;
  const dict = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`;
  const length = Math.ceil((10 + dict.length + 1) / 64) * 64 - 10; // the data starts at a multiple of 64
  const head = Buffer.alloc(10);
  head.write(MAGIC, 'latin1');
  head[6] = 1;
  head.writeUInt16LE(length, 8);
  return [head, Buffer.from(`${dict.padEnd(length - 1)}\n`), rawBytes(x)];
}

// Only what numpy.save writes: three keys in any order, plain types. A pickled object has another descr.
function parseHeader(text: string) {
  const field = (key: string, value: string) => {
    const match = new RegExp(`'${key}': *${value} *[,}]`).exec(text);
    if (!match) throw bad(`header has no valid ${key}: ${JSON.stringify(text.slice(0, 200))}`);
    return match[1]!;
  };
  if (!/^\{.*\}\s*$/s.test(text)) throw bad('header is no dict');
  const descr = field('descr', "'([<>|=]?[a-zA-Z]\\d*)'");
  const fortran = field('fortran_order', '(True|False)') === 'True';
  const shape = field('shape', '\\(((?:\\d+, *)*\\d*)\\)')
    .split(',')
    .filter((n) => n.trim() !== '')
    .map(Number);
  const kind = descr.replace(/^[<>|=]/, '');
  if (!Object.hasOwn(KINDS, kind)) throw bad(`unsupported type ${JSON.stringify(descr)}`);
  return { dtype: KINDS[kind]!, width: Number(kind.slice(1)), bigEndian: descr[0] === '>', fortran, shape };
}

function bad(message: string): FormatError {
  return new FormatError(message, { op: 'npy' });
}
