/** Softmax and normalisations. */
import { asTensor, type Operand, op, opMany } from '../core/define.js';
import { isFloat, statisticsType } from '../core/dtype.js';
import { checkOptions, DTypeError, ShapeError } from '../core/error.js';
import { sameShape, type Shape, show, sizeOf } from '../core/layout.js';
import type { Tensor } from '../core/tensor.js';
import { noGrad } from '../core/scope.js';
import { add, cast, div, exp, lerp_, log, mul, rsqrt, square, sub } from './elementwise.js';
import { onesLike, ones, zeros } from './free.js';
import { amax, mean, sum, variance } from './reduce.js';
import { checkShape, reshape, wrapDim } from './view.js';

const onDim = (name: string) => (x: Tensor, dim: number) => {
  asTensor(x, name);
  if (!isFloat(x.dtype)) throw new DTypeError(`needs floats, got ${x.dtype}`, { op: name });
  return { inputs: [x] as [Tensor], params: { dim: wrapDim(dim, x, name) } };
};
const gradArgs = (g: Tensor, y: Tensor, dim: number) => ({ inputs: [g, y] as [Tensor, Tensor], params: { dim } });

const softmaxKernel: (x: Tensor, dim: number) => Tensor = op('softmax', {
  args: onDim('softmax'),
  infer: ([x]) => x,
  encode: ({ dim }) => [dim],
  decompose: ([x], { dim }) => {
    const e = exp(sub(x, amax(x, dim, { keepDim: true })));
    return div(e, sum(e, dim, { keepDim: true }));
  },
  grad: (g, _inputs, y, { dim }) => softmaxGrad(g, y, dim),
});
const softmaxGrad: (g: Tensor, y: Tensor, dim: number) => Tensor = op('softmaxGrad', {
  args: gradArgs,
  infer: ([g]) => g,
  encode: ({ dim }) => [dim],
  decompose: ([g, y], { dim }) => {
    const gy = mul(g, y);
    return sub(gy, mul(y, sum(gy, dim, { keepDim: true })));
  },
});
/** exp(x) / sum(exp(x)) along a dim, the last unless said. (torch.softmax) */
export function softmax(x: Tensor, dim = -1): Tensor {
  asTensor(x, 'softmax');
  return x.ndim === 0 ? onesLike(x) : softmaxKernel(x, dim);
}

const logSoftmaxKernel: (x: Tensor, dim: number) => Tensor = op('logSoftmax', {
  args: onDim('logSoftmax'),
  infer: ([x]) => x,
  encode: ({ dim }) => [dim],
  decompose: ([x], { dim }) => {
    const shifted = sub(x, amax(x, dim, { keepDim: true }));
    return sub(shifted, log(sum(exp(shifted), dim, { keepDim: true })));
  },
  grad: (g, _inputs, y, { dim }) => logSoftmaxGrad(g, y, dim),
});
const logSoftmaxGrad: (g: Tensor, y: Tensor, dim: number) => Tensor = op('logSoftmaxGrad', {
  args: gradArgs,
  infer: ([g]) => g,
  encode: ({ dim }) => [dim],
  decompose: ([g, y], { dim }) => sub(g, mul(exp(y), sum(g, dim, { keepDim: true }))),
});
/** log(softmax(x)) without overflow, along a dim, the last unless said. (torch.log_softmax) */
export function logSoftmax(x: Tensor, dim = -1): Tensor {
  asTensor(x, 'logSoftmax');
  return x.ndim === 0 ? sub(x, x) : logSoftmaxKernel(x, dim);
}

// ---- layer norm

interface LayerNormParams {
  /** How many trailing dims are normalised. */
  k: number;
  eps: number;
  hasWeight: boolean;
  hasBias: boolean;
}
/** The rows' shape, padded with 1 to the input's ndim, so that statistics broadcast. */
const rowShape = (x: Tensor, k: number): Shape => x.shape.map((n, i) => (i < x.ndim - k ? n : 1));

const layerNormKernel = opMany('layerNorm', {
  args: (x: Tensor, weight: Tensor | null, bias: Tensor | null, k: number, eps: number) => ({
    inputs: [x, weight, bias].filter((t) => t !== null) as readonly Tensor[],
    params: { k, eps, hasWeight: weight !== null, hasBias: bias !== null } as LayerNormParams,
  }),
  infer: ([x], { k }) => [
    { shape: x!.shape, dtype: x!.dtype },
    { shape: [sizeOf(rowShape(x!, k))], dtype: statisticsType(x!.dtype) },
    { shape: [sizeOf(rowShape(x!, k))], dtype: statisticsType(x!.dtype) },
  ],
  encode: ({ k, eps, hasWeight, hasBias }) => [k, eps, hasWeight ? 1 : 0, hasBias ? 1 : 0],
  decompose: ([x, ...affine], { k, eps, hasWeight, hasBias }) => {
    const dims = x!.shape.map((_, i) => i).slice(x!.ndim - k);
    const { xhat, mu, rstd } = normalised(x!, dims, eps);
    const scaled = hasWeight ? mul(xhat, affine[0]!) : xhat;
    const y = hasBias ? add(scaled, affine[hasWeight ? 1 : 0]!) : scaled;
    return [cast(y, x!.dtype), reshape(mu, [-1]), reshape(rstd, [-1])];
  },
  grad: (g, inputs, y, { k, eps, hasWeight, hasBias }) => {
    const [x, weight] = inputs;
    let all: Tensor[] | null = null;
    const part = (i: number) => () => {
      all ??= layerNormGrad(g[0]!, x!, y[1]!, y[2]!, hasWeight ? weight! : null, k, eps);
      return all[i]!;
    };
    return [part(0), ...(hasWeight ? [part(1)] : []), ...(hasBias ? [part(2)] : [])];
  },
});
// Without a gradient rule of its own: a second derivative goes through the decomposition, which takes the statistics from x again.
const layerNormGrad = opMany('layerNormGrad', {
  args: (g: Tensor, x: Tensor, mu: Tensor, rstd: Tensor, weight: Tensor | null, k: number, eps: number) => ({
    inputs: (weight ? [g, x, mu, rstd, weight] : [g, x, mu, rstd]) as readonly Tensor[],
    params: { k, eps, hasWeight: weight !== null },
  }),
  infer: ([g, x], { k }) => {
    const tail = x!.shape.slice(x!.ndim - k);
    return [
      { shape: x!.shape, dtype: g!.dtype },
      { shape: tail, dtype: g!.dtype },
      { shape: tail, dtype: g!.dtype },
    ];
  },
  encode: ({ k, hasWeight }) => [k, hasWeight ? 1 : 0],
  decompose: ([g, x, , , weight], { k, eps }) => {
    const dims = x!.shape.map((_, i) => i);
    const { dx, dweight, dbias } = normGrad(
      g!,
      x!,
      weight ?? null,
      dims.slice(x!.ndim - k),
      dims.slice(0, x!.ndim - k),
      eps,
    );
    return [dx, dweight, dbias];
  },
});

/** (x - mean) / sqrt(variance + eps) with statistics over `dims`, in their type, which keep those dims at size 1. */
function normalised(x: Tensor, dims: readonly number[], eps: number) {
  const wide = cast(x, statisticsType(x.dtype));
  const mu = mean(wide, dims, { keepDim: true });
  const centred = sub(wide, mu);
  const biased = mean(square(centred), dims, { keepDim: true });
  const rstd = rsqrt(add(biased, eps));
  return { xhat: mul(centred, rstd), mu, biased, rstd };
}

/** The gradients of (x - mean) / sqrt(variance + eps) * weight + bias, with statistics over `dims` and weights over the others. */
function normGrad(
  g: Tensor,
  x: Tensor,
  weight: Tensor | null,
  dims: readonly number[],
  others: readonly number[],
  eps: number,
) {
  const keep = { keepDim: true };
  const rstd = rsqrt(add(variance(x, dims, { correction: 0, keepDim: true }), eps));
  const xhat = mul(sub(x, mean(x, dims, keep)), rstd);
  const gw = weight ? mul(g, weight) : g;
  const centred = sub(sub(gw, mean(gw, dims, keep)), mul(xhat, mean(mul(gw, xhat), dims, keep)));
  return { dx: mul(rstd, centred), dweight: sum(mul(g, xhat), others), dbias: sum(g, others) };
}

/**
 * Normalises over the last dims, whose sizes are `shape`, then scales and shifts: weight and bias of that shape, or null.
 * (torch.nn.functional.layer_norm, arXiv:1607.06450)
 */
export function layerNorm(
  x: Tensor,
  shape: Shape,
  weight: Tensor | null = null,
  bias: Tensor | null = null,
  options: { eps?: number } = {},
): Tensor {
  asTensor(x, 'layerNorm');
  checkShape(shape, 'layerNorm');
  checkOptions(options, 'layerNorm');
  for (const t of [weight, bias]) if (t !== null) asTensor(t, 'layerNorm');
  const k = shape.length;
  if (k < 1 || x.ndim < k || !sameShape(x.shape.slice(x.ndim - k), shape)) {
    throw new ShapeError(`the last dims of ${show(x.shape)} are not ${show(shape)}`, { op: 'layerNorm' });
  }
  for (const t of [weight, bias]) {
    if (t && !sameShape(t.shape, shape))
      throw new ShapeError(`weight and bias have shape ${show(shape)}, got ${show(t.shape)}`, { op: 'layerNorm' });
  }
  if (!isFloat(x.dtype)) throw new DTypeError(`needs floats, got ${x.dtype}`, { op: 'layerNorm' });
  return layerNormKernel(x, like(weight, x), like(bias, x), k, options.eps ?? 1e-5)[0]!;
}
const like = (t: Tensor | null, x: Tensor) => (t === null || t.dtype === x.dtype ? t : cast(t, x.dtype));

// ---- batch norm

const batchNormKernel = opMany('batchNorm', {
  args: (x: Tensor, weight: Tensor, bias: Tensor, eps: number) => ({ inputs: [x, weight, bias], params: { eps } }),
  infer: ([x]) => {
    const channels = { shape: [x.shape[1]!], dtype: statisticsType(x.dtype) };
    return [{ shape: x.shape, dtype: x.dtype }, channels, channels, channels];
  },
  encode: ({ eps }) => [eps],
  decompose: ([x, weight, bias], { eps }) => {
    const others = x.shape.map((_, i) => i).filter((i) => i !== 1);
    const { xhat, mu, biased, rstd } = normalised(x, others, eps);
    const y = add(mul(xhat, onChannels(weight, x)), onChannels(bias, x));
    return [cast(y, x.dtype), reshape(mu, [-1]), reshape(biased, [-1]), reshape(rstd, [-1])];
  },
  grad: (g, [x, weight], y, { eps }) => {
    let all: Tensor[] | null = null;
    const part = (i: number) => () => {
      all ??= batchNormGrad(g[0]!, x, weight, y[1]!, y[3]!, eps);
      return all[i]!;
    };
    return [part(0), part(1), part(2)];
  },
});
const batchNormGrad = opMany('batchNormGrad', {
  args: (g: Tensor, x: Tensor, weight: Tensor, mu: Tensor, rstd: Tensor, eps: number) => ({
    inputs: [g, x, weight, mu, rstd],
    params: { eps },
  }),
  infer: ([g, x]) => {
    const channels = { shape: [x.shape[1]!], dtype: g.dtype };
    return [{ shape: x.shape, dtype: g.dtype }, channels, channels];
  },
  encode: () => [],
  decompose: ([g, x, weight], { eps }) => {
    const others = x.shape.map((_, i) => i).filter((i) => i !== 1);
    const { dx, dweight, dbias } = normGrad(g, x, onChannels(weight, x), others, others, eps);
    return [dx, dweight, dbias];
  },
});
/** A (C) tensor shaped to broadcast over (N,C,…). */
const onChannels = (t: Tensor, x: Tensor) =>
  reshape(
    t,
    x.shape.map((_, i) => (i === 1 ? -1 : 1)),
  );

export interface BatchNormOptions {
  /** Normalise by the batch's own statistics, and move the running ones towards them. */
  training?: boolean;
  /** How far the running statistics move: 0.1 unless said; a number or a 0-d tensor. */
  momentum?: Operand;
  eps?: number;
}

/**
 * Normalises each channel of x (N,C,…) by statistics of the batch (training) or the running ones, then scales and shifts:
 * weight and bias (C) or null. Training updates `running` in place, its variance unbiased. (torch.nn.functional.batch_norm, arXiv:1502.03167)
 */
export function batchNorm(
  x: Tensor,
  running: { mean: Tensor; variance: Tensor } | null,
  weight: Tensor | null = null,
  bias: Tensor | null = null,
  options: BatchNormOptions = {},
): Tensor {
  const name = 'batchNorm';
  asTensor(x, name);
  checkOptions(options, name);
  for (const t of [weight, bias]) if (t !== null) asTensor(t, name);
  if (running !== null) for (const t of [running?.mean, running?.variance]) asTensor(t, name);
  if (x.ndim < 2) throw new ShapeError(`needs (N,C,…), got ${show(x.shape)}`, { op: name });
  if (!isFloat(x.dtype)) throw new DTypeError(`needs floats, got ${x.dtype}`, { op: name });
  const channels = x.shape[1]!;
  for (const t of [weight, bias, running?.mean, running?.variance]) {
    if (t && (t.ndim !== 1 || t.size !== channels))
      throw new ShapeError(`${channels} channels need tensors of that size, got ${show(t.shape)}`, { op: name });
  }
  const { eps = 1e-5, momentum = 0.1 } = options;
  const training = options.training ?? running === null;
  if (!training) {
    if (running === null) throw new ShapeError('running statistics are needed outside training', { op: name });
    const scale = mul(rsqrt(add(running.variance, eps)), weight ?? 1);
    const shift = sub(bias ?? 0, mul(running.mean, scale));
    return add(mul(x, like(onChannels(scale, x), x)!), like(onChannels(shift, x), x)!);
  }
  const count = x.size / channels;
  if (count <= 1)
    throw new ShapeError(`training needs more than one value per channel, got ${show(x.shape)}`, { op: name });
  const like2 = { dtype: x.dtype, device: x.device };
  const [y, mu, biased] = batchNormKernel(
    x,
    like(weight, x) ?? ones([channels], like2),
    like(bias, x) ?? zeros([channels], like2),
    eps,
  );
  if (running !== null) {
    noGrad(() => {
      lerp_(running.mean, cast(mu!, running.mean.dtype), momentum);
      lerp_(running.variance, mul(cast(biased!, running.variance.dtype), count / (count - 1)), momentum);
    });
  }
  return y!;
}
