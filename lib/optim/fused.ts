import { applyInto } from '../core/apply.js';
import type { Op, Operand } from '../core/define.js';
import { NO_PARAMS } from '../core/tape.js';
import type { Tensor } from '../core/tensor.js';

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
