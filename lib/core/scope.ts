/** Modes and scopes. Each takes a synchronous function: a mode left on across an await would leak into other requests. */
import { ArgumentError } from './error.js';
import { type Node, recording } from './tape.js';
import { freeStorage, type Storage, swapScope, Tensor } from './tensor.js';

/** What a scoped function may not answer. */
type Sync<R> = R extends PromiseLike<unknown> ? never : R;

function refuseAsync(value: unknown, name: string): void {
  if (value !== null && typeof value === 'object' && typeof (value as { then?: unknown }).then === 'function') {
    throw new ArgumentError('takes a synchronous function: an async one would leave the mode on for others', {
      op: name,
    });
  }
}

/** Runs `fn` without recording for backward. (torch.no_grad) */
export function noGrad<R>(fn: () => Sync<R>): R {
  return withGrad(fn, false, 'noGrad');
}

/** Runs `fn` with recording for backward, inside noGrad(). (torch.enable_grad) */
export function enableGrad<R>(fn: () => Sync<R>): R {
  return withGrad(fn, true, 'enableGrad');
}

function withGrad<R>(fn: () => Sync<R>, on: boolean, name: string): R {
  const before = { ...recording };
  recording.enabled = on;
  recording.stopped = !on;
  try {
    const result = fn();
    refuseAsync(result, name);
    return result as R;
  } finally {
    Object.assign(recording, before);
  }
}

/** Whether ops are recorded for backward now. */
export function isGradEnabled(): boolean {
  return recording.enabled;
}

/**
 * Runs `fn` and frees every tensor made in it, except those that it answers (in arrays and objects too), with what their graph
 * saved, and gradients of leaves from outside.
 */
export function scope<R>(fn: () => Sync<R>): R {
  const made: Storage[] = [];
  const outer = swapScope(made);
  let result: unknown;
  try {
    result = fn();
    refuseAsync(result, 'scope');
  } catch (error) {
    swapScope(outer);
    for (const storage of made) freeStorage(storage);
    throw error;
  }
  swapScope(outer);
  const kept = new Set<Storage>();
  keep(result, kept, new Set());
  for (const storage of made) {
    if (!kept.has(storage) && !storage.pinned) freeStorage(storage);
    else if (outer !== null) outer.push(storage);
  }
  return result as R;
}

/** Collects the storages that a value reaches. */
function keep(value: unknown, kept: Set<Storage>, seen: Set<object>): void {
  if (value === null || typeof value !== 'object' || seen.has(value)) return;
  seen.add(value);
  if (value instanceof Tensor) {
    kept.add(value.storage);
    if (value.gradient) keep(value.gradient, kept, seen);
    if (value.node) keepGraph(value.node, kept, seen);
  } else if (Array.isArray(value)) {
    for (const item of value) keep(item, kept, seen);
  } else if (value instanceof Map || value instanceof Set) {
    for (const item of value.values()) keep(item, kept, seen);
  } else {
    for (const item of Object.values(value)) keep(item, kept, seen);
  }
}

function keepGraph(from: Node, kept: Set<Storage>, seen: Set<object>): void {
  const stack = [from];
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (seen.has(node)) continue;
    seen.add(node);
    for (const saved of [...node.inputs, ...node.outputs]) if (saved instanceof Tensor) kept.add(saved.storage);
    for (const edge of node.edges) if (edge !== null) stack.push(edge);
  }
}
