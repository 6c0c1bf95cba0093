/** Reductions. `dim` is one dim, a list, or absent for all; `{ keepDim: true }` leaves them with size 1. */
import { asTensor, op } from '../core/define.js';
import { isFloat, sumType } from '../core/dtype.js';
import { DTypeError, ShapeError, checkOptions } from '../core/error.js';
import { type Shape, show } from '../core/layout.js';
import { handOver, type Tensor } from '../core/tensor.js';
import {
  abs,
  add,
  cast,
  div,
  eq,
  exp,
  isinf,
  log,
  logicalOr,
  mul,
  ne,
  pow,
  sqrt,
  square,
  sub,
  where,
} from './elementwise.js';
import { arange } from './free.js';
import { gather } from './index.js';
import { expand, reshape, wrapDim, wrapDims } from './view.js';

export interface KeepDim {
  /** Leave the reduced dims with size 1. */
  keepDim?: boolean;
}
export type Dims = number | readonly number[] | null;

const kept = (x: Tensor, dims: readonly number[]): Shape => x.shape.map((n, i) => (dims.includes(i) ? 1 : n));

function finish(y: Tensor, x: Tensor, dims: readonly number[], options: KeepDim | undefined, name: string): Tensor {
  if (options !== undefined) checkOptions(options, name);
  if (options?.keepDim) return y;
  const cut = x.shape.filter((_, i) => !dims.includes(i));
  return handOver(y, reshape(y, cut));
}

// The kernels answer with size 1 at the reduced dims.
const sumKernel: (x: Tensor, dims: readonly number[]) => Tensor = op('sum', {
  args: (x: Tensor, dims: readonly number[]) => ({ inputs: [x], params: { dims } }),
  infer: ([x], { dims }) => ({ shape: kept(x, dims), dtype: sumType(x.dtype) }),
  grad: (g, [x]) => expand(g, x.shape),
});
/** The sum; integers and bool give i64. (torch.sum) */
export function sum(x: Tensor, dim?: Dims, options?: KeepDim): Tensor {
  asTensor(x, 'sum');
  const dims = wrapDims(dim, x, 'sum');
  return finish(sumKernel(x, dims), x, dims, options, 'sum');
}

const sumSquares: (x: Tensor, dims: readonly number[]) => Tensor = op('sumSquares', {
  args: (x: Tensor, dims: readonly number[]) => ({ inputs: [x], params: { dims } }),
  infer: ([x], { dims }) => ({ shape: kept(x, dims), dtype: x.dtype }),
  decompose: ([x], { dims }) => sumKernel(square(x), dims),
  grad: (g, [x]) => mul(mul(g, 2), x),
});

const meanKernel = op('mean', {
  args: (x: Tensor, dims: readonly number[]) => ({ inputs: [x], params: { dims } }),
  infer: ([x], { dims }) => ({ shape: kept(x, dims), dtype: x.dtype }),
  decompose: ([x], { dims }) => div(sumKernel(x, dims), count(x, dims)),
  grad: (g, [x], _y, { dims }) => expand(div(g, count(x, dims)), x.shape),
});
const count = (x: Tensor, dims: readonly number[]) => dims.reduce((n, d) => n * x.shape[d]!, 1);
/** The mean of floats. (torch.mean) */
export function mean(x: Tensor, dim?: Dims, options?: KeepDim): Tensor {
  asTensor(x, 'mean');
  if (!isFloat(x.dtype)) throw new DTypeError(`needs floats, got ${x.dtype}: convert with .to('f32')`, { op: 'mean' });
  const dims = wrapDims(dim, x, 'mean');
  return finish(meanKernel(x, dims), x, dims, options, 'mean');
}

const prodKernel = op('prod', {
  args: (x: Tensor, dims: readonly number[]) => ({ inputs: [x], params: { dims } }),
  infer: ([x], { dims }) => ({ shape: kept(x, dims), dtype: sumType(x.dtype) }),
  grad: (g, [x], y, { dims }) => mul(g, prodOfOthers(x, y, dims)),
});
/** For each element the product of the others: y / x, except where a zero makes that undefined. */
function prodOfOthers(x: Tensor, y: Tensor, dims: readonly number[]): Tensor {
  const zero = eq(x, 0);
  const zeros = sumKernel(zero, dims);
  const rest = prodKernel(where(zero, 1, x), dims);
  return where(eq(zeros, 0), div(y, where(zero, 1, x)), where(eq(zeros, 1), where(zero, rest, 0), 0));
}
/** The product; integers and bool give i64. Second gradients need elements that are not 0. (torch.prod) */
export function prod(x: Tensor, dim?: Dims, options?: KeepDim): Tensor {
  asTensor(x, 'prod');
  const dims = wrapDims(dim, x, 'prod');
  return finish(prodKernel(x, dims), x, dims, options, 'prod');
}

/** The gradient goes to every extreme alike. */
const extremeGrad = (g: Tensor, x: Tensor, y: Tensor, dims: readonly number[]): Tensor => {
  const hit = cast(eq(x, y), g.dtype);
  return mul(div(g, sumKernel(hit, dims)), hit);
};
const amaxKernel = op('amax', {
  args: (x: Tensor, dims: readonly number[]) => ({ inputs: [x], params: { dims } }),
  infer: ([x], { dims }) => ({ shape: kept(x, dims), dtype: x.dtype }),
  grad: (g, [x], y, { dims }) => extremeGrad(g, x, y, dims),
});
const aminKernel = op('amin', {
  args: (x: Tensor, dims: readonly number[]) => ({ inputs: [x], params: { dims } }),
  infer: ([x], { dims }) => ({ shape: kept(x, dims), dtype: x.dtype }),
  grad: (g, [x], y, { dims }) => extremeGrad(g, x, y, dims),
});
function notEmpty(x: Tensor, dims: readonly number[], name: string): void {
  if (dims.some((d) => x.shape[d] === 0))
    throw new ShapeError(`nothing to choose from in ${show(x.shape)}`, { op: name });
}
/** The largest element; NaN wins; equal ones share the gradient. (torch.amax) */
export function amax(x: Tensor, dim?: Dims, options?: KeepDim): Tensor {
  asTensor(x, 'amax');
  const dims = wrapDims(dim, x, 'amax');
  notEmpty(x, dims, 'amax');
  return finish(amaxKernel(x, dims), x, dims, options, 'amax');
}
/** The smallest element; NaN wins; equal ones share the gradient. (torch.amin) */
export function amin(x: Tensor, dim?: Dims, options?: KeepDim): Tensor {
  asTensor(x, 'amin');
  const dims = wrapDims(dim, x, 'amin');
  notEmpty(x, dims, 'amin');
  return finish(aminKernel(x, dims), x, dims, options, 'amin');
}
/** amax under its everyday name; indices come from maxWithIndices() or argmax(). */
export const max: typeof amax = amax;
/** amin under its everyday name. */
export const min: typeof amin = amin;

const argRule = (name: 'argmax' | 'argmin') =>
  op(name, {
    args: (x: Tensor, dim: number) => ({ inputs: [x], params: { dim } }),
    infer: ([x], { dim }) => ({ shape: kept(x, [dim]), dtype: 'i32' }),
    encode: ({ dim }) => [dim],
    // The least index of those that are NaN or the extreme; where there is a NaN, that is the extreme and equals none.
    decompose: ([x], { dim }) => {
      const n = x.shape[dim]!;
      const extreme = (name === 'argmax' ? amaxKernel : aminKernel)(x, [dim]);
      const found = isFloat(x.dtype) ? logicalOr(eq(x, extreme), ne(x, x)) : eq(x, extreme);
      const places = reshape(
        arange(n, undefined, { device: x.device }),
        x.shape.map((_, d) => (d === dim ? n : 1)),
      );
      return aminKernel(where(found, places, n), [dim]);
    },
    grad: null,
  });
const argmaxKernel = argRule('argmax');
const argminKernel = argRule('argmin');
function arg(
  kernel: (x: Tensor, dim: number) => Tensor,
  name: string,
  x: Tensor,
  dim: number | null | undefined,
  options?: KeepDim,
): Tensor {
  asTensor(x, name);
  if (dim === null || dim === undefined) {
    notEmpty(x, wrapDims(null, x, name), name);
    const y = kernel(reshape(x, [-1]), 0);
    return handOver(y, reshape(y, options?.keepDim ? x.shape.map(() => 1) : []));
  }
  const d = wrapDim(dim, x, name);
  if (x.ndim === 0) return reshape(kernel(reshape(x, [1]), 0), []);
  notEmpty(x, [d], name);
  return finish(kernel(x, d), x, [d], options, name);
}
/** The i32 index of the first largest element, along `dim` or in the flattened tensor. (torch.argmax) */
export function argmax(x: Tensor, dim?: number | null, options?: KeepDim): Tensor {
  return arg(argmaxKernel, 'argmax', x, dim, options);
}
/** The i32 index of the first smallest element. (torch.argmin) */
export function argmin(x: Tensor, dim?: number | null, options?: KeepDim): Tensor {
  return arg(argminKernel, 'argmin', x, dim, options);
}

export interface ValuesAndIndices {
  values: Tensor;
  /** i32 */
  indices: Tensor;
}
/** The largest elements along a dim and their i32 indices; the gradient goes to the chosen one. (torch.max with a dim) */
export function maxWithIndices(x: Tensor, dim: number, options?: KeepDim): ValuesAndIndices {
  return withIndices(argmax(x, dim, { keepDim: true }), x, dim, options, 'maxWithIndices');
}
/** The smallest elements along a dim and their i32 indices. (torch.min with a dim) */
export function minWithIndices(x: Tensor, dim: number, options?: KeepDim): ValuesAndIndices {
  return withIndices(argmin(x, dim, { keepDim: true }), x, dim, options, 'minWithIndices');
}
function withIndices(at: Tensor, x: Tensor, dim: number, options: KeepDim | undefined, name: string): ValuesAndIndices {
  const d = wrapDim(dim, x, name);
  const values = gather(x, d, at);
  return { values: finish(values, x, [d], options, name), indices: finish(at, x, [d], options, name) };
}

/** Whether any element is not 0; bool. (torch.any) */
export function any(x: Tensor, dim?: Dims, options?: KeepDim): Tensor {
  asTensor(x, 'any');
  const dims = wrapDims(dim, x, 'any');
  const truth = x.dtype === 'bool' ? x : ne(x, 0);
  if (dims.some((d) => x.shape[d] === 0)) return finish(ne(sumKernel(truth, dims), 0), x, dims, options, 'any');
  return finish(amaxKernel(truth, dims), x, dims, options, 'any');
}
/** Whether every element is not 0; bool. (torch.all) */
export function all(x: Tensor, dim?: Dims, options?: KeepDim): Tensor {
  asTensor(x, 'all');
  const dims = wrapDims(dim, x, 'all');
  const truth = x.dtype === 'bool' ? x : ne(x, 0);
  if (dims.some((d) => x.shape[d] === 0)) return finish(eq(sumKernel(truth, dims), 0), x, dims, options, 'all');
  return finish(aminKernel(truth, dims), x, dims, options, 'all');
}

export interface VarianceOptions extends KeepDim {
  /** Subtracted from the count in the divisor: 1 (unbiased) unless said. */
  correction?: number;
}
const varianceKernel = op('variance', {
  args: (x: Tensor, dims: readonly number[], correction: number) => ({ inputs: [x], params: { dims, correction } }),
  infer: ([x], { dims }) => ({ shape: kept(x, dims), dtype: x.dtype }),
  encode: ({ correction }) => [correction],
  decompose: ([x], { dims, correction }) =>
    div(sumKernel(square(sub(x, meanKernel(x, dims))), dims), count(x, dims) - correction),
  grad: (g, [x], _y, { dims, correction }) =>
    mul(mul(g, 2 / (count(x, dims) - correction)), sub(x, meanKernel(x, dims))),
});
/** The variance of floats, unbiased unless `correction: 0`. (torch.var) */
export function variance(x: Tensor, dim?: Dims, options: VarianceOptions = {}): Tensor {
  asTensor(x, 'variance');
  checkOptions(options, 'variance');
  if (!isFloat(x.dtype))
    throw new DTypeError(`needs floats, got ${x.dtype}: convert with .to('f32')`, { op: 'variance' });
  const dims = wrapDims(dim, x, 'variance');
  return finish(varianceKernel(x, dims, options.correction ?? 1), x, dims, options, 'variance');
}
/** The standard deviation of floats, unbiased unless `correction: 0`. (torch.std) */
export function std(x: Tensor, dim?: Dims, options: VarianceOptions = {}): Tensor {
  return sqrt(variance(x, dim, options));
}

/** log(sum(exp(x))) without overflow. (torch.logsumexp) */
export function logsumexp(x: Tensor, dim?: Dims, options?: KeepDim): Tensor {
  asTensor(x, 'logsumexp');
  const dims = wrapDims(dim, x, 'logsumexp');
  return finish(logsumexpOp(x, dims), x, dims, options, 'logsumexp');
}
const logsumexpOp = op('logsumexp', {
  args: (x: Tensor, dims: readonly number[]) => ({ inputs: [x], params: { dims } }),
  infer: ([x], { dims }) => ({ shape: kept(x, dims), dtype: isFloat(x.dtype) ? x.dtype : 'f32' }),
  decompose: ([x], { dims }) => {
    const top = amaxKernel(x, dims);
    const shift = where(isinf(top), 0, top);
    return add(log(sumKernel(exp(sub(x, shift)), dims)), shift);
  },
  grad: (g, [x], y) => mul(g, exp(sub(x, y))),
});

/** The p-norm of all elements or along dims; p = 2 unless said; Infinity gives the largest magnitude. (torch.linalg.vector_norm) */
export function norm(x: Tensor, dim?: Dims, options: KeepDim & { p?: number } = {}): Tensor {
  asTensor(x, 'norm');
  checkOptions(options, 'norm');
  const p = options.p ?? 2;
  if (p === 2 && isFloat(x.dtype)) {
    const dims = wrapDims(dim, x, 'norm');
    return sqrt(finish(sumSquares(x, dims), x, dims, options, 'norm'));
  }
  if (p === 2) return sqrt(sum(square(x), dim, options));
  if (p === 1) return sum(abs(x), dim, options);
  if (p === Number.POSITIVE_INFINITY) return amax(abs(x), dim, options);
  if (p === 0) return cast(sum(ne(x, 0), dim, options), x.dtype);
  return pow(sum(pow(abs(x), p), dim, options), 1 / p);
}

const scanRule = (name: 'cumsum' | 'cumprod', grad: (g: Tensor, x: Tensor, y: Tensor, dim: number) => Tensor) =>
  op(name, {
    args: (x: Tensor, dim: number) => {
      asTensor(x, name);
      return { inputs: [x], params: { dim: wrapDim(dim, x, name) } };
    },
    infer: ([x]) => ({ shape: x.shape, dtype: sumType(x.dtype) }),
    encode: ({ dim }) => [dim],
    grad: (g, [x], y, { dim }) => grad(g, x, y, dim),
  });
/** Sums from the start of a dim to each element; integers give i64. (torch.cumsum) */
export const cumsum: (x: Tensor, dim: number) => Tensor = scanRule('cumsum', (g, _x, _y, dim) => reverseCumsum(g, dim));
/** Products from the start of a dim to each element; integers give i64; the gradient needs elements that are not 0. (torch.cumprod) */
export const cumprod = scanRule('cumprod', (g, x, y, dim) => div(reverseCumsum(mul(g, y), dim), x));
function reverseCumsum(g: Tensor, dim: number): Tensor {
  return add(sub(sum(g, dim, { keepDim: true }), cumsum(g, dim)), g);
}
