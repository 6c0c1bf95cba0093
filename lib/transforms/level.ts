/**
 * One vmap() as it runs: an interpreter of calls. What the mapped function sees has the shape of one example; behind it stands a tensor
 * of the trace around, with a batch dim in front when examples differ. A call goes to the batching rule of its op, run in the trace around
 * (eager, compile(), another vmap()), to the op's decomposition, or through the examples one by one.
 */
import { apply, applyAll, applyInto, hooks, type Tracer } from '../core/apply.js';
import { type Cells, type CounterSource, compiling } from '../core/cells.js';
import { lookup, type Operand } from '../core/define.js';
import { TraceError } from '../core/error.js';
import { type Layout, layoutOf } from '../core/layout.js';
import { detach } from '../core/leaf.js';
import type { Plan } from '../core/plan.js';
import { NO_PARAMS, recording } from '../core/tape.js';
import { abstract, alias, isAbstract, type Storage, swapScope, type Tensor } from '../core/tensor.js';
import { contiguous } from '../ops/elementwise.js';
import { stack } from '../ops/free.js';
import { expand, select, unsqueeze } from '../ops/view.js';
import { type Call, drawsNumbers, ruleOf, run } from './batching.js';

/** Ops that went through the examples one by one, for tests. */
export const looped = new Set<string>();

const exampleLayout = ({ shape, strides, dtype, device }: Layout): Layout =>
  layoutOf(shape.slice(1), dtype, device, strides.slice(1));

export class Level implements Tracer, Cells {
  readonly whole = true;
  /** How many examples. */
  readonly size: number;
  /** What stands behind a tensor of this level. */
  readonly #values = new WeakMap<Tensor, Tensor>();
  /** By memory that was one for all examples until they wrote into it: the same with a batch dim, row-major. */
  readonly #spread = new WeakMap<Storage, Tensor>();
  readonly #gradients = new Map<Tensor, Tensor | null>();
  readonly #tracer = hooks.tracer;
  readonly #cells = compiling.recorder;
  readonly #recording = { ...recording };
  readonly #scope = swapScope(null);

  constructor(size: number) {
    swapScope(this.#scope);
    this.size = size;
  }

  /** Runs the mapped function. */
  run<R>(fn: () => R): R {
    hooks.tracer = this;
    compiling.recorder = this;
    recording.stopped = false;
    try {
      const result = fn();
      this.#checkGradients();
      return result;
    } finally {
      hooks.tracer = this.#tracer;
      compiling.recorder = this.#cells;
      Object.assign(recording, this.#recording);
    }
  }

  /** Runs `fn` in the trace around this one: recorded there, unless the function called noGrad(). */
  outside<R>(fn: () => R): R {
    const before = { ...recording };
    const { tracer } = hooks;
    const { recorder } = compiling;
    const scope = swapScope(this.#scope);
    hooks.tracer = this.#tracer;
    compiling.recorder = this.#cells;
    recording.enabled = this.#recording.enabled && !before.stopped;
    recording.stopped = this.#recording.stopped || before.stopped;
    try {
      return fn();
    } finally {
      hooks.tracer = tracer;
      compiling.recorder = recorder;
      swapScope(scope);
      Object.assign(recording, before);
    }
  }

  /** A tensor of this level; `batched`: the first dim of `value` is the batch. */
  wrap(value: Tensor, batched: boolean): Tensor {
    const x = abstract(batched ? exampleLayout(value.layout) : value.layout);
    this.#values.set(x, value);
    return x;
  }

  /** What stands behind x: with one dim more where examples differ, x itself when it is from outside. */
  value(x: Tensor): Tensor {
    const value = this.#values.get(x);
    if (value === undefined) return x;
    const whole = value.ndim === x.ndim ? this.#spread.get(x.storage) : undefined;
    if (whole === undefined) return value;
    const params = {
      shape: [this.size, ...x.shape],
      strides: [whole.size / this.size, ...x.strides],
      offset: x.offset,
    };
    const part = this.outside(() => apply(lookup('asStrided'), [whole], params));
    this.#values.set(x, part);
    return part;
  }

  emit(plan: Plan, inputs: readonly Operand[], outs: readonly Tensor[] | null): Tensor[] {
    const { op } = plan;
    const params = Object.keys(plan.params).length === 0 ? NO_PARAMS : plan.params;
    const values = inputs.map((x) => (typeof x === 'number' ? x : this.value(x)));
    const batched = inputs.map((x, i) => typeof x !== 'number' && (values[i] as Tensor).ndim > x.ndim);
    const differ = batched.includes(true) || drawsNumbers(op);
    const into = outs === null ? null : outs.map((out) => this.#target(out, differ, plan));
    const call: Call = { op, plan, params, inputs: values, batched, size: this.size, into };
    if (!differ && (into === null || into.every((value, i) => value.ndim === outs![i]!.ndim))) {
      const results = this.outside(() => (into ? applyInto(op, values, params, into) : run(call, values)));
      return outs ? (outs as Tensor[]) : this.#results(plan, inputs, results, false);
    }
    const rule = ruleOf(plan);
    const results = rule && this.outside(() => rule(call));
    if (results) return outs ? this.#write(outs, into!, results) : this.#results(plan, inputs, results, true);
    // The parts would be differentiated around this level by their own gradients: where the op has another, it stays whole.
    if (op.decompose && (op.grad === undefined || !inputs.some((x) => typeof x !== 'number' && this.#recorded(x))))
      return this.#decomposed(plan, inputs, outs);
    looped.add(op.name);
    const each = this.outside(() => this.#each(call));
    return outs ? this.#write(outs, into!, each) : this.#results(plan, inputs, each, true);
  }

  /** Whether a trace around this level records what becomes of x. */
  #recorded(x: Tensor): boolean {
    const value = this.value(x);
    return value.node !== null || (this.#tracer instanceof Level && this.#tracer.#recorded(value));
  }

  alias(x: Tensor, detached: boolean): Tensor {
    const value = this.value(x);
    const y = isAbstract(x) && value !== x ? alias(x, x.layout, x.offset) : abstract(x.layout);
    this.#values.set(y, detached ? this.outside(() => detach(value)) : value);
    return y;
  }

  #results(plan: Plan, inputs: readonly Operand[], results: readonly Tensor[], batched: boolean): Tensor[] {
    if (plan.mode !== 'view') return results.map((y) => this.wrap(y, batched));
    const x = inputs[0] as Tensor;
    const value = results[0]!;
    const y = alias(x, batched ? exampleLayout(value.layout) : value.layout, x.offset + plan.offset);
    y.base = x.base ?? x;
    this.#values.set(y, value);
    return [y];
  }

  /** The memory behind a tensor that is written: with a batch dim from now on, where examples write different values. */
  #target(out: Tensor, differ: boolean, { op }: Plan): Tensor {
    const value = this.value(out);
    if (!differ || value.ndim > out.ndim) return value;
    const base = out.base ?? out;
    if (!this.#values.has(base)) {
      throw new TraceError(
        'a tensor from outside vmap() cannot be written with values that differ from example to example: answer them instead',
        { op: op.name },
      );
    }
    if (!base.layout.contiguous)
      throw new TraceError('examples write into a tensor that is not contiguous: use .contiguous()', { op: op.name });
    const whole = this.outside(() => {
      const one = unsqueeze(contiguous(this.#values.get(base)!), 0);
      return contiguous(expand(one, [this.size, ...base.shape]));
    });
    this.#spread.set(base.storage, whole);
    this.#values.set(base, whole);
    return this.value(out);
  }

  #write(outs: readonly Tensor[], into: readonly Tensor[], results: readonly Tensor[]): Tensor[] {
    this.outside(() => {
      results.forEach((value, i) => {
        if (value !== into[i]) applyInto(lookup('assign'), [value], { shape: into[i]!.shape }, [into[i]!]);
      });
    });
    return outs as Tensor[];
  }

  /** The record is made by apply, with the op's own gradient: not by the parts. */
  #decomposed({ op, params }: Plan, inputs: readonly Operand[], outs: readonly Tensor[] | null): Tensor[] {
    const { enabled } = recording;
    recording.enabled = false;
    try {
      const parts = op.decompose!(inputs, params);
      const list = Array.isArray(parts) ? (parts as Tensor[]) : [parts as Tensor];
      if (outs === null) return list.map((y) => (inputs.includes(y) ? this.alias(y, false) : y));
      return list.map((y, i) => applyInto(lookup('assign'), [y], { shape: outs[i]!.shape }, [outs[i]!])[0]!);
    } finally {
      recording.enabled = enabled;
    }
  }

  #each({ op, params, inputs, batched, plan }: Call): Tensor[] {
    const runs = Array.from({ length: this.size }, (_, i) =>
      applyAll(
        op,
        inputs.map((x, k) => (batched[k] ? select(x as Tensor, 0, i) : x)),
        params,
      ),
    );
    return plan.layouts.map((layout, k) => {
      if (runs.length > 0)
        return stack(
          runs.map((outputs) => outputs[k]!),
          0,
        );
      const { shape, dtype, device } = layout;
      return apply(lookup('full'), [0], { shape: [0, ...shape], dtype, device });
    });
  }

  // ---- what the function reads besides its arguments

  gradient(x: Tensor, replaced: boolean): void {
    if (this.#values.has(x)) return;
    if (!this.#gradients.has(x)) this.#gradients.set(x, x.gradient);
    this.#cells?.gradient(x, replaced);
  }

  guard(holds: () => boolean): void {
    this.#cells?.guard(holds);
  }

  numbers(compute: () => readonly number[]): readonly number[] {
    return this.#cells === null ? compute() : this.#cells.numbers(compute);
  }

  /** Counters of random numbers move on by as many as all examples draw. */
  draw(source: CounterSource, size: number): readonly number[] {
    const all = 4 * Math.ceil(size / 4) * Math.max(this.size, 1);
    return this.#cells === null ? [source.seed, source.take(all)] : this.#cells.draw(source, all);
  }

  after(effect: () => void): void {
    if (this.#cells === null) effect();
    else this.#cells.after(effect);
  }

  again<R>(fn: () => R): R {
    return this.#cells === null ? fn() : this.#cells.again(fn);
  }

  /** A gradient for each example does not fit into the `.grad` of a tensor from outside. */
  #checkGradients(): void {
    for (const [x, before] of this.#gradients) {
      const now = x.gradient;
      if (now === null || now === before || !this.#values.has(now)) continue;
      x.gradient = before;
      throw new TraceError(
        'backward() would leave a gradient for each example in a tensor from outside: use grad() or gradients()',
        { op: 'vmap' },
      );
    }
  }
}
