import { add, div, lerp, maximum, mul, sqrt, square, sub } from '../ops/elementwise.js';
import { fused } from './fused.js';
import { inRange, Optimizer, type OptimizerOptions, type ParamGroup, type Params, type Rule } from './optimizer.js';

export interface AdamOptions extends OptimizerOptions {
  /** Decay of the running means of the gradient and of its square. */
  betas: readonly [number, number];
  eps: number;
  /** Adam: L2 penalty. AdamW: the part of each weight that is taken away a step, times lr. */
  weightDecay: number;
  /** Divide by the largest mean square so far (Reddi et al. 2018). */
  amsgrad: boolean;
  maximize: boolean;
}

// d = sign * g + l2 * p;  m, v: running means of d and d^2;  p = keep * p - rate * m / (sqrt(v) / correction + eps)
const [plain, amsgrad] = [false, true].map(
  (ams): Rule => ({
    moments: ['expAvg', 'expAvgSq', ...(ams ? ['maxExpAvgSq'] : [])],
    kernel: fused(ams ? 'amsgrad' : 'adam', ([p, g, m, v, ...rest]) => {
      const largest = ams ? rest.shift()! : null;
      const [sign, l2, keep, fresh1, beta2, fresh2, rate, correction, eps] = rest;
      const d = add(mul(g, sign), mul(p, l2));
      const mean = lerp(m, d, fresh1);
      const meanSquare = add(mul(v, beta2), mul(square(d), fresh2));
      const top = largest === null ? meanSquare : maximum(largest, meanSquare);
      const next = sub(mul(p, keep), div(mul(mean, rate), add(div(sqrt(top), correction), eps)));
      return largest === null ? [next, mean, meanSquare] : [next, mean, meanSquare, top];
    }),
  }),
);

/** Adaptive moments (Kingma & Ba 2015), weight decay as an L2 penalty. PyTorch: optim.Adam, with its defaults. */
export class Adam extends Optimizer<AdamOptions> {
  constructor(params: Params<AdamOptions>, options: Partial<AdamOptions> = {}) {
    super(params, options, {
      lr: 1e-3,
      betas: [0.9, 0.999],
      eps: 1e-8,
      weightDecay: 0,
      amsgrad: false,
      maximize: false,
    });
  }

  protected override check({ lr, betas, eps, weightDecay }: AdamOptions): void {
    const name = this.constructor.name;
    inRange(name, { lr, eps, weightDecay });
    inRange(name, { beta1: betas[0], beta2: betas[1] }, 1);
  }

  protected override rule(group: ParamGroup<AdamOptions>): Rule {
    return group.amsgrad ? amsgrad : plain;
  }

  protected override scalars(group: ParamGroup<AdamOptions>, step: number): number[] {
    const { lr, betas, eps, maximize } = group;
    const { l2, keep } = this.decay(group);
    const rate = lr / (1 - betas[0] ** step);
    const correction = Math.sqrt(1 - betas[1] ** step);
    return [maximize ? -1 : 1, l2, keep, 1 - betas[0], betas[1], 1 - betas[1], rate, correction, eps];
  }

  /** How weight decay enters: added to the gradient, or the factor of the weights. */
  protected decay({ weightDecay }: AdamOptions): { l2: number; keep: number } {
    return { l2: weightDecay, keep: 1 };
  }
}

/** Adam with decoupled weight decay (Loshchilov & Hutter 2019). PyTorch: optim.AdamW, with its defaults (weightDecay 0.01). */
export class AdamW extends Adam {
  constructor(params: Params<AdamOptions>, options: Partial<AdamOptions> = {}) {
    super(params, { weightDecay: 0.01, ...options });
  }

  protected override decay({ lr, weightDecay }: AdamOptions): { l2: number; keep: number } {
    return { l2: 0, keep: 1 - lr * weightDecay };
  }
}
