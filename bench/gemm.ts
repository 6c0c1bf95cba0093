/** Matrix products: rates, and their share of what the machine's dot products or its memory allow. */
import { devices, type DType, linear, matmul, matmulInteger, rand, randint, scope, type Tensor } from '../lib/index.js';
import { type Case, type Spec, timed } from './case.js';
import type { Limit } from './limits.js';

const squares: readonly (readonly [DType, readonly number[], Limit])[] = [
  ['f32', [64, 128, 256, 512, 1024, 2048], 'fma'],
  ['bf16', [1024, 2048], devices()[0]!.features.includes('bf16') ? 'bf16' : 'fma'],
  ['f16', [512], 'fma'], // PyTorch takes seconds for more
  ['i8', [1024, 2048], 'vnni'],
];

const threadsOf = (count: number): string => `(${count} thread${count > 1 ? 's' : ''})`;
const make = (shape: readonly number[], dtype: DType): Tensor =>
  dtype === 'i8' ? randint(-128, 128, shape, { dtype }) : rand(shape, { dtype });
const specOf = (shape: readonly number[], dtype: DType): Spec => ({
  kind: 'real',
  shape,
  dtype,
  ...(dtype === 'i8' ? { low: -128, high: 128 } : { low: 0, high: 1 }),
});

const square = (n: number, dtype: DType, limit: Limit, threads: number): Case => {
  const [product, peer] =
    dtype === 'i8' ? ([matmulInteger, 'torch._int_mm'] as const) : ([matmul, 'torch.mm'] as const);
  return timed({
    group: 'gemm',
    name: `${product.name} ${dtype === 'f32' ? '' : `${dtype} `}${n} ${threadsOf(threads)}`,
    threads,
    unit: dtype === 'i8' ? 'GOP/s' : 'GFLOP/s',
    work: 2 * n ** 3,
    limit,
    make() {
      const [x, y] = [make([n, n], dtype), make([n, n], dtype)];
      return () =>
        scope(() => {
          product(x, y);
        });
    },
    forms: () => [{ inputs: [specOf([n, n], dtype), specOf([n, n], dtype)], code: `${peer}(x0, x1)` }],
  });
};

/** m rows by a weight of 4096 x 4096, kept as (in,out) or, as Linear does, as (out,in). */
const skinny = (m: number, dtype: DType, crossed: boolean, threads: number): Case => {
  const n = 4096;
  // Few rows take as long as reading the weight does.
  const reads = m <= 8;
  return timed({
    group: 'gemm',
    name: `${crossed ? 'linear' : 'matmul'} ${dtype} ${m}x${n}x${n} ${threadsOf(threads)}`,
    threads,
    unit: reads ? 'GB/s' : 'GFLOP/s',
    work: reads ? n * n * (dtype === 'f32' ? 4 : 2) : 2 * m * n * n,
    limit: reads ? 'read' : 'fma',
    make() {
      const [x, weight] = [make([m, n], dtype), make([n, n], dtype)];
      return () =>
        scope(() => {
          if (crossed) linear(x, weight);
          else matmul(x, weight);
        });
    },
    forms: () => [
      {
        inputs: [specOf([m, n], dtype), specOf([n, n], dtype)],
        code: crossed ? 'F.linear(x0, x1)' : 'torch.mm(x0, x1)',
      },
    ],
  });
};

export const gemm = (threads: readonly number[]): Case[] =>
  threads.flatMap((count) => [
    ...squares.flatMap(([dtype, sizes, limit]) => sizes.map((n) => square(n, dtype, limit, count))),
    ...(['f32', 'bf16'] as const).flatMap((dtype) =>
      [1, 8, 64].flatMap((m) => [false, true].map((crossed) => skinny(m, dtype, crossed, count))),
    ),
  ]);
