/** Several steps as one tile program. */
import { type DType, dtypeInfo, isFloat } from '../../core/dtype.js';
import { type Layout, layoutOf } from '../../core/layout.js';
import { opRow } from '../../core/define.js';
import { type Call, elementwiseId, type Plan } from '../../core/plan.js';
import type { Storage, Tensor } from '../../core/tensor.js';
import { native } from '../../native.js';
import type { Step } from '../recorder.js';
import { computeId, decode, ownPlan, type Register, TileProgram } from '../tile.js';

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
  return Joined.of(members)?.stored(leaves)?.() ?? null;
}

interface Loaded {
  readonly x: Tensor;
  readonly layout: Layout;
  readonly register: Register;
}

/** A value that a program has made. `rounded`: a cast to a storage type that holds less, which only storing it does. */
interface Made {
  readonly register: Register;
  readonly y: Tensor;
  readonly rounded: boolean;
}

/** Steps that fit into one program, and that program so far. */
export class Joined {
  readonly #names: string[];
  readonly #program: TileProgram;
  readonly #tensors: Loaded[];
  readonly #numbers: { value: number; register: Register }[];
  readonly #values: Map<Storage, Made>;
  readonly #read: Set<Storage>;
  readonly #sums: { register: Register; y: Tensor; divisor: number }[];
  readonly #walked: Layout;

  private constructor(walked: Layout, program: TileProgram, before?: Joined) {
    this.#walked = walked;
    this.#program = program;
    this.#names = before ? before.#names.slice() : [];
    this.#tensors = before ? before.#tensors.slice() : [];
    this.#numbers = before ? before.#numbers.slice() : [];
    this.#values = new Map(before ? before.#values : []);
    this.#read = new Set(before ? before.#read : []);
    this.#sums = before ? before.#sums.slice() : [];
  }

  /** Null where they do not fit. */
  static of(members: readonly Step[]): Joined | null {
    const joined = new Joined(walked(members[0]!), new TileProgram());
    return members.every((step) => joined.#add(step)) ? joined : null;
  }

  /** One step more, which comes last; null where it does not fit. */
  with(step: Step): Joined | null {
    const joined = new Joined(this.#walked, this.#program.copy(), this);
    return joined.#add(step) ? joined : null;
  }

  #load(x: Tensor, layout: Layout, compute: number): Register | null {
    this.#read.add(x.storage);
    // A sum is there only after the last tile.
    if (this.#sums.some(({ y }) => y.storage === x.storage)) return null;
    const value = this.#values.get(x.storage);
    if (value !== undefined) {
      const { register, y, rounded } = value;
      if (rounded || y.offset !== x.offset || y.dtype !== x.dtype) return null;
      if (!sameStrides(y.layout, layout) || !passesOn(y.dtype)) return null;
      return this.#program.as(register, compute);
    }
    const known = this.#tensors.find(
      (t) =>
        t.x.storage === x.storage && t.x.offset === x.offset && t.layout === layout && t.register.compute === compute,
    );
    if (known) return known.register;
    const register = this.#program.input(compute);
    this.#tensors.push({ x, layout, register });
    return register;
  }

  #number(value: number, compute: number): Register {
    const known = this.#numbers.find((n) => Object.is(n.value, value) && n.register.compute === compute);
    if (known) return known.register;
    const register = this.#program.scalar(compute);
    this.#numbers.push({ value, register });
    return register;
  }

  #add(step: Step): boolean {
    this.#names.push(step.plan.op.name);
    return isSum(step.plan) ? this.#addSum(step) : this.#addTile(step);
  }

  #addSum({ plan, inputs, outputs }: Step): boolean {
    const x = inputs[0] as Tensor;
    const y = outputs[0]!;
    const value = this.#load(x, x.layout, computeId(x.dtype));
    if (value === null) return false;
    const program = this.#program;
    const register = program.as(value, computeId(y.dtype));
    const square = plan.op.name === 'sumSquares';
    this.#sums.push({
      register: square ? program.emit(opRow('mul')!.id, register.compute, [register, register]) : register,
      y,
      divisor: plan.op.name === 'mean' ? x.size / y.size : 1,
    });
    return true;
  }

  #addTile({ plan, inputs, outputs }: Step): boolean {
    const program = this.#program;
    const call = plan.call!;
    const text = decode(call);
    const registers: Register[] = [];
    for (const x of inputs) {
      if (typeof x === 'number') continue;
      const k = registers.length;
      const register = this.#load(x, call.inputs[k]!, text.operands[k]!);
      if (register === null) return false;
      registers.push(register);
    }
    for (const x of inputs)
      if (typeof x === 'number') registers.push(this.#number(x, text.operands[registers.length]!));
    for (const value of call.constants) registers.push(program.constant(value, text.operands[registers.length]!));
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
      let rounded = false;
      const last = text.code[r - text.operands.length];
      if (y.dtype === 'bool') {
        if (last === undefined || !truths.has(last.op))
          register = program.emit(notEqual(), register.compute, [register, program.constant(0, register.compute)]);
      } else {
        // A cast that was written rounds; what is only kept in a storage type does not.
        rounded = last !== undefined && moves.has(last.op) && dtypeInfo(y.dtype).compute !== y.dtype;
        if (rounded && this.#read.has(y.storage)) return false;
        register = program.as(register, computeId(y.dtype));
      }
      const before = this.#values.get(y.storage)?.y;
      if (before !== undefined && (before.offset !== y.offset || !sameStrides(before.layout, y.layout))) return false;
      this.#values.set(y.storage, { register, y, rounded });
    }
    return true;
  }

  /** The step, written out when the answer is called; of what they make only what `leaves` them is stored. Null where that does not fit. */
  stored(leaves: (storage: Storage) => boolean): (() => Step) | null {
    const program = this.#program;
    const tensors = this.#tensors;
    const numbers = this.#numbers;
    const sums = this.#sums;
    if (tensors.length > MAX_INPUTS || program.code.length > MAX_INSTRUCTIONS) return null;
    if (numbers.length + program.constants.length > MAX_SCALARS) return null;
    const stored: Made[] = [];
    for (const [storage, value] of this.#values) if (leaves(storage)) stored.push(value);
    const outputs = [...stored, ...sums];
    if (outputs.length === 0 || outputs.length > MAX_OUTPUTS || (sums.length > 0 && tensors.length === 0)) return null;
    // Tiles are written while others are still to be read: what is read and written must be the very same elements.
    for (const { y } of stored) {
      if (!sameStrides(y.layout, stored[0]!.y.layout)) return null;
      for (const { x, layout } of tensors) {
        if (x.storage !== y.storage) continue;
        if (x.offset !== y.offset || x.dtype !== y.dtype || !sameStrides(layout, y.layout)) return null;
      }
    }
    // Sums are written when every tile has been read.
    for (const { y } of sums) if (stored.some((one) => one.y.storage === y.storage)) return null;
    return () => {
      const { shape, device } = this.#walked;
      const text = program.encode(outputs.map(({ register }) => register));
      const call: Call = {
        op: sums.length > 0 ? opRow('elementwiseSum')!.id : elementwiseId(),
        inputs: tensors.map(({ x, layout }) => layoutOf(shape, x.dtype, device, layout.strides)),
        nscalars: numbers.length,
        params: sums.length > 0 ? [sums.length, ...sums.map(({ divisor }) => divisor), ...text] : text,
        constants: program.constants,
      };
      const layouts = outputs.map(({ y }) => y.layout);
      return {
        plan: ownPlan(this.#names.join('+'), call, layouts),
        inputs: [...tensors.map(({ x }) => x), ...numbers.map(({ value }) => value)],
        outputs: outputs.map(({ y }) => y),
      };
    };
  }
}

let neId = -1;
function notEqual(): number {
  if (neId < 0) neId = native.table.ops.find((row) => row.name === 'ne')!.id;
  return neId;
}
