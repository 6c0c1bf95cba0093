/** ResNet-18 (He et al. 2015) in its form for small images, an eighth as wide. */
import { crossEntropy, relu, type Tensor } from 'brasa';
import { AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Linear, Module, ReLU, Sequential } from 'brasa/nn';
import { SGD } from 'brasa/optim';
import { initialised, integers, type Place, reals, type Training } from './program.js';

class BasicBlock extends Module {
  conv1: Conv2d;
  bn1: BatchNorm2d;
  conv2: Conv2d;
  bn2: BatchNorm2d;
  shortcut: Sequential | null;

  constructor(channels: number, out: number, stride: number) {
    super();
    this.conv1 = new Conv2d(channels, out, 3, { stride, padding: 1, bias: false });
    this.bn1 = new BatchNorm2d(out);
    this.conv2 = new Conv2d(out, out, 3, { padding: 1, bias: false });
    this.bn2 = new BatchNorm2d(out);
    this.shortcut =
      stride === 1 && channels === out
        ? null
        : new Sequential(new Conv2d(channels, out, 1, { stride, bias: false }), new BatchNorm2d(out));
  }

  /** (B, channels, H, W) -> (B, out, H / stride, W / stride) */
  forward(x: Tensor): Tensor {
    const y = relu(this.bn1.forward(this.conv1.forward(x)));
    return relu(this.bn2.forward(this.conv2.forward(y)).add(this.shortcut?.forward(x) ?? x));
  }
}

function resnet18(width: number, classes: number): Sequential {
  const stem = [new Conv2d(3, width, 3, { padding: 1, bias: false }), new BatchNorm2d(width), new ReLU()];
  const blocks = [1, 2, 4, 8].flatMap((factor, stage) => [
    new BasicBlock(stage === 0 ? width : (width * factor) / 2, width * factor, stage === 0 ? 1 : 2),
    new BasicBlock(width * factor, width * factor, 1),
  ]);
  return new Sequential(...stem, ...blocks, new AdaptiveAvgPool2d(1), new Flatten(), new Linear(width * 8, classes));
}

export function resnet(place: Place): Training {
  const model = initialised(resnet18(8, 10), place);
  const optimizer = new SGD(model.parameters(), { lr: 0.01, momentum: 0.9, nesterov: true, weightDecay: 5e-4 });
  const x = reals(0, [4, 3, 16, 16], place);
  const y = integers(10, 10, [4], place);

  return {
    batch: () => [x, y],
    step(x: Tensor, y: Tensor) {
      optimizer.zeroGrad();
      const loss = crossEntropy(model.forward(x), y);
      loss.backward();
      optimizer.step();
      return loss;
    },
  };
}
