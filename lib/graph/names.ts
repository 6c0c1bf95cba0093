/** Kernels in words: a call with its op, the ops of its tile program and all dtypes by name, as another library numbers them. */
import { opRow } from '../core/define.js';
import { dtypeInfo, dtypes, isDType } from '../core/dtype.js';
import { FormatError } from '../core/error.js';
import { contiguousStrides, type Layout, layoutOf, sizeOf } from '../core/layout.js';
import { type Plan, resolve } from '../core/plan.js';
import { native } from '../native.js';
import { keepsTo, tileAt } from './contracts.js';
import { ownPlan } from './tile.js';

/** Numbers that JSON has no digits for are `{ number: 'NaN' }`. */
export type NumberText = number | { number: string };

export interface LayoutText {
  dtype: string;
  shape: readonly number[];
  /** Absent: dense, row-major. */
  strides?: readonly number[];
}

export interface KernelText {
  /** What explain() calls it, and the native kernel that runs. */
  name: string;
  op: string;
  inputs: LayoutText[];
  outputs: LayoutText[];
  scalars: number;
  constants: NumberText[];
  /** Ids of ops and dtypes by name. */
  params: (NumberText | string)[];
}

const MAX_PARAM = 2 ** 53;
/** The native library's limits on one call. */
const MAX_OPERANDS = 4088;
const MAX_SCALARS = 64;

export function bad(message: string, cause?: unknown): FormatError {
  return new FormatError(message, { op: 'loadProgram', cause });
}

export function list(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw bad(`${what} is not a list`);
  return value;
}

export function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad(`${what} is not an object`);
  return value as Record<string, unknown>;
}

/** An integer in [0, most]. */
export function count(value: unknown, what: string, most: number = Number.MAX_SAFE_INTEGER): number {
  if (!(Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most))
    throw bad(`${what} is not an integer from 0 to ${most}`);
  return value as number;
}

export function text(value: unknown, what: string): string {
  if (typeof value !== 'string') throw bad(`${what} is not a string`);
  return value;
}

export function numberText(x: number): NumberText {
  if (Object.is(x, -0)) return { number: '-0' };
  return Number.isFinite(x) ? x : { number: `${x}` };
}

const special: Readonly<Record<string, number>> = {
  '-0': -0,
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  '-Infinity': Number.NEGATIVE_INFINITY,
};

export function numberOf(value: unknown, what: string): number {
  if (typeof value === 'number') return value;
  const name = text(record(value, what).number, what);
  if (!Object.hasOwn(special, name)) throw bad(`${what} is no number`);
  return special[name]!;
}

export function layoutText({ dtype, shape, strides }: Layout): LayoutText {
  const dense = contiguousStrides(shape).join() === strides.join();
  return dense ? { dtype, shape } : { dtype, shape, strides };
}

/** How many elements from the first to the last: what a layout needs. */
export function extent({ shape, strides, size }: Layout): number {
  return size === 0 ? 0 : shape.reduce((last, n, i) => last + (n - 1) * strides[i]!, 1);
}

export function layoutFrom(value: unknown, what: string): Layout {
  const { dtype, shape, strides } = record(value, what);
  if (!isDType(dtype)) throw bad(`${what} has the unknown dtype ${JSON.stringify(dtype)}`);
  const sizes = (items: unknown) => list(items, what).map((n) => count(n, what));
  const dims = sizes(shape);
  const steps = strides === undefined ? contiguousStrides(dims) : sizes(strides);
  if (steps.length !== dims.length) throw bad(`${what} has ${dims.length} sizes and ${steps.length} strides`);
  // Zeros aside: products of sizes and strides stay exact.
  const whole = sizeOf(dims.map((n) => Math.max(n, 1))) * 8;
  const reach = dims.reduce((last, n, i) => last + Math.max(n - 1, 0) * steps[i]!, 1) * 8;
  if (!Number.isSafeInteger(whole) || !Number.isSafeInteger(reach)) throw bad(`${what} is too large`);
  return layoutOf(dims, dtype, 'cpu', strides === undefined ? undefined : steps);
}

export function kernelText({ op: { name }, call, layouts }: Plan): KernelText {
  const { inputs, params, nscalars, constants } = call!;
  const op = native.table.ops.find(({ id }) => id === call!.op)!.name;
  const named: (NumberText | string)[] = params.map(numberText);
  const dtype = (at: number): void => {
    named[at] = dtypes.find((one) => dtypeInfo(one).id === params[at])!;
  };
  const tile = tileAt(op, params, inputs.length);
  if (tile !== null) {
    const given = tile.start + tile.inputs + nscalars + constants.length;
    for (let i = tile.start; i < given; i++) dtype(i);
    for (let i = 0; i < params[given]!; i++) {
      const at = given + 1 + 5 * i;
      named[at] = native.table.ops.find(({ id }) => id === params[at])!.name;
      dtype(at + 1);
    }
  }
  return {
    name,
    op,
    inputs: inputs.map(layoutText),
    outputs: layouts.map(layoutText),
    scalars: nscalars,
    constants: constants.map(numberText),
    params: named,
  };
}

function idOf(op: string): number {
  const row = opRow(op);
  if (row === undefined) throw bad(`this version knows no op ${JSON.stringify(op.slice(0, 80))}`);
  return row.id;
}

/** The plan of a kernel, resolved. */
export function planFrom(value: unknown): Plan {
  const kernel = record(value, 'a kernel');
  const op = text(kernel.op, 'the op of a kernel');
  const layouts = (items: unknown) =>
    list(items, 'operands of a kernel').map((x) => layoutFrom(x, `a layout of ${op}`));
  const inputs = layouts(kernel.inputs);
  const outputs = layouts(kernel.outputs);
  const constants = list(kernel.constants, `constants of ${op}`).map((x) => numberOf(x, `a constant of ${op}`));
  const params = list(kernel.params, `params of ${op}`).map((x) => {
    if (typeof x === 'string') return isDType(x) ? dtypeInfo(x).id : idOf(x);
    const number = numberOf(x, `a param of ${op}`);
    if (!(Math.abs(number) <= MAX_PARAM)) throw bad(`${op} has the param ${number}`);
    return number;
  });
  const nscalars = count(kernel.scalars, `scalars of ${op}`, MAX_SCALARS);
  if (
    outputs.length === 0 ||
    inputs.length + outputs.length > MAX_OPERANDS ||
    nscalars + constants.length > MAX_SCALARS
  )
    throw bad(`${op} has ${inputs.length} inputs, ${outputs.length} outputs and ${nscalars} numbers`);
  const call = { op: idOf(op), inputs, nscalars, params, constants };
  if (!keepsTo(op, call, outputs)) throw bad(`${op} has operands or params that it cannot have`);
  const plan = ownPlan(text(kernel.name, 'the name of a kernel'), call, outputs);
  try {
    resolve(plan);
  } catch (error) {
    throw bad(`this version has no such kernel: ${(error as Error).message}`, error);
  }
  return plan;
}
