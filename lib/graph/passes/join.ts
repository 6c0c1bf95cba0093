/** Several steps as one tile program. */
import { type DType, dtypeInfo, isFloat } from '../../core/dtype.js';
import { type Layout, layoutOf } from '../../core/layout.js';
import { opRow } from '../../core/define.js';
import { type Call, elementwiseId, type Plan } from '../../core/plan.js';
import type { Storage, Tensor } from '../../core/tensor.js';
import { native } from '../../native.js';
import type { Step } from '../recorder.js';
import { computeId, decode, ownPlan, type Register, TileProgram } from '../tile.js';
import { reads } from './flow.js';

/** What one native program takes: native/plans.h and native/cpu/elementwise.inl. */
const MAX_INPUTS = 48;
const MAX_OUTPUTS = 16;
const MAX_SCALARS = 64;
const MAX_INSTRUCTIONS = 128;

const truths = new Set(native.table.ops.filter((row) => row.result === 'BOOL').map((row) => row.id));
const moves = new Set(native.table.ops.filter((row) => ['copy', 'cast'].includes(row.name)).map((row) => row.id));

/** Where the elements lie, whatever a dim of size 1 says. */
export function sameStrides(a: Layout, b: Layout): boolean {
  return a === b || a.shape.every((n, d) => n === 1 || a.strides[d] === b.strides[d]);
}

/** A storage type that keeps every value of its compute type, or rounds where nobody asked it to. */
function passesOn(dtype: DType): boolean {
  return dtype === 'bool' || dtypeInfo(dtype).compute === dtype || isFloat(dtype);
}

/** What adds up a whole tensor. */
const sums = new Set(['sum', 'mean', 'sumSquares']);

export function isSum({ op, layouts }: Plan): boolean {
  return sums.has(op.name) && op.kind === 'kernel' && layouts[0]!.size > 0;
}

/** The layout that a step walks: its result's, or that of what is summed. */
export function walked({ plan }: Step): Layout {
  return isSum(plan) ? plan.inputs[0]! : plan.layouts[0]!;
}

/**
 * One step that does what these do, in order; null where they do not fit into one program. Of what they make, only what `leaves` them
 * is stored.
 */
export function join(members: readonly Step[], leaves: (storage: Storage) => boolean): Step | null {
  const { shape, device } = walked(members[0]!);
  const program = new TileProgram();
  const tensors: { x: Tensor; layout: Layout; register: Register }[] = [];
  const numbers: { value: number; register: Register }[] = [];
  const values = new Map<Storage, { register: Register; y: Tensor }>();
  const added: { register: Register; y: Tensor; divisor: number }[] = [];

  const load = (x: Tensor, layout: Layout, compute: number): Register | null => {
    // A sum is there only after the last tile.
    if (added.some(({ y }) => y.storage === x.storage)) return null;
    const value = values.get(x.storage);
    if (value !== undefined) {
      const { register, y } = value;
      if (y.offset !== x.offset || y.dtype !== x.dtype || !sameStrides(y.layout, layout) || !passesOn(y.dtype))
        return null;
      return program.as(register, compute);
    }
    const known = tensors.find(
      (t) =>
        t.x.storage === x.storage && t.x.offset === x.offset && t.layout === layout && t.register.compute === compute,
    );
    if (known) return known.register;
    const register = program.input(compute);
    tensors.push({ x, layout, register });
    return register;
  };
  const number = (value: number, compute: number): Register => {
    const known = numbers.find((n) => Object.is(n.value, value) && n.register.compute === compute);
    if (known) return known.register;
    const register = program.scalar(compute);
    numbers.push({ value, register });
    return register;
  };

  for (const { plan, inputs, outputs } of members) {
    if (isSum(plan)) {
      const x = inputs[0] as Tensor;
      const y = outputs[0]!;
      const value = load(x, x.layout, computeId(x.dtype));
      if (value === null) return null;
      const register = program.as(value, computeId(y.dtype));
      const square = plan.op.name === 'sumSquares';
      added.push({
        register: square ? program.emit(opRow('mul')!.id, register.compute, [register, register]) : register,
        y,
        divisor: plan.op.name === 'mean' ? x.size / y.size : 1,
      });
      continue;
    }
    const call = plan.call!;
    const text = decode(call);
    const registers: Register[] = [];
    const given = [...inputs.filter((x) => typeof x !== 'number'), ...inputs.filter((x) => typeof x === 'number')];
    for (const [k, x] of given.entries()) {
      const compute = text.operands[k]!;
      const register = typeof x === 'number' ? number(x, compute) : load(x, call.inputs[k]!, compute);
      if (register === null) return null;
      registers.push(register);
    }
    for (const [k, value] of call.constants.entries())
      registers.push(program.constant(value, text.operands[given.length + k]!));
    for (const { op, compute, operands } of text.code)
      registers.push(
        program.emit(
          op,
          compute,
          operands.map((r) => registers[r]!),
        ),
      );
    for (const [k, y] of outputs.entries()) {
      const r = text.outputs[k]!;
      let register = registers[r]!;
      const last = text.code[r - text.operands.length];
      if (y.dtype === 'bool') {
        if (last === undefined || !truths.has(last.op))
          register = program.emit(notEqual(), register.compute, [register, program.constant(0, register.compute)]);
      } else {
        // A cast that was written rounds; what is only kept in a storage type does not.
        const rounds = last !== undefined && moves.has(last.op) && dtypeInfo(y.dtype).compute !== y.dtype;
        if (rounds && leavesThrough(members, y.storage)) return null;
        register = program.as(register, computeId(y.dtype));
      }
      const before = values.get(y.storage)?.y;
      if (before !== undefined && (before.offset !== y.offset || !sameStrides(before.layout, y.layout))) return null;
      values.set(y.storage, { register, y });
    }
  }

  const stored = [...values].filter(([storage]) => leaves(storage)).map(([, value]) => value);
  const outputs = [...stored, ...added];
  if (outputs.length === 0 || (added.length > 0 && tensors.length === 0)) return null;
  // Tiles are written while others are still to be read: what is read and written must be the very same elements.
  for (const { y } of stored) {
    if (!sameStrides(y.layout, stored[0]!.y.layout)) return null;
    for (const { x, layout } of tensors) {
      if (x.storage !== y.storage) continue;
      if (x.offset !== y.offset || x.dtype !== y.dtype || !sameStrides(layout, y.layout)) return null;
    }
  }
  // Sums are written when every tile has been read.
  for (const { y } of added) if (stored.some((one) => one.y.storage === y.storage)) return null;
  if (tensors.length > MAX_INPUTS || outputs.length > MAX_OUTPUTS || program.code.length > MAX_INSTRUCTIONS)
    return null;
  if (numbers.length + program.constants.length > MAX_SCALARS) return null;
  const text = program.encode(outputs.map(({ register }) => register));
  const call: Call = {
    op: added.length > 0 ? opRow('elementwiseSum')!.id : elementwiseId(),
    inputs: tensors.map(({ x, layout }) => layoutOf(shape, x.dtype, device, layout.strides)),
    nscalars: numbers.length,
    params: added.length > 0 ? [added.length, ...added.map(({ divisor }) => divisor), ...text] : text,
    constants: program.constants,
  };
  const name = members.map(({ plan }) => plan.op.name).join('+');
  return {
    plan: ownPlan(
      name,
      call,
      outputs.map(({ y }) => y.layout),
    ),
    inputs: [...tensors.map(({ x }) => x), ...numbers.map(({ value }) => value)],
    outputs: outputs.map(({ y }) => y),
  };
}

/** Whether another of the members reads the storage. */
function leavesThrough(members: readonly Step[], storage: Storage): boolean {
  return members.some((step) => reads(step).some((x) => x.storage === storage));
}

let neId = -1;
function notEqual(): number {
  if (neId < 0) neId = native.table.ops.find((row) => row.name === 'ne')!.id;
  return neId;
}
