import { addcmul, divRoot, lerp, lerpSquare, maximum, mul } from '../ops/elementwise.js';
import { fused, gradient, variants } from './fused.js';
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

interface Variant {
  amsgrad: boolean;
  maximize: boolean;
  /** What weight decay adds to: nothing, the gradient, or (decoupled) the weights. */
  decay: 'none' | 'gradient' | 'weights';
}

// d = +-g + l2 * p;  m, v: running means of d and d^2;  p = keep * p - rate * m / (sqrt(v) + eps),
// where PyTorch divides sqrt(v) by c = sqrt(1 - beta2^step): here c multiplies the rate and eps
const rule = variants(
  (v: Variant): Rule => ({
    moments: ['expAvg', 'expAvgSq', ...(v.amsgrad ? ['maxExpAvgSq'] : [])],
    kernel: fused('adam', ([p, g, m, s, ...rest]) => {
      const largest = v.amsgrad ? rest.shift()! : null;
      const [l2, keep, fresh1, fresh2, rate, eps] = rest;
      const d = gradient(p, g, v.maximize, v.decay === 'gradient' ? l2 : null);
      const mean = lerp(m, d, fresh1);
      const meanSquare = lerpSquare(s, d, fresh2);
      const top = largest === null ? meanSquare : maximum(largest, meanSquare);
      const kept = v.decay === 'weights' ? mul(p, keep) : p;
      const next = addcmul(kept, divRoot(mean, top, eps), rate);
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
    const { l2, keep } = this.decay(group);
    const decay = l2 !== 0 ? 'gradient' : keep !== 1 ? 'weights' : 'none';
    return rule({ amsgrad: group.amsgrad, maximize: group.maximize, decay });
  }

  protected override scalars(group: ParamGroup<AdamOptions>, step: number): number[] {
    const { lr, betas, eps } = group;
    const { l2, keep } = this.decay(group);
    const correction = Math.sqrt(1 - betas[1] ** step);
    const rate = (lr / (1 - betas[0] ** step)) * correction;
    return [l2, keep, 1 - betas[0], 1 - betas[1], -rate, eps * correction];
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
