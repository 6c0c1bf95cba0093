// Initialisation in place, with PyTorch's formulas and defaults (torch.nn.init). None of these record a gradient.

import { ArgumentError, ShapeError } from '../core/error.js';
import { show } from '../core/layout.js';
import { noGrad } from '../core/scope.js';
import type { Tensor } from '../core/tensor.js';
import {
  add,
  clamp,
  copy_,
  div,
  erf,
  exp,
  fill_,
  log1p,
  mul,
  neg,
  relu,
  sign,
  sqrt,
  square,
  sub,
} from '../ops/elementwise.js';
import { full } from '../ops/free.js';
import { rand, randn } from '../ops/random.js';
import { item } from '../ops/read.js';

export type FanMode = 'fanIn' | 'fanOut';
export type Nonlinearity = 'linear' | 'conv2d' | 'sigmoid' | 'tanh' | 'relu' | 'leakyRelu' | 'selu';
export interface KaimingOptions {
  /** The slope of leakyRelu below 0. */
  a?: number;
  /** Whose variance is kept: the activations' (fanIn) or the gradients' (fanOut). */
  mode?: FanMode;
  nonlinearity?: Nonlinearity;
}

/** Fills with `value`. */
export function constant_(x: Tensor, value: number): Tensor {
  return noGrad(() => fill_(x, value));
}

/** Fills with 0. */
export function zeros_(x: Tensor): Tensor {
  return constant_(x, 0);
}

/** Fills with 1. */
export function ones_(x: Tensor): Tensor {
  return constant_(x, 1);
}

/** Uniform in [a, b). */
export function uniform_(x: Tensor, { a = 0, b = 1 }: { a?: number; b?: number } = {}): Tensor {
  return noGrad(() => copy_(x, rand(x.shape, { ...like(x), low: a, high: b })));
}

/** Normal. */
export function normal_(x: Tensor, { mean = 0, std = 1 }: { mean?: number; std?: number } = {}): Tensor {
  return noGrad(() => copy_(x, randn(x.shape, { ...like(x), mean, std })));
}

/** Normal, cut to [a, b]: the inverse of the distribution function at uniform numbers. */
export function truncNormal_(
  x: Tensor,
  { mean = 0, std = 1, a = -2, b = 2 }: { mean?: number; std?: number; a?: number; b?: number } = {},
): Tensor {
  return noGrad(() => {
    const scale = std * Math.SQRT2;
    const low = erfOf(x, (a - mean) / scale);
    const high = erfOf(x, (b - mean) / scale);
    const u = rand(x.shape, { ...like(x), low, high });
    return copy_(x, clamp(add(mul(erfinv(u), scale), mean), a, b));
  });
}

/** Uniform, bound gain * sqrt(6 / (fanIn + fanOut)) (Glorot & Bengio 2010). */
export function xavierUniform_(x: Tensor, { gain = 1 }: { gain?: number } = {}): Tensor {
  const { fanIn, fanOut } = fans(x);
  const bound = gain * Math.sqrt(6 / (fanIn + fanOut));
  return uniform_(x, { a: -bound, b: bound });
}

/** Normal, std gain * sqrt(2 / (fanIn + fanOut)) (Glorot & Bengio 2010). */
export function xavierNormal_(x: Tensor, { gain = 1 }: { gain?: number } = {}): Tensor {
  const { fanIn, fanOut } = fans(x);
  return normal_(x, { std: gain * Math.sqrt(2 / (fanIn + fanOut)) });
}

/** Uniform, bound gain * sqrt(3 / fan) (He et al. 2015). */
export function kaimingUniform_(x: Tensor, options: KaimingOptions = {}): Tensor {
  const bound = Math.sqrt(3) * kaimingStd(x, options);
  return uniform_(x, { a: -bound, b: bound });
}

/** Normal, std gain / sqrt(fan) (He et al. 2015). */
export function kaimingNormal_(x: Tensor, options: KaimingOptions = {}): Tensor {
  return normal_(x, { std: kaimingStd(x, options) });
}

/** The factor by which a nonlinearity's input must be wider than unit variance; `slope` is leakyRelu's. */
export function calculateGain(nonlinearity: Nonlinearity, slope = 0.01): number {
  switch (nonlinearity) {
    case 'linear':
    case 'conv2d':
    case 'sigmoid':
      return 1;
    case 'tanh':
      return 5 / 3;
    case 'relu':
      return Math.SQRT2;
    case 'leakyRelu':
      return Math.sqrt(2 / (1 + slope ** 2));
    case 'selu':
      return 3 / 4;
    default:
      throw new ArgumentError(`unknown nonlinearity ${String(nonlinearity)}`, { op: 'calculateGain' });
  }
}

/** The default of Linear and Conv2d: weight kaimingUniform(a = sqrt 5), bias uniform within 1 / sqrt(fanIn). */
export function initialise(weight: Tensor, bias: Tensor | null): void {
  kaimingUniform_(weight, { a: Math.sqrt(5) });
  const { fanIn } = fans(weight);
  const bound = fanIn > 0 ? 1 / Math.sqrt(fanIn) : 0;
  if (bias) uniform_(bias, { a: -bound, b: bound });
}

/** Inputs and outputs of one unit; weights are (out, in, ...kernel). */
function fans(x: Tensor): { fanIn: number; fanOut: number } {
  if (x.ndim < 2)
    throw new ShapeError(`fan-in and fan-out need at least 2 dims, got shape ${show(x.shape)}`, { op: 'init' });
  const [out, inner, ...kernel] = x.shape as [number, number, ...number[]];
  const field = kernel.reduce((a, b) => a * b, 1);
  return { fanIn: inner * field, fanOut: out * field };
}

function kaimingStd(x: Tensor, { a = 0, mode = 'fanIn', nonlinearity = 'leakyRelu' }: KaimingOptions): number {
  const fan = fans(x)[mode];
  return fan > 0 ? calculateGain(nonlinearity, a) / Math.sqrt(fan) : 0;
}

/** Drawn in f32 at least: half precision has too few steps between 0 and 1. */
function like(x: Tensor) {
  return { dtype: x.dtype === 'f64' ? 'f64' : 'f32', device: x.device } as const;
}

const erfOf = (x: Tensor, value: number): number => item(erf(full([], value, { dtype: 'f64', device: x.device })));

/** The inverse of erf, for |u| < 1: Winitzki's estimate, made exact by two Newton steps. */
function erfinv(u: Tensor): Tensor {
  const v = clamp(u, -1 + 1e-7, 1 - 1e-7);
  const a = 0.147;
  const l = log1p(neg(square(v)));
  const s = add(mul(l, 0.5), 2 / (Math.PI * a));
  let x = mul(sign(v), sqrt(relu(sub(sqrt(sub(square(s), div(l, a))), s))));
  for (let i = 0; i < 2; i++) {
    x = sub(x, mul(mul(sub(erf(x), v), exp(square(x))), Math.sqrt(Math.PI) / 2));
  }
  return x;
}
