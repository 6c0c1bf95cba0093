/** Epilogues: what follows a product or convolution elementwise is done to each block of the result while it is in cache. */
import { type Layout, layoutOf, sameShape, viewStrides } from '../../core/layout.js';
import type { Call } from '../../core/plan.js';
import type { Storage } from '../../core/tensor.js';
import { native } from '../../native.js';
import type { Step } from '../recorder.js';
import { isTile, ownPlan } from '../tile.js';
import { type Group, Groups, reads } from './flow.js';
import type { Context } from './index.js';
import { sameStrides } from './join.js';
import { addsUp } from './reduce.js';

/** What one native program takes beside y: native/cpu/epilogue.inl. */
const MAX_INPUTS = 48;

/** The op, and the one that is it with an epilogue, by the ids of native/ops.def. */
const ids = new Map(native.table.ops.map(({ name, id }) => [name, id]));
const followed = new Map(
  ['matmul', 'conv2d', 'conv2dGradInput'].map((name) => [ids.get(name)!, ids.get(`${name}Then`)!]),
);

const isProduct = ({ plan }: Step): boolean => plan.call !== null && followed.has(plan.call.op);

/** What becomes of one result of a product. */
interface Result {
  readonly step: number;
  readonly readers: Set<number>;
  /** The step that writes its memory next; -1: none. */
  overwritten: number;
}

export function addEpilogues(steps: readonly Step[], { lasts }: Context): Step[] {
  const results = resultsOf(steps);
  // Summing in the pass that makes an operand saves more than making it while its own operand is in cache.
  const summed = new Set(steps.filter(addsUp).flatMap((step) => reads(step).map(({ storage }) => storage)));
  const groups = new Groups(steps);
  const joined = new Map<Group, Step>();
  steps.forEach((step, i) => {
    if (!isTile(step.plan) || step.outputs.some(({ storage }) => summed.has(storage))) return;
    // Into what a loop carries: lower.ts mostly does without the copy.
    if (step.plan.op.name === 'assign') return;
    // The product that was made last: whatever else is read is there by then.
    const near = [...results.values()].filter(({ readers }) => readers.has(i)).sort((a, b) => b.step - a.step);
    for (const result of near) {
      const product = groups.of(result.step);
      if (product.members.length > 1) continue;
      const { storage } = steps[result.step]!.outputs[0]!;
      if (updates(step, storage, lasts)) continue;
      const others = result.readers.size > 1;
      const replaced = result.overwritten === i;
      if (replaced && others) continue;
      const stored = !replaced && (others || result.overwritten >= 0 || lasts(storage));
      const together = join(steps[result.step]!, step, stored);
      if (together === null) continue;
      const merged = groups.merge(product, groups.of(i));
      if (merged === null) continue;
      joined.set(merged, together);
      return;
    }
  });
  return groups.ordered().map((group) => joined.get(group) ?? steps[group.members[0]!]!);
}

/** By the product's number: who reads its result before that memory is written again. */
function resultsOf(steps: readonly Step[]): Map<number, Result> {
  const results = new Map<number, Result>();
  const now = new Map<Storage, Result>();
  steps.forEach((step, i) => {
    for (const { storage } of reads(step)) now.get(storage)?.readers.add(i);
    for (const { storage } of step.outputs) {
      const result = now.get(storage);
      if (result !== undefined) result.overwritten = i;
      now.delete(storage);
    }
    if (!isProduct(step)) return;
    const result = { step: i, readers: new Set<number>(), overwritten: -1 };
    results.set(i, result);
    now.set(step.outputs[0]!.storage, result);
  });
  return results;
}

/**
 * Whether a step changes what lasts by y, and makes nothing else: weights, moments, sums of gradients. `batch` gathers such steps, and
 * they come late: a product that waited for them would keep its operands.
 */
function updates(step: Step, y: Storage, lasts: Context['lasts']): boolean {
  const read = new Set(reads(step).map((x) => x.storage));
  const written = step.outputs.map(({ storage }) => storage);
  return written.every(lasts) && written.some((storage) => storage !== y && read.has(storage));
}

/** The product and the program that reads its result; `stored`: somebody else wants the result too. Null where they do not fit. */
function join(product: Step, tile: Step, stored: boolean): Step | null {
  const y = product.outputs[0]!;
  const one = product.plan.call!;
  const two = tile.plan.call!;
  const operands = reads(product);
  const tensors = reads(tile);
  const at = tensors.findIndex((x) => x.storage === y.storage);
  const further = tensors.filter((_, k) => k !== at);
  if (tensors[at]!.offset !== y.offset || tensors[at]!.dtype !== y.dtype) return null;
  if (further.some((x) => x.storage === y.storage) || further.length > MAX_INPUTS) return null;
  const inputs = inShapeOf(y.layout, two.inputs[at]!, two.inputs);
  const results = inShapeOf(y.layout, two.inputs[at]!, tile.plan.layouts);
  if (inputs === null || results === null) return null;
  for (const [i, z] of tile.outputs.entries()) {
    // While one block is finished, others still read the product's operands.
    if (operands.some((x) => x.storage === z.storage)) return null;
    for (const [k, x] of tensors.entries()) {
      if (x.storage !== z.storage) continue;
      if (x.offset !== z.offset || x.dtype !== z.dtype || !sameStrides(inputs[k]!, results[i]!)) return null;
    }
  }
  // y is made where a result will take its place, unless something that is still read lies there.
  const made = stored
    ? -1
    : tile.outputs.findIndex(
        ({ dtype, storage }, i) =>
          dtype === y.dtype && sameStrides(results[i]!, y.layout) && !further.some((x) => x.storage === storage),
      );
  if (made < 0 && tile.outputs.some((z) => z.storage === y.storage)) return null;
  const own = made < 0;
  const call: Call = {
    op: followed.get(one.op)!,
    inputs: [...one.inputs, ...inputs.filter((_, k) => k !== at)],
    nscalars: two.nscalars,
    params: [one.inputs.length, one.params.length, made, at, ...one.params, ...two.params],
    constants: two.constants,
  };
  return {
    plan: ownPlan(`${product.plan.op.name}+${tile.plan.op.name}`, call, own ? [y.layout, ...results] : results),
    inputs: [...operands, ...further, ...tile.inputs.filter((x) => typeof x === 'number')],
    outputs: own ? [y, ...tile.outputs] : tile.outputs,
  };
}

/**
 * The layouts of a program's operands, said in the shape of y, of which the program sees a view: (B,T,N) of a product's (B*T,N), or one
 * with dims exchanged. Null where the view leaves elements out, or an operand cannot be said so.
 */
function inShapeOf(y: Layout, view: Layout, operands: readonly Layout[]): Layout[] | null {
  if (sameShape(view.shape, y.shape) && sameStrides(view, y)) return operands.slice();
  const from = memoryOrder(view);
  const to = memoryOrder(y);
  if (view.size !== y.size || !inOrder(view, from).contiguous || !inOrder(y, to).contiguous) return null;
  const layouts: Layout[] = [];
  for (const x of operands) {
    const cut = viewStrides(
      inOrder(x, from),
      to.map((d) => y.shape[d]!),
    );
    if (cut === null) return null;
    const strides = y.shape.map((_, d) => cut[to.indexOf(d)]!);
    layouts.push(layoutOf(y.shape, x.dtype, x.device, strides));
  }
  return layouts;
}

/** The dims, farthest elements first. */
function memoryOrder({ strides }: Layout): number[] {
  return strides.map((_, d) => d).sort((a, b) => strides[b]! - strides[a]! || a - b);
}

function inOrder(x: Layout, order: readonly number[]): Layout {
  return layoutOf(
    order.map((d) => x.shape[d]!),
    x.dtype,
    x.device,
    order.map((d) => x.strides[d]!),
  );
}
