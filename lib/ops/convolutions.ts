/** Convolutions of one and three dims, and transposed ones: compositions over the kernels of conv2d. */
import { apply } from '../core/apply.js';
import { asTensor, lookup } from '../core/define.js';
import { isFloat } from '../core/dtype.js';
import { ArgumentError, checkOptions, describe, DTypeError, ShapeError } from '../core/error.js';
import { show } from '../core/layout.js';
import { handOver, type Tensor } from '../core/tensor.js';
import { conv2d, getConvPrecision, pad, type Pair } from './conv.js';
import { add, cast } from './elementwise.js';
import { stack } from './free.js';
import { permute, reshape, slice, squeeze, unsqueeze } from './view.js';

/** Depth, height and width. */
export type Triple = number | readonly [number, number, number];

interface ConvOptions<Size> {
  stride?: Size;
  /** Zeros around the input; 'same' keeps its size (stride 1), 'valid' is 0. */
  padding?: Size | 'same' | 'valid';
  dilation?: Size;
  /** Blocks of channels that do not mix. */
  groups?: number;
}
export type Conv1dOptions = ConvOptions<number>;
export type Conv3dOptions = ConvOptions<Triple>;

interface TransposedOptions<Size> {
  stride?: Size;
  /** How many rows of the full output are cut from each side. */
  padding?: Size;
  /** Rows added at the end of the output, fewer than the stride: they choose among the sizes that give one input size. */
  outputPadding?: Size;
  dilation?: Size;
  groups?: number;
}
export type ConvTranspose1dOptions = TransposedOptions<number>;
export type ConvTranspose2dOptions = TransposedOptions<Pair>;

/** One integer for each of `count` dims. */
function sizes(value: number | readonly number[], count: number, what: string, least: number, op: string): number[] {
  const list = typeof value === 'number' ? Array<number>(count).fill(value) : value;
  if (!Array.isArray(list) || list.length !== count || !list.every((n) => Number.isInteger(n) && n >= least)) {
    const message = `${what} is an integer of at least ${least}${count > 1 ? `, or ${count} of them` : ''}`;
    throw new ArgumentError(`${message}, got ${describe(value)}`, { op });
  }
  return [...list];
}

/** `first`: what the weight's dim 0 counts, which is (O,C/groups,…) or, of a transposed convolution, (C,O/groups,…). */
function checkOperands(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  groups: number,
  dims: string,
  first: 'outputs' | 'inputs',
  op: string,
): void {
  asTensor(x, op);
  asTensor(weight, op);
  if (bias !== null) asTensor(bias, op);
  const ndim = 2 + dims.split(',').length;
  if (x.ndim !== ndim || weight.ndim !== ndim)
    throw new ShapeError(
      `needs x (N,C,${dims}) and a weight of ${ndim} dims, got ${show(x.shape)} and ${show(weight.shape)}`,
      { op },
    );
  if (!isFloat(x.dtype) || x.dtype !== weight.dtype)
    throw new DTypeError(`x is ${x.dtype}, weight ${weight.dtype}: both must be the same float type`, { op });
  const [channels, rows, columns] = [x.shape[1]!, weight.shape[0]!, weight.shape[1]! * groups];
  const [inputs, outputs] = first === 'inputs' ? [rows, columns] : [columns, rows];
  if (!Number.isInteger(groups) || groups < 1 || inputs !== channels || rows % groups !== 0)
    throw new ShapeError(`${channels} channels in ${groups} groups do not fit weight ${show(weight.shape)}`, { op });
  if (bias !== null && (bias.ndim !== 1 || bias.size !== outputs))
    throw new ShapeError(`the bias has shape ${show(bias.shape)}, the output ${outputs} channels`, { op });
}

/** One example as a batch of one, and back. */
function batched(x: Tensor, ndim: number, op: string, run: (x: Tensor) => Tensor): Tensor {
  asTensor(x, op);
  if (x.ndim !== ndim - 1) return run(x);
  const y = run(unsqueeze(x, 0));
  return handOver(y, squeeze(y, 0));
}

/**
 * One-dimensional cross-correlation: x (N,C,L) or (C,L), weight (O,C/groups,K), bias (O) or null -> (N,O,OL).
 * (torch.nn.functional.conv1d)
 * @throws ShapeError when sizes do not fit; DTypeError when x and weight are not floats of one dtype
 */
export function conv1d(x: Tensor, weight: Tensor, bias: Tensor | null = null, options: Conv1dOptions = {}): Tensor {
  const op = 'conv1d';
  checkOptions(options, op);
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = options;
  return batched(x, 3, op, (rows) => {
    checkOperands(rows, weight, bias, groups, 'L', 'outputs', op);
    const y = conv2d(unsqueeze(rows, 2), unsqueeze(weight, 2), bias, {
      stride: [1, sizes(stride, 1, 'stride', 1, op)[0]!],
      padding: typeof padding === 'string' ? padding : [0, sizes(padding, 1, 'padding', 0, op)[0]!],
      dilation: [1, sizes(dilation, 1, 'dilation', 1, op)[0]!],
      groups,
    });
    return handOver(y, squeeze(y, 2));
  });
}

/**
 * Three-dimensional cross-correlation: x (N,C,D,H,W) or (C,D,H,W), weight (O,C/groups,KD,KH,KW), bias (O) or null -> (N,O,OD,OH,OW).
 * The kernel's depth becomes channels of a conv2d: KD copies of x are in memory. (torch.nn.functional.conv3d)
 * @throws ShapeError when sizes do not fit; DTypeError when x and weight are not floats of one dtype
 */
export function conv3d(x: Tensor, weight: Tensor, bias: Tensor | null = null, options: Conv3dOptions = {}): Tensor {
  const op = 'conv3d';
  checkOptions(options, op);
  const { padding = 0, groups = 1 } = options;
  return batched(x, 5, op, (volumes) => {
    checkOperands(volumes, weight, bias, groups, 'D,H,W', 'outputs', op);
    const [depthStride, ...stride] = sizes(options.stride ?? 1, 3, 'stride', 1, op) as [number, number, number];
    const [depthDilation, ...dilation] = sizes(options.dilation ?? 1, 3, 'dilation', 1, op) as [number, number, number];
    const [outputs, , kernel, height, width] = weight.shape as [number, number, number, number, number];
    const reach = depthDilation * (kernel - 1);
    if (padding === 'same' && [depthStride, ...stride].some((n) => n !== 1))
      throw new ArgumentError("padding 'same' needs stride 1", { op });
    const around = padding === 'valid' ? [0, 0, 0] : padding === 'same' ? null : sizes(padding, 3, 'padding', 0, op);
    const ends = around ? [around[0]!, around[0]!] : [reach >> 1, reach - (reach >> 1)];
    const padded = pad(volumes, [0, 0, 0, 0, ...ends]);
    const [batch, channels, depth] = padded.shape as [number, number, number];
    if (depth <= reach) throw new ShapeError(`a kernel of ${reach + 1} does not fit into ${show(x.shape)}`, { op });
    const places = Math.floor((depth - reach - 1) / depthStride) + 1;
    // (N,C,D,H,W) -> (N,C,KD,OD,H,W) -> (N*OD,C*KD,H,W)
    const windows = stack(
      Array.from({ length: kernel }, (_, k) => {
        const start = k * depthDilation;
        return slice(padded, 2, start, start + (places - 1) * depthStride + 1, depthStride);
      }),
      2,
    );
    const images = reshape(permute(windows, [0, 3, 1, 2, 4, 5]), [
      batch * places,
      channels * kernel,
      ...padded.shape.slice(3),
    ]);
    const filters = reshape(weight, [outputs, weight.shape[1]! * kernel, height, width]);
    const y = conv2d(images, filters, bias, {
      stride,
      padding: around ? [around[1]!, around[2]!] : 'same',
      dilation,
      groups,
    });
    return permute(reshape(y, [batch, places, outputs, ...y.shape.slice(2)]), [0, 2, 1, 3, 4]);
  });
}

/**
 * Transposed convolution, the gradient of conv2d with respect to its input: x (N,C,H,W) or (C,H,W), weight (C,O/groups,KH,KW), bias (O)
 * or null -> (N,O,OH,OW) with OH = (H-1)*stride - 2*padding + dilation*(KH-1) + outputPadding + 1.
 * (torch.nn.functional.conv_transpose2d)
 * @throws ShapeError when sizes do not fit; ArgumentError when outputPadding is not below the stride
 */
export function convTranspose2d(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null = null,
  options: ConvTranspose2dOptions = {},
): Tensor {
  const op = 'convTranspose2d';
  checkOptions(options, op);
  return batched(x, 4, op, (images) => {
    checkOperands(images, weight, bias, options.groups ?? 1, 'H,W', 'inputs', op);
    return transposed(images, weight, bias, options, op);
  });
}

/** convTranspose2d over one dim: x (N,C,L) or (C,L), weight (C,O/groups,K) -> (N,O,OL). (torch.nn.functional.conv_transpose1d) */
export function convTranspose1d(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null = null,
  options: ConvTranspose1dOptions = {},
): Tensor {
  const op = 'convTranspose1d';
  checkOptions(options, op);
  const { stride = 1, padding = 0, outputPadding = 0, dilation = 1, groups = 1 } = options;
  return batched(x, 3, op, (rows) => {
    checkOperands(rows, weight, bias, groups, 'L', 'inputs', op);
    const along = {
      stride: [1, sizes(stride, 1, 'stride', 1, op)[0]!],
      padding: [0, sizes(padding, 1, 'padding', 0, op)[0]!],
      outputPadding: [0, sizes(outputPadding, 1, 'outputPadding', 0, op)[0]!],
      dilation: [1, sizes(dilation, 1, 'dilation', 1, op)[0]!],
      groups,
    } as const;
    const y = transposed(unsqueeze(rows, 2), unsqueeze(weight, 2), bias, along, op);
    return handOver(y, squeeze(y, 2));
  });
}

/** Of operands that were checked. */
function transposed(x: Tensor, weight: Tensor, bias: Tensor | null, options: ConvTranspose2dOptions, op: string) {
  const { groups = 1 } = options;
  const [batch, , ...size] = x.shape as [number, number, number, number];
  const [, perGroup, ...kernel] = weight.shape as [number, number, number, number];
  const outputs = perGroup * groups;
  const stride = sizes(options.stride ?? 1, 2, 'stride', 1, op);
  const padding = sizes(options.padding ?? 0, 2, 'padding', 0, op);
  const extra = sizes(options.outputPadding ?? 0, 2, 'outputPadding', 0, op);
  const dilation = sizes(options.dilation ?? 1, 2, 'dilation', 1, op);
  const out = size.map((n, i) => {
    if (extra[i]! >= stride[i]!)
      throw new ArgumentError(`outputPadding ${extra[i]} is not below the stride ${stride[i]}`, { op });
    const length = (n - 1) * stride[i]! - 2 * padding[i]! + dilation[i]! * (kernel[i]! - 1) + extra[i]! + 1;
    if (n < 1 || length < 1)
      throw new ShapeError(`padding ${padding[i]} leaves nothing of the output of ${show(x.shape)}`, { op });
    return length;
  });
  const precision = getConvPrecision() === 'fast' ? { precision: 'fast' } : {};
  const params = { stride, padding, dilation, groups, ...precision, shape: [batch, outputs, ...out] };
  const y = apply(lookup('conv2dGradInput'), [x, weight], params);
  return bias === null ? y : add(y, reshape(cast(bias, x.dtype), [outputs, 1, 1]));
}
