/** A convolutional network with batch norm and pooling. */
import { crossEntropy, type Tensor } from 'brasa';
import { BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential } from 'brasa/nn';
import { Adam } from 'brasa/optim';
import { initialised, integers, type Place, reals, type Training } from './program.js';

const block = (channels: number, out: number) => [
  new Conv2d(channels, out, 3, { padding: 1, bias: false }),
  new BatchNorm2d(out),
  new ReLU(),
  new MaxPool2d(2),
];

export function cnn(place: Place): Training {
  const model = initialised(
    new Sequential(...block(1, 6), ...block(6, 12), new Flatten(), new Linear(12 * 3 * 3, 10)),
    place,
  );
  const optimizer = new Adam(model.parameters(), { lr: 0.01 });
  const data = [0, 1].map((k) => [reals(k, [8, 1, 12, 12], place), integers(10 + k, 10, [8], place)]);

  return {
    batch: (i) => data[i % 2]!,
    step(x: Tensor, y: Tensor) {
      optimizer.zeroGrad();
      const loss = crossEntropy(model.forward(x), y);
      loss.backward();
      optimizer.step();
      return loss;
    },
  };
}
