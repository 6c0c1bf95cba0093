import { ArgumentError } from '../core/error.js';
import type { Tensor } from '../core/tensor.js';
import { BatchNorm2d } from '../nn/batchNorm.js';
import { Conv2d } from '../nn/conv.js';
import { kaimingNormal_, zeros_ } from '../nn/init.js';
import { Linear } from '../nn/linear.js';
import { Module } from '../nn/module.js';
import { AdaptiveAvgPool2d, MaxPool2d } from '../nn/pool.js';
import { Sequential } from '../nn/sequential.js';
import { add, relu } from '../ops/elementwise.js';
import { flatten } from '../ops/view.js';
import { type NameRule, PretrainedModel } from './pretrained.js';

const conv = (inputs: number, outputs: number, kernel: number, stride = 1): Conv2d =>
  new Conv2d(inputs, outputs, kernel, { stride, padding: kernel >> 1, bias: false });

/** What the shortcut does where shapes differ: (B,C,H,W) -> (B,outputs,H/stride,W/stride). */
const shortcut = (inputs: number, outputs: number, stride: number): Sequential | null =>
  stride === 1 && inputs === outputs
    ? null
    : new Sequential(conv(inputs, outputs, 1, stride), new BatchNorm2d(outputs));

/** Two 3x3 convolutions and what they are added to. */
class BasicBlock extends Module {
  conv1: Conv2d;
  bn1: BatchNorm2d;
  conv2: Conv2d;
  bn2: BatchNorm2d;
  downsample: Sequential | null;

  constructor(inputs: number, width: number, stride: number) {
    super();
    this.conv1 = conv(inputs, width, 3, stride);
    this.bn1 = new BatchNorm2d(width);
    this.conv2 = conv(width, width, 3);
    this.bn2 = new BatchNorm2d(width);
    this.downsample = shortcut(inputs, width, stride);
  }

  /** (B,inputs,H,W) -> (B,width,H/stride,W/stride) */
  forward(x: Tensor): Tensor {
    const y = relu(this.bn1.forward(this.conv1.forward(x)));
    return relu(add(this.bn2.forward(this.conv2.forward(y)), this.downsample ? this.downsample.forward(x) : x));
  }

  get last(): BatchNorm2d {
    return this.bn2;
  }
}

/** A 3x3 convolution between two of 1x1, the last four times as wide; the stride is the 3x3's (torchvision's form, "V1.5"). */
class Bottleneck extends Module {
  conv1: Conv2d;
  bn1: BatchNorm2d;
  conv2: Conv2d;
  bn2: BatchNorm2d;
  conv3: Conv2d;
  bn3: BatchNorm2d;
  downsample: Sequential | null;

  constructor(inputs: number, width: number, stride: number) {
    super();
    this.conv1 = conv(inputs, width, 1);
    this.bn1 = new BatchNorm2d(width);
    this.conv2 = conv(width, width, 3, stride);
    this.bn2 = new BatchNorm2d(width);
    this.conv3 = conv(width, 4 * width, 1);
    this.bn3 = new BatchNorm2d(4 * width);
    this.downsample = shortcut(inputs, 4 * width, stride);
  }

  /** (B,inputs,H,W) -> (B,4*width,H/stride,W/stride) */
  forward(x: Tensor): Tensor {
    const y = relu(this.bn1.forward(this.conv1.forward(x)));
    const z = relu(this.bn2.forward(this.conv2.forward(y)));
    return relu(add(this.bn3.forward(this.conv3.forward(z)), this.downsample ? this.downsample.forward(x) : x));
  }

  get last(): BatchNorm2d {
    return this.bn3;
  }
}

export interface ResNetOptions {
  numClasses?: number;
  /** Channels of the first stage; each further one has twice as many. */
  width?: number;
  /** Blocks begin as the identity: the weights of their last norms are 0 (Goyal et al. 2017). */
  zeroInitResidual?: boolean;
}

/**
 * Residual networks (He et al. 2016, arXiv:1512.03385): (B,3,H,W) -> (B,numClasses). `block` and the number of blocks in each stage are
 * chosen by `resnet18` and its like. Names are torchvision's: conv1, bn1, layer1.0.conv1, …, fc.
 */
export class ResNet extends PretrainedModel {
  conv1: Conv2d;
  bn1: BatchNorm2d;
  maxpool: MaxPool2d;
  layer1: Sequential;
  layer2: Sequential;
  layer3: Sequential;
  layer4: Sequential;
  avgpool: AdaptiveAvgPool2d;
  fc: Linear;

  constructor(
    block: 'basic' | 'bottleneck',
    counts: readonly [number, number, number, number],
    { numClasses = 1000, width = 64, zeroInitResidual = false }: ResNetOptions = {},
  ) {
    super();
    if (block !== 'basic' && block !== 'bottleneck')
      throw new ArgumentError(`block is 'basic' or 'bottleneck', got '${block}'`, { op: 'ResNet' });
    const [Block, expansion] = block === 'basic' ? [BasicBlock, 1] : [Bottleneck, 4];
    let inputs = width;
    const stage = (i: 0 | 1 | 2 | 3) =>
      new Sequential(
        ...Array.from({ length: counts[i] }, (_, k) => {
          const made = new Block(inputs, width * 2 ** i, i > 0 && k === 0 ? 2 : 1);
          inputs = width * 2 ** i * expansion;
          return made;
        }),
      );
    this.conv1 = new Conv2d(3, width, 7, { stride: 2, padding: 3, bias: false });
    this.bn1 = new BatchNorm2d(width);
    this.maxpool = new MaxPool2d(3, { stride: 2, padding: 1 });
    this.layer1 = stage(0);
    this.layer2 = stage(1);
    this.layer3 = stage(2);
    this.layer4 = stage(3);
    this.avgpool = new AdaptiveAvgPool2d(1);
    this.fc = new Linear(inputs, numClasses);
    for (const module of this.modules()) {
      if (module instanceof Conv2d) kaimingNormal_(module.weight, { mode: 'fanOut', nonlinearity: 'relu' });
      else if (zeroInitResidual && (module instanceof BasicBlock || module instanceof Bottleneck))
        zeros_(module.last.weight!);
    }
  }

  /** What the classifier sees: (B,3,H,W) -> (B,channels of the last stage). */
  features(x: Tensor): Tensor {
    let y = this.maxpool.forward(relu(this.bn1.forward(this.conv1.forward(x))));
    for (const layer of [this.layer1, this.layer2, this.layer3, this.layer4]) y = layer.forward(y);
    return flatten(this.avgpool.forward(y), 1);
  }

  /** (B,3,H,W) -> logits (B,numClasses) */
  forward(x: Tensor): Tensor {
    return this.fc.forward(this.features(x));
  }

  /** torchvision's names are ours. */
  override rules(): readonly NameRule[] {
    return [];
  }
}

/** ResNet-18: 11,689,512 parameters with 1000 classes. torchvision: resnet18. */
export const resnet18 = (options: ResNetOptions = {}): ResNet => new ResNet('basic', [2, 2, 2, 2], options);

/** ResNet-34: 21,797,672 parameters with 1000 classes. torchvision: resnet34. */
export const resnet34 = (options: ResNetOptions = {}): ResNet => new ResNet('basic', [3, 4, 6, 3], options);

/** ResNet-50: 25,557,032 parameters with 1000 classes. torchvision: resnet50. */
export const resnet50 = (options: ResNetOptions = {}): ResNet => new ResNet('bottleneck', [3, 4, 6, 3], options);
