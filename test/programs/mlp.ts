/** A classifier of two hidden layers. */
import { crossEntropy, type Tensor } from 'brasa';
import { Linear, ReLU, Sequential } from 'brasa/nn';
import { SGD } from 'brasa/optim';
import { initialised, integers, type Place, reals, type Training } from './program.js';

export function mlp(place: Place): Training {
  const model = initialised(
    new Sequential(new Linear(20, 32), new ReLU(), new Linear(32, 24), new ReLU(), new Linear(24, 5)),
    place,
  );
  const optimizer = new SGD(model.parameters(), { lr: 0.1, momentum: 0.9, weightDecay: 0.001 });
  const data = [0, 1].map((k) => [reals(k, [16, 20], place), integers(10 + k, 5, [16], place)]);

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
