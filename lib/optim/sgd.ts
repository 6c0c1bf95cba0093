import { ArgumentError } from '../core/error.js';
import { add, mul, sub } from '../ops/elementwise.js';
import { fused } from './fused.js';
import { inRange, Optimizer, type OptimizerOptions, type ParamGroup, type Params, type Rule } from './optimizer.js';

export interface SGDOptions extends OptimizerOptions {
  momentum: number;
  /** How much less than the whole gradient enters the momentum. */
  dampening: number;
  /** Look ahead by the momentum (Sutskever et al. 2013); needs momentum and no dampening. */
  nesterov: boolean;
  /** L2 penalty. */
  weightDecay: number;
  maximize: boolean;
}

// d = sign * g + weightDecay * p;  m = momentum * m + fresh * d
const plain: Rule = {
  moments: [],
  kernel: fused('sgd', ([p, g, lr, sign, decay]) => [sub(p, mul(lr, add(mul(g, sign), mul(p, decay))))]),
};
const [heavyBall, nesterov] = [false, true].map(
  (ahead): Rule => ({
    moments: ['momentumBuffer'],
    kernel: fused(ahead ? 'sgdNesterov' : 'sgdMomentum', ([p, g, m, lr, sign, decay, momentum, fresh]) => {
      const d = add(mul(g, sign), mul(p, decay));
      const next = add(mul(m, momentum), mul(d, fresh));
      return [sub(p, mul(lr, ahead ? add(d, mul(next, momentum)) : next)), next];
    }),
  }),
);

/** Stochastic gradient descent. PyTorch: optim.SGD, with its defaults (lr 1e-3). */
export class SGD extends Optimizer<SGDOptions> {
  constructor(params: Params<SGDOptions>, options: Partial<SGDOptions> = {}) {
    super(params, options, {
      lr: 1e-3,
      momentum: 0,
      dampening: 0,
      nesterov: false,
      weightDecay: 0,
      maximize: false,
    });
  }

  protected override check(options: SGDOptions): void {
    const { lr, momentum, dampening, weightDecay } = options;
    inRange('SGD', { lr, momentum, weightDecay });
    if (options.nesterov && (momentum === 0 || dampening !== 0)) {
      throw new ArgumentError('nesterov needs a momentum and no dampening', { op: 'SGD' });
    }
  }

  protected override rule(group: ParamGroup<SGDOptions>): Rule {
    return group.momentum === 0 ? plain : group.nesterov ? nesterov : heavyBall;
  }

  protected override scalars(group: ParamGroup<SGDOptions>, step: number): number[] {
    const { lr, momentum, dampening, weightDecay } = group;
    const sign = group.maximize ? -1 : 1;
    if (momentum === 0) return [lr, sign, weightDecay];
    return [lr, sign, weightDecay, momentum, step === 1 ? 1 : 1 - dampening];
  }
}
