import { FormatError } from '../core/error.js';
import { byteSize } from './bytes.js';

// The safetensors container: u64 little-endian header length, a JSON header, then the tensors' bytes without holes.
// https://huggingface.co/docs/safetensors; this file checks headers and knows nothing of tensors or files.

/** What the header says of one tensor; `begin` and `end` are byte offsets into the data that follows the header. */
export interface Entry {
  name: string;
  dtype: FileDType;
  shape: number[];
  begin: number;
  end: number;
}

export interface Header {
  /** In the order of the data. */
  entries: Entry[];
  metadata: Record<string, string>;
}

/** File names of the element types, with bytes per element. */
const DTYPES = {
  F64: { dtype: 'f64', bytes: 8 },
  F32: { dtype: 'f32', bytes: 4 },
  F16: { dtype: 'f16', bytes: 2 },
  BF16: { dtype: 'bf16', bytes: 2 },
  I64: { dtype: 'i64', bytes: 8 },
  I32: { dtype: 'i32', bytes: 4 },
  I8: { dtype: 'i8', bytes: 1 },
  U8: { dtype: 'u8', bytes: 1 },
  BOOL: { dtype: 'bool', bytes: 1 },
} as const;

export type FileDType = (typeof DTYPES)[keyof typeof DTYPES]['dtype'];

export const PREFIX_BYTES = 8;
const MAX_HEADER_BYTES = 100_000_000; // the reference implementation's cap

/** Reads the 8-byte prefix: the header's length in bytes, checked against the cap and the file's size. */
export function headerLength(prefix: Uint8Array, fileBytes: number): number {
  if (fileBytes < PREFIX_BYTES || prefix.length < PREFIX_BYTES) throw bad(`file of ${fileBytes} bytes is too short`);
  const view = new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES);
  const length = view.getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) throw bad(`header of ${length} bytes is longer than the ${MAX_HEADER_BYTES} allowed`);
  if (Number(length) > fileBytes - PREFIX_BYTES) throw bad(`header of ${length} bytes runs past the end of the file`);
  return Number(length);
}

/** Parses and checks the JSON header of a file whose data section has `dataBytes` bytes. */
export function parseHeader(bytes: Uint8Array, dataBytes: number): Header {
  const json = parseJson(bytes);
  const entries: Entry[] = [];
  let metadata: Record<string, string> = Object.create(null);
  for (const [name, value] of Object.entries(json)) {
    if (name === '__metadata__') metadata = parseMetadata(value);
    else entries.push(parseEntry(name, value, dataBytes));
  }
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== covered) {
      throw bad(
        `${show(name)} ${begin < covered ? 'overlaps the tensor' : 'leaves a hole'} before it, at byte ${begin}`,
      );
    }
    covered = end;
  }
  if (covered !== dataBytes) throw bad(`tensors cover ${covered} of the ${dataBytes} bytes of data`);
  return { entries, metadata };
}

/** The bytes before the data: prefix and header, padded with spaces to 8 bytes so that the data is aligned. */
export function formatHeader({ entries, metadata }: Header): Uint8Array {
  const json: Record<string, unknown> = Object.create(null);
  if (Object.keys(metadata).length > 0) json.__metadata__ = metadata;
  for (const { name, dtype, shape, begin, end } of entries) {
    json[name] = { dtype: dtype.toUpperCase(), shape, data_offsets: [begin, end] };
  }
  const text = Buffer.from(JSON.stringify(json));
  const length = Math.ceil(text.length / 8) * 8;
  const bytes = Buffer.alloc(PREFIX_BYTES + length, ' ');
  bytes.writeBigUInt64LE(BigInt(length));
  text.copy(bytes, PREFIX_BYTES);
  return bytes;
}

function parseJson(bytes: Uint8Array): object {
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    json = JSON.parse(text);
  } catch (error) {
    throw bad(`header is not valid JSON: ${(error as Error).message}`);
  }
  if (!isObject(json)) throw bad('header is not a JSON object');
  rejectDuplicateKeys(text);
  return json;
}

/** `JSON.parse` keeps the last of equal keys silently; a file could show two readers two different tensors. */
function rejectDuplicateKeys(json: string): void {
  const open: (Set<string> | null)[] = []; // one entry per open object, null per open array
  for (let i = 0; i < json.length; i++) {
    const c = json[i];
    if (c === '{') open.push(new Set());
    else if (c === '[') open.push(null);
    else if (c === '}' || c === ']') open.pop();
    else if (c === '"') {
      const start = i++;
      while (json[i] !== '"') i += json[i] === '\\' ? 2 : 1;
      const keys = open.at(-1);
      if (!keys || !isKey(json, i + 1)) continue;
      const key: string = JSON.parse(json.slice(start, i + 1)); // "a" and "\u0061" are the same key
      if (keys.has(key)) throw bad(`key ${show(key)} occurs twice`);
      keys.add(key);
    }
  }
}

// In valid JSON a string inside an object is a key exactly when a colon follows it.
function isKey(json: string, end: number): boolean {
  while (' \t\n\r'.includes(json[end] ?? ':')) end++;
  return json[end] === ':';
}

function parseMetadata(value: unknown): Record<string, string> {
  if (!isObject(value)) throw bad('__metadata__ is not an object');
  const metadata: Record<string, string> = Object.create(null);
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw bad(`__metadata__ ${show(key)} is not a string`);
    metadata[key] = text;
  }
  return metadata;
}

function parseEntry(name: string, value: unknown, dataBytes: number): Entry {
  if (!isObject(value)) throw bad(`${show(name)} is not described by an object`);
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
  if (typeof dtype !== 'string') throw bad(`${show(name)} has no dtype`);
  if (!Object.hasOwn(DTYPES, dtype)) throw bad(`${show(name)} has the unsupported dtype ${show(dtype)}`);
  const type = DTYPES[dtype as keyof typeof DTYPES];
  if (!isSizes(shape)) throw bad(`${show(name)} has no valid shape`);
  if (!isSizes(offsets) || offsets.length !== 2) throw bad(`${show(name)} has no valid data_offsets`);
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataBytes) {
    throw bad(`${show(name)} has offsets [${begin}, ${end}] outside the ${dataBytes} bytes of data`);
  }
  const size = byteSize(shape, type.bytes);
  if (size === null) throw bad(`${show(name)} has an impossible shape (${shape})`);
  if (size !== end - begin) throw bad(`${show(name)} ${dtype} (${shape}) needs ${size} bytes, not ${end - begin}`);
  return { name, dtype: type.dtype, shape: shape.map((n) => n + 0), begin, end };
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

// A name from a file, quoted and cut short: it may hold anything.
function show(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}…` : name);
}

function bad(message: string): FormatError {
  return new FormatError(message, { op: 'safetensors' });
}
