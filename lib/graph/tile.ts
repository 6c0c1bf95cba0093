/** Tile programs: straight-line elementwise code over registers, in the words that native/ops.def documents for `elementwise`. */
import { type Op, opRow } from '../core/define.js';
import { type DType, dtypeInfo } from '../core/dtype.js';
import type { Layout } from '../core/layout.js';
import { type Call, elementwiseId, type Plan } from '../core/plan.js';
import { NO_PARAMS } from '../core/tape.js';

/** A value: one of the operands, a constant, or what an instruction made. `compute`: the id of the dtype it is held in. */
export interface Register {
  readonly kind: 'input' | 'scalar' | 'constant' | 'temp';
  readonly index: number;
  readonly compute: number;
}

export interface Instruction {
  readonly op: number;
  readonly compute: number;
  readonly operands: readonly Register[];
}

/** The dtype that elements of `dtype` are computed in, by id. */
export function computeId(dtype: DType): number {
  return dtypeInfo(dtypeInfo(dtype).compute).id;
}

let castId = -1;

/** Builds one. Operands are numbered in the order in which they are added. */
export class TileProgram {
  constants: number[] = [];
  code: Instruction[] = [];
  inputs: Register[] = [];
  scalars: Register[] = [];
  #constants: Register[] = [];

  /** The same program, to go on with by itself. */
  copy(): TileProgram {
    const other = new TileProgram();
    other.constants = this.constants.slice();
    other.code = this.code.slice();
    other.inputs = this.inputs.slice();
    other.scalars = this.scalars.slice();
    other.#constants = this.#constants.slice();
    return other;
  }

  input(dtype: DType | number): Register {
    return this.#operand('input', this.inputs, typeof dtype === 'number' ? dtype : computeId(dtype));
  }

  scalar(dtype: DType | number): Register {
    return this.#operand('scalar', this.scalars, typeof dtype === 'number' ? dtype : computeId(dtype));
  }

  constant(value: number, compute: number): Register {
    const known = this.#constants.find((r) => r.compute === compute && Object.is(this.constants[r.index], value));
    if (known) return known;
    this.constants.push(value);
    return this.#operand('constant', this.#constants, compute);
  }

  emit(op: number, compute: number, operands: readonly Register[]): Register {
    this.code.push({ op, compute, operands });
    return { kind: 'temp', index: this.code.length - 1, compute };
  }

  /** The same value, held in another dtype. */
  as(register: Register, compute: number): Register {
    if (register.compute === compute) return register;
    if (castId < 0) castId = opRow('cast')!.id;
    return this.emit(castId, compute, [register]);
  }

  encode(outputs: readonly Register[]): number[] {
    const { inputs, scalars, constants } = this;
    const first = { input: 0, scalar: inputs.length, constant: inputs.length + scalars.length, temp: 0 };
    first.temp = first.constant + constants.length;
    const at = (r: Register | undefined): number => (r === undefined ? -1 : first[r.kind] + r.index);
    const text = [...inputs, ...scalars, ...this.#constants].map((r) => r.compute);
    text.push(this.code.length);
    for (const { op, compute, operands } of this.code)
      text.push(op, compute, at(operands[0]), at(operands[1]), at(operands[2]));
    return [...text, ...outputs.map(at)];
  }

  #operand(kind: Register['kind'], list: Register[], compute: number): Register {
    const register: Register = { kind, index: list.length, compute };
    list.push(register);
    return register;
  }
}

/** A call's program again: registers are named by number (inputs, then scalars and constants, then instructions). */
export interface Decoded {
  /** The dtypes that inputs and then scalars are taken in. */
  readonly operands: readonly number[];
  readonly code: readonly { op: number; compute: number; operands: readonly number[] }[];
  readonly outputs: readonly number[];
}

export function decode(call: Call): Decoded {
  let known = decoded.get(call);
  if (known === undefined) {
    known = read(call);
    decoded.set(call, known);
  }
  return known;
}

const decoded = new WeakMap<Call, Decoded>();

function read({ inputs, nscalars, constants, params }: Call): Decoded {
  const given = inputs.length + nscalars + constants.length;
  const count = params[given]!;
  const first = given + 1;
  const code = Array.from({ length: count }, (_, i) => {
    const at = first + 5 * i;
    return {
      op: params[at]!,
      compute: params[at + 1]!,
      operands: params.slice(at + 2, at + 5).filter((r) => r >= 0),
    };
  });
  return { operands: params.slice(0, given), code, outputs: params.slice(first + 5 * count) };
}

export function isTile({ call }: Plan): boolean {
  return call !== null && call.op === elementwiseId();
}

/** Whether each element is read before the same element of a result is written. */
export function walksOnce({ call }: Plan): boolean {
  return call !== null && (call.op === elementwiseId() || call.op === opRow('elementwiseSum')!.id);
}

/** A plan that belongs to one program: no op's cache holds it. */
export function ownPlan(name: string, call: Call, layouts: readonly Layout[]): Plan {
  const op: Op = {
    name,
    kind: 'composite',
    row: null,
    many: true,
    infer: null as never,
    decompose: null,
    grad: null,
    encode: null,
    byUser: false,
    plans: new Map(),
  };
  return {
    op,
    params: NO_PARAMS,
    layouts,
    inputs: [...call.inputs, ...Array.from({ length: call.nscalars }, () => null)],
    mode: 'native',
    offset: 0,
    id: -1,
    constants: call.constants,
    small: false,
    integers: false,
    call,
    saves: new Map(),
  };
}
