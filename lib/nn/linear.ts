import type { Tensor } from '../core/tensor.js';
import { empty } from '../ops/free.js';
import { linear } from '../ops/matmul.js';
import { initialise } from './init.js';
import { Module, parameter } from './module.js';
import { describe, type LayerOptions, positive } from './options.js';

/**
 * y = x @ weight^T + bias. weight (outFeatures, inFeatures), bias (outFeatures), both uniform within 1 / sqrt(inFeatures).
 * PyTorch: nn.Linear.
 */
export class Linear extends Module {
  weight: Tensor;
  bias: Tensor | null;
  readonly inFeatures: number;
  readonly outFeatures: number;

  constructor(
    inFeatures: number,
    outFeatures: number,
    { bias = true, ...options }: LayerOptions & { bias?: boolean } = {},
  ) {
    super();
    positive('Linear', { inFeatures, outFeatures });
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.weight = parameter(empty([outFeatures, inFeatures], options));
    this.bias = bias ? parameter(empty([outFeatures], options)) : null;
    initialise(this.weight, this.bias);
  }

  /** (..., inFeatures) -> (..., outFeatures) */
  forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }

  override extraRepr(): string {
    return describe({ inFeatures: this.inFeatures, outFeatures: this.outFeatures, bias: this.bias !== null });
  }
}
