/** Tracing: runs a function on abstract tensors and collects the calls that it makes, as records. */
import { hooks } from '../core/apply.js';
import type { Operand } from '../core/define.js';
import type { Plan } from '../core/plan.js';
import { recording } from '../core/tape.js';
import { abstract, type Tensor } from '../core/tensor.js';
import { TraceError } from '../core/error.js';

/** One call of a traced function. */
export interface TraceRecord {
  readonly plan: Plan;
  readonly inputs: readonly Operand[];
  readonly outputs: readonly Tensor[];
}

/** The records that `fn` makes, and what it answers. Nothing is computed, nothing is put on the tape. */
export function trace<R>(fn: () => R): { records: TraceRecord[]; result: R } {
  const records: TraceRecord[] = [];
  const before = hooks.tracer;
  const taping = recording.enabled;
  hooks.tracer = {
    emit(plan, inputs, outs) {
      if (outs !== null)
        throw new TraceError('a gradient or decomposition must not write in place', { op: plan.op.name });
      const outputs = plan.layouts.map((layout) => abstract(layout));
      records.push({ plan, inputs: inputs.slice(), outputs });
      return outputs;
    },
  };
  recording.enabled = false;
  try {
    return { records, result: fn() };
  } finally {
    hooks.tracer = before;
    recording.enabled = taping;
  }
}

/** The records that `results` depend on, last first. */
export function live(records: readonly TraceRecord[], results: Iterable<Tensor>): TraceRecord[] {
  const wanted = new Set<Tensor>(results);
  const kept: TraceRecord[] = [];
  for (let i = records.length - 1; i >= 0; i--) {
    const record = records[i]!;
    if (!record.outputs.some((y) => wanted.has(y))) continue;
    kept.push(record);
    for (const x of record.inputs) if (typeof x !== 'number') wanted.add(x);
  }
  return kept;
}
