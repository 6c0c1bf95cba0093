/** The switch between sums in one order and in any, on the CPU, which keeps its order whatever is asked. */
import { afterEach, expect, test } from 'vitest';
import { lookup } from '../lib/core/define.js';
import {
  compile,
  embedding,
  gather,
  gradients,
  indexAdd,
  indexAdd_,
  isDeterministic,
  randint,
  randn,
  scatterAdd,
  scatterAdd_,
  setDeterministic,
  type Tensor,
  vmap,
  zeros,
} from '../lib/index.js';

afterEach(() => setDeterministic(true));
const bytes = (x: Tensor) => Buffer.from(x.dataSync().buffer);

test('it is on unless set otherwise, and takes true or false', () => {
  expect(isDeterministic()).toBe(true);
  setDeterministic(false);
  expect(isDeterministic()).toBe(false);
  // biome-ignore lint/suspicious/noExplicitAny: a wrong argument
  expect(() => setDeterministic('no' as any)).toThrow(/takes true or false, got 'no'/);
  expect(isDeterministic()).toBe(false);
});

/** What kernels of the op were told since `before`. */
const told = (op: string, before: ReadonlySet<unknown>) =>
  [...lookup(op).plans.values()].filter((plan) => !before.has(plan)).map((plan) => plan.call!.params);

const [index, pairs, src] = [randint(0, 3, [7]), randint(0, 3, [2, 4]), randn([7, 11])];
const weights = () => randn([3, 11]).requiresGrad_();
const calls: [string, string, () => Tensor][] = [
  ['indexAdd', 'indexAdd', () => indexAdd(zeros([3, 11]), 0, index, src)],
  ['indexAdd_', 'indexAdd', () => indexAdd_(zeros([3, 11]), 0, index, src)],
  ['scatterAdd', 'scatterAdd', () => scatterAdd(zeros([3]), 0, index, src.select(1, 0))],
  ['scatterAdd_', 'scatterAdd', () => scatterAdd_(zeros([3]), 0, index, src.select(1, 0))],
  ["embedding's gradient", 'indexAdd', () => onlyGradient((w) => embedding(index, w))],
  ["gather's gradient", 'scatterAdd', () => onlyGradient((w) => gather(w, 0, zeros([1, 11], { dtype: 'i32' })))],
  ['vmap', 'indexAdd', () => vmap((x: Tensor) => indexAdd(x, 0, index, src.select(1, 0)))(zeros([2, 3]))],
  [
    'vmap over indices',
    'scatterAdd',
    () => vmap((x: Tensor, i: Tensor) => indexAdd(x, 0, i, src.select(0, 0).slice(0, 0, 4)))(zeros([2, 3]), pairs),
  ],
];
function onlyGradient(f: (w: Tensor) => Tensor): Tensor {
  const w = weights();
  return gradients(f(w).sum(), [w])[0]!;
}

test.each(calls)('%s has a plan of its own where any order will do, and the same bytes', (_name, op, call) => {
  const want = bytes(call());
  const before = new Set(lookup(op).plans.values());
  setDeterministic(false);
  expect(bytes(call()).equals(want)).toBe(true);
  expect(told(op, before)).toContainEqual([expect.any(Number), 1]);
  setDeterministic(true);
  const known = lookup(op).plans.size;
  call();
  expect(lookup(op).plans.size).toBe(known);
});

test('compiled functions are compiled again, and find what they had', () => {
  const step = compile((x: Tensor, src: Tensor) => indexAdd(x, 0, index, src));
  const [x, src] = [zeros([3, 5]), randn([7, 5])];
  const want = bytes(indexAdd(x, 0, index, src));
  for (const [on, programs] of [
    [true, 1],
    [false, 2],
    [true, 2],
    [false, 2],
  ] as const) {
    setDeterministic(on);
    expect(bytes(step(x, src)).equals(want)).toBe(true);
    expect(step.stats()).toMatchObject({ programs, traces: programs });
  }
});
