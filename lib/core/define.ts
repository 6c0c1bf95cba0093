/** What an op is, and the functions that define one. Ops are said once, in lib/ops; the very `op` here is also the user's. */
import { native, type OpRow } from '../native.js';
import { apply, applyAll } from './apply.js';
import { category, type DType, isFloat, promoteTypes } from './dtype.js';
import { ArgumentError, DTypeError } from './error.js';
import { broadcastShapes, type Shape } from './layout.js';
import type { Plan } from './plan.js';
import { NO_PARAMS } from './tape.js';
import { Tensor } from './tensor.js';

/** A JavaScript number is a weak scalar: it takes the dtype of the tensors beside it. */
export type Operand = Tensor | number;
export type Params = Readonly<Record<string, unknown>>;
/** What `infer` says of an output; a tensor will do. */
export interface Inferred {
  readonly shape: Shape;
  readonly dtype: DType;
  /** Where the default (dense, in the first input's axis order) will not do. */
  readonly strides?: readonly number[];
}
/** The gradient of one input: computed, on demand, or none. */
export type InputGrad = Tensor | null | (() => Tensor);

/** One op's record: all that apply, autograd and the tracer know of it. */
export interface Op {
  readonly name: string;
  /** elementwise: an instruction of tile programs; kernel: a row of ops.def; view: no data moves; composite: only its decomposition. */
  readonly kind: 'elementwise' | 'kernel' | 'view' | 'composite';
  readonly row: OpRow | null;
  /** Whether calls give an array of outputs. */
  readonly many: boolean;
  infer(inputs: readonly Operand[], params: Params): Inferred | readonly Inferred[] | ViewOf;
  readonly decompose: ((inputs: readonly Operand[], params: Params) => Tensor | readonly Tensor[]) | null;
  /** undefined: through `decompose`; null: not differentiable. */
  readonly grad:
    | ((g: never, inputs: never, y: never, params: never) => Tensor | readonly InputGrad[])
    | null
    | undefined;
  /** Numbers that a kernel wants, in its documented order. */
  readonly encode: ((params: Params, inputs: readonly Operand[]) => readonly number[]) | null;
  /** Whether its gradient is user code, which may keep what it is given. */
  readonly byUser: boolean;
  readonly plans: Map<number | string, Plan>;
}

/** What a view op answers: where its elements lie in the input's memory. */
export interface ViewOf {
  readonly shape: Shape;
  readonly strides: readonly number[];
  /** In elements, relative to the input's. */
  readonly offset: number;
}

const rows = new Map<string, OpRow>(native.table.ops.map((row) => [row.name, row]));
const registry = new Map<string, Op>();

/** The native table's row of that name. */
export function opRow(name: string): OpRow | undefined {
  return rows.get(name);
}

/** A built-in or user op by name; for interpreters that need one, such as `add` for accumulation. */
export function lookup(name: string): Op {
  const found = registry.get(name);
  if (!found) throw new ArgumentError(`there is no op named ${name}`);
  return found;
}

/** Every op defined so far. */
export function opNames(): string[] {
  return [...registry.keys()];
}

let sealed = false;
/** After this, definitions are the user's and do not enter the registry (two packages may use one name). */
export function sealRegistry(): void {
  sealed = true;
}

function register(op: Op): Op {
  if (!sealed) {
    if (registry.has(op.name)) throw new ArgumentError(`op ${op.name} is defined twice`);
    registry.set(op.name, op);
  }
  return op;
}

/** Refuses what is no operand, with the usual mistake in mind. */
export function checkOperand(value: unknown, op: string): asserts value is Operand {
  if (value instanceof Tensor || typeof value === 'number') return;
  const got = value === null ? 'null' : Array.isArray(value) ? 'an array (wrap it: tensor([...]))' : typeof value;
  throw new ArgumentError(`expected a tensor or a number, got ${got}`, { op });
}

/** Refuses what is no tensor. */
export function asTensor(value: unknown, op: string): asserts value is Tensor {
  if (value instanceof Tensor) return;
  const got = value === null ? 'null' : Array.isArray(value) ? 'an array (wrap it: tensor([...]))' : typeof value;
  throw new ArgumentError(`expected a tensor, got ${got}`, { op });
}

/**
 * The common dtype of operands (PyTorch's rules): dims beat 0-d tensors of the same category, numbers are weak.
 * Numbers alone are f32.
 */
export function resultType(inputs: readonly Operand[]): DType {
  let dims: DType | null = null;
  let zero: DType | null = null;
  let numbers = false;
  for (const x of inputs) {
    if (typeof x === 'number') numbers = true;
    else if (x.ndim > 0) dims = dims === null ? x.dtype : promoteTypes(dims, x.dtype);
    else zero = zero === null ? x.dtype : promoteTypes(zero, x.dtype);
  }
  let out = dims ?? zero ?? 'f32';
  if (dims !== null && zero !== null && category(zero) > category(dims)) out = promoteTypes(dims, zero);
  if (numbers && out === 'bool') return 'f32'; // arithmetic of a mask with a number, as tensor(1) would be f32
  return out;
}

function elementwiseInfer(row: OpRow, skip: number) {
  return (inputs: readonly Operand[]): Inferred => {
    const shape = broadcastShapes(
      row.name,
      inputs.map((x) => (typeof x === 'number' ? [] : x.shape)),
    );
    if (row.result === 'BOOL') return { shape, dtype: 'bool' };
    return { shape, dtype: elementwiseType(row, inputs, skip) };
  };
}

/** The dtype that an elementwise op works in. */
export function elementwiseType(row: OpRow, inputs: readonly Operand[], skip: number): DType {
  const common = resultType(skip ? inputs.slice(skip) : inputs);
  if (row.types === 'FLOAT' && !isFloat(common)) return 'f32';
  if (row.types === 'INT' && isFloat(common))
    throw new DTypeError(`needs integers or bool, got ${common}`, { op: row.name });
  return common;
}

/** An elementwise op that is another's instruction with an inference of its own: `cast` is `copy` stored as another dtype. */
export function instruction<A extends unknown[], P extends object>(
  name: string,
  rowName: string,
  rule: {
    args: (...args: A) => { inputs: readonly Operand[]; params: P };
    infer: (inputs: readonly Operand[], params: P) => Inferred;
    grad: ((g: Tensor, inputs: readonly Operand[], y: Tensor, params: P) => readonly InputGrad[]) | null;
  },
): (...args: A) => Tensor {
  const found = register({
    name,
    kind: 'elementwise',
    row: rows.get(rowName)!,
    many: false,
    infer: rule.infer as unknown as Op['infer'],
    decompose: null,
    grad: rule.grad as unknown as Op['grad'],
    encode: null,
    byUser: sealed,
    plans: new Map(),
  });
  return (...args) => {
    const { inputs, params } = rule.args(...args);
    return apply(found, inputs, params as unknown as Params);
  };
}

function tableOp(name: string, arity: number, grad: unknown): Op {
  const row = rows.get(name);
  if (!row || row.arity !== arity) throw new ArgumentError(`native/ops.def has no ${name} with ${arity} operands`);
  const skip = name === 'where' ? 1 : 0;
  return register({
    name,
    kind: 'elementwise',
    row,
    many: false,
    infer: elementwiseInfer(row, skip),
    decompose: null,
    grad: grad as Op['grad'],
    encode: null,
    byUser: sealed,
    plans: new Map(),
  });
}

/** An elementwise op of one operand: a line of ops.def and its gradient; `null` when there is none. */
export function unary(
  name: string,
  rule: { grad: ((g: Tensor, x: Tensor, y: Tensor) => Tensor) | null },
): (x: Tensor) => Tensor {
  const grad = rule.grad;
  const op = tableOp(name, 1, grad && ((g: Tensor, [x]: [Tensor], y: Tensor) => grad(g, x, y)));
  return (x) => {
    asTensor(x, name);
    return apply(op, [x]);
  };
}

/** An elementwise op of two operands; gradients of broadcast operands are summed to their shape by backward. */
export function binary(
  name: string,
  rule: { grad: ((g: Tensor, x: Operand, y: Operand, out: Tensor) => readonly [InputGrad, InputGrad]) | null },
): (x: Operand, y: Operand) => Tensor {
  const grad = rule.grad;
  const op = tableOp(name, 2, grad && ((g: Tensor, [x, y]: [Operand, Operand], out: Tensor) => grad(g, x, y, out)));
  return (x, y) => {
    if (!(x instanceof Tensor)) checkOperand(x, name);
    if (!(y instanceof Tensor)) checkOperand(y, name);
    return apply(op, [x, y]);
  };
}

/** An elementwise op of three operands. */
export function ternary(
  name: string,
  rule: {
    grad:
      | ((g: Tensor, x: Operand, y: Operand, z: Operand, out: Tensor) => readonly [InputGrad, InputGrad, InputGrad])
      | null;
  },
): (x: Operand, y: Operand, z: Operand) => Tensor {
  const grad = rule.grad;
  const op = tableOp(
    name,
    3,
    grad && ((g: Tensor, [x, y, z]: [Operand, Operand, Operand], out: Tensor) => grad(g, x, y, z, out)),
  );
  return (x, y, z) => {
    checkOperand(x, name);
    checkOperand(y, name);
    checkOperand(z, name);
    return apply(op, [x, y, z]);
  };
}

/** A view: `infer` says where the elements lie, `grad` carries a gradient back. */
export function view<A extends unknown[], P extends object>(
  name: string,
  rule: {
    args: (...args: A) => { inputs: [Tensor]; params: P };
    infer: (x: Tensor, params: P) => ViewOf;
    grad: (g: Tensor, x: Tensor, params: P) => Tensor;
  },
): (...args: A) => Tensor {
  const op = register({
    name,
    kind: 'view',
    row: null,
    many: false,
    infer: ([x], params) => rule.infer(x as Tensor, params as P),
    decompose: null,
    grad: ((g: Tensor, [x]: [Tensor], _y: Tensor, params: P) => rule.grad(g, x, params)) as Op['grad'],
    encode: null,
    byUser: sealed,
    plans: new Map(),
  });
  return (...args) => {
    const { inputs, params } = rule.args(...args);
    return apply(op, inputs, params as unknown as Params);
  };
}

type Output<R> = R extends readonly Tensor[] ? Tensor[] : Tensor;

/** The parts of an op: what `op()` takes. */
export interface OpRule<
  A extends unknown[],
  I extends readonly Operand[],
  P extends object,
  R extends Tensor | readonly Tensor[],
> {
  /** Checks the arguments and splits them into operands and static parameters (plain numbers, strings, arrays of them). */
  args: (...args: A) => { inputs: I; params?: P };
  /** Shape and dtype of the output or outputs; from `decompose` when absent. */
  infer?: (inputs: I, params: P) => R extends readonly Tensor[] ? readonly Inferred[] : Inferred;
  /** The meaning in simpler ops: the fallback without a kernel, the gradient without `grad`, and the oracle of the tests. */
  decompose?: (inputs: I, params: P) => R;
  /** Gradients of the inputs, in order, as compositions of ops; a function is evaluated only when wanted. null: not differentiable. */
  grad?: ((g: Output<R>, inputs: I, y: Output<R>, params: P) => Tensor | readonly InputGrad[]) | null;
  /** For an op with a native kernel: its params as the numbers that native/ops.def documents. */
  encode?: (params: P, inputs: I) => readonly number[];
}

/**
 * Defines an op. With a row of that name in native/ops.def its kernel runs; else its decomposition does: as one fused kernel when
 * that is elementwise throughout. Either `decompose` or both `infer` and `grad` are needed: a missing gradient does not type-check.
 */
export function op<
  A extends unknown[],
  const I extends readonly Operand[] | [],
  P extends object,
  R extends Tensor | readonly Tensor[] = Tensor,
>(
  name: string,
  rule: OpRule<A, I, P, R> &
    (
      | { decompose: (inputs: I, params: P) => R }
      | { infer: NonNullable<OpRule<A, I, P, R>['infer']>; grad: OpRule<A, I, P, R>['grad'] }
    ),
): (...args: A) => Output<R> {
  const found = define(name, rule as never);
  return ((...args: A) => {
    const { inputs, params } = rule.args(...args);
    const at = (params ?? NO_PARAMS) as Params;
    return found.many ? applyAll(found, inputs, at) : apply(found, inputs, at);
  }) as (...args: A) => Output<R>;
}

/** `op` for several outputs: `decompose` or `infer` gives a list. */
export function opMany<A extends unknown[], const I extends readonly Operand[] | [], P extends object>(
  name: string,
  rule: OpRule<A, I, P, readonly Tensor[]>,
): (...args: A) => Tensor[] {
  const found = define(name, rule as never, true);
  return (...args: A) => {
    const { inputs, params } = rule.args(...args);
    return applyAll(found, inputs, (params ?? NO_PARAMS) as Params);
  };
}

function define(name: string, rule: OpRule<unknown[], readonly Operand[], object, Tensor>, many = false): Op {
  if (typeof name !== 'string' || name === '') throw new ArgumentError('an op needs a name');
  if (typeof rule?.args !== 'function')
    throw new ArgumentError('an op needs args: (...args) => ({ inputs, params })', { op: name });
  if (!rule.decompose && !rule.infer) throw new ArgumentError('an op needs decompose, or infer and grad', { op: name });
  const row = sealed ? undefined : rows.get(name);
  return register({
    name,
    kind: row ? 'kernel' : 'composite',
    row: row ?? null,
    many,
    infer: (rule.infer ?? null) as unknown as Op['infer'],
    decompose: (rule.decompose ?? null) as Op['decompose'],
    grad: rule.grad as Op['grad'],
    encode: (rule.encode ?? null) as Op['encode'],
    byUser: sealed,
    plans: new Map(),
  });
}
