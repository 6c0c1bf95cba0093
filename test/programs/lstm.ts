/** An LSTM written as its cell in a plain loop, with its gradients clipped. */
import { mseLoss, type Tensor, zeros } from 'brasa';
import { Linear, Module } from 'brasa/nn';
import { clipGradNorm_, RMSprop } from 'brasa/optim';
import { initialised, type Place, reals, type Training } from './program.js';

class LSTM extends Module {
  input: Linear;
  hidden: Linear;
  out: Linear;
  readonly size: number;

  constructor(inputs: number, size: number, outputs: number) {
    super();
    this.size = size;
    this.input = new Linear(inputs, 4 * size);
    this.hidden = new Linear(size, 4 * size, { bias: false });
    this.out = new Linear(size, outputs);
  }

  /** (B, T, inputs) -> (B, outputs), from the last hidden state */
  forward(x: Tensor): Tensor {
    const options = { dtype: x.dtype, device: x.device };
    let h = zeros([x.shape[0]!, this.size], options);
    let c = zeros([x.shape[0]!, this.size], options);
    for (const xt of x.unbind(1)) {
      const gates = this.input.forward(xt).add(this.hidden.forward(h)).chunk(4, 1);
      const [i, f, g, o] = gates as [Tensor, Tensor, Tensor, Tensor];
      c = f.sigmoid().mul(c).add(i.sigmoid().mul(g.tanh()));
      h = o.sigmoid().mul(c.tanh());
    }
    return this.out.forward(h);
  }
}

export function lstm(place: Place): Training {
  const model = initialised(new LSTM(5, 12, 3), place);
  const optimizer = new RMSprop(model.parameters(), { lr: 0.005, momentum: 0.5 });
  const data = [0, 1].map((k) => [reals(k, [8, 6, 5], place), reals(10 + k, [8, 3], place)]);

  return {
    batch: (i) => data[i % 2]!,
    step(x: Tensor, y: Tensor) {
      optimizer.zeroGrad();
      const loss = mseLoss(model.forward(x), y);
      loss.backward();
      clipGradNorm_(model.parameters(), 0.25);
      optimizer.step();
      return loss;
    },
  };
}
