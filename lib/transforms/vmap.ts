/** vmap(): a function of one example as a function of a batch of them. */
import { ArgumentError, checkOptions, describe, ShapeError } from '../core/error.js';
import { show } from '../core/layout.js';
import { Tensor } from '../core/tensor.js';
import { flatten, rebuild } from '../graph/tree.js';
import { cat } from '../ops/free.js';
import { expand, movedim, slice, unsqueeze, wrapDim } from '../ops/view.js';
import { Level } from './level.js';

/** A dim, null for none, or a tree of them that has the form of the arguments (or results) down to where one speaks for the rest. */
export type BatchDims = number | null | readonly BatchDims[] | { readonly [key: string]: BatchDims };

export interface VmapOptions {
  /** Where the batch is in the arguments: dim 0 unless said; an array has an entry for each argument, null for one that is not mapped. */
  inDims?: BatchDims;
  /** Where it is in the results: dim 0 unless said; null for a result that is the same for all examples. */
  outDims?: BatchDims;
  /** At most so many examples at a time; all unless said. */
  chunk?: number;
}

/**
 * Maps `fn`, which is written for one example, over a dim of its arguments: each op runs once for all examples. Tensors stand in plain
 * arrays and objects; what is no tensor is passed on, tensors from outside are the same for all. Nests, and goes with grad(), jvp() and
 * compile(): `vmap(grad(loss))` gives a gradient for each example. Each example draws random numbers of its own. (torch.func.vmap,
 * jax.vmap)
 * @throws ShapeError when the arguments' batches differ; TraceError when a value is read (`item()`), or when examples would write
 *   different values into a tensor from outside
 */
export function vmap<A extends unknown[], R>(fn: (...args: A) => R, options: VmapOptions = {}): (...args: A) => R {
  const name = 'vmap';
  if (typeof fn !== 'function') throw new ArgumentError(`maps a function, got ${describe(fn)}`, { op: name });
  checkOptions(options, name);
  const { inDims = 0, outDims = 0, chunk } = options;
  if (chunk !== undefined && (!Number.isInteger(chunk) || chunk < 1))
    throw new ArgumentError(`chunk is at least 1, got ${describe(chunk)}`, { op: name });
  return (...args) => {
    const leaves: Tensor[] = [];
    flatten(args, leaves, 'arguments', name);
    const dims = dimsOf(inDims, args, 'inDims').map((d, i) => d && wrapDim(d, leaves[i]!, name));
    const sizes = leaves.flatMap((x, i) => (dims[i] === null ? [] : [sizeAt(x, dims[i]!)]));
    const size = sizes[0];
    if (size === undefined) throw new ArgumentError('no argument has a dim to map over', { op: name });
    if (sizes.some((n) => n !== size))
      throw new ShapeError(`the mapped dims have different sizes: ${[...new Set(sizes)].join(' and ')}`, { op: name });
    const batch = (from: number, to: number) =>
      run(
        fn,
        args,
        (i) => {
          const x = leaves[i]!;
          if (dims[i] === null) return { value: x, batched: false };
          return { value: movedim(slice(x, dims[i]!, from, to), dims[i]!, 0), batched: true };
        },
        to - from,
        outDims,
      );
    if (chunk === undefined || chunk >= size) return batch(0, size).result as R;
    const parts = Array.from({ length: Math.ceil(size / chunk) }, (_, i) =>
      batch(i * chunk, Math.min(size, (i + 1) * chunk)),
    );
    const joined = parts[0]!.leaves.map((first, i) => {
      const { dim } = first;
      return dim === null
        ? first.value
        : cat(
            parts.map((part) => part.leaves[i]!.value),
            dim,
          );
    });
    return rebuild(parts[0]!.result, joined.values()) as R;
  };
}

function sizeAt(x: Tensor, dim: number): number {
  if (x.ndim === 0) throw new ShapeError('a 0-d tensor has no dim to map over: give it null in inDims', { op: 'vmap' });
  return x.shape[dim]!;
}

/** For each tensor of a tree its dim. */
function dimsOf(dims: BatchDims, tree: unknown, what: string): (number | null)[] {
  if (tree instanceof Tensor) {
    if (dims === null || Number.isInteger(dims)) return [dims as number | null];
    throw new ArgumentError(`${what} has ${describe(dims)} for a tensor: a dim or null`, { op: 'vmap' });
  }
  if (tree === null || typeof tree !== 'object') return [];
  const keys = Object.keys(tree);
  if (dims === null || typeof dims !== 'object')
    return keys.flatMap((key) => dimsOf(dims, (tree as Record<string, unknown>)[key], what));
  const given = Object.keys(dims);
  if (given.length !== keys.length || keys.some((key) => !given.includes(key)))
    throw new ArgumentError(`${what} ${describe(dims)} has not the form of what it speaks of (${keys.join(', ')})`, {
      op: 'vmap',
    });
  return keys.flatMap((key) =>
    dimsOf((dims as Record<string, BatchDims>)[key]!, (tree as Record<string, unknown>)[key], what),
  );
}

/** One batch of `size` examples: the result, and its tensors with their batch dims. */
function run(
  fn: (...args: never[]) => unknown,
  args: readonly unknown[],
  argument: (i: number) => { value: Tensor; batched: boolean },
  size: number,
  outDims: BatchDims,
): { result: unknown; leaves: { value: Tensor; dim: number | null }[] } {
  const level = new Level(size);
  const given: Tensor[] = [];
  flatten(args, given, 'arguments', 'vmap');
  const examples = given.map((_, i) => {
    const { value, batched } = argument(i);
    return batched ? level.wrap(value, true) : value;
  });
  const answered: Tensor[] = [];
  const { result, values } = level.run(() => {
    const form = fn(...(rebuild(args, examples.values()) as never[]));
    flatten(form, answered, 'results', 'vmap');
    return { result: form, values: answered.map((y) => level.value(y)) };
  });
  const dims = dimsOf(outDims, result, 'outDims');
  const leaves = values.map((value, i) => {
    const dim = dims[i]!;
    const batched = value.ndim > answered[i]!.ndim;
    if (dim === null) {
      if (!batched) return { value, dim };
      throw new ArgumentError(
        `outDims has null for a result that differs from example to example, ${show(value.shape)}`,
        {
          op: 'vmap',
        },
      );
    }
    const whole = batched ? value : expand(unsqueeze(value, 0), [size, ...value.shape]);
    const to = wrapDim(dim, whole, 'vmap');
    return { value: to === 0 ? whole : movedim(whole, 0, to), dim: to };
  });
  return { result: rebuild(result, leaves.map(({ value }) => value).values()), leaves };
}
