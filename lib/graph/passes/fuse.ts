/**
 * Elementwise fusion: calls over the same shape that feed each other, or read the same memory, become one tile program. What only
 * they read is never stored.
 */
import { type DType, dtypeInfo, isFloat } from '../../core/dtype.js';
import { type Layout, layoutOf, sameShape } from '../../core/layout.js';
import { type Call, elementwiseId } from '../../core/plan.js';
import type { Storage, Tensor } from '../../core/tensor.js';
import { native } from '../../native.js';
import type { Step } from '../recorder.js';
import { computeId, decode, isTile, ownPlan, type Register, TileProgram } from '../tile.js';
import { type Group, Groups, reads } from './flow.js';
import type { Context } from './index.js';

/** What one native program takes: native/plans.h and native/cpu/elementwise.inl. */
const MAX_INPUTS = 48;
const MAX_OUTPUTS = 16;
const MAX_SCALARS = 64;
const MAX_INSTRUCTIONS = 128;

const truths = new Set(native.table.ops.filter((row) => row.result === 'BOOL').map((row) => row.id));
const moves = new Set(native.table.ops.filter((row) => ['copy', 'cast'].includes(row.name)).map((row) => row.id));

/** Where the elements lie, whatever a dim of size 1 says. */
function sameStrides(a: Layout, b: Layout): boolean {
  return a === b || a.shape.every((n, d) => n === 1 || a.strides[d] === b.strides[d]);
}

/** A storage type that keeps every value of its compute type, or rounds where nobody asked it to. */
function passesOn(dtype: DType): boolean {
  return dtype === 'bool' || dtypeInfo(dtype).compute === dtype || isFloat(dtype);
}

export function fuseElementwise(steps: readonly Step[], { lasts }: Context): Step[] {
  const groups = new Groups(steps);
  // Who reads a storage from outside its group decides whether it is stored.
  const readers = new Map<Storage, Set<number>>();
  steps.forEach((step, i) => {
    for (const { storage } of reads(step)) readers.set(storage, (readers.get(storage) ?? new Set()).add(i));
  });
  const leaves = (storage: Storage, members: ReadonlySet<number>): boolean =>
    lasts(storage) || [...(readers.get(storage) ?? [])].some((i) => !members.has(i));

  const fused = new Map<Group, Step>();
  const lastReader = new Map<Storage, number>();
  const maker = new Map<Storage, number>();
  steps.forEach((step, i) => {
    if (isTile(step.plan)) {
      const near = new Set<number>();
      for (const { storage } of reads(step)) {
        for (const j of [maker.get(storage), lastReader.get(storage)]) if (j !== undefined) near.add(j);
        lastReader.set(storage, i);
      }
      for (const j of [...near].sort((a, b) => b - a)) {
        const one = groups.of(i);
        const other = groups.of(j);
        if (one === other || !related(steps[i]!, steps[j]!)) continue;
        const members = [...other.members, ...one.members].sort((a, b) => a - b);
        const whole = new Set(members);
        const together = join(
          members.map((k) => steps[k]!),
          (storage) => leaves(storage, whole),
        );
        if (together === null) continue;
        const merged = groups.merge(one, other);
        if (merged !== null) fused.set(merged, together);
      }
    }
    for (const { storage } of step.outputs) {
      if (isTile(step.plan)) maker.set(storage, i);
      else maker.delete(storage);
    }
  });
  return groups.ordered().map((group) => fused.get(group) ?? steps[group.members[0]!]!);
}

function related(a: Step, b: Step): boolean {
  const [x] = a.plan.layouts;
  const [y] = b.plan.layouts;
  return x!.device === y!.device && sameShape(x!.shape, y!.shape) && sameStrides(x!, y!);
}

/** One step that does what these do, in order; null where they do not fit into one program. */
function join(members: readonly Step[], leaves: (storage: Storage) => boolean): Step | null {
  const { shape, device } = members[0]!.plan.layouts[0]!;
  const program = new TileProgram();
  const tensors: { x: Tensor; layout: Layout; register: Register }[] = [];
  const numbers: { value: number; register: Register }[] = [];
  const values = new Map<Storage, { register: Register; y: Tensor }>();

  const load = (x: Tensor, layout: Layout, compute: number): Register | null => {
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

  const outputs = [...values].filter(([storage]) => leaves(storage)).map(([, value]) => value);
  if (outputs.length === 0) return null;
  // Tiles are written while others are still to be read: what is read and written must be the very same elements.
  for (const { y } of outputs) {
    if (!sameStrides(y.layout, outputs[0]!.y.layout)) return null;
    for (const { x, layout } of tensors) {
      if (x.storage !== y.storage) continue;
      if (x.offset !== y.offset || x.dtype !== y.dtype || !sameStrides(layout, y.layout)) return null;
    }
  }
  if (tensors.length > MAX_INPUTS || outputs.length > MAX_OUTPUTS || program.code.length > MAX_INSTRUCTIONS)
    return null;
  if (numbers.length + program.constants.length > MAX_SCALARS) return null;
  const call: Call = {
    op: elementwiseId(),
    inputs: tensors.map(({ x, layout }) => layoutOf(shape, x.dtype, device, layout.strides)),
    nscalars: numbers.length,
    params: program.encode(outputs.map(({ register }) => register)),
    constants: program.constants,
  };
  return {
    plan: ownPlan(
      members.map(({ plan }) => plan.op.name).join('+'),
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
