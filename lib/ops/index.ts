/** Ops that select, scatter and order by index. Indices are of any integer dtype; results that are indices are i32. */
import { applyInto } from '../core/apply.js';
import { asTensor, lookup, op, opMany } from '../core/define.js';
import { isDeterministic } from '../core/deterministic.js';
import { type DType, isInteger } from '../core/dtype.js';
import { ArgumentError, checkOptions, describe, DTypeError, ShapeError } from '../core/error.js';
import { show } from '../core/layout.js';
import { noGrad } from '../core/scope.js';
import { handOver, type Tensor } from '../core/tensor.js';
import { clone, logicalNot, ne, where } from './elementwise.js';
import { full, zeros, zerosLike } from './free.js';
import { item } from './read.js';
import { sum, type ValuesAndIndices } from './reduce.js';
import { expand, reshape, select, slice, wrapDim } from './view.js';

function checkIndex(index: Tensor, name: string): void {
  asTensor(index, name);
  if (!isInteger(index.dtype)) throw new DTypeError(`an index has an integer dtype, got ${index.dtype}`, { op: name });
}

function fits(x: Tensor, dim: number, index: Tensor, name: string, what = 'the index'): void {
  if (index.ndim !== x.ndim || index.shape.some((n, i) => i !== dim && n > x.shape[i]!)) {
    throw new ShapeError(`${what} ${show(index.shape)} does not fit ${show(x.shape)} outside dim ${dim}`, { op: name });
  }
}

const gatherKernel = op('gather', {
  args: (x: Tensor, index: Tensor, dim: number) => ({ inputs: [x, index], params: { dim } }),
  infer: ([x, index]) => ({ shape: index.shape, dtype: x.dtype }),
  encode: ({ dim }) => [dim],
  grad: (g, [x, index], _y, { dim }) => [() => scatterAddKernel(zerosOf(x, g), index, g, dim), null],
});
/** Zeros of x's shape in g's dtype: x itself is not touched, so it is not saved. */
const zerosOf = (x: Tensor, g: Tensor) => zeros(x.shape, { dtype: g.dtype, device: g.device });

/** Along `dim`, the elements that `index` names: y[i][j] = x[index[i][j]][j] for dim 0. (torch.gather) */
export function gather(x: Tensor, dim: number, index: Tensor): Tensor {
  asTensor(x, 'gather');
  checkIndex(index, 'gather');
  const d = wrapDim(dim, x, 'gather');
  fits(x, d, index, 'gather');
  return gatherKernel(x, index, d);
}

const scatterKernel: (x: Tensor, index: Tensor, src: Tensor, dim: number) => Tensor = op('scatter', {
  args: (x: Tensor, index: Tensor, src: Tensor, dim: number) => ({ inputs: [x, index, src], params: { dim } }),
  infer: ([x]) => ({ shape: x.shape, dtype: x.dtype }),
  encode: ({ dim }) => [dim],
  grad: (g, [, index], _y, { dim }) => [
    () => scatterKernel(g, index, zeros(index.shape, { dtype: g.dtype, device: g.device }), dim),
    null,
    () => gatherKernel(g, index, dim),
  ],
});
interface SumParams {
  dim: number;
  /** Absent unless it is so: floats may be added in any order. */
  anyOrder?: true;
}
const sumParams = (dim: number): SumParams => (isDeterministic() ? { dim } : { dim, anyOrder: true });
const encodeSum = ({ dim, anyOrder }: SumParams) => (anyOrder ? [dim, 1] : [dim]);
const scatterAddKernel: (x: Tensor, index: Tensor, src: Tensor, dim: number) => Tensor = op('scatterAdd', {
  args: (x: Tensor, index: Tensor, src: Tensor, dim: number) => ({ inputs: [x, index, src], params: sumParams(dim) }),
  infer: ([x]) => ({ shape: x.shape, dtype: x.dtype }),
  encode: encodeSum,
  grad: (g, [, index], _y, { dim }) => [g, null, () => gatherKernel(g, index, dim)],
});
function scatterArgs(x: Tensor, dim: number, index: Tensor, src: Tensor | number, name: string): [Tensor, number] {
  asTensor(x, name);
  checkIndex(index, name);
  const d = wrapDim(dim, x, name);
  fits(x, d, index, name);
  if (typeof src === 'number') return [expand(zeros([], { dtype: x.dtype, device: x.device }), index.shape), d];
  asTensor(src, name);
  if (src.dtype !== x.dtype) throw new DTypeError(`src is ${src.dtype}, x ${x.dtype}`, { op: name });
  if (src.ndim !== index.ndim || src.shape.some((n, i) => n < index.shape[i]!)) {
    throw new ShapeError(`src ${show(src.shape)} is smaller than the index ${show(index.shape)}`, { op: name });
  }
  const cut = src.shape.every((n, i) => n === index.shape[i])
    ? src
    : index.shape.reduce((s, n, i) => narrowTo(s, i, n), src);
  return [cut, d];
}
function narrowTo(x: Tensor, dim: number, n: number): Tensor {
  return x.shape[dim] === n ? x : slice(x, dim, 0, n);
}
/** x with src written at the places that `index` names along `dim`; of several writers the last wins. (torch.scatter) */
export function scatter(x: Tensor, dim: number, index: Tensor, src: Tensor | number): Tensor {
  const [value, d] = scatterArgs(x, dim, index, src, 'scatter');
  return scatterKernel(x, index, typeof src === 'number' ? expand(fullOf(src, x), index.shape) : value, d);
}
const fullOf = (value: number, x: Tensor) => full([], value, { dtype: x.dtype, device: x.device });
/** x with src added at the places that `index` names along `dim`, in the order of `index` unless setDeterministic(false). (torch.scatter_add) */
export function scatterAdd(x: Tensor, dim: number, index: Tensor, src: Tensor): Tensor {
  const [value, d] = scatterArgs(x, dim, index, src, 'scatterAdd');
  return scatterAddKernel(x, index, value, d);
}
/** scatterAdd in place. */
export function scatterAdd_(x: Tensor, dim: number, index: Tensor, src: Tensor): Tensor {
  const [value, d] = scatterArgs(x, dim, index, src, 'scatterAdd_');
  return applyInto(lookup('scatterAdd'), [x, index, value], { ...sumParams(d) }, [x])[0]!;
}
/** scatter in place. */
export function scatter_(x: Tensor, dim: number, index: Tensor, src: Tensor | number): Tensor {
  const [value, d] = scatterArgs(x, dim, index, src, 'scatter_');
  return applyInto(
    lookup('scatter'),
    [x, index, typeof src === 'number' ? expand(fullOf(src, x), index.shape) : value],
    { dim: d },
    [x],
  )[0]!;
}

const indexSelectKernel: (x: Tensor, index: Tensor, dim: number) => Tensor = op('indexSelect', {
  args: (x: Tensor, index: Tensor, dim: number) => ({ inputs: [x, index], params: { dim } }),
  infer: ([x, index], { dim }) => ({ shape: x.shape.map((n, i) => (i === dim ? index.size : n)), dtype: x.dtype }),
  encode: ({ dim }) => [dim],
  grad: (g, [x, index], _y, { dim }) => [() => indexAddKernel(zerosOf(x, g), index, g, dim), null],
});
/** The slices along `dim` that a 1-d index names. (torch.index_select) */
export function indexSelect(x: Tensor, dim: number, index: Tensor): Tensor {
  asTensor(x, 'indexSelect');
  checkIndex(index, 'indexSelect');
  const d = wrapDim(dim, x, 'indexSelect');
  if (x.ndim === 0 || index.ndim !== 1)
    throw new ShapeError(`needs dims and a 1-d index, got ${show(x.shape)} and ${show(index.shape)}`, {
      op: 'indexSelect',
    });
  return indexSelectKernel(x, index, d);
}

const indexAddKernel: (x: Tensor, index: Tensor, src: Tensor, dim: number) => Tensor = op('indexAdd', {
  args: (x: Tensor, index: Tensor, src: Tensor, dim: number) => ({ inputs: [x, index, src], params: sumParams(dim) }),
  infer: ([x]) => ({ shape: x.shape, dtype: x.dtype }),
  encode: encodeSum,
  grad: (g, [, index], _y, { dim }) => [g, null, () => indexSelectKernel(g, index, dim)],
});
function indexAddArgs(x: Tensor, dim: number, index: Tensor, src: Tensor, name: string): number {
  asTensor(x, name);
  asTensor(src, name);
  checkIndex(index, name);
  const d = wrapDim(dim, x, name);
  if (src.dtype !== x.dtype) throw new DTypeError(`src is ${src.dtype}, x ${x.dtype}`, { op: name });
  if (index.ndim !== 1 || src.ndim !== x.ndim || src.shape.some((n, i) => n !== (i === d ? index.size : x.shape[i]))) {
    throw new ShapeError(
      `src ${show(src.shape)} and index ${show(index.shape)} do not fit ${show(x.shape)} along dim ${d}`,
      { op: name },
    );
  }
  return d;
}
/** x with the slices of src added at the places that a 1-d index names, in its order unless setDeterministic(false). (torch.index_add) */
export function indexAdd(x: Tensor, dim: number, index: Tensor, src: Tensor): Tensor {
  return indexAddKernel(x, index, src, indexAddArgs(x, dim, index, src, 'indexAdd'));
}
/** indexAdd in place. */
export function indexAdd_(x: Tensor, dim: number, index: Tensor, src: Tensor): Tensor {
  const d = indexAddArgs(x, dim, index, src, 'indexAdd_');
  return applyInto(lookup('indexAdd'), [x, index, src], { ...sumParams(d) }, [x])[0]!;
}

/** Rows of a table (V,D) by index of any shape: (…) -> (…,D). `paddingIdx` gets no gradient. (torch.nn.functional.embedding) */
export function embedding(index: Tensor, weight: Tensor, options: { paddingIdx?: number } = {}): Tensor {
  checkIndex(index, 'embedding');
  asTensor(weight, 'embedding');
  if (weight.ndim !== 2) throw new ShapeError(`the table is (V,D), got ${show(weight.shape)}`, { op: 'embedding' });
  const flat = reshape(index, [-1]);
  const rows = indexSelectKernel(weight, flat, 0);
  const y = handOver(rows, reshape(rows, [...index.shape, weight.shape[1]!]));
  if (options.paddingIdx === undefined) return y;
  const at = options.paddingIdx < 0 ? options.paddingIdx + weight.shape[0]! : options.paddingIdx;
  const real = reshape(ne(index, at), [...index.shape, 1]);
  return where(
    real,
    y,
    noGrad(() => clone(y)),
  );
}

/** The i32 coordinates of elements that are not 0: (count, ndim), row-major order. Reads the count, so it waits. (torch.nonzero) */
export function nonzero(x: Tensor): Tensor {
  asTensor(x, 'nonzero');
  return noGrad(() => nonzeroKernel(x, item(sum(x.dtype === 'bool' ? x : ne(x, 0)))));
}
const nonzeroKernel = op('nonzero', {
  args: (x: Tensor, count: number) => ({ inputs: [x], params: { count } }),
  infer: ([x], { count }) => ({ shape: [count, x.ndim], dtype: 'i32' }),
  grad: null,
});

/** The i32 places of true elements in the flattened mask. */
export function flatNonzero(mask: Tensor): Tensor {
  return select(nonzero(reshape(mask, [-1])), 1, 0);
}

function checkMask(x: Tensor, mask: Tensor, name: string): void {
  asTensor(x, name);
  asTensor(mask, name);
  if (mask.dtype !== 'bool') throw new DTypeError(`a mask is bool, got ${mask.dtype}`, { op: name });
}
/** The elements where the mask holds, as a 1-d tensor; the mask broadcasts. Reads the count, so it waits. (torch.masked_select) */
export function maskedSelect(x: Tensor, mask: Tensor): Tensor {
  checkMask(x, mask, 'maskedSelect');
  return indexSelect(reshape(x, [-1]), 0, flatNonzero(expand(mask, x.shape)));
}
/** x with `value` where the mask holds. (torch.masked_fill) */
export function maskedFill(x: Tensor, mask: Tensor, value: number | Tensor): Tensor {
  checkMask(x, mask, 'maskedFill');
  return where(logicalNot(mask), x, value);
}

const sortKernel = opMany('sort', {
  args: (x: Tensor, dim: number, descending: boolean) => ({ inputs: [x], params: { dim, descending } }),
  infer: ([x]) => [
    { shape: x.shape, dtype: x.dtype },
    { shape: x.shape, dtype: 'i32' as DType },
  ],
  encode: ({ dim, descending }) => [dim, descending ? 1 : 0],
  grad: (g, [x], y, { dim }) => [() => scatterKernel(zerosOf(x, g[0]!), y[1]!, g[0]!, dim)],
});
/** Elements in order along a dim (the last unless said), stably, and the i32 places they came from. NaN is the largest. (torch.sort) */
export function sort(x: Tensor, dim = -1, options: { descending?: boolean } = {}): ValuesAndIndices {
  asTensor(x, 'sort');
  checkOptions(options, 'sort');
  if (x.ndim === 0) return { values: clone(x), indices: zerosLike(x, { dtype: 'i32' }) };
  const [values, indices] = sortKernel(x, wrapDim(dim, x, 'sort'), options.descending ?? false);
  return { values: values!, indices: indices! };
}
/** The i32 indices that sort() answers. (torch.argsort) */
export function argsort(x: Tensor, dim = -1, options: { descending?: boolean } = {}): Tensor {
  return sort(x, dim, options).indices;
}

const topkKernel = opMany('topk', {
  args: (x: Tensor, k: number, dim: number, largest: boolean, sorted: boolean) => ({
    inputs: [x],
    params: { k, dim, largest, sorted },
  }),
  infer: ([x], { k, dim }) => {
    const shape = x.shape.map((n, i) => (i === dim ? k : n));
    return [
      { shape, dtype: x.dtype },
      { shape, dtype: 'i32' as DType },
    ];
  },
  encode: ({ k, dim, largest, sorted }) => [k, dim, largest ? 1 : 0, sorted ? 1 : 0],
  grad: (g, [x], y, { dim }) => [() => scatterKernel(zerosOf(x, g[0]!), y[1]!, g[0]!, dim)],
});
/** The k largest (or smallest) elements along a dim, in order, and their i32 indices. (torch.topk) */
export function topk(
  x: Tensor,
  k: number,
  dim = -1,
  options: { largest?: boolean; sorted?: boolean } = {},
): ValuesAndIndices {
  asTensor(x, 'topk');
  checkOptions(options, 'topk');
  const d = wrapDim(dim, x, 'topk');
  const n = x.shape[d];
  if (n === undefined || !Number.isInteger(k) || k < 0 || k > n)
    throw new ArgumentError(`k = ${describe(k)} of a dim of ${n ?? 1}`, { op: 'topk' });
  const [values, indices] = topkKernel(x, k, d, options.largest ?? true, options.sorted ?? true);
  return { values: values!, indices: indices! };
}

/** One-hot rows: (…) -> (…, classes), i32 unless another dtype is given. (torch.nn.functional.one_hot) */
export function oneHot(index: Tensor, classes: number, options: { dtype?: DType } = {}): Tensor {
  checkIndex(index, 'oneHot');
  checkOptions(options, 'oneHot');
  const dtype = options.dtype ?? 'i32';
  const target = zeros([...index.shape, classes], { dtype, device: index.device });
  const one = full([], 1, { dtype, device: index.device });
  const at = reshape(index, [...index.shape, 1]);
  return scatterKernel(target, at, expand(one, at.shape), index.ndim);
}
