import { ArgumentError } from '../core/error.js';
import { addcmul, mul } from '../ops/elementwise.js';
import { fused, gradient, variants } from './fused.js';
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

interface Variant {
  momentum: boolean;
  nesterov: boolean;
  maximize: boolean;
  decay: boolean;
}

// d = +-g + weightDecay * p;  m = momentum * m + fresh * d;  p = p - lr * (m, or d + momentum * m, or d)
const rule = variants(
  (v: Variant): Rule => ({
    moments: v.momentum ? ['momentumBuffer'] : [],
    kernel: fused('sgd', ([p, g, ...rest]) => {
      const m = v.momentum ? rest.shift()! : null;
      const [rate, decay, momentum, fresh] = rest;
      const d = gradient(p, g, v.maximize, v.decay ? decay : null);
      if (m === null) return [addcmul(p, d, rate)];
      const next = addcmul(mul(m, momentum), d, fresh);
      return [addcmul(p, v.nesterov ? addcmul(d, next, momentum) : next, rate), next];
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

  protected override rule({ momentum, nesterov, maximize, weightDecay }: ParamGroup<SGDOptions>): Rule {
    return rule({ momentum: momentum > 0, nesterov: momentum > 0 && nesterov, maximize, decay: weightDecay > 0 });
  }

  protected override scalars(group: ParamGroup<SGDOptions>, step: number): number[] {
    const { lr, momentum, dampening, weightDecay } = group;
    return [-lr, weightDecay, momentum, step === 1 ? 1 : 1 - dampening];
  }
}
