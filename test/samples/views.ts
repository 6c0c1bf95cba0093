/** Rows of views and joins. */
import * as b from '../../lib/index.js';
import type { DType, Tensor } from '../../lib/index.js';
import { get, type Nd, nd, type Sample } from './sample.js';

const floats: DType[] = ['f32', 'f64', 'f16', 'bf16'];
const numbers: DType[] = [...floats, 'i8', 'u8', 'i32', 'i64'];
const every: DType[] = [...numbers, 'bool'];

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

export const views: Sample[] = [
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
];
