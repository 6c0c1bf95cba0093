import { ArgumentError } from '../core/error.js';
import type { Tensor } from '../core/tensor.js';
import { ReLU6 } from '../nn/activation.js';
import { BatchNorm2d } from '../nn/batchNorm.js';
import { Conv2d } from '../nn/conv.js';
import { Dropout } from '../nn/dropout.js';
import { kaimingNormal_, normal_, zeros_ } from '../nn/init.js';
import { Linear } from '../nn/linear.js';
import { Module } from '../nn/module.js';
import { Sequential } from '../nn/sequential.js';
import { add } from '../ops/elementwise.js';
import { mean } from '../ops/reduce.js';
import { type NameRule, PretrainedModel } from './pretrained.js';

/** Convolution, batch norm and ReLU6, numbered 0, 1, 2. */
const convNorm = (inputs: number, outputs: number, kernel: number, stride = 1, groups = 1): Sequential =>
  new Sequential(
    new Conv2d(inputs, outputs, kernel, { stride, padding: kernel >> 1, groups, bias: false }),
    new BatchNorm2d(outputs),
    new ReLU6(),
  );

/** Channels made more, filtered each for itself, and made fewer again without an activation. */
class InvertedResidual extends Module {
  conv: Sequential;
  readonly residual: boolean;

  constructor(inputs: number, outputs: number, stride: number, expansion: number) {
    super();
    const hidden = inputs * expansion;
    this.residual = stride === 1 && inputs === outputs;
    this.conv = new Sequential(
      ...(expansion === 1 ? [] : [convNorm(inputs, hidden, 1)]),
      convNorm(hidden, hidden, 3, stride, hidden),
      new Conv2d(hidden, outputs, 1, { bias: false }),
      new BatchNorm2d(outputs),
    );
  }

  /** (B,inputs,H,W) -> (B,outputs,H/stride,W/stride) */
  forward(x: Tensor): Tensor {
    const y = this.conv.forward(x);
    return this.residual ? add(x, y) : y;
  }
}

/** A stage of blocks: how many times more channels inside, channels, blocks, stride of the first. */
export type MobileNetStage = readonly [expansion: number, channels: number, blocks: number, stride: number];

const stages: readonly MobileNetStage[] = [
  [1, 16, 1, 1],
  [6, 24, 2, 2],
  [6, 32, 3, 2],
  [6, 64, 4, 2],
  [6, 96, 3, 1],
  [6, 160, 3, 2],
  [6, 320, 1, 1],
];

/** The multiple of 8 nearest to `channels`, never less than 9/10 of it. */
function round(channels: number): number {
  const nearest = Math.max(8, Math.floor((channels + 4) / 8) * 8);
  return nearest < 0.9 * channels ? nearest + 8 : nearest;
}

export interface MobileNetV2Options {
  numClasses?: number;
  /** How many times as many channels as the paper has. */
  widthMult?: number;
  /** Channels before the classifier; with a widthMult above 1 as many times more. */
  lastChannel?: number;
  stages?: readonly MobileNetStage[];
  dropout?: number;
}

/**
 * MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381): (B,3,H,W) -> (B,numClasses). Names are torchvision's: features.0.0, …,
 * features.1.conv.0.0, …, classifier.1.
 */
export class MobileNetV2 extends PretrainedModel {
  features: Sequential;
  classifier: Sequential;

  constructor(options: MobileNetV2Options = {}) {
    super();
    const { numClasses = 1000, widthMult = 1, lastChannel = 1280, stages: table = stages, dropout = 0.2 } = options;
    if (!(widthMult > 0)) throw new ArgumentError(`widthMult is above 0, got ${widthMult}`, { op: 'MobileNetV2' });
    let channels = round(32 * widthMult);
    const first = convNorm(3, channels, 3, 2);
    const blocks = table.flatMap(([expansion, width, count, stride]) =>
      Array.from({ length: count }, (_, i) => {
        const inputs = channels;
        channels = round(width * widthMult);
        return new InvertedResidual(inputs, channels, i === 0 ? stride : 1, expansion);
      }),
    );
    const last = round(lastChannel * Math.max(1, widthMult));
    this.features = new Sequential(first, ...blocks, convNorm(channels, last, 1));
    this.classifier = new Sequential(new Dropout(dropout), new Linear(last, numClasses));
    for (const module of this.modules()) {
      if (module instanceof Conv2d) kaimingNormal_(module.weight, { mode: 'fanOut' });
      else if (module instanceof Linear) {
        normal_(module.weight, { std: 0.01 });
        zeros_(module.bias!);
      }
    }
  }

  /** (B,3,H,W) -> logits (B,numClasses) */
  forward(x: Tensor): Tensor {
    return this.classifier.forward(mean(this.features.forward(x), [2, 3]));
  }

  /** torchvision's names are ours. */
  override rules(): readonly NameRule[] {
    return [];
  }
}

/** MobileNetV2: 3,504,872 parameters with 1000 classes. torchvision: mobilenet_v2. */
export const mobilenetV2 = (options: MobileNetV2Options = {}): MobileNetV2 => new MobileNetV2(options);
