/** Rows of index ops and sorting. */
import * as b from '../../lib/index.js';
import type { DType, Tensor } from '../../lib/index.js';
import { get, map, type Nd, nd, type Sample } from './sample.js';

const floats: DType[] = ['f32', 'f64', 'f16', 'bf16'];
const numbers: DType[] = [...floats, 'i8', 'u8', 'i32', 'i64'];
const every: DType[] = [...numbers, 'bool'];

const wrap = (i: number, n: number) => (i < 0 ? i + n : i);

/** Where a window begins along dim d. */
const clamped = (starts: Nd, d: number, x: Nd, sizes: readonly number[]) =>
  Math.min(Math.max(starts.data[d]!, 0), x.shape[d]! - sizes[d]!);

export const indices: Sample[] = [
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
    name: 'dynamicSlice',
    call: (x: Tensor, starts: Tensor) => b.dynamicSlice(x, starts, [2, 3]),
    cases: (make) => [
      [make.real([4, 7]), make.index([2], -3, 9)],
      [make.real([2, 3]), make.index([2], -3, 9)],
      [make.real([5, 40]), make.index([2], 0, 3)],
    ],
    reference: (x: Nd, starts: Nd) =>
      nd([2, 3], (at) =>
        get(
          x,
          at.map((i, d) => i + clamped(starts, d, x, [2, 3])),
        ),
      ),
    dtypes: every,
    fixed: [1],
    grad: [0],
    errors: [
      [() => b.dynamicSlice(b.zeros([2, 3]), [0, 0], [2, 4]), 'ShapeError', /window \(2,4\) does not fit into \(2,3\)/],
      [() => b.dynamicSlice(b.zeros([2, 3]), [0], [2, 3]), 'ShapeError', /2 starts are needed/],
      [() => b.dynamicSlice(b.zeros([2, 3]), b.zeros([2]), [2, 3]), 'DTypeError', /starts are integers, got f32/],
      [() => b.dynamicSlice(b.zeros([2]), [0.5], [1]), 'ArgumentError', /whole number or a 0-d tensor/],
    ],
  },
  {
    name: 'dynamicSlice by dim',
    call: (x: Tensor, start: Tensor) => b.dynamicSlice(x, [start, 1], [2, 3]),
    cases: (make) => [[make.real([4, 7]), make.index([], -3, 9)]],
    reference: (x: Nd, start: Nd) =>
      nd([2, 3], ([i, j]) => get(x, [i! + Math.min(Math.max(start.data[0]!, 0), 2), j! + 1])),
    fixed: [1],
    grad: [0],
  },
  {
    name: 'dynamicUpdateSlice',
    call: (x: Tensor, update: Tensor, starts: Tensor) => b.dynamicUpdateSlice(x, update, starts),
    cases: (make) => [
      [make.real([4, 7]), make.real([2, 3]), make.index([2], -3, 9)],
      [make.real([3, 5]), make.real([3, 5]), make.index([2], -3, 9)],
      [make.real([6]), make.real([0]), make.index([1], -3, 9)],
    ],
    reference: (x: Nd, update: Nd, starts: Nd) => {
      const y = { shape: x.shape, data: x.data.slice() };
      nd(update.shape, (at, flat) => {
        const place = at.reduce((n, i, d) => n * x.shape[d]! + i + clamped(starts, d, x, update.shape), 0);
        y.data[place] = update.data[flat]!;
        return 0;
      });
      return y;
    },
    dtypes: every,
    fixed: [2],
    grad: [0, 1],
    errors: [
      [() => b.dynamicUpdateSlice(b.zeros([2]), b.zeros([3]), [0]), 'ShapeError', /update \(3\) does not fit/],
      [() => b.dynamicUpdateSlice(b.zeros([2]), b.zeros([1], { dtype: 'f64' }), [0]), 'DTypeError', /update is f64/],
    ],
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
