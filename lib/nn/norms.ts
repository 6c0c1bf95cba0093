import { asTensor } from '../core/define.js';
import { ArgumentError, ShapeError } from '../core/error.js';
import { show } from '../core/layout.js';
import type { Tensor } from '../core/tensor.js';
import { ones, zeros } from '../ops/free.js';
import { groupNorm, instanceNorm, rmsNorm } from '../ops/norms.js';
import { Module, parameter } from './module.js';
import { describe, type LayerOptions, positive } from './options.js';

export interface GroupNormOptions extends LayerOptions {
  /** Added to the variance. */
  eps?: number;
  /** Have a weight (ones at first) and a bias (zeros), both (numChannels). */
  affine?: boolean;
}

/** Mean 0 and variance 1 over each of `numGroups` blocks of channels (Wu & He 2018). PyTorch: nn.GroupNorm. */
export class GroupNorm extends Module {
  weight: Tensor | null;
  bias: Tensor | null;
  readonly numGroups: number;
  readonly numChannels: number;
  readonly eps: number;

  constructor(
    numGroups: number,
    numChannels: number,
    { eps = 1e-5, affine = true, ...options }: GroupNormOptions = {},
  ) {
    super();
    positive('GroupNorm', { numGroups, numChannels });
    if (numChannels % numGroups !== 0)
      throw new ArgumentError(`${numChannels} channels do not divide into ${numGroups} groups`, { op: 'GroupNorm' });
    this.numGroups = numGroups;
    this.numChannels = numChannels;
    this.eps = eps;
    this.weight = affine ? parameter(ones([numChannels], options)) : null;
    this.bias = affine ? parameter(zeros([numChannels], options)) : null;
  }

  /** (N, numChannels, ...) -> the same */
  forward(x: Tensor): Tensor {
    return groupNorm(x, this.numGroups, this.weight, this.bias, { eps: this.eps });
  }

  override extraRepr(): string {
    const { numGroups, numChannels, eps, weight } = this;
    return describe(numGroups, numChannels, { eps, affine: weight !== null });
  }
}

export interface InstanceNormOptions extends LayerOptions {
  /** Added to the variance. */
  eps?: number;
  /** Have a weight (ones at first) and a bias (zeros); not unless said. */
  affine?: boolean;
}

/** Mean 0 and variance 1 over each channel of each example (Ulyanov et al. 2016), by the input's own statistics always. */
abstract class InstanceNorm extends Module {
  weight: Tensor | null;
  bias: Tensor | null;
  readonly numFeatures: number;
  readonly eps: number;

  constructor(numFeatures: number, { eps = 1e-5, affine = false, ...options }: InstanceNormOptions = {}) {
    super();
    positive(this.constructor.name, { numFeatures });
    this.numFeatures = numFeatures;
    this.eps = eps;
    this.weight = affine ? parameter(ones([numFeatures], options)) : null;
    this.bias = affine ? parameter(zeros([numFeatures], options)) : null;
  }

  /** The dims of inputs by their letters. */
  protected abstract readonly dims: string;

  /**
   * (N, numFeatures, …) -> the same
   * @throws ShapeError for other dims, or when a channel has one value only
   */
  forward(x: Tensor): Tensor {
    asTensor(x, this.constructor.name);
    const ndim = this.dims.split(',').length;
    if (x.ndim !== ndim || x.shape[1] !== this.numFeatures)
      throw new ShapeError(`needs (${this.dims}) with C = ${this.numFeatures}, got ${show(x.shape)}`, {
        op: this.constructor.name,
      });
    return instanceNorm(x, this.weight, this.bias, { eps: this.eps });
  }

  override extraRepr(): string {
    const { numFeatures, eps, weight } = this;
    return describe(numFeatures, { eps, affine: weight !== null });
  }
}

/** Instance norm of (N, C, L). PyTorch: nn.InstanceNorm1d without running statistics. */
export class InstanceNorm1d extends InstanceNorm {
  protected get dims(): string {
    return 'N,C,L';
  }
}

/** Instance norm of (N, C, H, W). PyTorch: nn.InstanceNorm2d without running statistics. */
export class InstanceNorm2d extends InstanceNorm {
  protected get dims(): string {
    return 'N,C,H,W';
  }
}

export interface RMSNormOptions extends LayerOptions {
  /** Added to the mean square; 2^-23 unless said, 2^-52 for f64. */
  eps?: number;
  /** Have a weight of normalizedShape, ones at first. */
  elementwiseAffine?: boolean;
}

/** x / sqrt(mean(x^2) + eps) over the last dims, whose sizes are `normalizedShape` (Zhang & Sennrich 2019). PyTorch: nn.RMSNorm. */
export class RMSNorm extends Module {
  weight: Tensor | null;
  readonly normalizedShape: readonly number[];
  readonly eps: number | null;

  constructor(
    normalizedShape: number | readonly number[],
    { eps, elementwiseAffine = true, ...options }: RMSNormOptions = {},
  ) {
    super();
    this.normalizedShape = typeof normalizedShape === 'number' ? [normalizedShape] : [...normalizedShape];
    this.eps = eps ?? null;
    this.weight = elementwiseAffine ? parameter(ones(this.normalizedShape, options)) : null;
  }

  /** (..., ...normalizedShape) -> the same */
  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.normalizedShape, this.weight, this.eps === null ? {} : { eps: this.eps });
  }

  override extraRepr(): string {
    const { normalizedShape, eps, weight } = this;
    return describe(normalizedShape, { eps, elementwiseAffine: weight !== null });
  }
}
