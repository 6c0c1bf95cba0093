import { noGrad } from '../core/scope.js';
import { gradientOf, type Tensor } from '../core/tensor.js';
import { add, cast, clamp_, div, minimum, mul_ } from '../ops/elementwise.js';
import { stack, zeros } from '../ops/free.js';
import { norm } from '../ops/reduce.js';

/**
 * Scales all gradients in place by min(1, maxNorm / norm), where norm is that of all of them as one vector. Answers the norm
 * before clipping, a 0-d tensor (f32 at least): reading it is left to the caller. PyTorch: nn.utils.clip_grad_norm_.
 */
export function clipGradNorm_(
  params: Iterable<Tensor>,
  maxNorm: number,
  { normType = 2 }: { normType?: number } = {},
): Tensor {
  return noGrad(() => {
    const grads = [...params].flatMap((p) => gradientOf(p) ?? []);
    if (grads.length === 0) return zeros([]);
    const total = totalNorm(grads, normType);
    const factor = minimum(div(maxNorm, add(total, 1e-6)), 1);
    for (const g of grads) mul_(g, factor);
    return total;
  });
}

/** Limits each value of each gradient to [-value, value], in place. PyTorch: nn.utils.clip_grad_value_. */
export function clipGradValue_(params: Iterable<Tensor>, value: number): void {
  noGrad(() => {
    for (const p of params) {
      const g = gradientOf(p);
      if (g !== null) clamp_(g, -value, value);
    }
  });
}

function totalNorm(grads: readonly Tensor[], p: number): Tensor {
  // The squares of half-precision gradients would overflow.
  const norms = grads.map((g) => norm(g.dtype === 'f64' ? g : cast(g, 'f32'), null, { p }));
  return norm(stack(norms), null, { p });
}
