/**
 * What native/ops.def says of operands and a kernel takes on trust, because the ops that call it infer them: checked for calls that come
 * from a file.
 */
import type { Layout } from '../core/layout.js';
import type { Call } from '../core/plan.js';

/** The least inputs, outputs and params, by kernel. */
export const least: Readonly<Record<string, readonly [number, number, number]>> = {
  ...{ elementwise: [0, 1, 1], elementwiseMany: [0, 1, 4], elementwiseSum: [1, 1, 2] },
  ...{ sum: [1, 1, 0], mean: [1, 1, 0], prod: [1, 1, 0], amax: [1, 1, 0], amin: [1, 1, 0], sumSquares: [1, 1, 0] },
  ...{ argmax: [1, 1, 1], argmin: [1, 1, 1], variance: [1, 1, 1], cumsum: [1, 1, 1], cumprod: [1, 1, 1] },
  ...{ matmul: [2, 1, 0], matmulThen: [2, 1, 5], conv2dThen: [2, 1, 12], conv2dGradInputThen: [2, 1, 12] },
  ...{ conv2d: [2, 1, 7], conv2dGradInput: [2, 1, 7], conv2dGradWeight: [2, 1, 7] },
  ...{ maxPool2d: [1, 2, 8], maxPool2dGrad: [2, 1, 8], avgPool2d: [1, 1, 10], avgPool2dGrad: [1, 1, 10] },
  ...{ adaptiveAvgPool2d: [1, 1, 0], adaptiveAvgPool2dGrad: [1, 1, 0] },
  ...{ softmax: [1, 1, 1], softmaxGrad: [2, 1, 1], logSoftmax: [1, 1, 1], logSoftmaxGrad: [2, 1, 1] },
  ...{ crossEntropy: [2, 2, 2], crossEntropyGrad: [4, 1, 2], layerNorm: [1, 3, 4], layerNormGrad: [4, 3, 2] },
  ...{ batchNorm: [3, 4, 1], batchNormGrad: [5, 3, 0], gather: [2, 1, 1], scatter: [3, 1, 1], scatterAdd: [3, 1, 1] },
  ...{ indexSelect: [2, 1, 1], indexAdd: [3, 1, 1], cat: [1, 1, 1], nonzero: [1, 1, 0], sort: [1, 2, 2] },
  ...{ topk: [1, 2, 4], dynamicSlice: [1, 1, 0], dynamicUpdateSlice: [2, 1, 0] },
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

/** Whether the kernel `op` may be given this call. */
export function keepsTo(op: string, { inputs, params }: Call, outputs: readonly Layout[]): boolean {
  const needs = least[op];
  if (needs === undefined) return false;
  if (inputs.length < needs[0] || outputs.length < needs[1] || params.length < needs[2]) return false;
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
    default:
      return true;
  }
}
