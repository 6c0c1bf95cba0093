/** Composite ops: the layouts of what a decomposition gives and, where it is elementwise throughout, one tile program for all of it. */
import type { Op, Operand, Params } from '../core/define.js';
import { elementwiseType, opRow } from '../core/define.js';
import { dtypeInfo } from '../core/dtype.js';
import { ArgumentError } from '../core/error.js';
import { expandedStrides, layoutOf, sameShape } from '../core/layout.js';
import { type Call, composites, elementwiseId } from '../core/plan.js';
import { abstract, isAbstract, Tensor } from '../core/tensor.js';
import { computeId, type Register, TileProgram } from './tile.js';
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
  const program = new TileProgram();
  const where = new Map<Tensor, Register>();
  inputs.forEach((x, i) => {
    const { dtype } = stand[i]!;
    where.set(stand[i]!, typeof x === 'number' ? program.scalar(dtype) : program.input(dtype));
  });
  for (const { plan, inputs: operands, outputs: results } of records) {
    const row = plan.op.row;
    if (plan.op.kind !== 'elementwise' || row === null) return null;
    // A tensor from outside the decomposition (a captured constant) is no operand that a program can name.
    if (operands.some((x) => x instanceof Tensor && (!isAbstract(x) || !where.has(x)))) return null;
    if (!results[0]!.shape.every((n, d) => n === shape[d + shape.length - results[0]!.ndim])) return null;
    const { dtype } = results[0]!;
    // A program keeps compute precision between instructions: it cannot round to a storage type in the middle.
    if (row.name === 'copy' && !outputs.includes(results[0]!) && dtypeInfo(dtype).compute !== dtype) return null;
    const truth = row.name === 'copy' && dtype === 'bool';
    const work = truth ? (operands[0] as Tensor).dtype : elementwiseType(row, operands, row.name === 'where' ? 1 : 0);
    const compute = computeId(work);
    const given = (truth ? [operands[0]!, 0] : operands).map((x) =>
      typeof x === 'number' ? program.constant(x, compute) : program.as(where.get(x)!, compute),
    );
    const made = program.emit(truth ? opRow('ne')!.id : row.id, compute, given);
    where.set(results[0]!, dtype === 'bool' ? made : program.as(made, computeId(dtype)));
  }
  const tensors = inputs.filter((x) => x instanceof Tensor) as Tensor[];
  const { constants } = program;
  const nscalars = inputs.length - tensors.length;
  if (tensors.length > MAX_INPUTS || nscalars + constants.length > MAX_SCALARS) return null;
  return {
    op: elementwiseId(),
    inputs: tensors.map((x) => layoutOf(shape, x.dtype, device, expandedStrides(x.layout, shape))),
    nscalars,
    params: program.encode(outputs.map((y) => where.get(y)!)),
    constants,
  };
}
