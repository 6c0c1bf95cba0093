/** Leaves: the tensors that gradients are asked of. */
import { isFloat } from './dtype.js';
import { DTypeError, GradError } from './error.js';
import { hooks } from './apply.js';
import { leafNode } from './tape.js';
import { alias, checkUsable, type Tensor } from './tensor.js';

/**
 * Marks x as a tensor to differentiate by, or not; answers x. (torch.Tensor.requires_grad_)
 * @throws DTypeError for integers and bool; GradError to switch off a tensor that was computed: detach() it instead
 */
export function requiresGrad_(x: Tensor, on = true): Tensor {
  checkUsable(x, 'requiresGrad_');
  if (!on) {
    if (x.node !== null && x.node.leaf === null)
      throw new GradError('only a leaf can stop requiring grad: use detach()');
    x.node = null;
    return x;
  }
  if (!isFloat(x.dtype))
    throw new DTypeError(`only floats have gradients, this is ${x.dtype}`, { op: 'requiresGrad_' });
  if (x.node === null) {
    x.node = leafNode(x);
    x.index = 0;
    x.stamp = x.storage.recorded;
  }
  return x;
}

/** The same memory, outside the graph. (torch.Tensor.detach) */
export function detach(x: Tensor): Tensor {
  checkUsable(x, 'detach');
  return hooks.tracer?.alias?.(x, true) ?? alias(x, x.layout, x.offset);
}

/** The same memory outside the graph of this trace, in those around it what it was. */
export function unrecorded(x: Tensor): Tensor {
  checkUsable(x, 'detach');
  return hooks.tracer?.alias?.(x, false) ?? alias(x, x.layout, x.offset);
}

/** Whether x is a leaf: made by the user, not computed from a tensor that requires grad. */
export function isLeaf(x: Tensor): boolean {
  return x.node === null || x.node.leaf !== null;
}

/**
 * Calls `hook` with the gradient of x whenever backward has computed it; a tensor that it answers takes the gradient's place.
 * (torch.Tensor.register_hook)
 * @returns a function that removes the hook
 */
export function registerHook(x: Tensor, hook: (grad: Tensor) => Tensor | void): () => void {
  checkUsable(x, 'registerHook');
  const { node, index } = x;
  if (node === null) throw new GradError('this tensor does not require grad', { op: 'registerHook' });
  node.hooks ??= [];
  node.hooks[index] ??= [];
  const list = node.hooks[index]!;
  list.push(hook);
  return () => {
    const i = list.indexOf(hook);
    if (i >= 0) list.splice(i, 1);
  };
}
