/** Epilogues: what follows a product or convolution elementwise is done to each block of the result while it is in cache. */
import { sameShape } from '../../core/layout.js';
import type { Call } from '../../core/plan.js';
import type { Storage, Tensor } from '../../core/tensor.js';
import { native } from '../../native.js';
import type { Step } from '../recorder.js';
import { isTile, ownPlan } from '../tile.js';
import { type Group, Groups, reads } from './flow.js';
import type { Context } from './index.js';
import { sameStrides } from './join.js';

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
  const groups = new Groups(steps);
  const joined = new Map<Group, Step>();
  steps.forEach((step, i) => {
    if (!isTile(step.plan) || updates(step, lasts)) return;
    // The product that was made last: whatever else is read is there by then.
    const near = [...results.values()].filter(({ readers }) => readers.has(i)).sort((a, b) => b.step - a.step);
    for (const result of near) {
      const product = groups.of(result.step);
      if (product.members.length > 1) continue;
      const { storage } = steps[result.step]!.outputs[0]!;
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

/** Updates of what lasts (weights, moments, gradients) are gathered by `batch`, and come late: products should not wait for them. */
function updates(step: Step, lasts: Context['lasts']): boolean {
  const read = new Set(reads(step).map((x) => x.storage));
  return step.outputs.every(({ storage }) => lasts(storage) && read.has(storage));
}

/** The product and the program that reads its result; `stored`: somebody else wants the result too. Null where they do not fit. */
function join(product: Step, tile: Step, stored: boolean): Step | null {
  const y = product.outputs[0]!;
  const one = product.plan.call!;
  const two = tile.plan.call!;
  const operands = reads(product);
  const tensors = reads(tile);
  const at = tensors.findIndex((x) => x.storage === y.storage);
  const whole = (x: Tensor, layout = x.layout): boolean =>
    x.dtype === y.dtype && sameShape(layout.shape, y.shape) && sameStrides(layout, y.layout);
  if (!whole(tensors[at]!, two.inputs[at]) || tensors[at]!.offset !== y.offset) return null;
  const further = tensors.filter((_, k) => k !== at);
  if (further.some((x) => x.storage === y.storage) || further.length > MAX_INPUTS) return null;
  if (!sameShape(tile.plan.layouts[0]!.shape, y.shape)) return null;
  for (const z of tile.outputs) {
    // While one block is finished, others still read the product's operands.
    if (operands.some((x) => x.storage === z.storage)) return null;
    for (const [k, x] of tensors.entries()) {
      if (x.storage !== z.storage) continue;
      if (x.offset !== z.offset || x.dtype !== z.dtype || !sameStrides(two.inputs[k]!, z.layout)) return null;
    }
  }
  // The result is made in the memory of an output, which then takes its place; nothing that is still read may lie there.
  const made = stored ? -1 : tile.outputs.findIndex((z) => whole(z) && !further.some((x) => x.storage === z.storage));
  const outputs = made < 0 ? [y, ...tile.outputs] : tile.outputs;
  // In place of y, but not in its place: it would be written twice.
  if (made < 0 && tile.outputs.some((z) => z.storage === y.storage)) return null;
  const call: Call = {
    op: followed.get(one.op)!,
    inputs: [...one.inputs, ...two.inputs.filter((_, k) => k !== at)],
    nscalars: two.nscalars,
    params: [one.inputs.length, one.params.length, made, at, ...one.params, ...two.params],
    constants: two.constants,
  };
  return {
    plan: ownPlan(
      `${product.plan.op.name}+${tile.plan.op.name}`,
      call,
      outputs.map((z) => z.layout),
    ),
    inputs: [...operands, ...further, ...tile.inputs.filter((x) => typeof x === 'number')],
    outputs,
  };
}
