/** Rows of reductions and scans. */
import * as b from '../../lib/index.js';
import type { DType, Tensor } from '../../lib/index.js';
import { fold, get, type Nd, nd, type Sample, size, sumOf } from './sample.js';

const floats: DType[] = ['f32', 'f64', 'f16', 'bf16'];
const numbers: DType[] = [...floats, 'i8', 'u8', 'i32', 'i64'];
const every: DType[] = [...numbers, 'bool'];

type Dims = number | readonly number[] | null;
type ReduceFn = (x: Tensor, dim?: Dims, options?: { keepDim?: boolean }) => Tensor;
const cut: readonly (readonly [readonly number[], Dims, boolean])[] = [
  [[3, 4], null, false],
  [[3, 4], 0, false],
  [[3, 4], -1, true],
  [[2, 3, 4, 5], [0, 2, 3], false],
  [[2, 3, 4, 5], [1, 3], true],
  [[], null, false],
  [[1037], null, false],
  [[33, 65], 0, false],
  [[65, 129], 1, false],
  [[1, 5, 1], [0, 2], false],
];

/** One row for each reduction: all of a tensor, one dim, several, kept and dropped. */
function reduction(
  name: string,
  fn: (values: number[]) => number,
  extra: Partial<Sample> & { range?: readonly [number, number]; torch?: string } = {},
): Sample {
  const { range = [-2, 2], torch, ...rest } = extra;
  const call = (b as unknown as Record<string, ReduceFn>)[name]!;
  return {
    name,
    call: (x: Tensor, which: number) => call(x, cut[which]![1], { keepDim: cut[which]![2] }),
    cases: (make) => cut.map(([shape], i) => [make.real(shape, ...range), i]),
    reference: (x: Nd, which: number) => {
      const dims = cut[which]![1];
      const list =
        dims === null ? null : (typeof dims === 'number' ? [dims] : dims).map((d) => (d < 0 ? d + x.shape.length : d));
      return fold(x, list, cut[which]![2], fn);
    },
    dtypes: floats,
    grad: [0],
    gradCases: (make) => [
      [make.distinct([3, 4]), 0],
      [make.distinct([3, 4]), 1],
      [make.distinct([2, 3, 4, 5]), 4],
    ],
    errors: [
      [() => call(b.zeros([2, 3]), 2), 'IndexError', /dim 2 is out of range for \(2,3\)/],
      [() => call(b.zeros([2, 3]), [0, 0]), 'ArgumentError', /repeat/],
      [() => call(b.zeros([2, 3]), 0, true as never), 'ArgumentError', /options are an object/],
    ],
    bench: { make: (make) => [make.real([1024, 1024], ...range), 0], torch: torch ?? `torch.${name}(x0)` },
    exact: false,
    ...rest,
  };
}
const wrap = (i: number, n: number) => (i < 0 ? i + n : i);
const product = (v: number[]) => v.reduce((a, x) => a * x, 1);
const mean = (v: number[]) => sumOf(v) / v.length;
const variance = (v: number[]) => sumOf(v.map((x) => (x - mean(v)) ** 2)) / (v.length - 1);

const scan = (name: 'cumsum' | 'cumprod', step: (a: number, x: number) => number, from: number): Sample => ({
  name,
  call: (x: Tensor, dim: number) => b[name](x, dim),
  cases: (make) => [
    [make.real([5], 0.5, 2), 0],
    [make.real([3, 4, 2], 0.5, 2), 1],
    [make.real([3, 4], 0.5, 2), -1],
    [make.real([0], 1, 2), 0],
  ],
  reference: (x: Nd, dim: number) => {
    const d = dim < 0 ? dim + x.shape.length : dim;
    return nd(x.shape, (index) => {
      let total = from;
      for (let i = 0; i <= index[d]!; i++)
        total = step(
          total,
          get(
            x,
            index.map((v, j) => (j === d ? i : v)),
          ),
        );
      return total;
    });
  },
  dtypes: ['f32', 'f64', 'i32', 'i64'],
  grad: [0],
  gradCases: (make) => [[make.real([3, 4], 0.5, 2), 1]],
  errors: [[() => b[name](b.zeros([2]), 1), 'IndexError', /dim 1/]],
  bench: { make: (make) => [make.real([1024, 1024], 0.99, 1.01), 1], torch: `torch.${name}(x0, 1)` },
});

export const reductions: Sample[] = [
  reduction('sum', sumOf, { dtypes: [...floats, 'i32', 'bool'] }),
  reduction('mean', mean, { errors: [[() => b.mean(b.zeros([2], { dtype: 'i32' })), 'DTypeError', /needs floats/]] }),
  reduction('prod', product, {
    range: [0.7, 1.3],
    slack: 40,
    dtypes: ['f32', 'f64'],
    gradCases: (make) => [
      [make.real([3, 4], 0.5, 2), 0],
      [make.real([3, 4], 0.5, 2), 1],
    ],
  }),
  reduction('amax', (v) => v.reduce((a, x) => Math.max(a, x)), {
    dtypes: every,
    exact: true,
    errors: [[() => b.amax(b.zeros([0])), 'ShapeError', /nothing to choose/]],
  }),
  reduction('amin', (v) => v.reduce((a, x) => Math.min(a, x)), {
    dtypes: every,
    exact: true,
    errors: [[() => b.amin(b.zeros([2, 0]), 1), 'ShapeError', /nothing to choose/]],
  }),
  reduction('any', (v) => (v.some((x) => x !== 0) ? 1 : 0), {
    dtypes: every,
    grad: undefined as never,
    exact: true,
    torch: 'torch.any(x0 != 0)',
  }),
  reduction('all', (v) => (v.every((x) => x !== 0) ? 1 : 0), {
    dtypes: every,
    grad: undefined as never,
    exact: true,
    torch: 'torch.all(x0 != 0)',
  }),
  {
    ...reduction('variance', variance, { dtypes: ['f32', 'f64'], torch: 'torch.var(x0)', errors: [] }),
    cases: (make) => cut.flatMap(([shape], i) => (size(shape) > 1 && i !== 9 ? [[make.real(shape), i]] : [])),
    slack: 10,
  },
  {
    ...reduction('std', (v) => Math.sqrt(variance(v)), { dtypes: ['f32', 'f64'], errors: [] }),
    slack: 10,
    cases: (make) => cut.flatMap(([shape], i) => (size(shape) > 1 && i !== 9 ? [[make.real(shape), i]] : [])),
  },
  reduction('logsumexp', (v) => Math.log(sumOf(v.map(Math.exp))), { slack: 4, torch: 'torch.logsumexp(x0, (0, 1))' }),
  reduction('norm', (v) => Math.sqrt(sumOf(v.map((x) => x * x))), {
    dtypes: ['f32', 'f64'],
    slack: 4,
    torch: 'torch.linalg.vector_norm(x0)',
  }),
  ...(['argmax', 'argmin'] as const).map(
    (name): Sample => ({
      name,
      call: (x: Tensor, dim: number) => b[name](x, dim === 9 ? null : dim),
      cases: (make) => [
        [make.real([7]), 0],
        [make.real([3, 5]), 1],
        [make.real([3, 5, 2]), 1],
        [make.real([3, 5]), 9],
        [make.real([2, 1037]), -1],
      ],
      reference: (x: Nd, dim: number) => {
        const y: Nd = dim === 9 ? { shape: [x.data.length], data: x.data } : x;
        const d = dim === 9 ? 0 : wrap(dim, x.shape.length);
        const best = (v: number[]) =>
          v.indexOf(v.reduce((a, c) => (name === 'argmax' ? Math.max(a, c) : Math.min(a, c))));
        return fold(y, [d], false, best);
      },
      dtypes: numbers,
      errors: [[() => b[name](b.zeros([0])), 'ShapeError', /nothing to choose/]],
      bench: { make: (make) => [make.real([1024, 1024]), 1], torch: `torch.${name}(x0, 1)` },
    }),
  ),
  scan('cumsum', (a, x) => a + x, 0),
  scan('cumprod', (a, x) => a * x, 1),
];
