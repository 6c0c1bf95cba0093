/** Rows of reductions, scans, views, joins and index ops. */
import * as b from '../../lib/index.js';
import type { DType, Tensor } from '../../lib/index.js';
import { fold, get, map, type Nd, nd, type Sample, size, sumOf } from './sample.js';

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

/** A view against plain indexing: `source` gives the index in x of an output index. */
function viewing(
  name: string,
  call: (x: Tensor) => Tensor,
  shape: readonly number[],
  out: readonly number[],
  source: (index: readonly number[]) => readonly number[],
  errors: Sample['errors'] = [],
): Sample {
  return {
    name,
    call,
    cases: (make) => [[make.real(shape)]],
    reference: (x: Nd) => nd(out, (index) => get(x, source(index))),
    dtypes: every,
    grad: [0],
    errors,
  };
}
const unflat = (flat: number, shape: readonly number[]): number[] => {
  const index = new Array<number>(shape.length);
  for (let d = shape.length - 1; d >= 0; d--) {
    index[d] = flat % shape[d]!;
    flat = Math.floor(flat / shape[d]!);
  }
  return index;
};
const flat = (index: readonly number[], shape: readonly number[]): number =>
  index.reduce((at, i, d) => at * shape[d]! + i, 0);
const wrap = (i: number, n: number) => (i < 0 ? i + n : i);

export const structure: Sample[] = [
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

  // ---- views
  viewing(
    'reshape',
    (x) => b.reshape(x, [3, -1]),
    [2, 6],
    [3, 4],
    (i) => unflat(flat(i, [3, 4]), [2, 6]),
    [
      [() => b.reshape(b.zeros([2, 3]), [4]), 'ShapeError', /has 6 elements and does not make \(4\)/],
      [() => b.reshape(b.zeros([2, 3]), [4, -1]), 'ShapeError', /6 elements do not make/],
      [() => b.reshape(b.zeros([2, 3]), 6 as never), 'ArgumentError', /a shape is an array/],
    ],
  ),
  viewing(
    'flatten',
    (x) => b.flatten(x, 1),
    [2, 3, 4],
    [2, 12],
    (i) => [i[0]!, ...unflat(i[1]!, [3, 4])],
  ),
  viewing(
    'unflatten',
    (x) => b.unflatten(x, 1, [3, -1]),
    [2, 12],
    [2, 3, 4],
    (i) => [i[0]!, i[1]! * 4 + i[2]!],
  ),
  viewing(
    'squeeze',
    (x) => b.squeeze(x),
    [1, 3, 1],
    [3],
    (i) => [0, i[0]!, 0],
  ),
  viewing(
    'unsqueeze',
    (x) => b.unsqueeze(x, -1),
    [3],
    [3, 1],
    (i) => [i[0]!],
  ),
  viewing(
    'permute',
    (x) => b.permute(x, [2, 0, 1]),
    [2, 3, 4],
    [4, 2, 3],
    ([i, j, k]) => [j!, k!, i!],
    [[() => b.permute(b.zeros([2, 3]), [0]), 'ShapeError', /does not order/]],
  ),
  viewing(
    'transpose',
    (x) => b.transpose(x),
    [2, 3],
    [3, 2],
    ([i, j]) => [j!, i!],
  ),
  viewing(
    'movedim',
    (x) => b.movedim(x, 0, -1),
    [2, 3, 4],
    [3, 4, 2],
    ([i, j, k]) => [k!, i!, j!],
  ),
  viewing(
    'expand',
    (x) => b.expand(x, [2, 3, -1]),
    [3, 1],
    [2, 3, 1],
    ([, j]) => [j!, 0],
    [[() => b.expand(b.zeros([2, 3]), [2, 4]), 'ShapeError', /does not expand/]],
  ),
  viewing(
    'slice',
    (x) => b.slice(x, 1, 1, -1),
    [2, 5],
    [2, 3],
    ([i, j]) => [i!, j! + 1],
    [[() => b.slice(b.zeros([3]), 0, 0.5, 1), 'ArgumentError', /start is an integer/]],
  ),
  viewing(
    'slice step',
    (x) => b.slice(x, 1, 1, 6, 2),
    [2, 6],
    [2, 3],
    ([i, j]) => [i!, 1 + 2 * j!],
  ),
  viewing(
    'narrow',
    (x) => b.narrow(x, 0, 1, 2),
    [4, 2],
    [2, 2],
    ([i, j]) => [i! + 1, j!],
    [[() => b.narrow(b.zeros([3]), 0, 2, 2), 'IndexError', /2 to 4/]],
  ),
  viewing(
    'select',
    (x) => b.select(x, 1, -1),
    [2, 3],
    [2],
    ([i]) => [i!, 2],
    [[() => b.select(b.zeros([2]), 0, 2), 'IndexError', /index 2 is out of range/]],
  ),
  viewing(
    'at',
    (x) => b.at(x, 1, '...', null, [0, null, 2]),
    [3, 2, 4],
    [2, 1, 2],
    ([i, , k]) => [1, i!, k! * 2],
    [
      [() => b.at(b.zeros([2]), 0, 0), 'IndexError', /2 indices/],
      [() => b.at(b.zeros([2]), '...', '...'), 'ArgumentError', /once/],
      [() => b.at(b.zeros([2]), {} as never), 'ArgumentError', /an index is/],
    ],
  ),
  viewing(
    'split',
    (x) => b.split(x, 2, 1)[1]!,
    [2, 5],
    [2, 2],
    ([i, j]) => [i!, j! + 2],
    [[() => b.split(b.zeros([3]), [1, 1]), 'ShapeError', /add up to 2/]],
  ),
  viewing(
    'chunk',
    (x) => b.chunk(x, 2)[1]!,
    [5, 2],
    [2, 2],
    ([i, j]) => [i! + 3, j!],
  ),
  viewing(
    'unbind',
    (x) => b.unbind(x, 1)[2]!,
    [2, 3],
    [2],
    ([i]) => [i!, 2],
  ),
  viewing(
    'contiguous',
    (x) => b.contiguous(b.transpose(x)),
    [2, 3],
    [3, 2],
    ([i, j]) => [j!, i!],
  ),
  {
    ...viewing(
      'transpose copy',
      (x) => b.contiguous(b.transpose(x)),
      [3, 5],
      [5, 3],
      ([i, j]) => [j!, i!],
    ),
    bench: { make: (make) => [make.real([1024, 1024])], torch: 'x0.t().contiguous()' },
  },

  // ---- joins
  {
    name: 'cat',
    call: (x: Tensor, y: Tensor, z: Tensor) => b.cat([x, y, z], 1),
    cases: (make) => [[make.real([2, 3]), make.real([2, 0]), make.real([2, 5])]],
    reference: (x: Nd, y: Nd, z: Nd) =>
      nd([2, 8], ([i, j]) => (j! < 3 ? get(x, [i!, j!]) : y.shape[1] === 0 ? get(z, [i!, j! - 3]) : 0)),
    dtypes: every,
    grad: [0, 2],
    errors: [
      [() => b.cat([]), 'ArgumentError', /at least one/],
      [() => b.cat([b.zeros([2, 3]), b.zeros([3, 3])], 1), 'ShapeError', /outside dim 1/],
    ],
    bench: {
      make: (make) => [make.real([1024, 512]), make.real([1024, 256]), make.real([1024, 256])],
      torch: 'torch.cat([x0, x1, x2], 1)',
    },
  },
  {
    name: 'stack',
    call: (x: Tensor, y: Tensor) => b.stack([x, y], -1),
    cases: (make) => [[make.real([2, 3]), make.real([2, 3])]],
    reference: (x: Nd, y: Nd) => nd([2, 3, 2], ([i, j, k]) => get(k === 0 ? x : y, [i!, j!])),
    dtypes: every,
    grad: [0, 1],
    errors: [[() => b.stack([b.zeros([2]), b.zeros([3])]), 'ShapeError', /shapes differ/]],
    bench: { make: (make) => [make.real([1024, 512]), make.real([1024, 512])], torch: 'torch.stack([x0, x1], -1)' },
  },
  {
    name: 'pad',
    call: (x: Tensor) => b.pad(x, [1, 0, 0, 2], 3),
    cases: (make) => [[make.real([2, 3])]],
    reference: (x: Nd) => nd([4, 4], ([i, j]) => (i! < 2 && j! >= 1 ? get(x, [i!, j! - 1]) : 3)),
    grad: [0],
    errors: [[() => b.pad(b.zeros([2]), [1]), 'ArgumentError', /two amounts/]],
    bench: { make: (make) => [make.real([1024, 1024])], torch: 'torch.nn.functional.pad(x0, (1, 0, 0, 2), value=3.0)' },
  },

  // ---- indices
  {
    name: 'gather',
    call: (x: Tensor, index: Tensor) => b.gather(x, 1, index),
    cases: (make) => [
      [make.real([3, 4]), make.index([2, 5], -4, 4)],
      [make.real([2, 3]), make.index([2, 0], 0, 3)],
    ],
    reference: (x: Nd, index: Nd) => nd(index.shape, ([i, j]) => get(x, [i!, wrap(get(index, [i!, j!]), x.shape[1]!)])),
    dtypes: every,
    fixed: [1],
    grad: [0],
    errors: [
      [
        () => b.gather(b.zeros([2, 3]), 1, b.full([2, 1], 3, { dtype: 'i32' })),
        'IndexError',
        /index 3 is out of range for a dim of size 3/,
      ],
      [() => b.gather(b.zeros([2, 3]), 1, b.zeros([2, 1])), 'DTypeError', /integer dtype/],
      [() => b.gather(b.zeros([2, 3]), 1, b.zeros([3, 1], { dtype: 'i32' })), 'ShapeError', /does not fit/],
    ],
    bench: {
      make: (make) => [make.real([1024, 1024]), make.index([1024, 1024], 0, 1024)],
      torch: 'torch.gather(x0, 1, x1)',
    },
  },
  {
    name: 'scatterAdd',
    call: (x: Tensor, index: Tensor, src: Tensor) => b.scatterAdd(x, 0, index, src),
    cases: (make) => [[make.real([3, 4]), make.index([5, 4], 0, 3), make.real([5, 4])]],
    reference: (x: Nd, index: Nd, src: Nd) => {
      const y = { shape: x.shape, data: x.data.slice() };
      nd(index.shape, ([i, j]) => {
        y.data[get(index, [i!, j!]) * x.shape[1]! + j!]! += get(src, [i!, j!]);
        return 0;
      });
      return y;
    },
    dtypes: ['f32', 'f64', 'i32', 'i64'],
    fixed: [1],
    slack: 4,
    grad: [0, 2],
    errors: [
      [() => b.scatterAdd(b.zeros([2]), 0, b.full([1], -3, { dtype: 'i32' }), b.ones([1])), 'IndexError', /index -3/],
    ],
    bench: {
      make: (make) => [make.real([1024, 1024]), make.index([1024, 1024], 0, 1024), make.real([1024, 1024])],
      torch: 'torch.scatter_add(x0, 0, x1, x2)',
    },
  },
  {
    name: 'scatter',
    call: (x: Tensor, index: Tensor, src: Tensor) => b.scatter(x, 1, index, src),
    cases: (make) => [
      [
        make.real([2, 4]),
        b.tensor(
          [
            [3, 0],
            [1, 2],
          ],
          { dtype: 'i32' },
        ),
        make.real([2, 2]),
      ],
    ],
    reference: (x: Nd, index: Nd, src: Nd) => {
      const y = { shape: x.shape, data: x.data.slice() };
      nd(index.shape, ([i, j]) => {
        y.data[i! * x.shape[1]! + get(index, [i!, j!])] = get(src, [i!, j!]);
        return 0;
      });
      return y;
    },
    dtypes: every,
    fixed: [1],
    grad: [0, 2],
    errors: [[() => b.scatter(b.zeros([2]), 0, b.full([1], 2, { dtype: 'i32' }), 1), 'IndexError', /index 2/]],
    bench: {
      make: (make) => [make.real([1024, 1024]), make.index([1024, 512], 0, 1024), make.real([1024, 512])],
      torch: 'torch.scatter(x0, 1, x1, x2)',
    },
  },
  {
    name: 'indexSelect',
    call: (x: Tensor, index: Tensor) => b.indexSelect(x, 0, index),
    cases: (make) => [
      [make.real([4, 3]), make.index([6], -4, 4)],
      [make.real([4]), make.index([0], 0, 4)],
    ],
    reference: (x: Nd, index: Nd) =>
      nd([index.data.length, ...x.shape.slice(1)], (i) =>
        get(x, [wrap(index.data[i[0]!]!, x.shape[0]!), ...i.slice(1)]),
      ),
    dtypes: every,
    fixed: [1],
    grad: [0],
    errors: [[() => b.indexSelect(b.zeros([2]), 0, b.zeros([1, 1], { dtype: 'i32' })), 'ShapeError', /1-d index/]],
    bench: {
      make: (make) => [make.real([4096, 256]), make.index([4096], 0, 4096)],
      torch: 'torch.index_select(x0, 0, x1)',
    },
  },
  {
    name: 'indexAdd',
    call: (x: Tensor, index: Tensor, src: Tensor) => b.indexAdd(x, 0, index, src),
    cases: (make) => [[make.real([3, 2]), make.index([5], 0, 3), make.real([5, 2])]],
    reference: (x: Nd, index: Nd, src: Nd) => {
      const y = { shape: x.shape, data: x.data.slice() };
      nd(src.shape, ([i, j]) => {
        y.data[index.data[i!]! * x.shape[1]! + j!]! += get(src, [i!, j!]);
        return 0;
      });
      return y;
    },
    dtypes: ['f32', 'f64', 'i32', 'i64'],
    fixed: [1],
    slack: 4,
    grad: [0, 2],
    errors: [
      [() => b.indexAdd(b.zeros([2]), 0, b.zeros([2], { dtype: 'i32' }), b.ones([1])), 'ShapeError', /do not fit/],
    ],
    bench: {
      make: (make) => [make.real([4096, 256]), make.index([4096], 0, 4096), make.real([4096, 256])],
      torch: 'torch.index_add(x0, 0, x1, x2)',
    },
  },
  {
    name: 'embedding',
    call: (index: Tensor, weight: Tensor) => b.embedding(index, weight),
    cases: (make) => [[make.index([2, 3], 0, 5), make.real([5, 4])]],
    reference: (index: Nd, weight: Nd) =>
      nd([...index.shape, weight.shape[1]!], (i) => get(weight, [get(index, i.slice(0, -1)), i[i.length - 1]!])),
    dtypes: floats,
    fixed: [0],
    grad: [1],
    errors: [
      [() => b.embedding(b.full([2], 5, { dtype: 'i32' }), b.zeros([5, 2])), 'IndexError', /index 5/],
      [() => b.embedding(b.zeros([2]), b.zeros([5, 2])), 'DTypeError', /integer/],
    ],
    bench: {
      make: (make) => [make.index([4096], 0, 8192), make.real([8192, 256])],
      torch: 'torch.nn.functional.embedding(x0, x1)',
    },
  },
  {
    name: 'nonzero',
    call: b.nonzero,
    cases: (make) => [[make.mask([3, 4])], [make.mask([0])], [make.mask([1037])]],
    reference: (x: Nd) => {
      const found: number[][] = [];
      nd(x.shape, (index, i) => {
        if (x.data[i]) found.push([...index]);
        return 0;
      });
      return { shape: [found.length, x.shape.length], data: Float64Array.from(found.flat()) };
    },
    fixed: [0],
    bench: { make: (make) => [make.mask([1024, 1024])], torch: 'torch.nonzero(x0)' },
  },
  {
    name: 'maskedSelect',
    call: b.maskedSelect,
    cases: (make) => [
      [make.real([3, 4]), make.mask([3, 4])],
      [make.real([3, 4]), make.mask([4])],
    ],
    reference: (x: Nd, mask: Nd) => {
      const wide = map(
        (m) => m,
        map((m) => m, mask, { shape: x.shape, data: x.data }),
      );
      const data = x.data.filter((_, i) => wide.data[i]);
      return { shape: [data.length], data };
    },
    dtypes: every,
    fixed: [1],
    grad: [0],
    errors: [[() => b.maskedSelect(b.zeros([2]), b.zeros([2])), 'DTypeError', /a mask is bool/]],
    bench: { make: (make) => [make.real([1024, 1024]), make.mask([1024, 1024])], torch: 'torch.masked_select(x0, x1)' },
  },
  {
    name: 'maskedFill',
    call: (x: Tensor, mask: Tensor) => b.maskedFill(x, mask, 3),
    cases: (make) => [[make.real([3, 4]), make.mask([3, 4])]],
    reference: (x: Nd, mask: Nd) => map((v, m) => (m ? 3 : v), x, mask),
    dtypes: numbers,
    fixed: [1],
    grad: [0],
    bench: {
      make: (make) => [make.real([1024, 1024]), make.mask([1024, 1024])],
      torch: 'torch.masked_fill(x0, x1, 3)',
    },
  },
  ...[false, true].map(
    (descending): Sample => ({
      name: descending ? 'sort descending' : 'sort',
      call: (x: Tensor, dim: number) => {
        const { values, indices } = b.sort(x, dim, { descending });
        return [values, indices];
      },
      cases: (make) => [
        [make.real([7]), 0],
        [make.real([3, 5]), 0],
        [make.real([2, 300]), -1],
        [make.real([0]), 0],
        [make.real([1037]), 0],
      ],
      reference: (x: Nd, dim: number) => ordered(x, wrap(dim, x.shape.length), descending, null),
      dtypes: every,
      grad: [0],
      gradCases: (make) => [[make.distinct([3, 4]), 1]],
      bench: {
        make: (make) => [make.real([1024, 1024]), 1],
        torch: `torch.sort(x0, dim=1, descending=${descending ? 'True' : 'False'}, stable=True)[0]`,
      },
    }),
  ),
  {
    name: 'topk',
    call: (x: Tensor, dim: number) => {
      const { values, indices } = b.topk(x, 3, dim);
      return [values, indices];
    },
    cases: (make) => [
      [make.distinct([7]), 0],
      [make.distinct([5, 4]), 0],
      [make.distinct([2, 300]), -1],
    ],
    reference: (x: Nd, dim: number) => ordered(x, wrap(dim, x.shape.length), true, 3),
    dtypes: ['f32', 'f64', 'i32'],
    grad: [0],
    gradCases: (make) => [[make.distinct([5, 4]), 0]],
    errors: [[() => b.topk(b.zeros([2]), 3), 'ArgumentError', /k = 3 of a dim of 2/]],
    bench: { make: (make) => [make.real([1024, 1024]), 1], torch: 'torch.topk(x0, 3, 1)[0]' },
  },
];

/** Stable order along a dim: values and the places they came from. */
function ordered(x: Nd, dim: number, descending: boolean, k: number | null): Nd[] {
  const shape = x.shape.map((n, d) => (d === dim && k !== null ? k : n));
  const places = new Map<string, number[]>();
  const row = (index: readonly number[]): number[] => {
    const key = index.map((v, d) => (d === dim ? '*' : v)).join();
    let order = places.get(key);
    if (!order) {
      const value = (i: number) =>
        get(
          x,
          index.map((v, d) => (d === dim ? i : v)),
        );
      order = Array.from({ length: x.shape[dim]! }, (_, i) => i).sort(
        (p, q) => (descending ? value(q) - value(p) : value(p) - value(q)) || p - q,
      );
      places.set(key, order);
    }
    return order;
  };
  const indices = nd(shape, (index) => row(index)[index[dim]!]!);
  return [
    nd(shape, (index, i) =>
      get(
        x,
        index.map((v, d) => (d === dim ? indices.data[i]! : v)),
      ),
    ),
    indices,
  ];
}
