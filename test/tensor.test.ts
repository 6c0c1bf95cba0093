import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import {
  arange,
  cat,
  type DType,
  dtypes,
  eye,
  full,
  linspace,
  manualSeed,
  ones,
  onesLike,
  rand,
  randint,
  randn,
  randperm,
  stack,
  type Tensor,
  tensor,
  zeros,
  zerosLike,
  bernoulli,
  dropout,
  Generator,
} from '../lib/index.js';

describe('creation', () => {
  test('types of input decide the dtype', () => {
    expect(tensor(1).dtype).toBe('f32');
    expect(tensor([true, false]).dtype).toBe('bool');
    expect(tensor([1n, 2n]).dtype).toBe('i64');
    for (const [data, dtype] of [
      [new Float32Array(1), 'f32'],
      [new Float64Array(1), 'f64'],
      [new Int32Array(1), 'i32'],
      [new BigInt64Array(1), 'i64'],
      [new Int8Array(1), 'i8'],
      [new Uint8Array(1), 'u8'],
      [Buffer.alloc(1), 'u8'],
      [new Uint8ClampedArray(1), 'u8'],
    ] as const)
      expect(tensor(data).dtype).toBe(dtype);
    expect(tensor([1, 2], { dtype: 'i8' }).dataSync()).toEqual(Int8Array.of(1, 2));
    expect(tensor([new Float64Array([1, 2]), new Float64Array([3, 4])]).shape).toEqual([2, 2]);
  });

  test('the data is copied', () => {
    const data = Float32Array.of(1, 2);
    const x = tensor(data);
    data[0] = 9;
    expect(x.toArray()).toEqual([1, 2]);
    const out = x.dataSync();
    out[0] = 9;
    expect(x.toArray()).toEqual([1, 2]);
  });

  test.each<[string, () => unknown, string, RegExp]>([
    ['ragged', () => tensor([[1, 2], [3]]), 'ShapeError', /ragged/],
    ['deeper', () => tensor([1, [2]] as never), 'ShapeError', /ragged/],
    ['a string', () => tensor('1' as never), 'ArgumentError', /got string/],
    ['a hole', () => tensor([1, undefined] as never), 'ArgumentError', /element 1 is undefined/],
    ['mixed kinds', () => tensor([1, true]), 'DTypeError', /mixed/],
    ['too few', () => tensor([1, 2, 3], { shape: [2, 2] }), 'ShapeError', /3 values do not fill shape \(2,2\)/],
    ['out of range', () => tensor([300], { dtype: 'u8' }), 'DTypeError', /300 does not fit u8/],
    ['a fraction', () => tensor([0.5], { dtype: 'i32' }), 'DTypeError', /0.5 does not fit i32/],
    ['a huge bigint', () => tensor([2n ** 64n]), 'DTypeError', /does not fit i64/],
    ['a negative size', () => zeros([-1]), 'ShapeError', /not negative/],
    ['a fractional size', () => zeros([1.5]), 'ArgumentError', /array of integers/],
    ['no array', () => zeros(3 as never), 'ArgumentError', /a shape is an array/],
    ['too large', () => zeros([2 ** 30, 2 ** 30]), 'ShapeError', /too large/],
    ['no memory', () => zeros([2 ** 40]), 'OutOfMemoryError', /no memory for \(1099511627776\) f32 on cpu/],
    ['too many dims', () => zeros(new Array(17).fill(1)), 'ShapeError', /at most 16/],
    [
      'unknown dtype',
      () => zeros([1], { dtype: 'float' as never }),
      'ArgumentError',
      /unknown dtype float: one of f32/,
    ],
    [
      'absent device',
      () => zeros([1], { device: 'cuda' }),
      'DeviceError',
      /is not available: not in this build; there is: cpu/,
    ],
    ['unknown device', () => zeros([1], { device: 'tpu' }), 'DeviceError', /unknown device 'tpu'/],
    ['options as a string', () => zeros([1], 'f64' as never), 'ArgumentError', /options are an object/],
  ])('refuses %s', (_name, call, name, message) => {
    let error: Error & { code?: string } = new Error('nothing was thrown');
    try {
      call();
    } catch (thrown) {
      error = thrown as Error;
    }
    expect(error.name).toBe(name);
    expect(error.message).toMatch(message);
    expect(error.code).toMatch(/^ERR_BRASA_[A-Z_]+$/);
    // The stack begins at the line that made the mistake.
    expect(error.stack!.split('\n').find((line) => /^\s+at /.test(line))).toContain('tensor.test.ts');
  });

  test('ranges and the like', () => {
    expect(arange(3).toArray()).toEqual([0, 1, 2]);
    expect(arange(3).dtype).toBe('i32');
    expect(arange(1, 2, { step: 0.25 }).toArray()).toEqual([1, 1.25, 1.5, 1.75]);
    expect(arange(5, 0, { step: -2 }).toArray()).toEqual([5, 3, 1]);
    expect(linspace(0, 1, 5).toArray()).toEqual([0, 0.25, 0.5, 0.75, 1]);
    expect(eye(2, 3).toArray()).toEqual([
      [1, 0, 0],
      [0, 1, 0],
    ]);
    expect(full([2], 7, { dtype: 'i64' }).dataSync('i64')).toEqual(BigInt64Array.of(7n, 7n));
    expect(zerosLike(ones([2], { dtype: 'f64' })).dtype).toBe('f64');
    expect(onesLike(zeros([2])).toArray()).toEqual([1, 1]);
    expect(stack([arange(2), arange(2)]).shape).toEqual([2, 2]);
    expect(cat([arange(2), arange(2).to('f64')]).dtype).toBe('f64');
  });

  test.each(dtypes)('%s survives a round trip of bytes', (dtype) => {
    const x = tensor([0, 1, 1, 0], { dtype });
    expect(x.bytes().byteLength).toBe(
      4 * { f32: 4, f64: 8, f16: 2, bf16: 2, i8: 1, u8: 1, i32: 4, i64: 8, bool: 1 }[dtype],
    );
    expect(Array.from(x.dataSync(), Number)).toEqual([0, 1, 1, 0]);
  });

  test('half types round to nearest even', () => {
    const values = [1 + 2 ** -11, 1 + 3 * 2 ** -11, 65519, 65520, 2 ** -24, 2 ** -26, -0, Number.NaN, 1e-7];
    expect(Array.from(tensor(values, { dtype: 'f16' }).dataSync())).toEqual([
      1,
      1 + 2 ** -9,
      65504,
      Infinity,
      2 ** -24,
      0,
      -0,
      NaN,
      2 ** -23,
    ]);
    // The kernel's conversion is the same.
    expect(Array.from(tensor(values).to('f16').bytes())).toEqual(Array.from(tensor(values, { dtype: 'f16' }).bytes()));
    expect(Array.from(tensor(values).to('bf16').bytes())).toEqual(
      Array.from(tensor(values, { dtype: 'bf16' }).bytes()),
    );
  });
});

describe('promotion follows PyTorch', () => {
  // torch.promote_types, with i32 where PyTorch has i16.
  const table: [DType, DType, DType][] = [
    ['f32', 'f64', 'f64'],
    ['f16', 'bf16', 'f32'],
    ['f16', 'f32', 'f32'],
    ['i64', 'f16', 'f16'],
    ['bool', 'u8', 'u8'],
    ['u8', 'i8', 'i32'],
    ['i8', 'i32', 'i32'],
    ['i32', 'i64', 'i64'],
    ['bool', 'bf16', 'bf16'],
    ['i64', 'f32', 'f32'],
  ];
  test.each(table)('%s and %s give %s', (a, b, want) => {
    expect(ones([2], { dtype: a }).add(ones([2], { dtype: b })).dtype).toBe(want);
    expect(ones([2], { dtype: b }).add(ones([2], { dtype: a })).dtype).toBe(want);
  });

  test('0-d tensors and numbers are weaker', () => {
    expect(ones([2]).add(tensor(1, { dtype: 'f64' })).dtype).toBe('f32');
    expect(ones([2], { dtype: 'i32' }).add(tensor(1.5)).dtype).toBe('f32');
    expect(ones([2], { dtype: 'u8' }).mul(2).dtype).toBe('u8');
    expect(ones([2], { dtype: 'f16' }).mul(2.5).dtype).toBe('f16');
    expect(ones([2], { dtype: 'i32' }).div(2).dtype).toBe('f32');
    expect(ones([2], { dtype: 'i32' }).sum().dtype).toBe('i64');
    expect(ones([2], { dtype: 'bool' }).mul(0.5).dtype).toBe('f32');
    expect(() => ones([2], { dtype: 'i32' }).mul(0.5)).toThrow(/0.5 does not fit i32/);
  });
});

test('what takes no tensor first is no method', () => {
  for (const name of ['setConvPrecision', 'getConvPrecision', 'synchronize', 'where', 'cat'])
    expect(name in ones([1]), name).toBe(false);
});

test('indices: ranges, tensors, masks', () => {
  const x = arange(12).reshape([3, 4]);
  expect(x.at(-1).toArray()).toEqual([8, 9, 10, 11]);
  expect(x.at([1, null], [0, 4, 2]).toArray()).toEqual([
    [4, 6],
    [8, 10],
  ]);
  expect(x.at('...', 0).toArray()).toEqual([0, 4, 8]);
  expect(x.at(tensor(new Int32Array([2, 0]))).toArray()).toEqual([
    [8, 9, 10, 11],
    [0, 1, 2, 3],
  ]);
  expect(x.at(tensor(new Int32Array([0, 2])), tensor(new Int32Array([1, -1]))).toArray()).toEqual([1, 11]);
  expect(x.at(x.gt(9)).toArray()).toEqual([10, 11]);
  expect(x.at([0, 2], tensor([true, false, false, true])).toArray()).toEqual([
    [0, 3],
    [4, 7],
  ]);
  expect(() => x.at(tensor(new Int32Array([3])), tensor(new Int32Array([0])))).toThrow(/out of range/);
  x.at(0, [0, 2]).copy_(-1);
  expect(x.at(0).toArray()).toEqual([-1, -1, 2, 3]);
  expect(Array.from(x).map((row: Tensor) => row.shape)).toEqual([[4], [4], [4]]);
});

test('in place: overlapping operands are read before they are written', () => {
  const x = arange(5).to('f32');
  x.at([1, 5]).copy_(x.at([0, 4]));
  expect(x.toArray()).toEqual([0, 0, 1, 2, 3]);
  x.add_(x.at(4));
  expect(x.toArray()).toEqual([3, 3, 4, 5, 6]);
  expect(() => ones([1]).expand([3]).add_(1)).toThrow(/expanded/);
  expect(() => ones([2]).add_(ones([3, 2]))).toThrow(/does not fit in place/);
  expect(() => ones([2], { dtype: 'i32' }).add_(tensor([0.5, 0.5]))).toThrow(/cannot be written in place into i32/);
});

describe('printing', () => {
  test.each<[() => Tensor, string]>([
    [
      () =>
        tensor([
          [1, 2],
          [3, 4],
        ]),
      'tensor([[1., 2.],\n        [3., 4.]])',
    ],
    [() => tensor([0.1, -2.5, 1000]), 'tensor([ 1.0000e-01, -2.5000e+00,  1.0000e+03])'],
    [() => tensor([1.5, Number.NaN, -Infinity]), 'tensor([1.5000,    nan,   -inf])'],
    [() => arange(3), 'tensor([0, 1, 2], dtype=i32)'],
    [() => tensor([true, false]), 'tensor([ true, false])'],
    [() => tensor(3), 'tensor(3.)'],
    [() => zeros([0]), 'tensor([])'],
    [() => zeros([2, 0]), 'tensor([], shape=(2, 0))'],
    [() => arange(2000), 'tensor([   0,    1,    2, ..., 1997, 1998, 1999], dtype=i32)'],
    [() => tensor([1], { requiresGrad: true }).mul(2), 'tensor([2.], grad=mul)'],
  ])('%#', (make, text) => {
    const x = make();
    expect(x.toString()).toBe(text);
    expect(inspect(x)).toBe(text);
    expect(`${x}`).toBe(text);
  });

  test('operators are refused, JSON is plain', () => {
    const x = tensor([1]);
    expect(() => (x as never) + 1).toThrow(/use a\.add\(b\)/);
    expect(JSON.stringify({ x })).toBe('{"x":{"dtype":"f32","shape":[1],"data":[1]}}');
  });
});

describe('random numbers', () => {
  test('are a function of the seed, and of nothing else', () => {
    manualSeed(7);
    const a = randn([1000]).dataSync();
    const b = randn([1000]).dataSync();
    manualSeed(7);
    expect(randn([1000]).dataSync()).toEqual(a);
    expect(b).not.toEqual(a);
    const generator = new Generator(7);
    expect(randn([1000], { generator }).dataSync()).toEqual(a);
    const state = generator.getState();
    const next = rand([5], { generator }).dataSync();
    generator.setState(state);
    expect(rand([5], { generator }).dataSync()).toEqual(next);
  });

  test('Philox4x32-10 gives its published words', () => {
    // Random123's known answer for counter 0, key 0; 24 bits of each word make a float.
    const words = [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8];
    const u = rand([4], { generator: new Generator(0) }).dataSync();
    expect(Array.from(u)).toEqual(words.map((w) => Math.fround((w >>> 8) * 2 ** -24)));
  });

  test('have the right moments', () => {
    const generator = new Generator(1);
    const stats = (x: Tensor) => [x.to('f64').mean().item(), x.to('f64').std().item()] as const;
    const n = [200_000];
    expect(stats(rand(n, { generator }))[0]).toBeCloseTo(0.5, 2);
    expect(stats(rand(n, { generator }))[1]).toBeCloseTo(Math.sqrt(1 / 12), 2);
    expect(stats(randn(n, { generator }))[0]).toBeCloseTo(0, 1);
    expect(stats(randn(n, { generator, mean: 3, std: 2 }))[1]).toBeCloseTo(2, 1);
    expect(stats(bernoulli(0.3, n, { generator }))[0]).toBeCloseTo(0.3, 2);
    const ints = randint(-2, 3, n, { generator });
    expect([ints.min().item(), ints.max().item()]).toEqual([-2, 2]);
    expect(Array.from(randperm(100, { generator }).dataSync()).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 100 }, (_, i) => i),
    );
    const dropped = dropout(ones(n), 0.25, { generator });
    expect(stats(dropped)[0]).toBeCloseTo(1, 1);
    expect(Math.max(...dropped.dataSync().slice(0, 1000))).toBeCloseTo(4 / 3, 5);
  });

  test('dropout’s gradient uses the same mask', () => {
    const x = ones([1000], { requiresGrad: true });
    const y = dropout(x, 0.5);
    y.sum().backward();
    expect(x.grad!.dataSync()).toEqual(y.dataSync());
  });
});
