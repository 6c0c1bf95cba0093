import { addcmul, divRoot, lerp, lerpSquare, square, sub } from '../ops/elementwise.js';
import { fused, gradient, variants } from './fused.js';
import { inRange, Optimizer, type OptimizerOptions, type ParamGroup, type Params, type Rule } from './optimizer.js';

export interface RMSpropOptions extends OptimizerOptions {
  /** Decay of the running mean of the squared gradient. */
  alpha: number;
  eps: number;
  /** L2 penalty. */
  weightDecay: number;
  momentum: number;
  /** Divide by an estimate of the standard deviation (Graves 2013), not of the root mean square. */
  centered: boolean;
  maximize: boolean;
}

interface Variant {
  centered: boolean;
  momentum: boolean;
  maximize: boolean;
  decay: boolean;
}

// d = +-g + weightDecay * p;  v, a: running means of d^2 and d;  u = d / (sqrt(v - a^2) + eps);  b = momentum * b + u
const rule = variants(
  ({ centered, momentum, maximize, decay }: Variant): Rule => ({
    moments: ['squareAvg', ...(centered ? ['gradAvg'] : []), ...(momentum ? ['momentumBuffer'] : [])],
    kernel: fused('rmsprop', ([p, g, v, ...rest]) => {
      const a = centered ? rest.shift()! : null;
      const b = momentum ? rest.shift()! : null;
      const [rate, l2, fresh, eps, keep] = rest;
      const d = gradient(p, g, maximize, decay ? l2 : null);
      const meanSquare = lerpSquare(v, d, fresh);
      const mean = a === null ? null : lerp(a, d, fresh);
      const variance = mean === null ? meanSquare : sub(meanSquare, square(mean));
      const u = divRoot(d, variance, eps);
      const move = b === null ? u : addcmul(u, b, keep);
      return [addcmul(p, move, rate), meanSquare, ...(mean ? [mean] : []), ...(momentum ? [move] : [])];
    }),
  }),
);

/** Gradients over their running root mean square (Hinton 2012). PyTorch: optim.RMSprop, with its defaults. */
export class RMSprop extends Optimizer<RMSpropOptions> {
  constructor(params: Params<RMSpropOptions>, options: Partial<RMSpropOptions> = {}) {
    super(params, options, {
      lr: 1e-2,
      alpha: 0.99,
      eps: 1e-8,
      weightDecay: 0,
      momentum: 0,
      centered: false,
      maximize: false,
    });
  }

  protected override check({ lr, alpha, eps, weightDecay, momentum }: RMSpropOptions): void {
    inRange('RMSprop', { lr, alpha, eps, weightDecay, momentum });
  }

  protected override rule({ centered, momentum, maximize, weightDecay }: ParamGroup<RMSpropOptions>): Rule {
    return rule({ centered, momentum: momentum > 0, maximize, decay: weightDecay > 0 });
  }

  protected override scalars({ lr, alpha, eps, weightDecay, momentum }: ParamGroup<RMSpropOptions>): number[] {
    return [-lr, weightDecay, 1 - alpha, eps, momentum];
  }
}
