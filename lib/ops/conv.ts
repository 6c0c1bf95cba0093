/** Convolution and pooling over (N,C,H,W). */
import { flag } from '../core/cells.js';
import { asTensor, op, opMany } from '../core/define.js';
import { isFloat } from '../core/dtype.js';
import { ArgumentError, DTypeError, ShapeError, checkOptions, describe } from '../core/error.js';
import { type Shape, show } from '../core/layout.js';
import { handOver, type Tensor } from '../core/tensor.js';
import { cast, copy_ } from './elementwise.js';
import { full } from './free.js';
import { gather } from './index.js';
import { sum } from './reduce.js';
import { flatten, reshape, slice, unsqueeze } from './view.js';

export type Pair = number | readonly [number, number];
type Two = readonly [number, number];

export interface Conv2dOptions {
  stride?: Pair;
  /** Zeros around the image; 'same' keeps its size (stride 1), 'valid' is 0. */
  padding?: Pair | 'same' | 'valid';
  dilation?: Pair;
  /** Blocks of channels that do not mix. */
  groups?: number;
}

function pair(value: Pair, what: string, least: number, name: string): Two {
  const two = typeof value === 'number' ? ([value, value] as const) : value;
  if (!Array.isArray(two) || two.length !== 2 || !two.every((n) => Number.isInteger(n) && n >= least)) {
    throw new ArgumentError(`${what} is an integer of at least ${least}, or two of them, got ${describe(value)}`, {
      op: name,
    });
  }
  return two as Two;
}

/** How f32 convolutions trade digits for speed; see setConvPrecision. */
export type ConvPrecision = 'default' | 'fast';
const mode: { precision: ConvPrecision } = { precision: 'default' };

/**
 * How much accuracy 3x3 convolutions of stride 1, transposed ones too, and the gradients of their inputs may give up, from now on and
 * in the gradients of what is computed from now on. Compiled functions follow: they are compiled again. Other convolutions, weights'
 * gradients and f64 are not touched; on devices other than the CPU both do the same.
 *
 * 'default' takes 4 multiplications an output where the definition has 9, 'fast' 2.25 (Winograd's F(2x2,3x3) and F(4x4,3x3), Lavin
 * and Gray 2015), each where it is faster. The largest error beside f64, in parts of the largest output, for 64 to 512 channels of
 * normal numbers: 1e-6 to 3e-6 of the definition, 4e-7 to 1e-6 of 'default', 7e-6 to 2e-5 of 'fast'.
 */
export function setConvPrecision(precision: ConvPrecision): void {
  if (precision !== 'default' && precision !== 'fast') {
    throw new ArgumentError(`the precision is 'default' or 'fast', got ${describe(precision)}`, {
      op: 'setConvPrecision',
    });
  }
  mode.precision = precision;
}

/** What setConvPrecision() has set. */
export function getConvPrecision(): ConvPrecision {
  return flag(mode, 'precision', mode.precision);
}

interface ConvParams {
  stride: Two;
  padding: Two;
  dilation: Two;
  groups: number;
  /** What getConvPrecision() answered at the call; absent for 'default'. */
  precision?: 'fast';
}
const encodeConv = ({ stride, padding, dilation, groups, precision }: ConvParams) => [
  ...stride,
  ...padding,
  ...dilation,
  groups,
  ...(precision ? [1] : []),
];
const span = (k: number, dilation: number) => dilation * (k - 1) + 1;

const convKernel = op('conv2d', {
  args: (x: Tensor, w: Tensor, bias: Tensor | null, params: ConvParams) => ({
    inputs: (bias ? [x, w, bias] : [x, w]) as readonly Tensor[],
    params,
  }),
  infer: ([x, w], { stride, padding, dilation }) => {
    const size = (i: 0 | 1) =>
      Math.floor((x!.shape[2 + i]! + 2 * padding[i] - span(w!.shape[2 + i]!, dilation[i])) / stride[i]) + 1;
    return { shape: [x!.shape[0]!, w!.shape[0]!, size(0), size(1)], dtype: x!.dtype };
  },
  encode: encodeConv,
  grad: (g, [x, w], _y, params) => [
    () => convGradInput(g, w!, x!.shape, params),
    () => convGradWeight(g, x!, w!.shape, params),
    () => sum(g, [0, 2, 3]),
  ],
});
const convGradInput: (g: Tensor, w: Tensor, shape: Shape, params: ConvParams) => Tensor = op('conv2dGradInput', {
  args: (g: Tensor, w: Tensor, shape: Shape, params: ConvParams) => ({ inputs: [g, w], params: { ...params, shape } }),
  infer: ([g], { shape }) => ({ shape, dtype: g.dtype }),
  encode: encodeConv,
  grad: (h, [g, w], _y, params) => [
    () => convKernel(h, w, null, conv(params)),
    () => convGradWeight(g, h, w.shape, conv(params)),
  ],
});
const convGradWeight: (g: Tensor, x: Tensor, shape: Shape, params: ConvParams) => Tensor = op('conv2dGradWeight', {
  args: (g: Tensor, x: Tensor, shape: Shape, params: ConvParams) => ({ inputs: [g, x], params: { ...params, shape } }),
  infer: ([g], { shape }) => ({ shape, dtype: g.dtype }),
  encode: encodeConv,
  grad: (h, [g, x], _y, params) => [
    () => convKernel(x, h, null, conv(params)),
    () => convGradInput(g, h, x.shape, conv(params)),
  ],
});
const conv = ({ stride, padding, dilation, groups, precision }: ConvParams): ConvParams => ({
  stride,
  padding,
  dilation,
  groups,
  ...(precision ? { precision } : {}),
});

/**
 * Two-dimensional cross-correlation: x (N,C,H,W) or (C,H,W), weight (O,C/groups,KH,KW), bias (O) or null
 * -> (N,O,OH,OW). (torch.nn.functional.conv2d)
 */
export function conv2d(x: Tensor, weight: Tensor, bias: Tensor | null = null, options: Conv2dOptions = {}): Tensor {
  const name = 'conv2d';
  asTensor(x, name);
  asTensor(weight, name);
  checkOptions(options, name);
  if (bias !== null) asTensor(bias, name);
  if (x.ndim === 3) return reshapeFirst(conv2d(unsqueeze(x, 0), weight, bias, options));
  if (x.ndim !== 4 || weight.ndim !== 4)
    throw new ShapeError(`needs x (N,C,H,W) and weight (O,C,KH,KW), got ${show(x.shape)} and ${show(weight.shape)}`, {
      op: name,
    });
  if (!isFloat(x.dtype) || x.dtype !== weight.dtype)
    throw new DTypeError(`x is ${x.dtype}, weight ${weight.dtype}: both must be the same float type`, { op: name });
  const groups = options.groups ?? 1;
  const [channels, out] = [x.shape[1]!, weight.shape[0]!];
  if (!Number.isInteger(groups) || groups < 1 || out % groups !== 0 || channels !== weight.shape[1]! * groups) {
    throw new ShapeError(`${channels} channels in ${groups} groups do not fit weight ${show(weight.shape)}`, {
      op: name,
    });
  }
  if (bias !== null && (bias.ndim !== 1 || bias.size !== out))
    throw new ShapeError(`the bias has shape ${show(bias.shape)}, the output ${out} channels`, { op: name });
  const stride = pair(options.stride ?? 1, 'stride', 1, name);
  const dilation = pair(options.dilation ?? 1, 'dilation', 1, name);
  let input = x;
  let padding: Two;
  if (options.padding === 'same') {
    if (stride[0] !== 1 || stride[1] !== 1) throw new ArgumentError("padding 'same' needs stride 1", { op: name });
    const total = [dilation[0] * (weight.shape[2]! - 1), dilation[1] * (weight.shape[3]! - 1)] as const;
    padding = [total[0] >> 1, total[1] >> 1];
    // An even kernel needs one more row or column at the end.
    if (total[0] % 2 || total[1] % 2) input = pad(x, [0, total[1] % 2, 0, total[0] % 2]);
  } else {
    padding = options.padding === 'valid' ? [0, 0] : pair(options.padding ?? 0, 'padding', 0, name);
  }
  for (const i of [0, 1] as const) {
    const k = span(weight.shape[2 + i]!, dilation[i]);
    if (k > input.shape[2 + i]! + 2 * padding[i])
      throw new ShapeError(`a kernel of ${k} does not fit into ${show(x.shape)} with padding ${padding[i]}`, {
        op: name,
      });
  }
  const b = bias !== null && bias.dtype !== x.dtype ? cast(bias, x.dtype) : bias;
  const precision = getConvPrecision() === 'fast' ? ({ precision: 'fast' } as const) : {};
  return convKernel(input, weight, b, { stride, padding, dilation, groups, ...precision });
}

function reshapeFirst(y: Tensor): Tensor {
  return handOver(y, reshape(y, y.shape.slice(1)));
}

/**
 * Constant padding of the last dims: [left, right] of the last, then of the one before, and so on. (torch.nn.functional.pad)
 */
export function pad(x: Tensor, amounts: readonly number[], value = 0): Tensor {
  asTensor(x, 'pad');
  if (!Array.isArray(amounts)) throw new ArgumentError(`amounts are an array, got ${describe(amounts)}`, { op: 'pad' });
  if (amounts.length % 2 || amounts.length > 2 * x.ndim || !amounts.every((n) => Number.isInteger(n) && n >= 0)) {
    throw new ArgumentError(`two amounts of at least 0 for each of the last dims, got ${describe(amounts)}`, {
      op: 'pad',
    });
  }
  if (amounts.every((n) => n === 0)) return x;
  const dims = Array.from({ length: amounts.length / 2 }, (_, i) => x.ndim - 1 - i);
  const shape = x.shape.map((n, d) => {
    const i = dims.indexOf(d);
    return i < 0 ? n : n + amounts[2 * i]! + amounts[2 * i + 1]!;
  });
  const y = full(shape, value, { dtype: x.dtype, device: x.device });
  const inside = dims.reduce((part, d, i) => slice(part, d, amounts[2 * i]!, amounts[2 * i]! + x.shape[d]!), y);
  copy_(inside, x);
  return y;
}

// ---- pooling

export interface PoolOptions {
  /** The kernel's size unless said. */
  stride?: Pair;
  padding?: Pair;
  /** Let the last window hang over the edge. */
  ceilMode?: boolean;
}
interface PoolParams {
  kernel: Two;
  stride: Two;
  padding: Two;
  dilation: Two;
  size: Two;
}
const encodePool = ({ kernel, stride, padding, dilation }: PoolParams) => [
  ...kernel,
  ...stride,
  ...padding,
  ...dilation,
];

function poolParams(x: Tensor, kernelSize: Pair, options: PoolOptions & { dilation?: Pair }, name: string): PoolParams {
  if (x.ndim !== 4) throw new ShapeError(`needs (N,C,H,W) or (C,H,W), got ${show(x.shape)}`, { op: name });
  if (!isFloat(x.dtype)) throw new DTypeError(`needs floats, got ${x.dtype}`, { op: name });
  const kernel = pair(kernelSize, 'kernelSize', 1, name);
  const stride = pair(options.stride ?? kernel, 'stride', 1, name);
  const padding = pair(options.padding ?? 0, 'padding', 0, name);
  const dilation = pair(options.dilation ?? 1, 'dilation', 1, name);
  const size = ([0, 1] as const).map((i) => {
    if (padding[i] > kernel[i] / 2)
      throw new ArgumentError(`padding ${padding[i]} is more than half of the kernel ${kernel[i]}`, { op: name });
    const n = x.shape[2 + i]!;
    const room = n + 2 * padding[i] - span(kernel[i], dilation[i]);
    if (room < 0) throw new ShapeError(`a kernel of ${kernel[i]} does not fit into ${show(x.shape)}`, { op: name });
    let out = (options.ceilMode ? Math.ceil(room / stride[i]) : Math.floor(room / stride[i])) + 1;
    if (options.ceilMode && (out - 1) * stride[i] >= n + padding[i]) out--;
    return out;
  });
  return { kernel, stride, padding, dilation, size: size as unknown as Two };
}
const pooled = (x: Tensor, { size }: { size: Two }): Shape => [x.shape[0]!, x.shape[1]!, ...size];

const maxPoolKernel = opMany('maxPool2d', {
  args: (x: Tensor, params: PoolParams) => ({ inputs: [x], params }),
  infer: ([x], params) => [
    { shape: pooled(x, params), dtype: x.dtype },
    { shape: pooled(x, params), dtype: 'i32' },
  ],
  encode: encodePool,
  grad: (g, [x], y, params) => [() => maxPoolGrad(g[0]!, y[1]!, x.shape, params)],
});
const maxPoolGrad = op('maxPool2dGrad', {
  args: (g: Tensor, indices: Tensor, shape: Shape, params: PoolParams) => ({
    inputs: [g, indices],
    params: { ...params, shape },
  }),
  infer: ([g], { shape }) => ({ shape, dtype: g.dtype }),
  encode: encodePool,
  grad: (h, [g, indices]) => [() => reshape(gather(flatten(h, 2), 2, flatten(indices, 2)), g.shape), null],
});
/** The largest element of each window: (N,C,H,W) -> (N,C,OH,OW). (torch.nn.functional.max_pool2d) */
export function maxPool2d(x: Tensor, kernelSize: Pair, options: PoolOptions & { dilation?: Pair } = {}): Tensor {
  return maxPool2dWithIndices(x, kernelSize, options).values;
}
/** maxPool2d with the i32 index of each choice in its H*W plane. */
export function maxPool2dWithIndices(
  x: Tensor,
  kernelSize: Pair,
  options: PoolOptions & { dilation?: Pair } = {},
): { values: Tensor; indices: Tensor } {
  asTensor(x, 'maxPool2d');
  checkOptions(options, 'maxPool2d');
  if (x.ndim === 3) {
    const { values, indices } = maxPool2dWithIndices(unsqueeze(x, 0), kernelSize, options);
    return { values: reshapeFirst(values), indices: reshapeFirst(indices) };
  }
  const [values, indices] = maxPoolKernel(x, poolParams(x, kernelSize, options, 'maxPool2d'));
  return { values: values!, indices: indices! };
}

interface AvgParams extends PoolParams {
  countIncludePad: boolean;
  divisor: number;
}
const encodeAvg = (p: AvgParams) => [...encodePool(p), p.countIncludePad ? 1 : 0, p.divisor];
const avgPoolKernel: (x: Tensor, params: AvgParams) => Tensor = op('avgPool2d', {
  args: (x: Tensor, params: AvgParams) => ({ inputs: [x], params }),
  infer: ([x], params) => ({ shape: pooled(x, params), dtype: x.dtype }),
  encode: encodeAvg,
  grad: (g, [x], _y, params) => [() => avgPoolGrad(g, x.shape, params)],
});
const avgPoolGrad = op('avgPool2dGrad', {
  args: (g: Tensor, shape: Shape, params: AvgParams) => ({ inputs: [g], params: { ...params, shape } }),
  infer: ([g], { shape }) => ({ shape, dtype: g.dtype }),
  encode: encodeAvg,
  grad: (h, _inputs, _y, { shape: _shape, ...params }) => [() => avgPoolKernel(h, params)],
});
/** The mean of each window: (N,C,H,W) -> (N,C,OH,OW). (torch.nn.functional.avg_pool2d) */
export function avgPool2d(
  x: Tensor,
  kernelSize: Pair,
  options: PoolOptions & { countIncludePad?: boolean; divisorOverride?: number } = {},
): Tensor {
  asTensor(x, 'avgPool2d');
  checkOptions(options, 'avgPool2d');
  if (x.ndim === 3) return reshapeFirst(avgPool2d(unsqueeze(x, 0), kernelSize, options));
  const divisor = options.divisorOverride ?? 0;
  if (options.divisorOverride === 0) throw new ArgumentError('divisorOverride is not 0', { op: 'avgPool2d' });
  return avgPoolKernel(x, {
    ...poolParams(x, kernelSize, options, 'avgPool2d'),
    countIncludePad: options.countIncludePad ?? true,
    divisor,
  });
}

const adaptiveKernel: (x: Tensor, size: Two) => Tensor = op('adaptiveAvgPool2d', {
  args: (x: Tensor, size: Two) => ({ inputs: [x], params: { size } }),
  infer: ([x], params) => ({ shape: pooled(x, params), dtype: x.dtype }),
  grad: (g, [x]) => [() => adaptiveGrad(g, x.shape)],
});
const adaptiveGrad = op('adaptiveAvgPool2dGrad', {
  args: (g: Tensor, shape: Shape) => ({ inputs: [g], params: { shape } }),
  infer: ([g], { shape }) => ({ shape, dtype: g.dtype }),
  grad: (h, [g]) => [() => adaptiveKernel(h, [g.shape[2]!, g.shape[3]!])],
});
/** Means over windows chosen so that the output has the given size: (N,C,H,W) -> (N,C,OH,OW). (torch.nn.functional.adaptive_avg_pool2d) */
export function adaptiveAvgPool2d(x: Tensor, outputSize: Pair): Tensor {
  asTensor(x, 'adaptiveAvgPool2d');
  if (x.ndim === 3) return reshapeFirst(adaptiveAvgPool2d(unsqueeze(x, 0), outputSize));
  if (x.ndim !== 4 || x.shape[2] === 0 || x.shape[3] === 0)
    throw new ShapeError(`needs (N,C,H,W) or (C,H,W), got ${show(x.shape)}`, { op: 'adaptiveAvgPool2d' });
  return adaptiveKernel(x, pair(outputSize, 'outputSize', 1, 'adaptiveAvgPool2d'));
}
