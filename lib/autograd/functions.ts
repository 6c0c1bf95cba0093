/** Gradients as functions of functions. (torch.func) */
import { asTensor } from '../core/define.js';
import { ArgumentError, GradError } from '../core/error.js';
import { detach, requiresGrad_ } from '../core/leaf.js';
import { enableGrad } from '../core/scope.js';
import { isAbstract, Tensor } from '../core/tensor.js';
import { gradients } from './backward.js';

export interface GradOptions {
  /** Which arguments to differentiate by: 0 unless said. */
  argnums?: number | readonly number[];
}
/** How many grad() calls are running: an inner one must leave a graph for the outer. */
let depth = 0;
type Grads<O> = O extends { argnums: readonly number[] } ? Tensor[] : Tensor;

/**
 * A function that gives fn's value and its gradient by the first argument, or by those of `argnums`. fn answers a tensor of one
 * element. Nests, for higher orders. (torch.func.grad_and_value)
 */
export function valueAndGrad<A extends unknown[], const O extends GradOptions>(
  fn: (...args: A) => Tensor,
  options?: O,
): (...args: A) => { value: Tensor; grad: Grads<O> } {
  const argnums = options?.argnums ?? 0;
  const places = typeof argnums === 'number' ? [argnums] : argnums;
  return (...args) => {
    for (const i of places) {
      if (!(args[i] instanceof Tensor))
        throw new ArgumentError(`argument ${i} is no tensor to differentiate by`, { op: 'grad' });
    }
    const nested = depth > 0 || places.some((i) => (args[i] as Tensor).node !== null);
    depth++;
    try {
      return enableGrad(() => differentiate(nested));
    } finally {
      depth--;
    }
    function differentiate(createGraph: boolean): { value: Tensor; grad: Grads<O> } {
      // An argument that is already part of a graph stays in it, so that an outer grad() sees through the inner one.
      const inner = args.map((arg, i) => (places.includes(i) ? variable(arg as Tensor) : arg)) as A;
      const value = fn(...inner);
      asTensor(value, 'grad');
      if (value.node === null) throw new GradError('the function’s value does not depend on its argument');
      const grads = gradients(
        value,
        places.map((i) => inner[i] as Tensor),
        { createGraph, allowUnused: true },
      );
      return {
        value: createGraph || isAbstract(value) ? value : detach(value),
        grad: (typeof argnums === 'number' ? grads[0]! : grads) as Grads<O>,
      };
    }
  };
}

function variable(x: Tensor): Tensor {
  return x.node !== null ? x : requiresGrad_(detach(x));
}

/** A function that gives the gradient of fn by its first argument, or by those of `argnums`. (torch.func.grad) */
export function grad<A extends unknown[], const O extends GradOptions>(
  fn: (...args: A) => Tensor,
  options?: O,
): (...args: A) => Grads<O> {
  const both = valueAndGrad(fn, options);
  return (...args) => both(...args).grad;
}
