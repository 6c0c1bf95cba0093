/** Normalisations made of others: by groups of channels, by image and channel, and by the root of the mean square. */
import { asTensor } from '../core/define.js';
import { isFloat, statisticsType } from '../core/dtype.js';
import { ArgumentError, checkOptions, describe, DTypeError, ShapeError } from '../core/error.js';
import { sameShape, type Shape, show } from '../core/layout.js';
import type { Tensor } from '../core/tensor.js';
import { add, cast, mul, rsqrt, square } from './elementwise.js';
import { layerNorm } from './norm.js';
import { mean } from './reduce.js';
import { checkShape, reshape } from './view.js';

export interface NormOptions {
  /** Added to the variance, or to the mean square. */
  eps?: number;
}

function checkChannels(
  x: Tensor,
  affine: readonly (Tensor | null)[],
  least: number,
  options: object,
  op: string,
): void {
  asTensor(x, op);
  checkOptions(options, op);
  if (!isFloat(x.dtype)) throw new DTypeError(`needs floats, got ${x.dtype}`, { op });
  if (x.ndim < least)
    throw new ShapeError(`needs ${least === 2 ? '(N,C,…)' : '(N,C,L,…)'}, got ${show(x.shape)}`, { op });
  for (const t of affine) {
    if (t === null) continue;
    asTensor(t, op);
    if (t.ndim !== 1 || t.size !== x.shape[1])
      throw new ShapeError(`${x.shape[1]} channels need tensors of that size, got ${show(t.shape)}`, { op });
  }
}

/**
 * Mean 0 and variance 1 over each of `groups` blocks of channels of each example, then weight and bias (C), or null:
 * x (N,C,…) -> the same. (torch.nn.functional.group_norm, arXiv:1803.08494)
 * @throws ShapeError when the channels do not divide into the groups
 */
export function groupNorm(
  x: Tensor,
  groups: number,
  weight: Tensor | null = null,
  bias: Tensor | null = null,
  options: NormOptions = {},
): Tensor {
  const op = 'groupNorm';
  checkChannels(x, [weight, bias], 2, options, op);
  if (!Number.isInteger(groups) || groups < 1)
    throw new ArgumentError(`groups is at least 1, got ${describe(groups)}`, { op });
  const [batch, channels, ...rest] = x.shape as [number, number, ...number[]];
  if (channels % groups !== 0) throw new ShapeError(`${channels} channels do not divide into ${groups} groups`, { op });
  const inner = [channels / groups, ...rest];
  const y = reshape(layerNorm(reshape(x, [batch, groups, ...inner]), inner, null, null, options), x.shape);
  const onChannels = (t: Tensor) => reshape(cast(t, x.dtype), [channels, ...rest.map(() => 1)]);
  const scaled = weight ? mul(y, onChannels(weight)) : y;
  return bias ? add(scaled, onChannels(bias)) : scaled;
}

/**
 * Mean 0 and variance 1 over each channel of each example, then weight and bias (C), or null: x (N,C,L,…) -> the same.
 * (torch.nn.functional.instance_norm with the input's statistics, arXiv:1607.08022)
 * @throws ShapeError when a channel has one value only
 */
export function instanceNorm(
  x: Tensor,
  weight: Tensor | null = null,
  bias: Tensor | null = null,
  options: NormOptions = {},
): Tensor {
  const op = 'instanceNorm';
  checkChannels(x, [weight, bias], 3, options, op);
  if (x.shape.slice(2).reduce((a, b) => a * b, 1) === 1)
    throw new ShapeError(`needs more than one value per channel, got ${show(x.shape)}`, { op });
  return groupNorm(x, Math.max(x.shape[1]!, 1), weight, bias, options);
}

/**
 * x / sqrt(mean(x^2) + eps) over the last dims, whose sizes are `shape`, times a weight of that shape, or null. eps is the
 * distance from 1 to the next number in the type of the arithmetic unless said: f64, or f32 for the rest. (torch.nn.functional.rms_norm, arXiv:1910.07467)
 * @throws ShapeError when the last dims are not `shape`
 */
export function rmsNorm(x: Tensor, shape: Shape, weight: Tensor | null = null, options: NormOptions = {}): Tensor {
  const op = 'rmsNorm';
  asTensor(x, op);
  checkShape(shape, op);
  checkOptions(options, op);
  if (weight !== null) asTensor(weight, op);
  if (!isFloat(x.dtype)) throw new DTypeError(`needs floats, got ${x.dtype}`, { op });
  const k = shape.length;
  if (k < 1 || x.ndim < k || !sameShape(x.shape.slice(x.ndim - k), shape))
    throw new ShapeError(`the last dims of ${show(x.shape)} are not ${show(shape)}`, { op });
  if (weight && !sameShape(weight.shape, shape))
    throw new ShapeError(`the weight has shape ${show(shape)}, got ${show(weight.shape)}`, { op });
  const wide = cast(x, statisticsType(x.dtype));
  const dims = shape.map((_, i) => x.ndim - k + i);
  const root = rsqrt(
    add(mean(square(wide), dims, { keepDim: true }), options.eps ?? (wide.dtype === 'f64' ? 2 ** -52 : 2 ** -23)),
  );
  const y = mul(wide, root);
  return cast(weight ? mul(y, cast(weight, y.dtype)) : y, x.dtype);
}
