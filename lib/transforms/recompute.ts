/** recompute(): memory for time. */
import { runBackward } from '../autograd/backward.js';
import { hooks } from '../core/apply.js';
import { type Cells, type CounterSource, compiling } from '../core/cells.js';
import type { Op } from '../core/define.js';
import { ArgumentError, describe, GradError } from '../core/error.js';
import type { Layout } from '../core/layout.js';
import { leafNode, type Node, NO_PARAMS, nextSeq, recording, type Saved } from '../core/tape.js';
import { SEEN, storageMark, Tensor } from '../core/tensor.js';
import { flatten, rebuild } from '../graph/tree.js';
import { unrecorded } from '../core/leaf.js';

/** A tensor from outside that the function's results depend on: the record that made it, and which of its outputs. */
interface Source {
  readonly node: Node;
  readonly index: number;
  /** The version of a leaf when the function ran. */
  readonly version: number;
}

/**
 * The same function, which keeps none of its intermediate values for backward but computes them again there: memory for time, as for
 * one block after another of a deep network. Random numbers are drawn again as they were, and what the function writes into tensors
 * from outside (running statistics) is written once. Gradients flow to its arguments and to whatever else it uses. Nests; within
 * compile() the memory of the program falls. (torch.utils.checkpoint, arXiv:1604.06174)
 * @throws GradError in backward, when an argument or parameter was modified in place since, or the function takes another course
 */
export function recompute<A extends unknown[], R>(fn: (...args: A) => R): (...args: A) => R {
  if (typeof fn !== 'function') throw new ArgumentError(`takes a function, got ${describe(fn)}`, { op: 'recompute' });
  return (...args) => {
    if (!recording.enabled) return fn(...args);
    const start = nextSeq();
    const versions = args.flatMap((x) => (x instanceof Tensor ? [x.storage.version] : []));
    const drawn: (readonly number[])[] = [];
    const form = readBy(new Draws(drawn, false), () => fn(...args));
    const outputs: Tensor[] = [];
    flatten(form, outputs, 'results', 'recompute');
    const own = outputs.filter((y) => y.node !== null && y.node.seq > start);
    const sources = sourcesOf(own, start);
    if (sources.length === 0) return form;
    const places = own.map((y) => outputs.indexOf(y));
    const again = runAgain(fn as never, args, versions, drawn, sources, outputs.length, places);
    const node = nodeOf(
      own.map((y) => y.layout),
      sources,
      again,
    );
    const values = outputs.map((y) => {
      const index = own.indexOf(y);
      if (index < 0) return y;
      const value = unrecorded(y);
      value.owns = y.owns;
      value.node = node;
      value.index = index;
      value.stamp = value.storage.recorded;
      return value;
    });
    return rebuild(form, values.values()) as R;
  };
}

/** The second run, which answers the results that depend on the sources. Made here, where nothing of the first run can be kept. */
function runAgain(
  fn: (...args: unknown[]) => unknown,
  args: readonly unknown[],
  versions: readonly number[],
  drawn: (readonly number[])[],
  sources: readonly Source[],
  count: number,
  places: readonly number[],
): () => Tensor[] {
  const given = args.filter((x) => x instanceof Tensor);
  return () => {
    given.forEach((x, i) => {
      if (x.storage.version !== versions[i]) stale('an argument');
    });
    for (const { node, version } of sources) if (versionOf(node) !== version) stale('a tensor that it uses');
    const results: Tensor[] = [];
    const form = readBy(new Draws(drawn, true), () => writingNothing(() => fn(...args)));
    flatten(form, results, 'results', 'recompute');
    if (results.length !== count) otherCourse();
    return places.map((i) => results[i]!);
  };
}

function stale(what: string): never {
  throw new GradError(`${what} was modified in place since, so it cannot be computed again`, { op: 'recompute' });
}
function otherCourse(): never {
  throw new GradError('the function did not do the same again: it depends on something that changed', {
    op: 'recompute',
  });
}
const versionOf = ({ leaf }: Node): number => leaf?.storage.version ?? 0;

/** Where the graph behind `outputs` leaves what was recorded after `start`. */
function sourcesOf(outputs: readonly Tensor[], start: number): Source[] {
  const inner = [...new Set(outputs.map((y) => y.node!))];
  const seen = new Set(inner);
  const sources = new Map<Node, Set<number>>();
  for (const node of inner) {
    node.edges.forEach((edge, i) => {
      if (edge === null || seen.has(edge)) return;
      if (edge.seq > start) {
        seen.add(edge);
        inner.push(edge);
      } else sources.set(edge, (sources.get(edge) ?? new Set()).add(node.edgeIndex[i]!));
    });
  }
  return [...sources].flatMap(([node, indices]) =>
    [...indices].map((index) => ({ node, index, version: versionOf(node) })),
  );
}

/** One record for the whole function. */
function nodeOf(layouts: readonly Layout[], sources: readonly Source[], again: () => Tensor[]): Node {
  const grad = (g: readonly Tensor[]): (Tensor | null)[] => {
    const recorder = compiling.recorder;
    const run = () => differentiate(again, sources, g);
    return recorder === null ? run() : recorder.again(run);
  };
  const op: Op = {
    name: 'recompute',
    kind: 'composite',
    row: null,
    many: true,
    infer: () => layouts,
    decompose: null,
    grad: grad as Op['grad'],
    encode: null,
    byUser: false,
    plans: new Map(),
  };
  return {
    op,
    seq: nextSeq(),
    edges: sources.map(({ node }) => node),
    edgeIndex: sources.map(({ index }) => index),
    inputs: sources.map(({ node, index }): Saved => layoutOfSource(node, index)),
    outputs: layouts as Saved[],
    versions: [],
    params: NO_PARAMS,
    layouts,
    leaf: null,
    hooks: null,
    pending: null,
    freed: false,
  };
}

function layoutOfSource(node: Node, index: number): Layout {
  return node.leaf === null ? node.layouts[index]! : node.leaf.layout;
}

/** Runs the function again, recorded, and backward through that record, up to the sources. */
function differentiate(again: () => Tensor[], sources: readonly Source[], g: readonly Tensor[]): (Tensor | null)[] {
  const createGraph = recording.enabled;
  const start = nextSeq();
  recording.enabled = true;
  let results: Tensor[];
  try {
    results = again();
  } finally {
    recording.enabled = createGraph;
  }
  const live = results.map((_, i) => i).filter((i) => results[i]!.node !== null);
  if (live.length !== results.length) otherCourse();
  // While backward runs, the sources' own records are in the middle of another one: others stand for them.
  const restore = cutAt(results, start);
  const grads = new Array<Tensor | null>(sources.length).fill(null);
  try {
    runBackward(results, g, { createGraph, transformed: true }, (node, index, value) => {
      const at = sources.findIndex((source) => restore.standsFor.get(node) === source.node && index === source.index);
      if (at < 0) return false;
      grads[at] = value;
      return true;
    });
  } finally {
    restore.edges();
  }
  // They are the outer backward's now, which frees them when it has used them.
  for (const x of grads) if (x !== null && x.storage.holders < SEEN) x.storage.holders--;
  return grads;
}

/** Puts leaves in the place of records from before `start` behind `outputs`. */
function cutAt(outputs: readonly Tensor[], start: number) {
  const standIns = new Map<Node, Node>();
  const standsFor = new Map<Node, Node>();
  const undo: (() => void)[] = [];
  const inner = [...new Set(outputs.map((y) => y.node!))];
  const seen = new Set(inner);
  for (const node of inner) {
    node.edges.forEach((edge, i) => {
      if (edge === null || seen.has(edge)) return;
      if (edge.seq > start) {
        seen.add(edge);
        inner.push(edge);
        return;
      }
      let leaf = standIns.get(edge);
      if (leaf === undefined) {
        leaf = leafNode(edge.leaf ?? outputs[0]!);
        standIns.set(edge, leaf);
        standsFor.set(leaf, edge);
      }
      node.edges[i] = leaf;
      undo.push(() => {
        node.edges[i] = edge;
      });
    });
  }
  const edges = (): void => {
    for (const put of undo) put();
  };
  return { standsFor, edges };
}

/** Runs `fn` with what it reads besides its arguments told to `cells`. */
function readBy<R>(cells: Cells, fn: () => R): R {
  const before = compiling.recorder;
  compiling.recorder = cells;
  try {
    return fn();
  } finally {
    compiling.recorder = before;
  }
}

/** Runs `fn` again: what it writes into memory that was there before is there already. */
function writingNothing<R>(fn: () => R): R {
  const mark = storageMark();
  const { written } = hooks;
  hooks.written = (outs) => outs.some(({ storage }) => storage.id < mark) || (written?.(outs) ?? false);
  try {
    return fn();
  } finally {
    hooks.written = written;
  }
}

/** Numbers that are drawn the first time, and the same the second time. */
class Draws implements Cells {
  readonly #drawn: (readonly number[])[];
  readonly #again: boolean;
  readonly #outer = compiling.recorder;
  #next = 0;

  constructor(drawn: (readonly number[])[], again: boolean) {
    this.#drawn = drawn;
    this.#again = again;
  }

  numbers(compute: () => readonly number[]): readonly number[] {
    return this.#once(() => (this.#outer === null ? compute() : this.#outer.numbers(compute)));
  }

  draw(source: CounterSource, size: number): readonly number[] {
    return this.#once(() => (this.#outer === null ? [source.seed, source.take(size)] : this.#outer.draw(source, size)));
  }

  #once(first: () => readonly number[]): readonly number[] {
    if (this.#again) return this.#drawn[this.#next++] ?? otherCourse();
    const values = first();
    this.#drawn.push(values);
    return values;
  }

  after(effect: () => void): void {
    if (this.#again) return;
    if (this.#outer === null) effect();
    else this.#outer.after(effect);
  }

  gradient(x: Tensor, replaced: boolean): void {
    this.#outer?.gradient(x, replaced);
  }

  guard(holds: () => boolean): void {
    this.#outer?.guard(holds);
  }

  again<R>(fn: () => R): R {
    return this.#outer === null ? fn() : this.#outer.again(fn);
  }
}
