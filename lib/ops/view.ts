/** Views: other shapes over the same memory. Dims may be negative, counting from the end. */
import { apply } from '../core/apply.js';
import { asTensor, lookup, op, view } from '../core/define.js';
import { ArgumentError, describe, IndexError, ShapeError } from '../core/error.js';
import {
  broadcastTwo,
  contiguousStrides,
  expandedStrides,
  sameShape,
  type Shape,
  show,
  sizeOf,
  viewStrides,
} from '../core/layout.js';
import { handOver, type Tensor } from '../core/tensor.js';
import { cast, contiguous } from './elementwise.js';
import { arange, cat, zeros } from './free.js';
import { indexAdd } from './index.js';
import { sum } from './reduce.js';

/** A dim in [0, ndim), from one in [-ndim, ndim). */
export function wrapDim(dim: number, x: Tensor, name: string, extra = 0): number {
  const ndim = x.ndim + extra;
  const range = Math.max(ndim, 1);
  if (!Number.isInteger(dim) || dim < -range || dim >= range) {
    throw new IndexError(`dim ${describe(dim)} is out of range for ${show(x.shape)}`, { op: name });
  }
  return dim < 0 ? dim + range : dim;
}

/** A list of distinct dims in [0, ndim); null or undefined means all. */
export function wrapDims(dims: number | readonly number[] | null | undefined, x: Tensor, name: string): number[] {
  if (dims === null || dims === undefined) return Array.from(x.shape, (_, i) => i);
  if (typeof dims !== 'number' && !Array.isArray(dims)) {
    throw new ArgumentError(`a dim or a list of dims, got ${describe(dims)}`, { op: name });
  }
  const list = (typeof dims === 'number' ? [dims] : (dims as readonly number[])).map((dim) => wrapDim(dim, x, name));
  if (new Set(list).size !== list.length) throw new ArgumentError(`dims [${list.join()}] repeat`, { op: name });
  return list;
}

export function checkShape(shape: unknown, name: string): asserts shape is Shape {
  if (!Array.isArray(shape) || !shape.every((n) => Number.isInteger(n))) {
    throw new ArgumentError(`a shape is an array of integers, got ${describe(shape)}`, {
      op: name,
    });
  }
}

// ---- reshape

const reshapeView = view('reshape', {
  args: (x: Tensor, shape: Shape, strides: readonly number[]) => ({ inputs: [x], params: { shape, strides } }),
  infer: (_x, { shape, strides }) => ({ shape, strides, offset: 0 }),
  grad: (g, x) => reshape(g, x.shape),
});

/**
 * The same elements in another shape; one size may be -1. A view where the memory allows, else a copy. (torch.reshape)
 * @throws ShapeError when the number of elements differs
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  asTensor(x, 'reshape');
  checkShape(shape, 'reshape');
  const open = shape.indexOf(-1);
  let to = shape;
  if (open >= 0) {
    const rest = sizeOf(shape.filter((_, i) => i !== open));
    if (rest <= 0 || x.size % rest !== 0)
      throw new ShapeError(`${x.size} elements do not make ${show(shape)}`, { op: 'reshape' });
    to = shape.map((n, i) => (i === open ? x.size / rest : n));
  }
  if (to.some((n) => n < 0) || sizeOf(to) !== x.size) {
    throw new ShapeError(`${show(x.shape)} has ${x.size} elements and does not make ${show(shape)}`, { op: 'reshape' });
  }
  if (sameShape(to, x.shape)) return x;
  const strides = viewStrides(x.layout, to);
  if (strides) return reshapeView(x, to, strides);
  const copy = contiguous(x);
  return handOver(copy, reshapeView(copy, to, contiguousStrides(to)));
}

/** Dims `start` to `end` (inclusive) as one. (torch.flatten) */
export function flatten(x: Tensor, start = 0, end = -1): Tensor {
  asTensor(x, 'flatten');
  if (x.ndim === 0) return reshape(x, [1]);
  const a = wrapDim(start, x, 'flatten');
  const b = wrapDim(end, x, 'flatten');
  if (a > b) throw new ArgumentError(`start ${start} lies behind end ${end}`, { op: 'flatten' });
  return reshape(x, [...x.shape.slice(0, a), sizeOf(x.shape.slice(a, b + 1)), ...x.shape.slice(b + 1)]);
}

/** One dim as several; one size may be -1. (torch.unflatten) */
export function unflatten(x: Tensor, dim: number, sizes: Shape): Tensor {
  asTensor(x, 'unflatten');
  checkShape(sizes, 'unflatten');
  const d = wrapDim(dim, x, 'unflatten');
  const rest = sizeOf(sizes.filter((n) => n !== -1));
  return reshape(x, [
    ...x.shape.slice(0, d),
    ...sizes.map((n) => (n === -1 ? x.shape[d]! / rest : n)),
    ...x.shape.slice(d + 1),
  ]);
}

/** Without the dims of size 1: all of them, or those given (which must be of size 1, or stay). (torch.squeeze) */
export function squeeze(x: Tensor, dim?: number | readonly number[]): Tensor {
  asTensor(x, 'squeeze');
  const dims = wrapDims(dim, x, 'squeeze');
  return reshape(
    x,
    x.shape.filter((n, i) => n !== 1 || !dims.includes(i)),
  );
}

/** With a new dim of size 1 at `dim`. (torch.unsqueeze) */
export function unsqueeze(x: Tensor, dim: number): Tensor {
  asTensor(x, 'unsqueeze');
  const d = wrapDim(dim, x, 'unsqueeze', 1);
  return reshape(x, [...x.shape.slice(0, d), 1, ...x.shape.slice(d)]);
}

/** Any window on the memory of a contiguous x. @internal Nothing is checked: recorded writes through views are differentiated by it. */
view('asStrided', {
  args: (x: Tensor, shape: Shape, strides: readonly number[], offset: number) => ({
    inputs: [x],
    params: { shape, strides, offset },
  }),
  infer: (_x, params) => params,
  grad: (g, x, { shape, strides, offset }) => {
    const all = arange(x.size, undefined, { device: x.device });
    const places = apply(lookup('asStrided'), [all], { shape, strides, offset });
    const flat = zeros([x.size], { dtype: g.dtype, device: g.device });
    return reshape(indexAdd(flat, 0, reshape(places, [-1]), reshape(g, [-1])), x.shape);
  },
});

// ---- order of dims

const permuteView: (x: Tensor, dims: readonly number[]) => Tensor = view('permute', {
  args: (x: Tensor, dims: readonly number[]) => ({ inputs: [x], params: { dims } }),
  infer: (x, { dims }) => ({ shape: dims.map((d) => x.shape[d]!), strides: dims.map((d) => x.strides[d]!), offset: 0 }),
  grad: (g, _x, { dims }) =>
    permuteView(
      g,
      dims.map((_, i) => dims.indexOf(i)),
    ),
});

/** The dims in another order: dim i of the result is dim dims[i] of x. (torch.permute) */
export function permute(x: Tensor, dims: readonly number[]): Tensor {
  asTensor(x, 'permute');
  const order = wrapDims(dims, x, 'permute');
  if (order.length !== x.ndim)
    throw new ShapeError(`${describe(dims)} does not order the ${x.ndim} dims of ${show(x.shape)}`, { op: 'permute' });
  return permuteView(x, order);
}

/** Two dims exchanged; the last two unless said. (torch.transpose) */
export function transpose(x: Tensor, dim0 = -2, dim1 = -1): Tensor {
  asTensor(x, 'transpose');
  const a = wrapDim(dim0, x, 'transpose');
  const b = wrapDim(dim1, x, 'transpose');
  const order = Array.from(x.shape, (_, i) => (i === a ? b : i === b ? a : i));
  return permuteView(x, order);
}

/** One dim moved to another place. (torch.movedim) */
export function movedim(x: Tensor, from: number, to: number): Tensor {
  asTensor(x, 'movedim');
  const a = wrapDim(from, x, 'movedim');
  const b = wrapDim(to, x, 'movedim');
  const order = Array.from(x.shape, (_, i) => i).filter((i) => i !== a);
  order.splice(b, 0, a);
  return permuteView(x, order);
}

// ---- repetition

const expandView = view('expand', {
  args: (x: Tensor, shape: Shape) => ({ inputs: [x], params: { shape } }),
  infer: (x, { shape }) => ({ shape, strides: expandedStrides(x.layout, shape), offset: 0 }),
  grad: (g, x) => sumTo(g, x.shape),
});

/** x read as the larger `shape`, by broadcasting, without a copy; -1 keeps a size. (torch.expand) */
export function expand(x: Tensor, shape: Shape): Tensor {
  asTensor(x, 'expand');
  checkShape(shape, 'expand');
  const lead = shape.length - x.ndim;
  const to = shape.map((n, i) => (n === -1 && i >= lead ? x.shape[i - lead]! : n));
  const common = broadcastTwo(x.shape, to);
  if (!common || !sameShape(common, to))
    throw new ShapeError(`${show(x.shape)} does not expand to ${show(shape)}`, { op: 'expand' });
  return sameShape(to, x.shape) ? x : expandView(x, to);
}

/** Sums what was broadcast: the reverse of expand. */
export const sumTo = op('sumTo', {
  args: (x: Tensor, shape: Shape) => ({ inputs: [x], params: { shape } }),
  infer: ([x], { shape }) => ({ shape, dtype: x.dtype }),
  decompose: ([x], { shape }) => {
    if (sameShape(x.shape, shape)) return x;
    const lead = x.ndim - shape.length;
    const dims = x.shape.flatMap((n, i) => (i < lead || (shape[i - lead] === 1 && n !== 1) ? [i] : []));
    const total = reshape(sum(x, dims, { keepDim: true }), shape);
    return total.dtype === x.dtype ? total : cast(total, x.dtype);
  },
  grad: (g, [x]) => expand(g, x.shape),
});

// ---- parts

const sliceView = view('slice', {
  args: (x: Tensor, dim: number, start: number, length: number, step: number) => ({
    inputs: [x],
    params: { dim, start, length, step },
  }),
  infer: (x, { dim, start, length, step }) => ({
    shape: x.shape.map((n, i) => (i === dim ? length : n)),
    strides: x.strides.map((s, i) => (i === dim ? s * step : s)),
    offset: start * x.strides[dim]!,
  }),
  grad: (g, x, { dim, start, length, step }) => sliceGrad(g, x.shape, dim, start, length, step),
});

/** g at the place of a slice, zeros around it. */
function sliceGrad(g: Tensor, shape: Shape, dim: number, start: number, length: number, step: number): Tensor {
  const options = { dtype: g.dtype, device: g.device };
  const part = (n: number) =>
    zeros(
      shape.map((s, i) => (i === dim ? n : s)),
      options,
    );
  const size = shape[dim]!;
  if (step === 1) {
    const parts = [start > 0 ? part(start) : null, g, start + length < size ? part(size - start - length) : null];
    return cat(
      parts.filter((p) => p !== null),
      dim,
    );
  }
  return indexAdd(
    zeros(shape, options),
    dim,
    arange(start, start + step * length, { step, dtype: 'i32', device: g.device }),
    g,
  );
}

/** Elements `start` (inclusive) to `end` (exclusive) of a dim, each `step`-th; negative bounds count from the end. */
export function slice(x: Tensor, dim: number, start: number, end: number, step = 1): Tensor {
  asTensor(x, 'slice');
  const d = wrapDim(dim, x, 'slice');
  const n = x.shape[d] ?? 1;
  for (const [what, value] of [
    ['start', start],
    ['end', end],
    ['step', step],
  ] as const) {
    if (!Number.isInteger(value) && !(what === 'end' && value === Number.POSITIVE_INFINITY)) {
      throw new ArgumentError(`${what} is an integer, got ${describe(value)}`, { op: 'slice' });
    }
  }
  if (step < 1) throw new ArgumentError(`step is at least 1, got ${describe(step)}; flip() reverses`, { op: 'slice' });
  const clip = (i: number) => Math.min(Math.max(i < 0 ? i + n : i, 0), n);
  const from = clip(start);
  const length = Math.max(0, Math.ceil((clip(end) - from) / step));
  return from === 0 && length === n && step === 1 ? x : sliceView(x, d, from, length, step);
}

/** `length` elements of a dim from `start`. (torch.narrow) */
export function narrow(x: Tensor, dim: number, start: number, length: number): Tensor {
  asTensor(x, 'narrow');
  const d = wrapDim(dim, x, 'narrow');
  const n = x.shape[d]!;
  if (!Number.isInteger(start) || !Number.isInteger(length)) {
    throw new ArgumentError(`start and length are integers, got ${describe([start, length])}`, { op: 'narrow' });
  }
  const from = start < 0 ? start + n : start;
  if (!(from >= 0 && length >= 0 && from + length <= n)) {
    throw new IndexError(`elements ${start} to ${start + length} of a dim of size ${n}`, { op: 'narrow' });
  }
  return slice(x, d, from, from + length);
}

/** One index of a dim, which disappears. (torch.select) */
export function select(x: Tensor, dim: number, index: number): Tensor {
  asTensor(x, 'select');
  const d = wrapDim(dim, x, 'select');
  const n = x.shape[d];
  if (n === undefined) throw new IndexError('a 0-d tensor has no dim to index', { op: 'select' });
  if (!Number.isInteger(index) || index < -n || index >= n) {
    throw new IndexError(`index ${describe(index)} is out of range for dim ${d} of size ${n}`, { op: 'select' });
  }
  const at = index < 0 ? index + n : index;
  const part = sliceView(x, d, at, 1, 1);
  return reshape(part, [...x.shape.slice(0, d), ...x.shape.slice(d + 1)]);
}

/** Pieces of `size` along a dim (the last may be smaller), or of the sizes listed, as views. (torch.split) */
export function split(x: Tensor, size: number | readonly number[], dim = 0): Tensor[] {
  asTensor(x, 'split');
  const d = wrapDim(dim, x, 'split');
  const n = x.shape[d]!;
  let sizes: readonly number[];
  if (typeof size === 'number') {
    if (!Number.isInteger(size) || size < 1)
      throw new ArgumentError(`size is at least 1, got ${describe(size)}`, { op: 'split' });
    sizes = Array.from({ length: Math.max(1, Math.ceil(n / size)) }, (_, i) => Math.min(size, n - i * size));
  } else {
    checkShape(size, 'split');
    sizes = size;
    const total = sizes.reduce((a, b) => a + b, 0);
    if (total !== n)
      throw new ShapeError(`sizes [${sizes.join()}] add up to ${total}, dim ${d} has ${n}`, { op: 'split' });
  }
  let start = 0;
  return sizes.map((length) => {
    const piece = narrow(x, d, start, length);
    start += length;
    return piece;
  });
}

/** At most `chunks` pieces of equal size along a dim, as views. (torch.chunk) */
export function chunk(x: Tensor, chunks: number, dim = 0): Tensor[] {
  asTensor(x, 'chunk');
  if (!Number.isInteger(chunks) || chunks < 1)
    throw new ArgumentError(`chunks is at least 1, got ${describe(chunks)}`, { op: 'chunk' });
  const d = wrapDim(dim, x, 'chunk');
  return split(x, Math.max(1, Math.ceil(x.shape[d]! / chunks)), d);
}

/** Every index of a dim, which disappears, as views. (torch.unbind) */
export function unbind(x: Tensor, dim = 0): Tensor[] {
  asTensor(x, 'unbind');
  const d = wrapDim(dim, x, 'unbind');
  return Array.from({ length: x.shape[d]! }, (_, i) => select(x, d, i));
}
