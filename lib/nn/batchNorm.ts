import { ShapeError } from '../core/error.js';
import { show } from '../core/layout.js';
import { noGrad } from '../core/scope.js';
import type { Tensor } from '../core/tensor.js';
import { add_, cast, reciprocal } from '../ops/elementwise.js';
import { ones, zeros } from '../ops/free.js';
import { batchNorm } from '../ops/norm.js';
import { buffer, Module, parameter } from './module.js';
import { describe, type LayerOptions, positive } from './options.js';

export interface BatchNormOptions extends LayerOptions {
  /** Added to the variance. */
  eps?: number;
  /** How far the running statistics go towards each batch's; null takes the plain mean of all batches. */
  momentum?: number | null;
  /** Have a weight (ones at first) and a bias (zeros). */
  affine?: boolean;
  /** Keep running statistics and use them in evaluation; else the batch's own are used always. */
  trackRunningStats?: boolean;
}

/** Normalises each channel, dim 1, over all others (Ioffe & Szegedy 2015). */
abstract class BatchNorm extends Module {
  weight: Tensor | null;
  bias: Tensor | null;
  runningMean: Tensor | null;
  runningVar: Tensor | null;
  /** How many batches the statistics have seen, i64. */
  numBatchesTracked: Tensor | null;
  readonly numFeatures: number;
  readonly eps: number;
  readonly momentum: number | null;

  constructor(
    numFeatures: number,
    { eps = 1e-5, momentum = 0.1, affine = true, trackRunningStats = true, ...options }: BatchNormOptions = {},
  ) {
    super();
    positive(this.constructor.name, { numFeatures });
    this.numFeatures = numFeatures;
    this.eps = eps;
    this.momentum = momentum;
    const shape = [numFeatures];
    this.weight = affine ? parameter(ones(shape, options)) : null;
    this.bias = affine ? parameter(zeros(shape, options)) : null;
    this.runningMean = trackRunningStats ? buffer(zeros(shape, options)) : null;
    this.runningVar = trackRunningStats ? buffer(ones(shape, options)) : null;
    this.numBatchesTracked = trackRunningStats ? buffer(zeros([], { ...options, dtype: 'i64' })) : null;
  }

  /** Refuses inputs of other dims than the layer's. */
  protected abstract check(x: Tensor): void;

  forward(x: Tensor): Tensor {
    this.check(x);
    const { weight, bias, eps, runningMean, runningVar, numBatchesTracked, training } = this;
    if (!runningMean || !runningVar || !numBatchesTracked)
      return batchNorm(x, null, weight, bias, { training: true, eps });
    const running = { mean: runningMean, variance: runningVar };
    if (!training) return batchNorm(x, running, weight, bias, { training, eps });
    noGrad(() => add_(numBatchesTracked, 1));
    const momentum = this.momentum ?? reciprocal(cast(numBatchesTracked, runningMean.dtype));
    return batchNorm(x, running, weight, bias, { training, momentum, eps });
  }

  override extraRepr(): string {
    const { numFeatures, eps, momentum, weight, runningMean } = this;
    return describe(numFeatures, { eps, momentum, affine: weight !== null, trackRunningStats: runningMean !== null });
  }

  /** For `check`: the error that names the layer. */
  protected refuse(needs: string, x: Tensor): never {
    throw new ShapeError(`needs ${needs}, got ${show(x.shape)}`, { op: this.constructor.name });
  }
}

/** Batch norm of (N, C) or (N, C, L). PyTorch: nn.BatchNorm1d. */
export class BatchNorm1d extends BatchNorm {
  protected override check(x: Tensor): void {
    if (x.ndim !== 2 && x.ndim !== 3) this.refuse('(N,C) or (N,C,L)', x);
  }
}

/** Batch norm of (N, C, H, W). PyTorch: nn.BatchNorm2d. */
export class BatchNorm2d extends BatchNorm {
  protected override check(x: Tensor): void {
    if (x.ndim !== 4) this.refuse('(N,C,H,W)', x);
  }
}
