/** Products that take ways of their own: few rows by a large matrix, numbers of low precision, bytes. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import {
  cast,
  type DType,
  linear,
  matmul,
  matmulInteger,
  rand,
  randint,
  type Tensor,
  transpose,
} from '../lib/index.js';

/** The largest difference from the product in f64, in units of the sum of the products' magnitudes. */
function error(got: Tensor, x: Tensor, y: Tensor): number {
  const [want, value] = [matmul(cast(x, 'f64'), cast(y, 'f64')).dataSync(), cast(got, 'f64').dataSync()];
  const k = x.shape.at(-1)!;
  expect(value.length).toBe(want.length);
  return Math.max(...Array.from(want, (w, i) => Math.abs(Number(value[i]) - Number(w)))) / Math.sqrt(k);
}

/** What rounding to the type leaves of a number of size 4 or less, and some for f32 sums. */
const tolerance: Partial<Record<DType, number>> = { f32: 2e-6, bf16: 2 ** -7, f16: 2 ** -10 };

describe.each(['f32', 'bf16', 'f16'] as const)('few rows by a large matrix, %s', (dtype) => {
  const sizes = [
    [1, 1024, 1100],
    [2, 600, 1027],
    [15, 523, 2100],
    [64, 600, 1050],
  ] as const;
  test.each(sizes)('(%i,%i) by (.,%i), rows, columns and a bias', (m, k, n) => {
    const [x, weight, bias] = [
      rand([m, k], { low: -1, dtype }),
      rand([n, k], { low: -1, dtype }),
      rand([n], { dtype }),
    ];
    const crossed = transpose(weight);
    const rows = crossed.contiguous();
    for (const w of [rows, crossed]) expect(error(matmul(x, w), x, w)).toBeLessThan(tolerance[dtype]!);
    const plain = cast(linear(x, weight), 'f64').dataSync();
    const added = cast(linear(x, weight, bias), 'f64').dataSync();
    const by = cast(bias, 'f64').dataSync();
    const worst = Math.max(...Array.from(added, (v, i) => Math.abs(Number(v) - Number(plain[i]) - Number(by[i % n]))));
    expect(worst / Math.sqrt(k)).toBeLessThan(2 * tolerance[dtype]!);
  });
});

describe('matmulInteger', () => {
  const bytes = (shape: number[], dtype: 'i8' | 'u8') =>
    dtype === 'i8' ? randint(-128, 128, shape, { dtype }) : randint(0, 256, shape, { dtype });
  const pairs = (['i8', 'u8'] as const).flatMap((a) => (['i8', 'u8'] as const).map((b) => [a, b] as const));

  test.each(pairs)('%s by %s: the integers themselves, whatever lies transposed', (a, b) => {
    for (const [m, k, n] of [
      [1, 5, 1],
      [17, 64, 33],
      [127, 1030, 65],
      [150, 130, 300],
      [5, 1031, 1100], // few rows, in slices of K
    ] as const) {
      const [x, xt, y, yt] = [bytes([m, k], a), bytes([k, m], a), bytes([k, n], b), bytes([n, k], b)];
      for (const left of [x, transpose(xt)]) {
        for (const right of [y, transpose(yt)]) {
          const product = matmulInteger(left, right);
          expect(product.dtype).toBe('i32');
          expect(Array.from(product.dataSync(), Number)).toEqual(
            Array.from(matmul(cast(left, 'f64'), cast(right, 'f64')).dataSync(), Number),
          );
        }
      }
    }
  });

  test('extreme bytes do not saturate', () => {
    const all = (value: number, dtype: 'i8' | 'u8', shape: number[]) => randint(value, value + 1, shape, { dtype });
    const k = 999;
    for (const [x, y, each] of [
      [all(255, 'u8', [20, k]), all(127, 'i8', [k, 40]), 255 * 127],
      [all(255, 'u8', [20, k]), all(-128, 'i8', [k, 40]), -255 * 128],
      [all(-128, 'i8', [20, k]), all(-128, 'i8', [k, 40]), 128 * 128],
      [all(255, 'u8', [20, k]), all(255, 'u8', [k, 40]), 255 * 255],
    ] as const) {
      expect(new Set(Array.from(matmulInteger(x, y).dataSync(), Number))).toEqual(new Set([each * k]));
    }
  });

  test('batches broadcast, vectors are rows and columns', () => {
    const [x, y] = [bytes([2, 1, 3, 70], 'i8'), bytes([4, 70, 5], 'u8')];
    const product = matmulInteger(x, y);
    expect(product.shape).toEqual([2, 4, 3, 5]);
    expect(Array.from(product.dataSync(), Number)).toEqual(
      Array.from(matmul(cast(x, 'f64'), cast(y, 'f64')).dataSync(), Number),
    );
    expect(matmulInteger(bytes([7], 'u8'), bytes([7], 'i8')).shape).toEqual([]);
  });
});

test('1, 2 and 4 threads give the same bytes', () => {
  const fixture = fileURLToPath(new URL('fixtures/products.mjs', import.meta.url));
  const run = (threads: number): Record<string, string> =>
    JSON.parse(
      execFileSync(process.execPath, [fixture], {
        encoding: 'utf8',
        env: { ...process.env, BRASA_THREADS: `${threads}` },
      }),
    );
  const [one, two, four] = [1, 2, 4].map(run);
  expect(Object.keys(one!).length).toBe(33);
  expect(two).toEqual(one);
  expect(four).toEqual(one);
});
