/** Tape records that no op makes: where a body begins, what a region is for those who go backward through it. */
import { reachable, runBackward } from '../../autograd/backward.js';
import type { InputGrad } from '../../core/define.js';
import type { Layout } from '../../core/layout.js';
import { type Node, NO_PARAMS, nextSeq, recording } from '../../core/tape.js';
import { alias, isAbstract, type Tensor } from '../../core/tensor.js';

/** A value of the tape: an output of a record. */
export type Source = Pick<Tensor, 'node' | 'index'>;

type Rule = (g: readonly Tensor[]) => readonly InputGrad[];

/** Makes `outputs` depend on `inputs` by a record of its own. `saved`: tensors that must then be what they are now. */
export function attach(
  name: string,
  outputs: readonly Tensor[],
  inputs: readonly { source: Source | null; layout: Layout; saved?: Tensor }[],
  rule: Rule,
): void {
  const layouts = outputs.map((y) => y.layout);
  const node: Node = {
    op: {
      name,
      kind: 'composite',
      row: null,
      many: true,
      infer: () => outputs,
      decompose: null,
      encode: null,
      byUser: false,
      plans: new Map(),
      // Bound to this call: its bodies are no parameters of an op that others could call.
      grad: rule as never,
    },
    seq: nextSeq(),
    edges: inputs.map(({ source }) => source?.node ?? null),
    edgeIndex: inputs.map(({ source }) => source?.index ?? 0),
    inputs: inputs.map(({ saved, layout }) => saved ?? layout),
    outputs: layouts.slice(),
    versions: inputs.flatMap(({ saved }) => (saved === undefined ? [] : [saved.storage.version])),
    params: NO_PARAMS,
    layouts,
    leaf: null,
    hooks: null,
    pending: null,
    freed: false,
  };
  outputs.forEach((y, index) => {
    Object.assign(y, { node, index, stamp: y.storage.recorded });
  });
}

/** x for a body: gradients stop there, and are found under its record. */
export function variable(x: Tensor): Tensor {
  const y = alias(x, x.layout, x.offset);
  attach('body', [y], [], () => []);
  return y;
}

/** The same value, a record later: what gradients it gets in a body are summed there before they go on. Values of a vmap() stay as they are. */
export function passing(x: Tensor): Tensor {
  if (x.node === null || isAbstract(x)) return x;
  const y = alias(x, x.layout, x.offset);
  attach('pass', [y], [{ source: x, layout: x.layout }], (g) => g);
  return y;
}

/** The values from outside that a body's results depend on: those older than `floor`. */
export function captured(results: readonly Source[], floor: number): { source: Source; layout: Layout }[] {
  const found: { source: Source; layout: Layout }[] = [];
  const nodes = results.flatMap(({ node }) => (node === null ? [] : [node]));
  const add = (node: Node | null, index: number): void => {
    if (node === null || node.seq >= floor) return;
    if (found.some(({ source }) => source.node === node && source.index === index)) return;
    found.push({ source: { node, index }, layout: node.leaf?.layout ?? node.layouts[index]! });
  };
  for (const { node, index } of results) add(node, index);
  for (const node of reachable(nodes, floor)) {
    if (node.seq >= floor) for (const [i, edge] of node.edges.entries()) add(edge, node.edgeIndex[i]!);
  }
  return found;
}

/** The gradients of `wanted`, null where there is none; recorded, where a backward is. `onto`: what the last of them are added to. */
export function partBackward(
  results: readonly Source[],
  seeds: readonly Tensor[],
  floor: number,
  wanted: readonly Source[],
  onto: readonly Tensor[] = [],
): (Tensor | null)[] {
  const sums = onto.length === 0 ? [] : wanted.slice(-onto.length);
  const kept = results.map((y, i) => ({ y, seed: seeds[i]! })).filter(({ y }) => y.node !== null);
  const found = new Array<Tensor | null>(wanted.length).fill(null);
  const roots = [...sums, ...kept.map(({ y }) => y)];
  const options = { retainGraph: true, createGraph: recording.enabled, floor };
  runBackward(roots, [...onto, ...kept.map(({ seed }) => seed)], options, (node, index, g) => {
    let any = false;
    wanted.forEach((source, i) => {
      if (source.node !== node || source.index !== index) return;
      found[i] = g;
      any = true;
    });
    return any;
  });
  return found;
}
