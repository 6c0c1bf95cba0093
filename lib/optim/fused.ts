import { applyInto } from '../core/apply.js';
import type { Op, Operand } from '../core/define.js';
import { NO_PARAMS } from '../core/tape.js';
import type { Tensor } from '../core/tensor.js';
import { addcmul, neg } from '../ops/elementwise.js';

/** Computes from `inputs` and writes into `outs`, which may be among them. */
export type Fused = (outs: readonly Tensor[], inputs: readonly Operand[]) => void;

/**
 * A composition of elementwise ops as one kernel that writes in place: an op without a gradient, whose results go into tensors
 * that are there. Numbers are run-time scalars, so that a new learning rate needs no new plan.
 */
export function fused(name: string, compute: (inputs: readonly Operand[]) => readonly Tensor[]): Fused {
  const op: Op = {
    name,
    kind: 'composite',
    row: null,
    many: true,
    infer: null as never, // layouts come from the decomposition
    decompose: compute,
    grad: null,
    encode: null,
    byUser: false,
    plans: new Map(),
  };
  return (outs, inputs) => {
    applyInto(op, inputs, NO_PARAMS, outs);
  };
}

/** One of a family of rules by its options, made when first asked for: what an option leaves out costs nothing. */
export function variants<V extends object, R>(make: (options: V) => R): (options: V) => R {
  const made: { options: V; rule: R }[] = [];
  return (options) => {
    for (const known of made) {
      let same = true;
      for (const key in options) same &&= known.options[key] === options[key];
      if (same) return known.rule;
    }
    const rule = make(options);
    made.push({ options: { ...options }, rule });
    return rule;
  };
}

/** The direction of descent before its scaling: g, or -g to maximize, with `l2` times the weights p when it is not null. */
export function gradient(p: Operand, g: Operand, maximize: boolean, l2: Operand | null): Tensor {
  const d = (maximize ? neg(g as Tensor) : g) as Tensor;
  return l2 === null ? d : addcmul(d, p, l2);
}
