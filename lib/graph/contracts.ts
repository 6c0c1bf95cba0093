/**
 * What native/ops.def says of operands and a kernel takes on trust, because the ops that call it infer them: checked for calls that come
 * from a file.
 */
import { type Layout, sizeOf } from '../core/layout.js';
import type { Call } from '../core/plan.js';

/** The least inputs, outputs and params, by kernel. */
export const least: Readonly<Record<string, readonly [number, number, number]>> = {
  ...{ elementwise: [0, 1, 1], elementwiseMany: [0, 1, 4], elementwiseSum: [1, 1, 2] },
  ...{ sum: [1, 1, 0], mean: [1, 1, 0], prod: [1, 1, 0], amax: [1, 1, 0], amin: [1, 1, 0], sumSquares: [1, 1, 0] },
  ...{ argmax: [1, 1, 1], argmin: [1, 1, 1], variance: [1, 1, 1], cumsum: [1, 1, 1], cumprod: [1, 1, 1] },
  ...{
    matmul: [2, 1, 0],
    matmulInteger: [2, 1, 0],
    matmulThen: [2, 1, 5],
    conv2dThen: [2, 1, 12],
    conv2dGradInputThen: [2, 1, 12],
  },
  ...{ conv2d: [2, 1, 7], conv2dGradInput: [2, 1, 7], conv2dGradWeight: [2, 1, 7] },
  ...{ maxPool2d: [1, 2, 8], maxPool2dGrad: [2, 1, 8], avgPool2d: [1, 1, 10], avgPool2dGrad: [1, 1, 10] },
  ...{ adaptiveAvgPool2d: [1, 1, 0], adaptiveAvgPool2dGrad: [1, 1, 0] },
  ...{ softmax: [1, 1, 1], softmaxGrad: [2, 1, 1], logSoftmax: [1, 1, 1], logSoftmaxGrad: [2, 1, 1] },
  ...{ crossEntropy: [2, 2, 2], crossEntropyGrad: [4, 1, 2], layerNorm: [1, 3, 4], layerNormGrad: [4, 3, 2] },
  ...{ batchNorm: [3, 4, 1], batchNormGrad: [5, 3, 0], gather: [2, 1, 1], scatter: [3, 1, 1], scatterAdd: [3, 1, 1] },
  ...{ indexSelect: [2, 1, 1], indexAdd: [3, 1, 1], cat: [1, 1, 1], nonzero: [1, 1, 0], sort: [1, 2, 2] },
  ...{ topk: [1, 2, 4], dynamicSlice: [1, 1, 0], dynamicUpdateSlice: [2, 1, 0] },
  ...{ attention: [3, 2, 4], attentionGrad: [6, 3, 4], lstm: [4, 3, 1], lstmGrad: [7, 3, 1] },
  ...{ arange: [0, 1, 0], random: [0, 1, 1], dropout: [1, 1, 0] },
};

/** x (N,C,H,W), w (O,C/groups,KH,KW), y (N,O,OH,OW). `fewer`: y may be smaller than the product would be (transposed convolution). */
function convolves(
  x: Layout,
  w: Layout,
  y: Layout,
  bias: Layout | undefined,
  params: readonly number[],
  fewer: boolean,
): boolean {
  if (![x, w, y].every(({ ndim }) => ndim === 4) || params.some((n) => !Number.isSafeInteger(n))) return false;
  const groups = params[6]!;
  const [n, o, ...out] = y.shape as [number, number, number, number];
  if (groups < 1 || o % groups !== 0 || w.shape[0] !== o || w.shape[1]! * groups !== x.shape[1]) return false;
  if (x.shape[0] !== n || (bias !== undefined && bias.shape.join() !== `${o}`)) return false;
  return out.every((size, d) => {
    const [stride, pad, dilation] = [params[d]!, params[2 + d]!, params[4 + d]!];
    if (stride < 1 || pad < 0 || dilation < 1) return false;
    const fits = Math.floor((x.shape[2 + d]! + 2 * pad - dilation * (w.shape[2 + d]! - 1) - 1) / stride) + 1;
    return size === Math.max(fits, 0) || (fewer && size < fits);
  });
}

/** x (N,C,H,W), y (N,C,OH,OW): each window begins in x or in the padding before it. */
function pools(x: Layout, y: Layout, params: readonly number[]): boolean {
  if (x.ndim !== 4 || y.ndim !== 4 || params.some((n) => !Number.isSafeInteger(n))) return false;
  if (x.shape[0] !== y.shape[0] || x.shape[1] !== y.shape[1]) return false;
  return [0, 1].every((d) => {
    const [from, to] = [x.shape[2 + d]!, y.shape[2 + d]!];
    if (to === 0) return true;
    // Adaptive windows have no params: they cover x.
    return from > 0 && (params.length === 0 || (to - 1) * params[2 + d]! - params[4 + d]! < from);
  });
}

const sameShape = (a: Layout, b: Layout): boolean => a.shape.join() === b.shape.join();

const isRow = ({ shape }: Layout, n: number): boolean => shape.length === 1 && shape[0] === n;
const isDim = (dim: number, { ndim }: Layout): boolean => Number.isInteger(dim) && dim >= 0 && dim < Math.max(ndim, 1);
/** y has x's sizes but along `dim`, where it has no more. */
const within = (y: Layout, x: Layout, dim: number): boolean =>
  y.ndim === x.ndim && y.shape.every((n, d) => (d === dim ? n <= x.shape[d]! : n === x.shape[d]));
const reduces = (x: Layout, y: Layout): boolean =>
  y.ndim === x.ndim && y.shape.every((n, d) => n === 1 || n === x.shape[d]);

/** (...,M,K) @ (...,K,N) is (...,M,N). */
function multiplies(a: Layout, b: Layout, y: Layout): boolean {
  const { ndim } = y;
  if (ndim < 2 || a.ndim !== ndim || b.ndim !== ndim) return false;
  const batch = y.shape.slice(0, -2);
  if ([a, b].some(({ shape }) => batch.some((n, d) => n !== shape[d]))) return false;
  return a.shape.at(-2) === y.shape.at(-2) && b.shape.at(-1) === y.shape.at(-1) && a.shape.at(-1) === b.shape.at(-2);
}

const isShape = ({ shape }: Layout, wanted: readonly number[]): boolean =>
  shape.length === wanted.length && shape.every((n, d) => n === wanted[d]);

/** q (B,H,T,D), k (B,G,S,D), v (B,G,S,E), then mask (B,H,T,S) and lengths (B) as the params say. */
function attends(inputs: readonly Layout[], params: readonly number[]): boolean {
  const [q, k, v, ...rest] = inputs as [Layout, Layout, Layout, ...Layout[]];
  if ([q, k, v].some(({ ndim }) => ndim !== 4)) return false;
  const [batch, heads, queries, depth] = q.shape as [number, number, number, number];
  const [theirs, groups, keys] = k.shape as [number, number, number, number];
  if (theirs !== batch || groups === 0 || heads % groups !== 0 || k.shape[3] !== depth) return false;
  if (!isShape(v, [...k.shape.slice(0, 3), v.shape[3]!])) return false;
  if (rest.length !== (params[2] ? 1 : 0) + (params[3] ? 1 : 0)) return false;
  if (params[2] && !isShape(rest[0]!, [batch, heads, queries, keys])) return false;
  return !params[3] || (isRow(rest.at(-1)!, batch) && rest.at(-1)!.dtype === 'i32');
}
/** x is (B,H,T) of q, and (B,H,T,E) of v where that is given. */
const sameRows = (x: Layout, q: Layout, v?: Layout): boolean =>
  isShape(x, v ? [...q.shape.slice(0, 3), v.shape[3]!] : q.shape.slice(0, 3));

/** Shapes by their letters: each stands for one size throughout. */
function recurs(layouts: readonly Layout[], shapes: readonly string[]): boolean {
  const sizes = new Map<string, number>();
  return shapes.every((shape, i) => {
    const dims = layouts[i]!.shape;
    return (
      dims.length === shape.length &&
      [...shape].every((letter, d) => {
        const n = letter === 'G' ? dims[d]! / 4 : dims[d]!; // G: four gates of H
        const known = sizes.get(letter === 'G' ? 'H' : letter) ?? n;
        sizes.set(letter === 'G' ? 'H' : letter, known);
        return known === n;
      })
    );
  });
}

/** Where the tile program begins in a call's params, and how many tensors it reads; null: the kernel runs none. */
export function tileAt(
  op: string,
  params: readonly number[],
  inputs: number,
): { start: number; inputs: number } | null {
  if (op === 'elementwise') return { start: 0, inputs };
  if (op === 'elementwiseMany') return { start: 3, inputs: params[1]! };
  if (op === 'elementwiseSum') return { start: 1 + params[0]!, inputs };
  if (op.endsWith('Then')) return { start: 4 + params[1]!, inputs: inputs - params[0]! + 1 };
  return null;
}

/** Whether something reads what each instruction of a tile program makes. `given`: registers before the first. */
function allRead(tile: readonly number[], given: number): boolean {
  const size = tile[given]!;
  const code = tile.slice(given + 1, given + 1 + 5 * size);
  const read = new Set([...code.filter((_, i) => i % 5 >= 2), ...tile.slice(given + 1 + 5 * size)]);
  return Array.from(code.slice(0, size), (_, i) => read.has(given + i)).every((one) => one);
}

/** Whether the kernel `op` may be given this call. */
export function keepsTo(
  op: string,
  { inputs, params, nscalars, constants }: Call,
  outputs: readonly Layout[],
): boolean {
  const needs = least[op];
  if (needs === undefined) return false;
  if (inputs.length < needs[0] || outputs.length < needs[1] || params.length < needs[2]) return false;
  const tile = tileAt(op, params, inputs.length);
  if (tile !== null && !allRead(params.slice(tile.start), tile.inputs + nscalars + constants.length)) return false;
  if (op.endsWith('Then')) {
    const [nin, nparams, made] = params as [number, number, number];
    const y = outputs[Math.max(made, 0)];
    const call = {
      op: 0,
      inputs: inputs.slice(0, nin),
      nscalars: 0,
      params: params.slice(4, 4 + nparams),
      constants: [],
    };
    return y !== undefined && keepsTo(op.slice(0, -'Then'.length), call, [y]);
  }
  const [a, b, c] = inputs as [Layout, Layout, Layout | undefined];
  const [y, z] = outputs as [Layout, Layout];
  switch (op) {
    case 'conv2d':
      return convolves(a, b, y, c, params, false);
    case 'conv2dGradInput':
      return convolves(y, b, a, undefined, params, true);
    case 'conv2dGradWeight':
      return convolves(b, y, a, undefined, params, false);
    case 'maxPool2d':
      return pools(a, y, params) && sameShape(y, z);
    case 'maxPool2dGrad':
      return pools(y, a, params) && sameShape(a, b);
    case 'avgPool2d':
    case 'adaptiveAvgPool2d':
      return pools(a, y, params);
    case 'avgPool2dGrad':
    case 'adaptiveAvgPool2dGrad':
      return pools(y, a, params);
    case 'matmul':
      return multiplies(a, b, y) && (c === undefined || sameShape(c, y));
    case 'matmulInteger':
      return multiplies(a, b, y) && c === undefined;
    case 'softmax':
    case 'logSoftmax':
    case 'cumsum':
    case 'cumprod':
      return isDim(params[0]!, a) && sameShape(a, y);
    case 'softmaxGrad':
    case 'logSoftmaxGrad':
      return isDim(params[0]!, a) && sameShape(a, b) && sameShape(a, y);
    case 'sort':
      return isDim(params[0]!, a) && sameShape(a, y) && sameShape(a, z);
    case 'topk':
      return isDim(params[1]!, a) && sameShape(y, z) && y.shape[params[1]!] === params[0] && within(y, a, params[1]!);
    case 'argmax':
    case 'argmin':
      return isDim(params[0]!, a) && reduces(a, y);
    case 'sum':
    case 'mean':
    case 'prod':
    case 'amax':
    case 'amin':
    case 'sumSquares':
    case 'variance':
      return reduces(a, y);
    case 'crossEntropy':
      return (
        a.ndim === 2 && [b, y, z].every((x) => isRow(x, a.shape[0]!)) && (c === undefined || isRow(c, a.shape[1]!))
      );
    case 'crossEntropyGrad': {
      const [, , , lse, weight] = inputs;
      const rows = b.ndim === 2 && [a, c!, lse!].every((x) => isRow(x, b.shape[0]!)) && sameShape(b, y);
      return rows && (weight === undefined || isRow(weight, b.shape[1]!));
    }
    case 'layerNorm':
      return outputs.slice(1).every(({ size }) => size === sizeOf(a.shape.slice(0, a.ndim - params[0]!)));
    case 'layerNormGrad': {
      const lead = b.ndim - params[0]!;
      const rows = inputs.slice(2, 4).every(({ size }) => size === sizeOf(b.shape.slice(0, lead)));
      return rows && outputs.slice(1).every(({ size }) => size === sizeOf(b.shape.slice(lead)));
    }
    case 'attention':
      return attends(inputs, params) && sameRows(outputs[0]!, a, inputs[2]!) && sameRows(outputs[1]!, a);
    case 'attentionGrad':
      return (
        attends(inputs.slice(3), params) &&
        sameRows(a, inputs[3]!, inputs[5]!) &&
        sameRows(b, inputs[3]!, inputs[5]!) &&
        sameRows(inputs[2]!, inputs[3]!) &&
        outputs.slice(0, 3).every((x, i) => isShape(x, inputs[3 + i]!.shape))
      );
    case 'lstm':
      return recurs([...inputs, ...outputs], ['TBG', 'GH', 'BH', 'BH', 'TBH', 'TBH', 'TBG']);
    case 'lstmGrad':
      return recurs([...inputs, ...outputs], ['TBH', 'TBH', 'TBG', 'TBG', 'TBH', 'GH', 'BH', 'TBG', 'BH', 'BH']);
    case 'batchNorm':
    case 'batchNormGrad':
      return a.ndim >= 2 && outputs.slice(1).every((x) => isRow(x, a.shape[1]!));
    default:
      return true;
  }
}
