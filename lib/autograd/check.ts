/** Numerical checks of gradients, for ops of your own. (torch.autograd.gradcheck) */
import { apply } from '../core/apply.js';
import { lookup } from '../core/define.js';
import { ArgumentError, GradError } from '../core/error.js';
import { layoutOf, show } from '../core/layout.js';
import { detach, requiresGrad_ } from '../core/leaf.js';
import { enableGrad, noGrad } from '../core/scope.js';
import type { Tensor } from '../core/tensor.js';
import { dataSync, item } from '../ops/read.js';
import { fromBytes } from '../ops/free.js';
import { gradients } from './backward.js';

export interface GradcheckOptions {
  /** 1 checks gradients, 2 gradients of gradients as well. */
  order?: 1 | 2;
  /** Step of the central difference. */
  eps?: number;
  atol?: number;
  rtol?: number;
}

type Fn = (...inputs: Tensor[]) => Tensor | readonly Tensor[];

/**
 * Compares the gradients of `fn` by all of `inputs` (f64) with central differences.
 * @returns true
 * @throws GradError that says where they differ; ArgumentError for inputs that are not f64
 */
export function gradcheck(fn: Fn, inputs: readonly Tensor[], options: GradcheckOptions = {}): boolean {
  for (const x of inputs)
    if (x.dtype !== 'f64') throw new ArgumentError(`inputs are f64, got ${x.dtype}`, { op: 'gradcheck' });
  const value = weighted(fn, 7);
  compare(value, inputs, options, 'gradient');
  if ((options.order ?? 1) < 2) return true;
  const slope: Fn = (...xs) => {
    const y = value(...xs);
    if (y.node === null) return [y];
    return gradients(y, xs, { createGraph: true, allowUnused: true });
  };
  compare(weighted(slope, 11), inputs, options, 'second gradient');
  return true;
}

/** All float outputs as one number: their sum with fixed weights, so that no two cancel. */
function weighted(fn: Fn, seed: number): (...inputs: Tensor[]) => Tensor {
  return (...inputs) => {
    const outputs = fn(...inputs);
    let total: Tensor | null = null;
    let state = seed;
    for (const y of Array.isArray(outputs) ? (outputs as Tensor[]) : [outputs as Tensor]) {
      if (y.dtype !== 'f64') continue;
      const factors = Float64Array.from({ length: y.size }, () => {
        state = (state * 48271) % 2147483647;
        return 0.5 + state / 2147483647;
      });
      const c = fromBytes(layoutOf(y.shape, 'f64', y.device), new Uint8Array(factors.buffer));
      const part = apply(lookup('sum'), [apply(lookup('mul'), [y, c])], { dims: y.shape.map((_, d) => d) });
      const scalar = apply(lookup('sumTo'), [part], { shape: [] });
      total = total === null ? scalar : apply(lookup('add'), [total, scalar]);
    }
    if (total === null) throw new ArgumentError('the function gives no f64 output', { op: 'gradcheck' });
    return total;
  };
}

function compare(
  fn: (...inputs: Tensor[]) => Tensor,
  inputs: readonly Tensor[],
  options: GradcheckOptions,
  what: string,
): void {
  const { eps = 1e-6, atol = 1e-5, rtol = 1e-3 } = options;
  const leaves = inputs.map((x) => requiresGrad_(detach(x)));
  const y = enableGrad(() => fn(...leaves));
  const analytic = y.node === null ? null : gradients(y, leaves, { allowUnused: true });
  inputs.forEach((x, i) => {
    const base = dataSync(x) as Float64Array;
    const found = analytic === null ? new Float64Array(x.size) : dataSync(analytic[i]!);
    for (let k = 0; k < x.size; k++) {
      const at = (delta: number): number => {
        const moved = base.slice();
        moved[k]! += delta;
        const probe = fromBytes(layoutOf(x.shape, 'f64', x.device), new Uint8Array(moved.buffer));
        const others = inputs.map((other, j) => requiresGrad_(detach(j === i ? probe : other)));
        // The second order differentiates inside fn, so recording stays on there.
        return item(what === 'gradient' ? noGrad(() => fn(...others)) : enableGrad(() => fn(...others)));
      };
      const numeric = (at(eps) - at(-eps)) / (2 * eps);
      if (!(Math.abs(numeric - found[k]!) <= atol + rtol * Math.abs(numeric))) {
        throw new GradError(
          `the ${what} by input ${i} ${show(x.shape)} at element ${k} is ${found[k]}, numerically ${numeric}`,
          { op: 'gradcheck' },
        );
      }
    }
  });
}
