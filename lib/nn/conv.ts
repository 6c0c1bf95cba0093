import { ArgumentError } from '../core/error.js';
import type { Tensor } from '../core/tensor.js';
import { type Conv2dOptions as ConvOptions, conv2d, type Pair } from '../ops/conv.js';
import { empty } from '../ops/free.js';
import { initialise } from './init.js';
import { Module, parameter } from './module.js';
import { describe, type LayerOptions, pair, positive } from './options.js';

export interface Conv2dOptions extends LayerOptions, ConvOptions {
  bias?: boolean;
}

/**
 * Cross-correlation. weight (outChannels, inChannels / groups, kernel height, width), bias (outChannels), both uniform within
 * 1 / sqrt(fanIn). PyTorch: nn.Conv2d with paddingMode 'zeros'.
 */
export class Conv2d extends Module {
  weight: Tensor;
  bias: Tensor | null;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernelSize: [number, number];
  readonly stride: [number, number];
  readonly padding: [number, number] | 'same' | 'valid';
  readonly dilation: [number, number];
  readonly groups: number;

  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: Pair,
    { stride = 1, padding = 0, dilation = 1, groups = 1, bias = true, ...options }: Conv2dOptions = {},
  ) {
    super();
    const [kernelHeight, kernelWidth] = pair(kernelSize);
    positive('Conv2d', { inChannels, outChannels, kernelHeight, kernelWidth, groups });
    if (inChannels % groups !== 0 || outChannels % groups !== 0) {
      const message = `${inChannels} input and ${outChannels} output channels must divide into ${groups} groups`;
      throw new ArgumentError(message, { op: 'Conv2d' });
    }
    this.inChannels = inChannels;
    this.outChannels = outChannels;
    this.kernelSize = [kernelHeight, kernelWidth];
    this.stride = pair(stride);
    this.padding = typeof padding === 'string' ? padding : pair(padding);
    this.dilation = pair(dilation);
    this.groups = groups;
    if (padding === 'same' && this.stride.some((s) => s !== 1)) {
      throw new ArgumentError(`padding 'same' needs stride 1, got ${this.stride}`, { op: 'Conv2d' });
    }
    this.weight = parameter(empty([outChannels, inChannels / groups, kernelHeight, kernelWidth], options));
    this.bias = bias ? parameter(empty([outChannels], options)) : null;
    initialise(this.weight, this.bias);
  }

  /** (N, inChannels, H, W) -> (N, outChannels, H', W') */
  forward(x: Tensor): Tensor {
    const { stride, padding, dilation, groups } = this;
    return conv2d(x, this.weight, this.bias, { stride, padding, dilation, groups });
  }

  override extraRepr(): string {
    const { kernelSize, stride, padding, dilation, groups } = this;
    return describe(this.inChannels, this.outChannels, {
      kernelSize,
      stride,
      ...(`${padding}` === '0,0' ? {} : { padding }),
      ...(`${dilation}` === '1,1' ? {} : { dilation }),
      ...(groups === 1 ? {} : { groups }),
      ...(this.bias ? {} : { bias: false }),
    });
  }
}
