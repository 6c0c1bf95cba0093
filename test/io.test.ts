import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { type DType, FormatError, tensor, zeros } from 'brasa';
import {
  decodeSafetensors,
  encodeSafetensors,
  load,
  loadMetadata,
  loadNpy,
  loadNpz,
  readIdx,
  save,
  saveNpy,
  saveNpz,
  writeFileAtomic,
} from 'brasa/io';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { decodeNpy } from '../lib/io/npy.js';
import { readZip, writeZip } from '../lib/io/zip.js';
import { fromBytes } from '../lib/io/bytes.js';

const folder = mkdtempSync(join(tmpdir(), 'brasa-io-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);

const widths: Record<DType, number> = { f32: 4, f64: 8, f16: 2, bf16: 2, i8: 1, u8: 1, i32: 4, i64: 8, bool: 1 };

/** Any tensor: every type, sizes from 0 on, any bits (NaN payloads too). */
const anyTensor = fc
  .record({
    dtype: fc.constantFrom(...(Object.keys(widths) as DType[])),
    shape: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }),
    seed: fc.uint8Array({ minLength: 1, maxLength: 64 }),
  })
  .map(({ dtype, shape, seed }) => {
    const length = shape.reduce((a, b) => a * b, widths[dtype]);
    const bytes = Uint8Array.from({ length }, (_, i) => seed[i % seed.length] & (dtype === 'bool' ? 1 : 255));
    return { dtype, shape, bytes };
  });
const anyName = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 20 }),
  fc.constantFrom('__proto__', 'constructor', 'toString', 'a.weight', '0', '', '"', '\\', '\u0000', '{"a":[]}'),
);
const anyRecord = fc.dictionary(anyName, anyTensor, { maxKeys: 6, noNullPrototype: false });

type Raw = { dtype: DType; shape: number[]; bytes: Uint8Array };

function toTensors(raw: Record<string, Raw>) {
  const out = Object.create(null);
  for (const [name, { dtype, shape, bytes }] of Object.entries(raw)) out[name] = fromBytes(bytes, shape, dtype);
  return out;
}

function expectTensors(loaded: Record<string, ReturnType<typeof tensor>>, raw: Record<string, Raw>) {
  expect(Object.getPrototypeOf(loaded)).toBe(null);
  expect(Object.keys(loaded).sort()).toEqual(Object.keys(raw).sort());
  for (const [name, { dtype, shape, bytes }] of Object.entries(raw)) {
    expect([loaded[name].dtype, [...loaded[name].shape]]).toEqual([dtype, shape]);
    expect(Buffer.from(loaded[name].bytes()).equals(Buffer.from(bytes))).toBe(true);
  }
}

/** Runs `read`; true if it gave something, false if it threw FormatError. Any other error is thrown on. */
function survives(read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch (error) {
    if (error instanceof FormatError) return false;
    throw error;
  }
}

/** Damage done to a file: bytes overwritten, a cut, an insertion. */
const damage = fc.oneof(
  fc.record({
    kind: fc.constant('set' as const),
    where: fc.nat(),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
  }),
  fc.record({ kind: fc.constant('cut' as const), where: fc.nat(), bytes: fc.constant(new Uint8Array()) }),
  fc.record({
    kind: fc.constant('insert' as const),
    where: fc.nat(),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
  }),
);

function damaged(file: Uint8Array, { kind, where, bytes }: { kind: string; where: number; bytes: Uint8Array }): Buffer {
  const from = where % Math.max(file.length, 1);
  const [head, tail] = [Buffer.from(file.subarray(0, from)), Buffer.from(file.subarray(from))];
  if (kind === 'cut') return head;
  if (kind === 'insert') return Buffer.concat([head, bytes, tail]);
  return Buffer.concat([head, bytes, tail.subarray(bytes.length)]);
}

/** A safetensors file with the given header text (or bytes) and data. */
function file(header: string | object | Uint8Array, data: number | Uint8Array = 0): Buffer {
  const text =
    header instanceof Uint8Array ? header : Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([prefix, text, typeof data === 'number' ? Buffer.alloc(data) : data]);
}

describe('safetensors', () => {
  it('gives back names, types, shapes and bits', () => {
    fc.assert(
      fc.property(anyRecord, (raw) => {
        const encoded = Buffer.concat(encodeSafetensors(toTensors(raw)));
        expectTensors(decodeSafetensors(encoded), raw);
        expect(Number(encoded.readBigUInt64LE()) % 8).toBe(0);
      }),
    );
  });

  it('gives them back through a file, mapped or read', async () => {
    await fc.assert(
      fc.asyncProperty(anyRecord, fc.boolean(), async (raw, mmap) => {
        await save(at('trip.safetensors'), toTensors(raw));
        expectTensors(await load(at('trip.safetensors'), { mmap }), raw);
      }),
      { numRuns: 40 },
    );
  });

  it('writes what the specification says', () => {
    const encoded = Buffer.concat(
      encodeSafetensors({ b: tensor([true]), a: tensor([[1, 2]]) }, { metadata: { format: 'pt' } }),
    );
    const length = Number(encoded.readBigUInt64LE());
    expect(JSON.parse(encoded.toString('utf8', 8, 8 + length))).toEqual({
      __metadata__: { format: 'pt' },
      a: { dtype: 'F32', shape: [1, 2], data_offsets: [0, 8] },
      b: { dtype: 'BOOL', shape: [1], data_offsets: [8, 9] },
    });
    expect(encoded.subarray(8 + length)).toEqual(Buffer.from([0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 1]));
  });

  it('reads a file of the reference implementation', () => {
    const loaded = decodeSafetensors(Buffer.from(REFERENCE, 'base64'));
    expect(loaded['layer.weight'].toArray()).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ]);
    expect(loaded.half.dtype).toBe('f16');
    expect(loaded.half.toArray()).toEqual([1.5, -2]);
    expect(loaded.steps.dtype).toBe('i64');
    expect(loaded.steps.item()).toBe(7);
  });

  it('keeps views and strides out of the file', () => {
    const x = tensor([
      [1, 2],
      [3, 4],
    ]).transpose(0, 1);
    expect(decodeSafetensors(Buffer.concat(encodeSafetensors({ x }))).x.toArray()).toEqual([
      [1, 3],
      [2, 4],
    ]);
  });

  it('keeps metadata, and reads it without the tensors', async () => {
    const metadata = { format: 'pt', ключ: '"\\\n', ['__proto__']: 'x' };
    await save(at('meta.safetensors'), { x: zeros([3]) }, { metadata });
    expect(Object.entries(await loadMetadata(at('meta.safetensors')))).toEqual(Object.entries(metadata));
    await expect(save(at('meta2.safetensors'), {}, { metadata: { a: 1 as never } })).rejects.toMatchObject({
      code: 'ERR_BRASA_ARGUMENT',
    });
  });

  it('refuses names that the format cannot hold', async () => {
    for (const name of ['__metadata__', '\ud800']) {
      await expect(save(at('name.safetensors'), { [name]: zeros([1]) })).rejects.toMatchObject({
        code: 'ERR_BRASA_ARGUMENT',
      });
    }
    expect(existsSync(at('name.safetensors'))).toBe(false);
  });

  const one = { dtype: 'F32', shape: [1], data_offsets: [0, 4] };
  const big = Number.MAX_SAFE_INTEGER;
  const hostile: [string, Buffer, RegExp][] = [
    ['empty file', Buffer.alloc(0), /too short/],
    ['prefix only', Buffer.alloc(7), /too short/],
    ['header length of 2^64 - 1', Buffer.alloc(64, 255), /longer than the 100000000/],
    ['header past the end', file('{}').subarray(0, 9), /past the end/],
    ['no JSON', file('{"a":'), /not valid JSON/],
    ['UTF-8 that is none', file(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), /not valid JSON/],
    ['byte order mark', file('\ufeff{}'), /not valid JSON/],
    ['nesting without end', file(`{"a":${'['.repeat(100_000)}`), /not valid JSON/],
    ['array', file('[]'), /not a JSON object/],
    ['null', file('null'), /not a JSON object/],
    ['entry null', file({ a: null }), /not described by an object/],
    ['entry array', file({ a: [] }), /not described by an object/],
    ['no dtype', file({ a: { shape: [1], data_offsets: [0, 4] } }, 4), /no dtype/],
    ['unknown dtype', file({ a: { ...one, dtype: 'F8_E4M3' } }, 4), /unsupported dtype "F8_E4M3"/],
    ['dtype of Object.prototype', file({ a: { ...one, dtype: 'constructor' } }, 4), /unsupported dtype/],
    ['entry through __proto__', file(`{"a":{"__proto__":${JSON.stringify(one)}}}`, 4), /no dtype/],
    ['shape missing', file({ a: { dtype: 'F32', data_offsets: [0, 4] } }, 4), /no valid shape/],
    ['shape negative', file({ a: { ...one, shape: [-1] } }, 4), /no valid shape/],
    ['shape fraction', file({ a: { ...one, shape: [0.5] } }, 4), /no valid shape/],
    ['shape string', file({ a: { ...one, shape: '1' } }, 4), /no valid shape/],
    ['shape infinite', file('{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}', 4), /no valid shape/],
    ['shape overflow', file({ a: { ...one, shape: [big, big] } }, 4), /impossible shape/],
    [
      'shape overflow beside zero',
      file({ a: { ...one, shape: [0, big, big], data_offsets: [0, 0] } }),
      /impossible shape/,
    ],
    ['17 dims', file({ a: { ...one, shape: new Array(17).fill(1) } }, 4), /impossible shape/],
    ['offsets missing', file({ a: { dtype: 'F32', shape: [1] } }, 4), /no valid data_offsets/],
    ['three offsets', file({ a: { ...one, data_offsets: [0, 4, 4] } }, 4), /no valid data_offsets/],
    ['offsets reversed', file({ a: { ...one, data_offsets: [4, 0] } }, 4), /outside/],
    ['offsets past the end', file({ a: one }, 3), /outside/],
    ['size too small', file({ a: { ...one, shape: [2] } }, 4), /needs 8 bytes, not 4/],
    ['hole', file({ a: { ...one, data_offsets: [4, 8] } }, 8), /leaves a hole/],
    ['overlap', file({ a: one, b: { ...one, data_offsets: [2, 6] } }, 6), /overlaps/],
    ['same bytes twice', file({ a: one, b: one }, 4), /overlaps/],
    ['trailing bytes', file({ a: one }, 5), /cover 4 of the 5 bytes/],
    ['data without tensors', file({}, 1), /cover 0 of the 1 bytes/],
    [
      'duplicate name',
      file(
        '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        1,
      ),
      /"a" occurs twice/,
    ],
    [
      'duplicate field',
      file('{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', 1),
      /"dtype" occurs twice/,
    ],
    ['metadata of numbers', file({ __metadata__: { a: 1 } }), /not a string/],
    ['metadata array', file({ __metadata__: [] }), /not an object/],
    [
      'bool of 2',
      file({ a: { dtype: 'BOOL', shape: [1], data_offsets: [0, 1] } }, Buffer.from([2])),
      /other than 0 and 1/,
    ],
  ];
  it.each(hostile)('refuses: %s', async (name, bytes, message) => {
    const path = at(`hostile-${name.replace(/\W/g, '-')}`);
    writeFileSync(path, bytes);
    for (const read of [async () => decodeSafetensors(bytes), () => load(path), () => load(path, { mmap: false })]) {
      const error = await read().then(
        () => null,
        (e: unknown) => e,
      );
      expect(error).toBeInstanceOf(FormatError);
      expect((error as FormatError).code).toBe('ERR_BRASA_FORMAT');
      expect((error as FormatError).message).toMatch(message);
    }
  });

  it('throws nothing but FormatError, whatever the damage', () => {
    let refused = 0;
    fc.assert(
      fc.property(anyRecord, damage, (raw, how) => {
        const broken = damaged(Buffer.concat(encodeSafetensors(toTensors(raw))), how);
        if (!survives(() => decodeSafetensors(broken))) refused++;
      }),
      { numRuns: 500 },
    );
    expect(refused).toBeGreaterThan(100);
  });

  it('refuses every truncation', () => {
    const whole = Buffer.concat(encodeSafetensors({ a: tensor([1, 2]), b: tensor([true]) }));
    for (let n = 0; n < whole.length; n++) expect(survives(() => decodeSafetensors(whole.subarray(0, n)))).toBe(false);
  });

  it('throws nothing but FormatError for headers of any JSON', () => {
    const field = fc.oneof(fc.jsonValue(), fc.constantFrom('F32', [1], [0, 4], [0], [2, 2]));
    const entry = fc.oneof(fc.jsonValue(), fc.record({ dtype: field, shape: field, data_offsets: field }));
    fc.assert(
      fc.property(
        fc.dictionary(anyName, entry),
        fc.nat(16),
        (header, n) => survives(() => decodeSafetensors(file(header, n))) || true,
      ),
      { numRuns: 500 },
    );
  });

  it('says what is missing as the file system does', async () => {
    await expect(load(at('nowhere.safetensors'))).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(load(folder)).rejects.toMatchObject({ code: 'EISDIR' });
    await expect(load(`${at('meta.safetensors')}\0x`)).rejects.toMatchObject({ code: 'ERR_BRASA_ARGUMENT' });
  });
});

describe('writeFileAtomic', () => {
  const temporaries = () => readdirSync(folder).filter((name) => name.endsWith('.tmp'));

  it('replaces a file, also through a symbolic link', async () => {
    await writeFileAtomic(at('plain'), ['old']);
    await symlink(at('plain'), at('link'));
    await writeFileAtomic(at('link'), ['new', Buffer.from('!')]);
    expect(readFileSync(at('plain'), 'utf8')).toBe('new!');
    expect(temporaries()).toEqual([]);
  });

  it('leaves the old file and no temporary when it fails', async () => {
    await writeFileAtomic(at('kept'), ['old']);
    const chunks = function* () {
      yield 'half';
      throw new Error('disk on fire');
    };
    await expect(writeFileAtomic(at('kept'), chunks())).rejects.toThrow('disk on fire');
    expect(readFileSync(at('kept'), 'utf8')).toBe('old');
    await expect(writeFileAtomic(at('no/such/folder'), ['x'])).rejects.toMatchObject({ code: 'ENOENT' });
    expect(temporaries()).toEqual([]);
  });

  it('saves the values of the moment, and nothing when a tensor is gone', async () => {
    const x = tensor([1, 2]);
    const saving = save(at('moment.safetensors'), { x });
    x.fill_(9);
    await saving;
    x.dispose();
    await expect(save(at('moment.safetensors'), { x })).rejects.toMatchObject({ code: 'ERR_BRASA_DISPOSED' });
    expect((await load(at('moment.safetensors'))).x.toArray()).toEqual([1, 2]);
  });

  it('leaves a whole file when the process is killed at any moment', async () => {
    const path = at('killed.safetensors');
    const script = fileURLToPath(new URL('fixtures/save-forever.mjs', import.meta.url));
    for (const delay of [0, 3, 11, 29, 60]) {
      const child = spawn(process.execPath, [script, path], { stdio: ['ignore', 'pipe', 'inherit'] });
      await new Promise((resolve, reject) => {
        child.stdout.once('data', resolve); // the first file is there
        child.once('exit', () => reject(new Error('the child did not start')));
      });
      await new Promise((resolve) => setTimeout(resolve, delay));
      child.kill('SIGKILL');
      await new Promise((resolve) => child.once('exit', resolve));
      const { x } = await load(path);
      expect(x.size).toBe(2 ** 20);
      expect(new Set(x.dataSync()).size).toBe(1); // all of one round
    }
  });
});

describe('IDX', () => {
  const idx = (code: number, shape: number[], data: Uint8Array) => {
    const head = Buffer.alloc(4 + 4 * shape.length);
    head.set([0, 0, code, shape.length]);
    for (const [d, n] of shape.entries()) head.writeUInt32BE(n, 4 + 4 * d);
    return Buffer.concat([head, data]);
  };

  it('reads each type, big-endian, plain or gzip, from bytes or a path', () => {
    const f32 = idx(13, [2], Buffer.from([0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0]));
    expect(readIdx(f32).dtype).toBe('f32');
    expect(readIdx(f32).toArray()).toEqual([1, -2]);
    expect(readIdx(gzipSync(f32)).toArray()).toEqual([1, -2]);
    writeFileSync(at('x.idx'), f32);
    expect(readIdx(at('x.idx')).toArray()).toEqual([1, -2]);
    expect(readIdx(idx(8, [2, 2], Buffer.from([0, 1, 2, 255]))).toArray()).toEqual([
      [0, 1],
      [2, 255],
    ]);
    expect(readIdx(idx(9, [1], Buffer.from([255]))).toArray()).toEqual([-1]);
    expect(readIdx(idx(12, [1], Buffer.from([0, 0, 1, 2]))).toArray()).toEqual([258]);
    const f64 = Buffer.alloc(8);
    f64.writeDoubleBE(Math.PI);
    expect(readIdx(idx(14, [1], f64)).toArray()).toEqual([Math.PI]);
    expect(readIdx(idx(8, [0, 28], Buffer.alloc(0))).shape).toEqual([0, 28]);
  });

  const hostile: [string, Buffer, RegExp][] = [
    ['empty', Buffer.alloc(0), /two zero bytes/],
    ['other magic', Buffer.from('PK\x03\x04........'), /two zero bytes/],
    ['i16', idx(11, [1], Buffer.alloc(2)), /type code 11/],
    ['0-d', idx(8, [], Buffer.alloc(1)), /no dimensions/],
    ['header cut', idx(8, [1, 1], Buffer.alloc(0)).subarray(0, 9), /inside the header/],
    ['overflow', idx(8, [2 ** 32 - 1, 2 ** 32 - 1], Buffer.alloc(9)), /impossible/],
    ['too short', idx(8, [3], Buffer.alloc(2)), /needs 3 bytes of data, not 2/],
    ['too long', idx(8, [3], Buffer.alloc(4)), /needs 3 bytes of data, not 4/],
    ['gzip cut', gzipSync(idx(8, [3], Buffer.alloc(3))).subarray(0, 20), /gzip/],
  ];
  it.each(hostile)('refuses: %s', (_, bytes, message) => {
    expect(() => readIdx(bytes)).toThrow(FormatError);
    expect(() => readIdx(bytes)).toThrow(message);
  });

  it('throws nothing but FormatError, whatever the damage', () => {
    const whole = idx(12, [2, 3], Buffer.alloc(24));
    const bases = [whole, gzipSync(whole)];
    fc.assert(
      fc.property(
        fc.constantFrom(...bases),
        damage,
        (base, how) => survives(() => readIdx(damaged(base, how))) || true,
      ),
      { numRuns: 500 },
    );
  });
});

describe('npy and npz', () => {
  it('gives back what it wrote', async () => {
    await fc.assert(
      fc.asyncProperty(anyTensor, anyTensor, fc.boolean(), async (a, b, compress) => {
        fc.pre(a.dtype !== 'bf16' && b.dtype !== 'bf16');
        const { x, y } = toTensors({ x: a, y: b });
        await saveNpy(at('a.npy'), x);
        expectTensors(Object.assign(Object.create(null), { x: await loadNpy(at('a.npy')) }), { x: a });
        await saveNpz(at('a.npz'), { x, ['__proto__']: y }, { compress });
        expectTensors(await loadNpz(at('a.npz')), { x: a, ['__proto__']: b });
      }),
      { numRuns: 40 },
    );
  });

  it('reads what NumPy wrote: compressed, Fortran order, big-endian, 0-d', async () => {
    writeFileSync(at('numpy.npz'), Buffer.from(NUMPY, 'base64'));
    const { a, b, c } = await loadNpz(at('numpy.npz'));
    expect([a.dtype, b.dtype, c.dtype]).toEqual(['f32', 'i32', 'bool']);
    expect(a.toArray()).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ]);
    expect(b.toArray()).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ]);
    expect([c.shape, c.toArray()]).toEqual([[], true]);
  });

  it('refuses bf16, which NumPy has not', async () => {
    await expect(saveNpy(at('b.npy'), zeros([1], { dtype: 'bf16' }))).rejects.toMatchObject({
      code: 'ERR_BRASA_DTYPE',
    });
  });

  const npy = (dict: string, data = 0) => {
    const head = Buffer.from(`\x93NUMPY\x01\x00__${dict}`, 'latin1');
    head.writeUInt16LE(dict.length, 8);
    return Buffer.concat([head, Buffer.alloc(data)]);
  };
  const hostile: [string, Buffer, RegExp][] = [
    ['not npy', Buffer.from('hello, world'), /not a .npy/],
    ['version 9', Buffer.from('\x93NUMPY\x09\x00\x00\x00', 'latin1'), /version 9/],
    ['header past the end', npy("{'descr': '<f4'}").subarray(0, 14), /too long/],
    ['pickled objects', npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 8), /unsupported type "|O"/],
    ['structured', npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4), /no valid descr/],
    ['negative', npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 4), /no valid shape/],
    [
      'overflow',
      npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999), }", 4),
      /impossible shape/,
    ],
    ['data cut', npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 7), /needs 8 bytes/],
    [
      'bool of 2',
      Buffer.concat([npy("{'descr': '|b1', 'fortran_order': False, 'shape': (1,), }"), Buffer.from([2])]),
      /other than 0 and 1/,
    ],
  ];
  it.each(hostile)('refuses: %s', (_, bytes, message) => {
    expect(() => decodeNpy(bytes)).toThrow(FormatError);
    expect(() => decodeNpy(bytes)).toThrow(message);
  });

  it('throws nothing but FormatError, whatever the damage', () => {
    const zip = Buffer.from(NUMPY, 'base64');
    fc.assert(
      fc.property(damage, (how) => survives(() => [...readZip(damaged(zip, how)).values()].map(decodeNpy)) || true),
      { numRuns: 1000 },
    );
  });

  it('does not unpack more than an entry says it holds', () => {
    const bomb = Buffer.concat(writeZip([['a', Buffer.alloc(1 << 20)]], true));
    const central = bomb.lastIndexOf('PK\x01\x02', undefined, 'latin1');
    bomb.writeUInt32LE(10, central + 24);
    expect(() => readZip(bomb)).toThrow(FormatError);
  });
});

// safetensors.numpy.save({'layer.weight': arange(6, 'f4').reshape(2, 3), 'half': array([1.5, -2], 'f2'), 'steps': array(7, 'i8')}, {'format': 'np'})
const REFERENCE =
  '2AAAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJmb3JtYXQiOiJucCJ9LCJzdGVwcyI6eyJkdHlwZSI6Ikk2NCIsInNoYXBlIjpbXSwiZGF0YV9vZmZzZXRzIjpbMCw4XX0sImxheWVyLndlaWdodCI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpbMiwzXSwiZGF0YV9vZmZzZXRzIjpbOCwzMl19LCJoYWxmIjp7ImR0eXBlIjoiRjE2Iiwic2hhcGUiOlsyXSwiZGF0YV9vZmZzZXRzIjpbMzIsMzZdfX0gICAHAAAAAAAAAAAAAAAAAIA/AAAAQAAAQEAAAIBAAACgQAA+AMA=';

// numpy.savez_compressed(f, a=arange(6, '<f4').reshape(2, 3), b=asfortranarray(arange(6, '>i4').reshape(2, 3)), c=array(True))
const NUMPY =
  'UEsDBC0AAAAIAAAAIQBP6QAq//////////8FABQAYS5ucHkBABAAmAAAAAAAAABVAAAAAAAAAJvsF+obEMnIUMZQrZ6SWpxcpG6loG6TZqKuo6Cell9UUpSYF59flJIKEndLzClOBYoXZyQWpAL5GkY6CsaaOgq1CmQDLgYwaLAHEg5ABMQNQLzAAQBQSwMELQAAAAgAAAAhAF1Dy4n//////////wUAFABiLm5weQEAEACYAAAAAAAAAFMAAAAAAAAAm+wX6hsQychQxlCtnpJanFykbqWgbpdpoq6joJ6WX1RSlJgXn1+UkgoSDykqTQUKF2ckFqQCuRpGOgrGmjoKtQrkAy4GCGAGYkYgZgFiJiBmBQBQSwMELQAAAAgAAAAhAIIt+NP//////////wUAFABjLm5weQEAEACBAAAAAAAAAEMAAAAAAAAAm+wX6hsQychQxlCtnpJanFykbqWgXpNkqK6joJ6WX1RSlJgXn1+UkgoSd0vMKU4FihdnJBakAvkamjoKtQoUAS5GAFBLAQItAy0AAAAIAAAAIQBP6QAqVQAAAJgAAAAFAAAAAAAAAAAAAACAAQAAAABhLm5weVBLAQItAy0AAAAIAAAAIQBdQ8uJUwAAAJgAAAAFAAAAAAAAAAAAAACAAYwAAABiLm5weVBLAQItAy0AAAAIAAAAIQCCLfjTQwAAAIEAAAAFAAAAAAAAAAAAAACAARYBAABjLm5weVBLBQYAAAAAAwADAJkAAACQAQAAAAA=';
