/** Backward: an interpreter over tape records. It knows no op; what it needs itself (add, sum to a shape, cast) it looks up by name. */
import { apply, applyInto } from '../core/apply.js';
import { asTensor, type InputGrad, lookup, type Op } from '../core/define.js';
import { ArgumentError, checkOptions, describe, GradError, ShapeError } from '../core/error.js';
import { type Layout, layoutOf, sameShape, show } from '../core/layout.js';
import { NO_PARAMS, type Node, recording, type Saved } from '../core/tape.js';
import {
  abstract,
  freeStorage,
  gradientOf,
  pin,
  SEEN,
  seen,
  type Storage,
  storageMark,
  swapScope,
  Tensor,
} from '../core/tensor.js';

type Rule = (g: unknown, inputs: unknown, y: unknown, params: unknown) => Tensor | readonly InputGrad[];

export interface BackwardOptions {
  /** Keep the graph, so that backward can run through it again. */
  retainGraph?: boolean;
  /** Record the backward computation itself, for gradients of gradients; implies retainGraph. */
  createGraph?: boolean;
}

/** For transforms: whoever differentiates the transform sees through this backward. */
export interface Transformed {
  transformed?: boolean;
}

/** Part of a graph: it ends at records older than `floor`, which collect gradients as leaves do and are otherwise left alone. */
export interface Part {
  floor?: number;
}

/** Runs backward from `roots` with gradients `seeds`; `sink` gets what reaches each record and answers whether it keeps it. */
export function runBackward(
  roots: readonly Pick<Tensor, 'node' | 'index'>[],
  seeds: readonly Tensor[],
  options: BackwardOptions & Transformed & Part,
  sink: (node: Node, index: number, grad: Tensor) => boolean,
): void {
  const createGraph = options.createGraph ?? false;
  const retain = options.retainGraph ?? createGraph;
  const floor = options.floor ?? Number.NEGATIVE_INFINITY;
  const order = reachable(
    roots.map((root) => root.node!),
    floor,
  );
  // What they wait for of their own graph's backward, which may be running.
  const outside = order.filter((node) => node.seq < floor).map((node) => [node, node.pending] as const);
  for (const [node] of outside) node.pending = null;
  const before = { ...recording };
  recording.enabled = createGraph;
  recording.stopped ||= !createGraph && !options.transformed;
  // A graph holds what it was computed from: nothing is freed early.
  const mark = createGraph ? Number.POSITIVE_INFINITY : storageMark();
  try {
    for (const [i, root] of roots.entries()) add(root.node!, root.index, seeds[i]!, mark);
    for (const node of order) {
      const pending = node.pending;
      if (pending === null) continue;
      node.pending = null;
      for (let i = 0; i < pending.length; i++) {
        if (pending[i] == null) continue;
        if (node.seq >= floor)
          for (const hook of node.hooks?.[i] ?? []) pending[i] = seen(hook(seen(pending[i]!)) ?? pending[i]!);
        if (sink(node, i, pending[i]!)) hold(pending[i]!);
      }
      if (node.op !== null && node.seq >= floor) step(node, pending, mark);
      for (const grad of pending) if (grad != null) drop(grad, mark);
      if (node.op !== null && !retain && node.seq >= floor) release(node);
    }
  } finally {
    Object.assign(recording, before);
    for (const node of order) node.pending = null;
    for (const [node, pending] of outside) node.pending = pending;
  }
}

/** Every record behind `from`, latest first; nothing behind those older than `floor`. */
export function reachable(from: readonly Node[], floor: number): Node[] {
  const seen = new Set<Node>(from);
  const order = [...seen];
  for (let i = 0; i < order.length; i++) {
    const { edges, seq } = order[i]!;
    if (seq < floor) continue;
    for (let j = 0; j < edges.length; j++) {
      const next = edges[j]!;
      if (next !== null && !seen.has(next)) {
        seen.add(next);
        order.push(next);
      }
    }
  }
  return order.sort((a, b) => b.seq - a.seq);
}

/** A gradient waits, or goes to the caller. */
function hold(grad: Tensor): void {
  grad.storage.holders++;
}

/** It was used: memory that this run made and nothing holds is freed at once, for the next gradient, while caches have it. */
function drop({ storage }: Tensor, mark: number): void {
  if (--storage.holders === 0 && storage.id >= mark && !storage.pinned && storage.slot >= 0) freeStorage(storage);
}

function step(node: Node, pending: (Tensor | null)[], mark: number): void {
  const op = node.op!;
  if (node.freed) {
    throw new GradError(
      'backward() ran through this graph before and freed it: pass { retainGraph: true } the first time',
      { op: op.name },
    );
  }
  if (op.byUser) for (const grad of pending) if (grad != null) seen(grad);
  const made: Storage[] = [];
  const outer = swapScope(made);
  try {
    differentiate(node, op, pending, mark);
  } finally {
    swapScope(outer);
    const own = mark !== Number.POSITIVE_INFINITY && !op.byUser;
    for (const storage of made) {
      // What the rule made on the way.
      if (own && storage.holders === 0 && !storage.pinned && storage.slot >= 0) freeStorage(storage);
      else outer?.push(storage);
    }
  }
}

function differentiate(node: Node, op: Op, pending: (Tensor | null)[], mark: number): void {
  if (op.name === 'slice' && !recording.enabled) {
    addToWindow(node, op, pending[0]!, mark);
    return;
  }
  const rule = op.grad as unknown as Rule;
  const values = restore(node);
  const g = op.many ? node.layouts.map((layout, i) => pending[i] ?? nothing(layout)) : pending[0]!;
  const grads = rule(g, values.inputs, op.many ? values.outputs : values.outputs[0], node.params);
  const list = grads instanceof Tensor ? [grads] : grads;
  for (let i = 0; i < node.edges.length; i++) {
    const edge = node.edges[i]!;
    if (edge === null) continue;
    const one = list[i];
    const value = typeof one === 'function' ? one() : one;
    if (!value) continue;
    if (op.byUser) seen(value);
    add(edge, node.edgeIndex[i]!, fit(value, node.inputs[i]!, op), mark);
  }
}

/** The values that the rule may ask for; those that were not saved have a layout and nothing else. */
function restore(node: Node): { inputs: (Tensor | number)[]; outputs: Tensor[] } {
  let version = 0;
  const value = (saved: Saved): Tensor | number => {
    if (typeof saved === 'number') return saved;
    if (!(saved instanceof Tensor)) return abstract(saved);
    if (saved.disposed || saved.storage.version !== node.versions[version++]) stale(node, saved);
    return saved;
  };
  const inputs = node.inputs.map(value);
  return { inputs, outputs: node.outputs.map(value) as Tensor[] };
}

function stale(node: Node, x: Tensor): never {
  const why = x.disposed ? 'was disposed' : 'was modified in place';
  throw new GradError(`a value of shape ${show(x.shape)} ${why} after being saved for backward`, { op: node.op!.name });
}

function add(node: Node, index: number, grad: Tensor, mark: number): void {
  if (node.pending === null) node.pending = [];
  const before = node.pending[index];
  const now = before == null ? grad : apply(op('add'), [before, grad]);
  hold(now);
  node.pending[index] = now;
  if (before != null) drop(before, mark);
}

/** Gradients that lie in memory of this file's making, to which windows may be added. */
const windowed = new WeakSet<Tensor>();

/** The gradient of a part of something is added where that part lies, not padded to the size of the whole. */
function addToWindow(slice: Node, of: Op, grad: Tensor, mark: number): void {
  const edge = slice.edges[0]!;
  const index = slice.edgeIndex[0]!;
  const before = edge.pending?.[index] ?? null;
  let whole = before;
  if (whole === null || !windowed.has(whole)) {
    const { shape, dtype, device } = slice.inputs[0] as Layout;
    whole = before === null ? zeros(layoutOf(shape, dtype, device)) : apply(op('clone'), [before]);
    windowed.add(whole);
    hold(whole);
    edge.pending ??= [];
    edge.pending[index] = whole;
    if (before !== null) drop(before, mark);
  }
  const window = apply(of, [whole], slice.params);
  if (before === null) applyInto(op('assign'), [grad], { shape: grad.shape }, [window]);
  else applyInto(op('add'), [window, grad], NO_PARAMS, [window]);
}

/** A gradient in the shape and dtype of its input: what was broadcast is summed, what was promoted is cast back. */
function fit(grad: Tensor, input: Saved, of: Op): Tensor {
  const layout = (input instanceof Tensor ? input.layout : input) as Layout;
  let out = grad;
  if (!sameShape(out.shape, layout.shape)) {
    if (out.ndim < layout.ndim)
      throw new ShapeError(`its gradient has shape ${show(out.shape)}, its input ${show(layout.shape)}`, {
        op: of.name,
      });
    out = apply(op('sumTo'), [out], { shape: layout.shape });
  }
  return out.dtype === layout.dtype ? out : apply(op('cast'), [out], { dtype: layout.dtype });
}

function zeros(layout: Pick<Layout, 'shape' | 'dtype' | 'device'>): Tensor {
  return apply(op('full'), [0], { shape: layout.shape, dtype: layout.dtype, device: layout.device });
}

/** Zeros that take no memory: the gradient of an output that nobody used. */
function nothing(layout: Layout): Tensor {
  return apply(op('expand'), [zeros({ ...layout, shape: [] })], { shape: layout.shape });
}

function release(node: Node): void {
  node.freed = true;
  node.inputs = node.inputs.map((saved) => (saved instanceof Tensor ? saved.layout : saved));
  node.outputs = node.layouts as Saved[];
  node.versions = [];
}

const found = new Map<string, Op>();
function op(name: string): Op {
  let one = found.get(name);
  if (!one) {
    one = lookup(name);
    found.set(name, one);
  }
  return one;
}

function seedFor(y: Tensor, given: Tensor | undefined): Tensor {
  asTensor(y, 'backward');
  if (y.node === null)
    throw new GradError(
      'this tensor does not depend on anything that requires grad (results of compiled functions are detached: call backward() inside)',
    );
  if (given !== undefined) {
    asTensor(given, 'backward');
    if (!sameShape(given.shape, y.shape))
      throw new ShapeError(`the gradient has shape ${show(given.shape)}, the tensor ${show(y.shape)}`, {
        op: 'backward',
      });
    return given;
  }
  if (y.size !== 1)
    throw new GradError(
      `backward() without a gradient needs a tensor of one element, this one is ${show(y.shape)}: reduce it, or pass { gradient }`,
    );
  return apply(op('full'), [1], { shape: y.shape, dtype: y.dtype, device: y.device });
}

/**
 * Accumulates d(y)/d(leaf) into `leaf.grad` of every leaf that requires grad (torch.Tensor.backward).
 * @param options.gradient d(loss)/d(y), of y's shape; needed unless y has one element.
 * @throws GradError when there is no graph, it was freed, or a saved value was modified in place.
 */
export function backward(y: Tensor, options: BackwardOptions & { gradient?: Tensor } = {}): void {
  checkOptions(options, 'backward');
  const mark = storageMark();
  const seed = seedFor(y, options.gradient);
  const taken = new Set<Tensor['storage']>();
  runBackward([y], [seed], options, (node, _index, grad) => {
    const leaf = node.leaf;
    if (leaf === null) return false;
    const before = gradientOf(leaf);
    if (before === null) leaf.gradient = own(grad, taken, mark, options.createGraph ?? false);
    else if (options.createGraph || before.node !== null || before.storage.holders >= SEEN)
      leaf.gradient = apply(op('add'), [before, grad]);
    else applyInto(op('add'), [before, grad], NO_PARAMS, [before]);
    pin(leaf.gradient!);
    return leaf.gradient!.storage === grad.storage;
  });
}

/** A gradient that nothing else holds may become the leaf's; anything shared is copied. */
function own(grad: Tensor, taken: Set<Tensor['storage']>, mark: number, createGraph: boolean): Tensor {
  const fresh = grad.storage.id >= mark && !taken.has(grad.storage);
  if (createGraph || (fresh && grad.layout.strides.every((s, i) => s !== 0 || grad.shape[i]! <= 1))) {
    taken.add(grad.storage);
    grad.owns ||= fresh;
    return grad;
  }
  return apply(op('clone'), [grad]);
}

/**
 * d(y)/d(x) for each x, without touching any `.grad` (torch.autograd.grad).
 * @returns one gradient for each of `xs`, of its shape and dtype
 * @throws GradError when an x is not part of y's graph, unless `allowUnused`, which gives zeros of its shape there.
 */
export function gradients(
  y: Tensor | readonly Tensor[],
  xs: readonly Tensor[],
  options: BackwardOptions & { gradient?: Tensor | readonly Tensor[]; allowUnused?: boolean } = {},
): Tensor[] {
  return gradientsOf(y, xs, options);
}

/** gradients(), also for transforms. */
export function gradientsOf(
  y: Tensor | readonly Tensor[],
  xs: readonly Tensor[],
  options: NonNullable<Parameters<typeof gradients>[2]> & Transformed,
): Tensor[] {
  checkOptions(options, 'gradients');
  const ys = y instanceof Tensor ? [y] : y;
  if (!Array.isArray(ys) || !Array.isArray(xs)) {
    throw new ArgumentError('takes a tensor or an array of them, and an array of tensors', { op: 'gradients' });
  }
  const { gradient = [] } = options;
  if (!(gradient instanceof Tensor) && !Array.isArray(gradient)) {
    throw new ArgumentError(`gradient is a tensor or an array of them, got ${describe(gradient)}`, { op: 'gradients' });
  }
  const given: readonly Tensor[] = gradient instanceof Tensor ? [gradient] : gradient;
  const seeds = ys.map((one, i) => seedFor(one, given[i]));
  const results = new Array<Tensor | null>(xs.length).fill(null);
  for (const x of xs) {
    asTensor(x, 'gradients');
    if (x.node === null)
      throw new GradError(
        'a tensor to differentiate by does not require grad: call requiresGrad_() before computing y',
      );
  }
  runBackward(ys, seeds, options, (node, index, grad) => {
    let wanted = false;
    xs.forEach((x, i) => {
      if (x.node === node && x.index === index) {
        results[i] = grad;
        wanted = true;
      }
    });
    return wanted;
  });
  return results.map((grad, i) => {
    if (grad !== null) return grad;
    if (!options.allowUnused)
      throw new GradError(`y does not depend on tensor ${i} of xs (pass { allowUnused: true } for zeros)`);
    return zeros(layoutOf(xs[i]!.shape, xs[i]!.dtype, xs[i]!.device));
  });
}
