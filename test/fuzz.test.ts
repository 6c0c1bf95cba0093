/** No input from TypeScript crashes the process, and what is refused is refused by an error of brasa's own. */
import { expect, test } from 'vitest';
import * as brasa from '../lib/index.js';
import { BrasaError, type DType, dtypes, scope, Tensor, tensor } from '../lib/index.js';
import { generator } from './samples/make.js';

const skipped = new Set([
  'scope',
  'noGrad',
  'enableGrad',
  'op',
  'opMany',
  'gradcheck',
  'grad',
  'valueAndGrad',
  'collectGarbage',
  'manualSeed',
  'setThreads',
]);
const functions = Object.entries(brasa).filter(
  ([name, value]) => typeof value === 'function' && !/^[A-Z]/.test(name) && !skipped.has(name),
) as [string, (...args: unknown[]) => unknown][];

const random = generator(20);
const int = (n: number) => Math.floor(random() * n);
const pick = <T>(list: readonly T[]): T => list[int(list.length)]!;
const shapes = [
  [],
  [0],
  [1],
  [3],
  [2, 3],
  [3, 2],
  [2, 0, 3],
  [1, 2, 4, 4],
  [2, 2, 5, 5],
  [4, 2, 3, 3],
  [1, 1, 1, 1, 1],
];

function someTensor(): Tensor {
  const shape = pick(shapes);
  const dtype: DType = random() < 0.6 ? 'f32' : pick(dtypes);
  const x = tensor(
    Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => int(5)),
    { shape, dtype },
  );
  const view = random();
  if (view < 0.15 && x.ndim >= 2) return x.transpose();
  if (view < 0.25 && x.ndim >= 1) return x.unsqueeze(0).expand([2, ...shape]);
  if (view < 0.3 && dtype === 'f32') return x.requiresGrad_();
  return x;
}

const junk = [
  undefined,
  null,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  -1,
  0.5,
  2 ** 53,
  -(2 ** 31),
  1e300,
  '',
  'f64',
  'same',
  true,
  {},
  [],
  [[1], [2, 3]],
  () => 1,
  Symbol.iterator,
  5n,
  new Date(0),
  new Float32Array(3),
];
function something(depth = 0): unknown {
  const which = random();
  if (which < 0.4) return someTensor();
  if (which < 0.6) return int(7) - 2;
  if (which < 0.72)
    return Array.from({ length: int(4) }, () => (random() < 0.7 ? int(5) - 1 : depth < 2 ? something(depth + 1) : 1));
  if (which < 0.82) {
    const keys = [
      'dim',
      'keepDim',
      'dtype',
      'device',
      'stride',
      'padding',
      'dilation',
      'groups',
      'reduction',
      'weight',
      'eps',
      'p',
      'largest',
      'ignoreIndex',
      'shape',
      'correction',
      'beta',
      'gradient',
    ];
    return Object.fromEntries(
      Array.from({ length: 1 + int(2) }, () => [pick(keys), depth < 2 ? something(depth + 1) : 1]),
    );
  }
  return pick(junk);
}

test(`${functions.length} functions with arguments of every kind: a result, or an error of brasa's`, {
  timeout: 120_000,
}, () => {
  const foreign = new Map<string, string>();
  let refused = 0;
  let answered = 0;
  for (let round = 0; round < 150; round++) {
    for (const [name, fn] of functions) {
      const args = Array.from({ length: 1 + int(4) }, () => something());
      if (random() < 0.7) args[0] = someTensor();
      scope(() => {
        try {
          const result = fn(...args);
          answered++;
          if (result instanceof Tensor && result.size < 1000) result.dataSync();
          if (result instanceof Promise) result.catch(() => {});
        } catch (error) {
          if (error instanceof BrasaError) refused++;
          else if (!foreign.has(name)) foreign.set(name, `${error}`);
        }
      });
    }
  }
  expect(Object.fromEntries(foreign)).toEqual({});
  expect(refused).toBeGreaterThan(1000);
  expect(answered).toBeGreaterThan(1000);
});
