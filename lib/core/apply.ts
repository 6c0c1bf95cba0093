/**
 * The one interception point: signature -> cached plan -> emit -> tape record. Eager runs the plan; a tracer, when there is one,
 * gets the call instead.
 */
import { native } from '../native.js';
import { lookup, type Op, type Operand, type Params } from './define.js';
import { ArgumentError, DTypeError, GradError, OutOfMemoryError } from './error.js';
import { sweepIfDue } from './memory.js';
import { type Plan, planFor, resolve, type Saves } from './plan.js';
import { type Node, NO_PARAMS, nextSeq, recording, type Saved } from './tape.js';
import {
  ABSTRACT,
  alias,
  checkUsable,
  closeGroup,
  intoScope,
  joinGroup,
  Storage,
  statusError,
  storageMark,
  Tensor,
} from './tensor.js';
import { type Cells, compiling } from './cells.js';

/** Takes the place of running: while a function is traced. */
export interface Tracer {
  /** Null: the backend has no kernel, the decomposition is to run. */
  emit(plan: Plan, inputs: readonly Operand[], outs: readonly Tensor[] | null): Tensor[] | null;
  /** A user's op with a gradient of its own goes to emit also where its decomposition is to run: a trace around may record it. */
  readonly whole?: boolean;
  /** The same values without a record: in this trace alone, or (`detached`) also in those around it. */
  alias?(x: Tensor, detached: boolean): Tensor;
}

/** Filled in by the layers above. */
export const hooks: {
  tracer: Tracer | null;
  saves: (plan: Plan, mask: number) => Saves;
  /** Whether what is to be written into these was written before, and nothing is to be done. */
  written: ((outs: readonly Tensor[]) => boolean) | null;
} = {
  tracer: null,
  written: null,
  saves: () => {
    throw new GradError('lib/autograd is not loaded');
  },
};

const { words, numbers } = native;
const SCALARS = 8;
const IN_OFFSETS = 48;
const MAX_INPUTS = 4000;

/** Runs `fn` with its calls given to `by`, and with what else it touches; null: run, as if nothing were traced. */
export function tracedBy<R>(by: (Tracer & Cells) | null, fn: () => R): R {
  const { tracer } = hooks;
  const { recorder } = compiling;
  const taping = recording.enabled;
  hooks.tracer = by;
  compiling.recorder = by;
  try {
    return fn();
  } finally {
    hooks.tracer = tracer;
    compiling.recorder = recorder;
    recording.enabled = taping;
  }
}

/** Runs `fn` now, also while a function is traced: for state that is made at the first call. */
export function untraced<R>(fn: () => R): R {
  return tracedBy(null, fn);
}

/** Runs an op of one output. */
export function apply(op: Op, inputs: readonly Operand[], params: Params = NO_PARAMS): Tensor {
  return dispatch(op, inputs, params, null)[0]!;
}

/** Runs an op of several outputs. */
export function applyAll(op: Op, inputs: readonly Operand[], params: Params = NO_PARAMS): Tensor[] {
  return dispatch(op, inputs, params, null);
}

/** Runs an op and writes its outputs into the given tensors, which may be inputs of the same layout. Answers them. */
export function applyInto(op: Op, inputs: readonly Operand[], params: Params, outs: readonly Tensor[]): Tensor[] {
  return dispatch(op, inputs, params, outs);
}

function dispatch(op: Op, inputs: readonly Operand[], params: Params, outs: readonly Tensor[] | null): Tensor[] {
  sweepIfDue();
  const plan = planFor(op, inputs, params === NO_PARAMS ? null : params, outs);
  const mask = recording.enabled && op.grad !== null ? needsMask(inputs) : 0;
  if (outs !== null) {
    checkOuts(op, outs, mask);
    if (hooks.written?.(outs)) return outs as Tensor[];
    if (overlaps(inputs, outs))
      return dispatch(
        op,
        inputs.map((x) => apart(x, outs)),
        params,
        outs,
      );
  }
  const { tracer } = hooks;
  const inParts = plan.mode === 'decompose' && !(op.byUser && op.grad !== undefined && tracer?.whole);
  // Without a gradient rule of its own, an op is differentiated through its decomposition: run that, recorded.
  if (op.grad === undefined && (inParts || mask !== 0)) return decomposed(plan, inputs, params, outs);
  if (plan.integers) checkIntegers(plan, inputs);
  let results: Tensor[] | null = null;
  if (!inParts) results = tracer !== null ? tracer.emit(plan, inputs, outs) : emit(plan, inputs, outs);
  if (results === null && op.grad === undefined) return decomposed(plan, inputs, params, outs);
  results ??= inOwnName(plan, inputs, params, outs);
  if (outs === null) {
    if (mask !== 0) record(plan, inputs, mask, results, false);
    return results;
  }
  const views = outs.filter((out) => throughView(out, mask));
  written(outs, mask);
  if (mask !== 0) record(plan, inputs, mask, results, true);
  for (const view of views) rebase.after(view);
  return results;
}

/** One bit for each input that needs a gradient. */
function needsMask(inputs: readonly Operand[]): number {
  let mask = 0;
  for (let i = 0; i < inputs.length; i++) {
    const x = inputs[i]!;
    // Beyond 31 inputs (cat) the last bit speaks for all of the rest.
    if (typeof x !== 'number' && x.node !== null) mask |= 1 << Math.min(i, 30);
  }
  return mask;
}

function decomposed(plan: Plan, inputs: readonly Operand[], params: Params, outs: readonly Tensor[] | null): Tensor[] {
  const { op } = plan;
  if (!op.decompose) throw new GradError('has neither a gradient nor a decomposition', { op: op.name });
  const results = op.decompose(inputs, params);
  const list = Array.isArray(results) ? (results as Tensor[]) : [results as Tensor];
  if (outs === null) return list;
  return list.map((value, i) => applyInto(lookup('assign'), [value], { shape: outs[i]!.shape }, [outs[i]!])[0]!);
}

/** decomposed(), for an op whose gradient is its own: what was there before, or is answered twice, gets a name to be recorded under. */
function inOwnName(plan: Plan, inputs: readonly Operand[], params: Params, outs: readonly Tensor[] | null): Tensor[] {
  const { enabled } = recording;
  const mark = storageMark();
  recording.enabled = false;
  try {
    const results = decomposed(plan, inputs, params, outs);
    if (outs !== null) return results;
    return results.map((y, i) => {
      if (y.storage.id >= mark && results.indexOf(y) === i) return y;
      const other = hooks.tracer?.alias?.(y, false) ?? alias(y, y.layout, y.offset);
      other.base = y.base ?? y;
      return other;
    });
  } finally {
    recording.enabled = enabled;
  }
}

/** Null when the backend turned out to have no kernel. */
function emit(plan: Plan, inputs: readonly Operand[], outs: readonly Tensor[] | null): Tensor[] | null {
  if (plan.mode === 'view') {
    const x = inputs[0] as Tensor;
    if (x.disposed || x.storage.slot < 0) checkUsable(x, plan.op.name);
    const y = alias(x, plan.layouts[0]!, x.offset + plan.offset);
    y.base = x.base ?? x;
    return [y];
  }
  if (plan.id < 0 && !resolve(plan)) return null;
  let tensors = 0;
  let scalars = SCALARS;
  if (inputs.length > MAX_INPUTS) throw new ArgumentError(`at most ${MAX_INPUTS} inputs`, { op: plan.op.name });
  for (let i = 0; i < inputs.length; i++) {
    const x = inputs[i]!;
    if (typeof x === 'number') {
      numbers[scalars++] = x;
    } else {
      const slot = x.storage.slot;
      if (slot < 0 || x.disposed) refuse(x, plan);
      words[8 + tensors] = slot;
      numbers[IN_OFFSETS + tensors++] = x.offset;
    }
  }
  const { constants, layouts } = plan;
  for (let i = 0; i < constants.length; i++) numbers[scalars++] = constants[i]!;
  words[0] = plan.id;
  if (outs !== null) {
    for (let i = 0; i < outs.length; i++) {
      words[2 + i] = outs[i]!.storage.slot;
      numbers[i] = outs[i]!.offset;
    }
    native.run();
    if (words[1] !== 0) throw fault(plan);
    return outs as Tensor[];
  }
  if (layouts.length === 1) {
    const storage = new Storage();
    if (plan.small) {
      words[2] = -2;
      const group = joinGroup(storage);
      if (group === null) native.run();
      else native.run(group);
    } else {
      words[2] = -1;
      closeGroup();
      native.run(storage);
    }
    if (words[1] !== 0) throw fault(plan);
    storage.slot = words[2]!;
    intoScope(storage);
    return [new Tensor(storage, layouts[0]!, 0)];
  }
  closeGroup();
  const storages = layouts.map(() => new Storage());
  for (let i = 0; i < layouts.length; i++) words[2 + i] = -1;
  native.run(...storages);
  if (words[1] !== 0) throw fault(plan);
  return storages.map((storage, i) => {
    storage.slot = words[2 + i]!;
    intoScope(storage);
    return new Tensor(storage, layouts[i]!, 0);
  });
}

function refuse(x: Tensor, plan: Plan): never {
  checkUsable(x, plan.op.name);
  throw new GradError(
    x.storage.slot === ABSTRACT
      ? 'a traced value was used outside its trace'
      : 'a value that was not saved was asked for',
    { op: plan.op.name },
  );
}

function checkIntegers(plan: Plan, inputs: readonly Operand[]): void {
  const fraction = inputs.find((x) => typeof x === 'number' && !Number.isInteger(x));
  if (fraction === undefined) return;
  const dtype = (plan.inputs.find((x) => x !== null) ?? plan.layouts[0]!).dtype;
  throw new DTypeError(`the number ${fraction} does not fit ${dtype}: convert with .to('f32') first`, {
    op: plan.op.name,
  });
}

/** The error for the status that the last native call left. */
export function fault(plan: Plan): Error {
  closeGroup();
  const status = words[1]!;
  const options = { op: plan.op.name };
  if (status === 1) {
    const bytes = plan.layouts.map((l) => `(${l.shape.join()}) ${l.dtype}`).join(', ');
    return new OutOfMemoryError(`no memory for ${bytes} on ${plan.layouts[0]!.device}`, options);
  }
  return statusError(status, 'the kernel failed', plan.op.name, plan.layouts[0]!.device);
}

/** Writes in place need memory of their own, and must not change a leaf that a gradient is asked of. */
function checkOuts(op: Op, outs: readonly Tensor[], mask: number): void {
  for (const out of outs) {
    checkUsable(out, op.name);
    if (out.node !== null && out.node.leaf !== null && recording.enabled) {
      throw new GradError(
        'a leaf that requires grad cannot be changed in place while gradients are recorded: use noGrad(() => …)',
        {
          op: op.name,
        },
      );
    }
    const { shape, strides } = out.layout;
    for (let i = 0; i < shape.length; i++) {
      if (strides[i] === 0 && shape[i]! > 1) {
        throw new ArgumentError(
          'an expanded tensor cannot be written: several elements share memory; make a copy with .clone()',
          {
            op: op.name,
          },
        );
      }
    }
    if (throughView(out, mask)) rebase.check(out);
  }
}

/** An input that shares memory with an output and is not the very same elements would be read after it was overwritten. */
function clashes(x: Operand, outs: readonly Tensor[]): boolean {
  if (typeof x === 'number') return false;
  for (const out of outs) {
    if (x.storage === out.storage && (x.layout !== out.layout || x.offset !== out.offset)) return true;
  }
  return false;
}

function overlaps(inputs: readonly Operand[], outs: readonly Tensor[]): boolean {
  for (const x of inputs) if (clashes(x, outs)) return true;
  return false;
}

function apart(x: Operand, outs: readonly Tensor[]): Operand {
  return clashes(x, outs) ? apply(lookup('clone'), [x]) : x;
}

/** Filled in by lib/autograd: what a recorded write through a view asks of its base, and does to it. */
export const rebase: { check: (view: Tensor) => void; after: (view: Tensor) => void } = {
  check: () => {},
  after: () => {},
};

/** Whether a write into `out` changes what gradients are: its own value, or its base's, depends on a leaf, or will. */
function throughView(out: Tensor, mask: number): boolean {
  return recording.enabled && out.base !== null && (mask !== 0 || out.node !== null || out.base.node !== null);
}

/** After a write: what no longer depends on anything has no record; a view's base is a new value. */
function written(outs: readonly Tensor[], mask: number): void {
  for (const out of outs) {
    out.storage.version++;
    if (!recording.enabled) continue;
    if (mask === 0 && out.node !== null) {
      out.node = null;
      out.storage.recorded = out.storage.version;
      out.stamp = out.storage.version;
    }
  }
}

function record(
  plan: Plan,
  inputs: readonly Operand[],
  mask: number,
  results: readonly Tensor[],
  inPlace: boolean,
): void {
  let saves = plan.saves.get(mask);
  if (saves === undefined) {
    saves = hooks.saves(plan, mask);
    plan.saves.set(mask, saves);
  }
  const n = inputs.length;
  const edges: (Node | null)[] = new Array(n);
  const edgeIndex: number[] = new Array(n);
  const kept: Saved[] = new Array(n);
  const versions: number[] = [];
  for (let i = 0; i < n; i++) {
    const x = inputs[i]!;
    if (typeof x === 'number') {
      edges[i] = null;
      edgeIndex[i] = 0;
      kept[i] = x;
      continue;
    }
    if (x.node !== null && x.stamp < x.storage.recorded) staleView(plan);
    edges[i] = x.node;
    edgeIndex[i] = x.index;
    if (saves.inputs[i]) {
      kept[i] = x;
      // A value that this very op overwrites is stale from now on, whatever its version says.
      versions.push(inPlace && results.some((out) => out.storage === x.storage) ? -1 : x.storage.version);
    } else {
      kept[i] = x.layout;
    }
  }
  const node: Node = {
    op: plan.op,
    seq: nextSeq(),
    edges,
    edgeIndex,
    inputs: kept,
    outputs: plan.layouts as Saved[],
    versions,
    params: plan.params,
    layouts: plan.layouts,
    leaf: null,
    hooks: null,
    pending: null,
    freed: false,
  };
  for (let i = 0; i < results.length; i++) {
    const out = results[i]!;
    out.node = node;
    out.index = i;
    if (inPlace) {
      out.storage.recorded = out.storage.version;
      out.stamp = out.storage.version;
    } else {
      out.stamp = out.storage.recorded;
    }
    if (saves.outputs[i]) {
      if (node.outputs === plan.layouts) node.outputs = plan.layouts.slice();
      node.outputs[i] = out;
      versions.push(out.storage.version);
    }
  }
}

function staleView(plan: Plan): never {
  throw new GradError(
    'this tensor shares memory with one that was modified in place after it was made, so its gradient would be wrong: make the view again after the write',
    { op: plan.op.name },
  );
}
