import { type FileHandle, open } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { defaultDevice } from '../core/device.js';
import { dtypeInfo } from '../core/dtype.js';
import { ArgumentError, FormatError } from '../core/error.js';
import type { Tensor } from '../core/tensor.js';
import { native } from '../native.js';
import { bytes } from '../ops/read.js';
import { writeFileAtomic } from './atomic.js';
import { areBools, fromBytes } from './bytes.js';
import { type Entry, formatHeader, type Header, headerLength, PREFIX_BYTES, parseHeader } from './safetensors.js';

/** Tensors by name; what files give has no prototype, so any name is only a name. */
export type TensorRecord = Record<string, Tensor>;

export interface SaveOptions {
  /** Strings to keep beside the tensors. */
  metadata?: Readonly<Record<string, string>>;
}

export interface LoadOptions {
  /** Default: the default device. */
  device?: string;
  /** Map the file instead of reading it: one copy less. Default true; set false for a file that others may cut short meanwhile. */
  mmap?: boolean;
}

/**
 * Writes tensors as a safetensors file. The values are those of this moment, though writing goes on; the file appears whole or
 * not at all. Throws ArgumentError for a name the format cannot hold, and before anything is written.
 */
export async function save(
  path: string | URL,
  tensors: Readonly<TensorRecord>,
  options: SaveOptions = {},
): Promise<void> {
  await writeFileAtomic(toPath(path), encodeSafetensors(tensors, options));
}

/** Reads a safetensors file. Throws FormatError for anything else, damaged or hostile. */
export async function load(
  path: string | URL,
  { device = defaultDevice(), mmap = true }: LoadOptions = {},
): Promise<TensorRecord> {
  if (mmap) {
    const mapped = native.mapFile(toPath(path));
    if (typeof mapped !== 'number') return decodeSafetensors(new Uint8Array(mapped), { device });
  } // a file that cannot be mapped is read, or reported by name, below
  return withFile(path, async (file, { entries }, start) => {
    const tensors: TensorRecord = Object.create(null);
    for (const entry of entries)
      tensors[entry.name] = toTensor(entry, await readAt(file, start + entry.begin, entry.end - entry.begin), device);
    return tensors;
  });
}

/** The strings kept beside the tensors of a safetensors file; reads the header only. */
export async function loadMetadata(path: string | URL): Promise<Record<string, string>> {
  return withFile(path, async (_, { metadata }) => metadata);
}

/** The chunks of a safetensors file holding `tensors`, for containers of one's own. */
export function encodeSafetensors(tensors: Readonly<TensorRecord>, { metadata = {} }: SaveOptions = {}): Uint8Array[] {
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== 'string')
      throw new ArgumentError(`metadata ${JSON.stringify(key)} is not a string`, { op: 'save' });
  }
  const names = Object.keys(tensors);
  const invalid = [...names, ...Object.entries(metadata).flat()].find((text) => !isText(text));
  if (invalid !== undefined || names.includes('__metadata__')) {
    throw new ArgumentError(`a safetensors file cannot hold ${JSON.stringify(invalid ?? '__metadata__')} as a name`, {
      op: 'save',
    });
  }
  // Widest elements first, as the reference writes them: every tensor is then aligned to its element.
  const width = (name: string) => dtypeInfo(tensors[name].dtype).bytes;
  names.sort((a, b) => width(b) - width(a) || (a < b ? -1 : 1));
  let end = 0;
  const entries = names.map((name): Entry => {
    const { dtype, shape, size } = tensors[name];
    const begin = end;
    end += size * width(name);
    return { name, dtype, shape: [...shape], begin, end };
  });
  return [formatHeader({ entries, metadata }), ...names.map((name) => bytes(tensors[name]))];
}

/** The tensors of a safetensors file already in memory. */
export function decodeSafetensors(
  data: Uint8Array,
  { device = defaultDevice() }: { device?: string } = {},
): TensorRecord {
  const start = PREFIX_BYTES + headerLength(data, data.length);
  const { entries } = parseHeader(data.subarray(PREFIX_BYTES, start), data.length - start);
  const tensors: TensorRecord = Object.create(null);
  for (const entry of entries)
    tensors[entry.name] = toTensor(entry, data.subarray(start + entry.begin, start + entry.end), device);
  return tensors;
}

function toTensor({ name, dtype, shape }: Entry, data: Uint8Array, device: string): Tensor {
  if (dtype === 'bool' && !areBools(data)) {
    throw new FormatError(`${JSON.stringify(name)} is BOOL and has bytes other than 0 and 1`, { op: 'safetensors' });
  }
  return fromBytes(data, shape, dtype, device);
}

async function withFile<R>(
  path: string | URL,
  use: (file: FileHandle, header: Header, start: number) => Promise<R>,
): Promise<R> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const length = headerLength(await readAt(file, 0, Math.min(size, PREFIX_BYTES)), size);
    const start = PREFIX_BYTES + length;
    return await use(file, parseHeader(await readAt(file, PREFIX_BYTES, length), size - start), start);
  } finally {
    await file.close();
  }
}

// One read call takes at most 2 GiB, and may give less than it was asked for.
async function readAt(file: FileHandle, position: number, length: number): Promise<Uint8Array> {
  const data = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(data, done, Math.min(length - done, 2 ** 30), position + done);
    if (bytesRead === 0) throw new FormatError('the file ended while it was read', { op: 'safetensors' });
    done += bytesRead;
  }
  return data;
}

function toPath(path: string | URL): string {
  const file = typeof path === 'string' ? path : fileURLToPath(path);
  if (file.includes('\0')) throw new ArgumentError('a path cannot hold a null byte', { op: 'safetensors' });
  return file;
}

// UTF-8 has no half surrogates, JavaScript strings may.
function isText(text: string): boolean {
  return Buffer.from(text).toString() === text;
}
