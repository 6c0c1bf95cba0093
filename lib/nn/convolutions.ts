import { ArgumentError } from '../core/error.js';
import type { Tensor } from '../core/tensor.js';
import type { Pair } from '../ops/conv.js';
import {
  type Conv1dOptions as Conv1dCall,
  type Conv3dOptions as Conv3dCall,
  type ConvTranspose1dOptions as ConvTranspose1dCall,
  type ConvTranspose2dOptions as ConvTranspose2dCall,
  conv1d,
  conv3d,
  convTranspose1d,
  convTranspose2d,
  type Triple,
} from '../ops/convolutions.js';
import { empty } from '../ops/free.js';
import { initialise } from './init.js';
import { Module, parameter } from './module.js';
import { describe, type LayerOptions, positive } from './options.js';

interface WithBias extends LayerOptions {
  bias?: boolean;
}
export interface Conv1dOptions extends WithBias, Conv1dCall {}
export interface Conv3dOptions extends WithBias, Conv3dCall {}
export interface ConvTranspose1dOptions extends WithBias, ConvTranspose1dCall {}
export interface ConvTranspose2dOptions extends WithBias, ConvTranspose2dCall {}

type Size = number | readonly number[];
const list = (value: Size, count: number): number[] =>
  typeof value === 'number' ? Array<number>(count).fill(value) : [...value];

/** What convolutions have in common: sizes checked, and parameters uniform within 1 / sqrt(fanIn). */
abstract class Convolution<Call extends { groups?: number }> extends Module {
  weight: Tensor;
  bias: Tensor | null;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernelSize: readonly number[];
  readonly groups: number;
  /** What each call is given. */
  readonly options: Readonly<Call>;

  /** `first`: which channels the weight's dim 0 counts; its dim 1 counts the others, per group. */
  protected constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: readonly number[],
    first: 'in' | 'out',
    { bias = true, dtype, device, ...call }: WithBias & Call,
  ) {
    super();
    const { groups = 1 } = call as unknown as Call;
    const name = this.constructor.name;
    const sizes = Object.fromEntries(kernelSize.map((n, i) => [`kernelSize[${i}]`, n]));
    positive(name, { inChannels, outChannels, groups, ...sizes });
    if (inChannels % groups !== 0 || outChannels % groups !== 0) {
      const message = `${inChannels} input and ${outChannels} output channels must divide into ${groups} groups`;
      throw new ArgumentError(message, { op: name });
    }
    this.inChannels = inChannels;
    this.outChannels = outChannels;
    this.kernelSize = kernelSize;
    this.groups = groups;
    this.options = call as unknown as Call;
    const [rows, columns] = first === 'out' ? [outChannels, inChannels] : [inChannels, outChannels];
    const place = { ...(dtype && { dtype }), ...(device && { device }) };
    this.weight = parameter(empty([rows, columns / groups, ...kernelSize], place));
    this.bias = bias ? parameter(empty([outChannels], place)) : null;
    initialise(this.weight, this.bias);
  }

  override extraRepr(): string {
    const { inChannels, outChannels, kernelSize, options, bias } = this;
    return describe(inChannels, outChannels, { kernelSize, ...options, ...(bias ? {} : { bias: false }) });
  }
}

/**
 * Cross-correlation over one dim. weight (outChannels, inChannels / groups, kernelSize), bias (outChannels), both uniform within
 * 1 / sqrt(fanIn). PyTorch: nn.Conv1d with paddingMode 'zeros'.
 */
export class Conv1d extends Convolution<Conv1dCall> {
  constructor(inChannels: number, outChannels: number, kernelSize: number, options: Conv1dOptions = {}) {
    super(inChannels, outChannels, [kernelSize], 'out', options);
  }

  /** (N, inChannels, L) -> (N, outChannels, L') */
  forward(x: Tensor): Tensor {
    return conv1d(x, this.weight, this.bias, this.options);
  }
}

/**
 * Cross-correlation over three dims. weight (outChannels, inChannels / groups, kernel depth, height, width), bias (outChannels), both
 * uniform within 1 / sqrt(fanIn). PyTorch: nn.Conv3d with paddingMode 'zeros'.
 */
export class Conv3d extends Convolution<Conv3dCall> {
  constructor(inChannels: number, outChannels: number, kernelSize: Triple, options: Conv3dOptions = {}) {
    super(inChannels, outChannels, list(kernelSize, 3), 'out', options);
  }

  /** (N, inChannels, D, H, W) -> (N, outChannels, D', H', W') */
  forward(x: Tensor): Tensor {
    return conv3d(x, this.weight, this.bias, this.options);
  }
}

/**
 * Transposed convolution over one dim. weight (inChannels, outChannels / groups, kernelSize), bias (outChannels), both uniform within
 * 1 / sqrt(fanIn), with the fan of the weight's dim 1. PyTorch: nn.ConvTranspose1d.
 */
export class ConvTranspose1d extends Convolution<ConvTranspose1dCall> {
  constructor(inChannels: number, outChannels: number, kernelSize: number, options: ConvTranspose1dOptions = {}) {
    super(inChannels, outChannels, [kernelSize], 'in', options);
  }

  /** (N, inChannels, L) -> (N, outChannels, L') */
  forward(x: Tensor): Tensor {
    return convTranspose1d(x, this.weight, this.bias, this.options);
  }
}

/**
 * Transposed convolution over images. weight (inChannels, outChannels / groups, kernel height, width), bias (outChannels), both uniform
 * within 1 / sqrt(fanIn), with the fan of the weight's dim 1. PyTorch: nn.ConvTranspose2d.
 */
export class ConvTranspose2d extends Convolution<ConvTranspose2dCall> {
  constructor(inChannels: number, outChannels: number, kernelSize: Pair, options: ConvTranspose2dOptions = {}) {
    super(inChannels, outChannels, list(kernelSize, 2), 'in', options);
  }

  /** (N, inChannels, H, W) -> (N, outChannels, H', W') */
  forward(x: Tensor): Tensor {
    return convTranspose2d(x, this.weight, this.bias, this.options);
  }
}
