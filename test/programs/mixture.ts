/** A mixture of two experts, one of which is taken for the whole batch (a switch layer: Fedus et al. 2021). */
import { cond, mseLoss, type Tensor, zerosLike } from 'brasa';
import { GELU, Linear, Module, Sequential, SiLU } from 'brasa/nn';
import { AdamW } from 'brasa/optim';
import { initialised, type Place, reals, type Training } from './program.js';

class Mixture extends Module {
  router: Linear;
  experts: [Sequential, Sequential];

  constructor(inputs: number, hidden: number, outputs: number) {
    super();
    this.router = new Linear(inputs, 2);
    this.experts = [
      new Sequential(new Linear(inputs, hidden), new GELU(), new Linear(hidden, outputs)),
      new Sequential(new Linear(inputs, hidden), new SiLU(), new Linear(hidden, outputs)),
    ];
  }

  /** (B, inputs) -> (B, outputs) */
  forward(x: Tensor): Tensor {
    const [p, q] = this.router.forward(x.mean(0)).softmax(-1).unbind() as [Tensor, Tensor];
    const [first, second] = this.experts;
    return cond(
      p.gt(q),
      () => first.forward(x).mul(p),
      () => second.forward(x).mul(q),
    );
  }
}

export function mixture(place: Place): Training {
  const model = initialised(new Mixture(6, 16, 3), place);
  const optimizer = new AdamW(model.parameters(), { lr: 0.01, amsgrad: true });
  // Two kinds of batches, with means of their own, so that both experts are taken.
  const data = [1, -1].map((mean, k) => [reals(k, [12, 6], place, 1, mean), reals(10 + k, [12, 3], place)]);

  return {
    batch: (i) => data[i % 2]!,
    step(x: Tensor, y: Tensor) {
      optimizer.zeroGrad();
      const loss = mseLoss(model.forward(x), y);
      loss.backward();
      // Eager has not run the other branch and leaves null for what it alone uses; compiled gives zeros, as PyTorch's torch.where does.
      for (const p of model.parameters()) p.grad ??= zerosLike(p);
      optimizer.step();
      return loss;
    },
  };
}
