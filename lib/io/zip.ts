import { crc32, deflateRawSync, inflateRawSync } from 'node:zlib';
import { ArgumentError, FormatError } from '../core/error.js';

// As much of ZIP as .npz needs: stored and deflated files, no ZIP64, no encryption. Names come from the archive: never
// use them as paths. https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const MAX_UNPACKED = 2 ** 32; // bytes an archive may unpack to: a small file can claim any size

/** The files of an archive, checked against their CRC-32. Throws FormatError for anything malformed. */
export function readZip(bytes: Uint8Array): Map<string, Uint8Array> {
  const zip = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const end = findEnd(zip);
  const count = zip.readUInt16LE(end + 10);
  let at = zip.readUInt32LE(end + 16);
  if (count === 0xffff || at === 0xffffffff) throw bad('ZIP64 archives are not supported');
  const files = new Map<string, Uint8Array>();
  let unpacked = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > end || zip.readUInt32LE(at) !== CENTRAL) throw bad('broken central directory');
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((o) => zip.readUInt16LE(at + o)) as [
      number,
      number,
      number,
    ];
    const next = at + 46 + nameLength + extraLength + commentLength;
    if (next > end) throw bad('broken central directory');
    const name = zip.toString('utf8', at + 46, at + 46 + nameLength);
    if (files.has(name)) throw bad(`${JSON.stringify(name)} occurs twice`);
    unpacked += zip.readUInt32LE(at + 24);
    if (unpacked > MAX_UNPACKED) throw bad(`the archive unpacks to more than ${MAX_UNPACKED} bytes`);
    files.set(name, readEntry(zip, at, end, name));
    at = next;
  }
  return files;
}

/** The chunks of an archive holding `files`, in order; times are fixed, so equal input gives equal bytes. */
export function writeZip(files: Iterable<[string, Uint8Array]>, compress: boolean): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let offset = 0;
  for (const [name, data] of files) {
    const nameBytes = Buffer.from(name);
    const packed = compress ? deflateRawSync(data) : data;
    const fields = Buffer.alloc(26); // the part that local and central headers share
    fields.writeUInt16LE(20, 0); // version needed
    fields.writeUInt16LE(0x800, 2); // UTF-8 names
    fields.writeUInt16LE(compress ? 8 : 0, 4);
    fields.writeUInt16LE(0x21, 8); // 1 January 1980
    fields.writeUInt32LE(crc32(data), 10);
    writeSize(fields, packed.length, 14);
    writeSize(fields, data.length, 18);
    fields.writeUInt16LE(nameBytes.length, 22);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(CENTRAL, 0);
    central.writeUInt16LE(20, 4); // version made by
    fields.copy(central, 6);
    writeSize(central, offset, 42);
    directory.push(central, nameBytes);
    const local = Buffer.alloc(4);
    local.writeUInt32LE(LOCAL, 0);
    chunks.push(local, fields, nameBytes, packed);
    offset += 30 + nameBytes.length + packed.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(END, 0);
  const count = directory.length / 2;
  if (count > 0xfffe) throw new ArgumentError('a ZIP archive holds at most 65534 files', { op: 'zip' });
  end.writeUInt16LE(count, 8);
  end.writeUInt16LE(count, 10);
  writeSize(
    end,
    directory.reduce((sum, part) => sum + part.length, 0),
    12,
  );
  writeSize(end, offset, 16);
  return [...chunks, ...directory, end];
}

function readEntry(zip: Buffer, at: number, end: number, name: string): Uint8Array {
  const [flags, method] = [zip.readUInt16LE(at + 8), zip.readUInt16LE(at + 10)];
  const [crc, packed, size, local] = [16, 20, 24, 42].map((o) => zip.readUInt32LE(at + o)) as [
    number,
    number,
    number,
    number,
  ];
  if (flags & 1) throw bad(`${JSON.stringify(name)} is encrypted`);
  if ([packed, size, local].includes(0xffffffff)) throw bad('ZIP64 archives are not supported');
  if (local + 30 > end || zip.readUInt32LE(local) !== LOCAL) throw bad(`${JSON.stringify(name)} has no local header`);
  const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
  if (start + packed > end) throw bad(`${JSON.stringify(name)} runs past the end`);
  const data = inflate(zip.subarray(start, start + packed), method, size, name);
  if (data.length !== size || crc32(data) !== crc)
    throw bad(`${JSON.stringify(name)} is damaged: size or CRC-32 differ`);
  return data;
}

function inflate(data: Uint8Array, method: number, size: number, name: string): Uint8Array {
  if (method === 0) return data;
  if (method !== 8) throw bad(`${JSON.stringify(name)} has the unsupported method ${method}`);
  try {
    return inflateRawSync(data, { maxOutputLength: Math.max(size, 1) });
  } catch (error) {
    throw bad(`${JSON.stringify(name)}: ${(error as Error).message}`);
  }
}

// The end record is last, followed by a comment of at most 64 KiB.
function findEnd(zip: Buffer): number {
  for (let at = zip.length - 22; at >= Math.max(0, zip.length - 22 - 0xffff); at--) {
    if (zip.readUInt32LE(at) === END && at + 22 + zip.readUInt16LE(at + 20) === zip.length) return at;
  }
  throw bad('not a ZIP archive');
}

function writeSize(buffer: Buffer, size: number, at: number): void {
  if (size >= 0xffffffff) throw new ArgumentError('the archive would need ZIP64: use safetensors', { op: 'zip' });
  buffer.writeUInt32LE(size, at);
}

function bad(message: string): FormatError {
  return new FormatError(message, { op: 'zip' });
}
