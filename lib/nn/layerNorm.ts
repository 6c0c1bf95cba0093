import type { Tensor } from '../core/tensor.js';
import { ones, zeros } from '../ops/free.js';
import { layerNorm } from '../ops/norm.js';
import { Module, parameter } from './module.js';
import { describe, type LayerOptions } from './options.js';

export interface LayerNormOptions extends LayerOptions {
  /** Added to the variance. */
  eps?: number;
  /** Have a weight (ones at first) and, unless `bias` is false, a bias (zeros), both of normalizedShape. */
  elementwiseAffine?: boolean;
  bias?: boolean;
}

/** Mean 0 and variance 1 over the last dims, whose sizes are `normalizedShape` (Ba et al. 2016). PyTorch: nn.LayerNorm. */
export class LayerNorm extends Module {
  weight: Tensor | null;
  bias: Tensor | null;
  readonly normalizedShape: readonly number[];
  readonly eps: number;

  constructor(
    normalizedShape: number | readonly number[],
    { eps = 1e-5, elementwiseAffine = true, bias = true, ...options }: LayerNormOptions = {},
  ) {
    super();
    this.normalizedShape = typeof normalizedShape === 'number' ? [normalizedShape] : [...normalizedShape];
    this.eps = eps;
    this.weight = elementwiseAffine ? parameter(ones(this.normalizedShape, options)) : null;
    this.bias = elementwiseAffine && bias ? parameter(zeros(this.normalizedShape, options)) : null;
  }

  /** (..., ...normalizedShape) -> the same */
  forward(x: Tensor): Tensor {
    const { weight, bias, eps } = this;
    return layerNorm(x, this.normalizedShape, weight, bias, { eps });
  }

  override extraRepr(): string {
    const { eps, weight, bias } = this;
    return describe(this.normalizedShape, { eps, elementwiseAffine: weight !== null, bias: bias !== null });
  }
}
