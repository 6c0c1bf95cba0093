/** Gradients as functions of functions. (torch.func) */
import { apply } from '../core/apply.js';
import { asTensor, lookup } from '../core/define.js';
import { ArgumentError, GradError } from '../core/error.js';
import { requiresGrad_, unrecorded } from '../core/leaf.js';
import { recording } from '../core/tape.js';
import { isAbstract, Tensor } from '../core/tensor.js';
import { gradientsOf } from './backward.js';

export interface GradOptions {
  /** Which arguments to differentiate by: 0 unless said. */
  argnums?: number | readonly number[];
}
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
    return transforming(
      places.map((i) => args[i] as Tensor),
      differentiate,
    );
    function differentiate(createGraph: boolean): { value: Tensor; grad: Grads<O> } {
      const inner = args.map((arg, i) => (places.includes(i) ? variable(arg as Tensor) : arg)) as A;
      const value = fn(...inner);
      asTensor(value, 'grad');
      if (value.node === null) throw new GradError('the function’s value does not depend on its argument');
      const grads = gradientsOf(
        value,
        places.map((i) => inner[i] as Tensor),
        { createGraph, allowUnused: true, transformed: true },
      );
      return {
        value: createGraph || isAbstract(value) ? value : unrecorded(value),
        grad: (typeof argnums === 'number' ? grads[0]! : grads) as Grads<O>,
      };
    }
  };
}

/** How many transforms are running: an inner one must leave a graph for the outer. */
let depth = 0;

/** Runs a transform by `xs`, recorded; `nested` when what it computes may be differentiated itself. */
export function transforming<R>(xs: readonly Tensor[], run: (nested: boolean) => R): R {
  const nested = depth > 0 || xs.some((x) => x.node !== null);
  const { enabled } = recording;
  depth++;
  recording.enabled = true;
  try {
    return run(nested);
  } finally {
    depth--;
    recording.enabled = enabled;
  }
}

/**
 * A tensor of its own to differentiate by, of x's values. One that is part of a graph stays in it, so that an outer transform sees
 * through the inner one; what fn computed of x otherwise is no function of the new tensor.
 */
export function variable(x: Tensor): Tensor {
  if (x.node === null) return requiresGrad_(unrecorded(x));
  return apply(lookup('reshape'), [x], { shape: x.shape, strides: x.strides });
}

/** A function that gives the gradient of fn by its first argument, or by those of `argnums`. (torch.func.grad) */
export function grad<A extends unknown[], const O extends GradOptions>(
  fn: (...args: A) => Tensor,
  options?: O,
): (...args: A) => Grads<O> {
  const both = valueAndGrad(fn, options);
  return (...args) => both(...args).grad;
}
