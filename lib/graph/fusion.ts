/** Composite ops: the layouts of what a decomposition gives and, where it is elementwise throughout, one tile program for all of it. */
import type { Op, Operand, Params } from '../core/define.js';
import { elementwiseType, opRow } from '../core/define.js';
import { type DType, dtypeInfo } from '../core/dtype.js';
import { ArgumentError } from '../core/error.js';
import { expandedStrides, layoutOf, sameShape } from '../core/layout.js';
import { type Call, composites, elementwiseId } from '../core/plan.js';
import { abstract, isAbstract, Tensor } from '../core/tensor.js';
import { live, type TraceRecord, trace } from './tracer.js';

/** What the native interpreter takes in one program. */
const MAX_INSTRUCTIONS = 64;
const MAX_INPUTS = 16;
const MAX_SCALARS = 32;
const MAX_OUTPUTS = 6;

composites.trace = (op, inputs, params) => {
  const { stand, outputs, records } = traceDecomposition(op, inputs, params);
  const layouts = outputs.map((y) => y.layout);
  return { layouts, call: fuse(inputs, stand, records, outputs) };
};

/** Runs the decomposition on stand-ins; numbers become 0-d tensors of the first input's dtype, so that they stay operands. */
function traceDecomposition(op: Op, inputs: readonly Operand[], params: Params) {
  if (!op.decompose) throw new ArgumentError('has no decomposition', { op: op.name });
  const decompose = op.decompose;
  const first = inputs.find((x) => x instanceof Tensor) as Tensor | undefined;
  const stand = inputs.map((x) =>
    abstract(typeof x === 'number' ? layoutOf([], first?.dtype ?? 'f32', first?.device ?? 'cpu') : x.layout),
  );
  const { records, result } = trace(() => decompose(stand, params));
  const outputs = (Array.isArray(result) ? result : [result]) as Tensor[];
  for (const y of outputs) {
    if (!(y instanceof Tensor))
      throw new ArgumentError('decompose must give a tensor or an array of tensors', { op: op.name });
  }
  return { stand, outputs, records: live(records, outputs).reverse() };
}

/** Null where the records are not one elementwise program. */
function fuse(
  inputs: readonly Operand[],
  stand: readonly Tensor[],
  records: readonly TraceRecord[],
  outputs: readonly Tensor[],
): Call | null {
  const shape = outputs[0]!.shape;
  const device = outputs[0]!.device;
  if (records.length === 0 || records.length > MAX_INSTRUCTIONS || outputs.length > MAX_OUTPUTS) return null;
  if (!outputs.every((y) => sameShape(y.shape, shape) && y.layout.contiguous)) return null;
  const program = new Program();
  inputs.forEach((x, i) => {
    if (typeof x !== 'number') program.input(stand[i]!);
  });
  inputs.forEach((x, i) => {
    if (typeof x === 'number') program.scalar(stand[i]!);
  });
  for (const { plan, inputs: operands, outputs: results } of records) {
    const row = plan.op.row;
    if (plan.op.kind !== 'elementwise' || row === null) return null;
    // A tensor from outside the decomposition (a captured constant) is no operand that a program can name.
    if (operands.some((x) => x instanceof Tensor && (!isAbstract(x) || !program.knows(x)))) return null;
    if (!results[0]!.shape.every((n, d) => n === shape[d + shape.length - results[0]!.ndim])) return null;
    const { dtype } = results[0]!;
    // A program keeps compute precision between instructions: it cannot round to a storage type in the middle.
    if (row.name === 'copy' && !outputs.includes(results[0]!) && dtypeInfo(dtype).compute !== dtype) return null;
    if (row.name === 'copy' && dtype === 'bool')
      program.instruction(opRow('ne')!.id, (operands[0] as Tensor).dtype, [operands[0]!, 0], results[0]!);
    else
      program.instruction(row.id, elementwiseType(row, operands, row.name === 'where' ? 1 : 0), operands, results[0]!);
  }
  const tensors = inputs.filter((x) => x instanceof Tensor) as Tensor[];
  const call = program.encode(outputs);
  if (tensors.length > MAX_INPUTS || program.scalars + program.constants.length > MAX_SCALARS) return null;
  return {
    op: elementwiseId(),
    inputs: tensors.map((x) => layoutOf(shape, x.dtype, device, expandedStrides(x.layout, shape))),
    nscalars: program.scalars,
    params: call,
    constants: program.constants,
  };
}

type Register = { kind: 'input' | 'scalar' | 'constant' | 'temp'; index: number; compute: number };

/** Builds the description that native/ops.def documents for `elementwise`. */
class Program {
  readonly constants: number[] = [];
  scalars = 0;
  #inputs: Register[] = [];
  #scalars: Register[] = [];
  #constants: Register[] = [];
  #code: { op: number; compute: number; operands: Register[] }[] = [];
  #where = new Map<Tensor, Register>();
  #castId = -1;

  input(x: Tensor): void {
    const register: Register = { kind: 'input', index: this.#inputs.length, compute: computeId(x.dtype) };
    this.#inputs.push(register);
    this.#where.set(x, register);
  }

  scalar(x: Tensor): void {
    const register: Register = { kind: 'scalar', index: this.scalars++, compute: computeId(x.dtype) };
    this.#scalars.push(register);
    this.#where.set(x, register);
  }

  knows(x: Tensor): boolean {
    return this.#where.has(x);
  }

  instruction(op: number, work: DType, operands: readonly Operand[], result: Tensor): void {
    const compute = computeId(work);
    const registers = operands.map((x) =>
      this.#as(typeof x === 'number' ? this.#constant(x, compute) : this.#where.get(x)!, compute),
    );
    let register = this.#emit(op, compute, registers);
    const natural = computeId(result.dtype);
    if (natural !== compute && result.dtype !== 'bool') register = this.#as(register, natural);
    this.#where.set(result, register);
  }

  encode(outputs: readonly Tensor[]): number[] {
    const position = (r: Register): number => {
      if (r.kind === 'input') return r.index;
      if (r.kind === 'scalar') return this.#inputs.length + r.index;
      if (r.kind === 'constant') return this.#inputs.length + this.scalars + r.index;
      return this.#inputs.length + this.scalars + this.constants.length + r.index;
    };
    const text = [...this.#inputs, ...this.#scalars, ...this.#constants].map((r) => r.compute);
    text.push(this.#code.length);
    for (const { op, compute, operands } of this.#code) {
      const at = operands.map(position);
      text.push(op, compute, at[0] ?? -1, at[1] ?? -1, at[2] ?? -1);
    }
    return [...text, ...outputs.map((y) => position(this.#where.get(y)!))];
  }

  #emit(op: number, compute: number, operands: Register[]): Register {
    this.#code.push({ op, compute, operands });
    return { kind: 'temp', index: this.#code.length - 1, compute };
  }

  #constant(value: number, compute: number): Register {
    const known = this.#constants.find((r) => r.compute === compute && Object.is(this.constants[r.index], value));
    if (known) return known;
    const register: Register = { kind: 'constant', index: this.constants.length, compute };
    this.constants.push(value);
    this.#constants.push(register);
    return register;
  }

  #as(register: Register, compute: number): Register {
    if (register.compute === compute) return register;
    if (this.#castId < 0) this.#castId = opRow('cast')!.id;
    return this.#emit(this.#castId, compute, [register]);
  }
}

function computeId(dtype: DType): number {
  return dtypeInfo(dtypeInfo(dtype).compute).id;
}
