/**
 * Sums of products: a1 b1 + a2 b2 + … is one product of [a1 a2 …] and [b1; b2; …]. A weight that a loop uses at each step gets its
 * gradient so; one long product costs far less than many short ones and their sum.
 */
import { lookup } from '../../core/define.js';
import { layoutOf } from '../../core/layout.js';
import { planFor } from '../../core/plan.js';
import { abstract, type Storage, Tensor } from '../../core/tensor.js';
import type { Step } from '../recorder.js';
import { countWrites, reads } from './flow.js';
import type { Context } from './index.js';

/** Fewer are left as they are; more are not gathered at once. */
const LEAST = 4;
const MOST = 1000;

interface Terms {
  readonly products: number[];
  /** Other terms of the sum. */
  readonly rest: Tensor[];
  /** The additions that the whole replaces. */
  readonly adds: number[];
}

export function gatherProducts(steps: readonly Step[], { lasts }: Context): readonly Step[] {
  const writes = countWrites(steps);
  const readers = new Map<Storage, number>();
  const maker = new Map<Storage, number>();
  const written = new Map<Storage, number>();
  steps.forEach((step, i) => {
    for (const { storage } of reads(step)) readers.set(storage, (readers.get(storage) ?? 0) + 1);
    for (const { storage } of step.outputs) {
      maker.set(storage, i);
      written.set(storage, i);
    }
  });
  /** The step that made x, whole and for one reader alone. */
  const madeFor = (x: Tensor): number | null => {
    const { storage } = x;
    if (writes.get(storage) !== 1 || readers.get(storage) !== 1 || lasts(storage)) return null;
    const i = maker.get(storage)!;
    return steps[i]!.outputs[0]!.layout === x.layout && x.offset === 0 ? i : null;
  };
  const isAdd = (i: number): boolean => {
    const { plan, inputs, outputs, region } = steps[i]!;
    if (region !== undefined || plan.op.name !== 'add' || outputs.length !== 1) return false;
    const { layout } = outputs[0]!;
    const floats = layout.dtype === 'f32' || layout.dtype === 'f64';
    return floats && layout.ndim === 2 && inputs.every((x) => typeof x !== 'number' && x.layout === layout);
  };
  const isProduct = (i: number): boolean => {
    const { plan, inputs } = steps[i]!;
    return plan.op.name === 'matmul' && plan.op.kind === 'kernel' && inputs.length === 2;
  };
  const collect = (i: number, terms: Terms): void => {
    terms.adds.push(i);
    for (const x of reads(steps[i]!)) {
      const made = madeFor(x);
      if (made !== null && isAdd(made)) collect(made, terms);
      else if (made !== null && isProduct(made)) terms.products.push(made);
      else terms.rest.push(x);
    }
  };

  const seen = new Set<number>();
  const dropped = new Set<number>();
  const instead = new Map<number, Step[]>();
  for (let i = steps.length - 1; i >= 0; i--) {
    if (seen.has(i) || !isAdd(i)) continue;
    const terms: Terms = { products: [], rest: [], adds: [] };
    collect(i, terms);
    const { products, rest, adds } = terms;
    for (const k of adds) seen.add(k);
    if (products.length < LEAST || products.length > MOST) continue;
    // What they multiply must still be there where the sum is complete.
    const intact = products.every((k) => reads(steps[k]!).every(({ storage }) => (written.get(storage) ?? -1) <= k));
    const factors = products.map((k) => steps[k]!);
    const whole = intact ? asOne(steps[i]!, factors, rest) : null;
    if (whole === null) continue;
    instead.set(i, whole);
    for (const k of [...adds, ...products]) dropped.add(k);
  }
  return steps.flatMap((step, i) => instead.get(i) ?? (dropped.has(i) ? [] : [step]));
}

/** The steps that compute the sum's result as one product. */
function asOne(sum: Step, products: readonly Step[], rest: readonly Tensor[]): Step[] | null {
  const steps: Step[] = [];
  const run = (name: string, inputs: readonly Tensor[], params: Record<string, unknown> | null): Tensor => {
    const plan = planFor(lookup(name), inputs, params, null);
    const y = abstract(plan.layouts[0]!);
    steps.push({ ...sum, plan, inputs, outputs: [y] });
    return y;
  };
  const left = products.map(({ inputs }) => transposed(inputs[0] as Tensor));
  const right = products.map(({ inputs }) => inputs[1] as Tensor);
  const a = transposed(run('cat', left, { dim: 0 }));
  const b = run('cat', right, { dim: 0 });
  let total = run('matmul', [a, b], products[0]!.plan.params as Record<string, unknown>);
  for (const x of rest) total = run('add', [total, x], null);
  // The last of them writes where the sum went.
  const last = steps.pop()!;
  if (last.outputs[0]!.layout !== sum.outputs[0]!.layout) return null;
  return [...steps, { ...last, outputs: sum.outputs }];
}

function transposed(x: Tensor): Tensor {
  const { shape, strides, dtype, device } = x.layout;
  return new Tensor(x.storage, layoutOf([shape[1]!, shape[0]!], dtype, device, [strides[1]!, strides[0]!]), x.offset);
}
