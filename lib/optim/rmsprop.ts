import { add, div, lerp, mul, sqrt, square, sub } from '../ops/elementwise.js';
import { fused } from './fused.js';
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

// d = sign * g + weightDecay * p;  v, a: running means of d^2 and d;  u = d / (sqrt(v - a^2) + eps);  b = momentum * b + u
function makeRule(centered: boolean, momentum: boolean): Rule {
  const name = `rmsprop${centered ? 'Centered' : ''}${momentum ? 'Momentum' : ''}`;
  return {
    moments: ['squareAvg', ...(centered ? ['gradAvg'] : []), ...(momentum ? ['momentumBuffer'] : [])],
    kernel: fused(name, ([p, g, v, ...rest]) => {
      const a = centered ? rest.shift()! : null;
      const b = momentum ? rest.shift()! : null;
      const [lr, sign, decay, alpha, fresh, eps, keep] = rest;
      const d = add(mul(g, sign), mul(p, decay));
      const meanSquare = add(mul(v, alpha), mul(square(d), fresh));
      const mean = a === null ? null : lerp(a, d, fresh);
      const variance = mean === null ? meanSquare : sub(meanSquare, square(mean));
      const u = div(d, add(sqrt(variance), eps));
      const move = b === null ? u : add(mul(b, keep), u);
      return [sub(p, mul(move, lr)), meanSquare, ...(mean ? [mean] : []), ...(momentum ? [move] : [])];
    }),
  };
}
const rules = [false, true].map((centered) => [false, true].map((momentum) => makeRule(centered, momentum)));

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

  protected override rule({ centered, momentum }: ParamGroup<RMSpropOptions>): Rule {
    return rules[+centered][+(momentum > 0)];
  }

  protected override scalars(group: ParamGroup<RMSpropOptions>): number[] {
    const { lr, alpha, eps, weightDecay, momentum, maximize } = group;
    return [lr, maximize ? -1 : 1, weightDecay, alpha, 1 - alpha, eps, ...(momentum > 0 ? [momentum] : [])];
  }
}
