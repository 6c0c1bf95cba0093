/** An autoencoder that decodes with its encoder's weight, transposed. */
import { linear, mseLoss, type Tensor, zeros } from 'brasa';
import { Linear, Module, parameter } from 'brasa/nn';
import { SGD } from 'brasa/optim';
import { initialised, type Place, reals, type Training } from './program.js';

class Autoencoder extends Module {
  bias: Tensor;
  encoder: Linear;
  inner: Linear;

  constructor(inputs: number, hidden: number, code: number) {
    super();
    this.bias = parameter(zeros([inputs]));
    this.encoder = new Linear(inputs, hidden);
    this.inner = new Linear(hidden, code);
  }

  /** (B, inputs) -> (B, inputs) */
  forward(x: Tensor): Tensor {
    const code = this.inner.forward(this.encoder.forward(x).tanh());
    const hidden = linear(code, this.inner.weight.transpose()).tanh();
    return linear(hidden, this.encoder.weight.transpose(), this.bias);
  }
}

export function autoencoder(place: Place): Training {
  const model = initialised(new Autoencoder(24, 12, 5), place);
  const optimizer = new SGD(model.parameters(), { lr: 0.5, momentum: 0.8, dampening: 0.2 });
  const data = [0, 1].map((k) => reals(k, [16, 24], place));

  return {
    batch: (i) => [data[i % 2]!],
    step(x: Tensor) {
      optimizer.zeroGrad();
      const loss = mseLoss(model.forward(x), x);
      loss.backward();
      optimizer.step();
      return loss;
    },
  };
}
