/**
 * Batching rules: what each op does when its operands have a batch dim in front. A rule runs in the trace around vmap(), by ops that
 * are recorded there, and answers results with the batch dim in front; null: not in this case.
 */
import { apply, applyAll, applyInto } from '../core/apply.js';
import { lookup, type Op, type Operand, type Params, resultType } from '../core/define.js';
import { sizeOf } from '../core/layout.js';
import type { Plan } from '../core/plan.js';
import type { Tensor } from '../core/tensor.js';
import { add, cast, contiguous, mul } from '../ops/elementwise.js';
import { cat, zeros } from '../ops/free.js';
import { gather } from '../ops/index.js';
import { expand, movedim, reshape, slice, unsqueeze } from '../ops/view.js';

/** A call inside vmap(), seen from the trace around it. */
export interface Call {
  readonly op: Op;
  readonly plan: Plan;
  // biome-ignore lint/suspicious/noExplicitAny: each rule knows the parameters of its op
  readonly params: any;
  /** Operands; those that are `batched` have the batch dim in front. */
  readonly inputs: readonly Operand[];
  readonly batched: readonly boolean[];
  /** How many examples. */
  readonly size: number;
  /** Where to write, batch dim in front; null: into new memory. A rule may leave it to the caller. */
  readonly into: readonly Tensor[] | null;
}
type Rule = (call: Call) => readonly Tensor[] | null;

/** The op of the call, on other operands. */
export function run({ op, params }: Call, inputs: readonly Operand[], changed: Params = params): Tensor[] {
  return op.many ? applyAll(op, inputs, changed) : [apply(op, inputs, changed)];
}

/** Operand i with a batch dim: repeated, by stride 0, where it has none. */
function full({ inputs, batched, size }: Call, i: number): Tensor {
  const x = inputs[i] as Tensor;
  return batched[i] ? x : expand(unsqueeze(x, 0), [size, ...x.shape]);
}
const fullAll = (call: Call): Tensor[] => call.inputs.map((_, i) => full(call, i));

/** (B,…) with ones behind the batch dim, so that an example has `ndim` dims. */
function align(x: Tensor, ndim: number): Tensor {
  const more = ndim + 1 - x.ndim;
  return more <= 0 ? x : reshape(x, [x.shape[0]!, ...new Array<number>(more).fill(1), ...x.shape.slice(1)]);
}

// ---- elementwise

/** Operands broadcast behind the batch dim. An example of no dims is weak beside others: its dtype is settled before it gets one. */
const elementwise: Rule = (call) => {
  const { op, plan, inputs, batched, into } = call;
  const ndim = Math.max(...plan.layouts.map((y) => y.ndim));
  let given = inputs.map((x, i) => (batched[i] ? align(x as Tensor, ndim) : x));
  if (op.name !== 'cast') {
    const skip = op.name === 'where' ? 1 : 0;
    const example = resultType(plan.inputs.map((x, i) => x ?? (inputs[i] as number)).slice(skip) as Operand[]);
    if (resultType(given.slice(skip)) !== example)
      given = given.map((x, i) => (i < skip || typeof x === 'number' || x.dtype === example ? x : cast(x, example)));
  }
  const params = 'shape' in call.params ? { ...call.params, shape: [call.size, ...call.params.shape] } : call.params;
  return into ? applyInto(op, given, params, into) : run(call, given, params);
};

// ---- ops along dims: the batch dim is one more in front

const alongDims: Rule = (call) =>
  run(call, fullAll(call), { ...call.params, dims: call.params.dims.map((d: number) => d + 1) });
const alongDim: Rule = (call) => run(call, fullAll(call), { ...call.params, dim: call.params.dim + 1 });

// ---- views: an example's strides are those behind the batch dim

const views: Record<string, Rule> = {
  reshape: (call) => {
    const x = call.inputs[0] as Tensor;
    const { shape, strides } = call.params;
    return run(call, [x], { shape: [call.size, ...shape], strides: [x.strides[0]!, ...strides] });
  },
  permute: (call) => run(call, call.inputs, { dims: [0, ...call.params.dims.map((d: number) => d + 1)] }),
  expand: (call) => {
    const { shape } = call.params;
    return run(call, [align(call.inputs[0] as Tensor, shape.length)], { shape: [call.size, ...shape] });
  },
  slice: alongDim,
  asStrided: (call) => {
    const x = contiguous(call.inputs[0] as Tensor);
    const { shape, strides, offset } = call.params;
    return run(call, [x], { shape: [call.size, ...shape], strides: [x.size / call.size, ...strides], offset });
  },
};

// ---- the batch folded into another dim

/** (B,N,…) as (B*N,…). */
const fold = (x: Tensor): Tensor => reshape(x, [x.shape[0]! * x.shape[1]!, ...x.shape.slice(2)]);
/** (B*N,…) as (B,N,…). */
const unfold = (x: Tensor, size: number): Tensor => reshape(x, [size, x.shape[0]! / size, ...x.shape.slice(1)]);
/** (B,N,C,…) as (N,B*C,…). */
function foldChannels(x: Tensor): Tensor {
  const [size, n, c] = x.shape as [number, number, number];
  return reshape(movedim(x, 0, 1), [n, size * c, ...x.shape.slice(3)]);
}
/** (N,B*C,…) as (B,N,C,…). */
function unfoldChannels(x: Tensor, size: number): Tensor {
  return movedim(reshape(x, [x.shape[0]!, size, x.shape[1]! / size, ...x.shape.slice(2)]), 1, 0);
}

/** Every operand and result has images, or rows, in its first dim: those of all examples are one batch. */
const foldFirst: Rule = (call) => {
  if (call.size === 0) return null;
  const { shape } = call.params;
  const params =
    shape === undefined ? call.params : { ...call.params, shape: [shape[0] * call.size, ...shape.slice(1)] };
  return run(call, fullAll(call).map(fold), params).map((y) => unfold(y, call.size));
};

const conv2d: Rule = (call) => {
  const { inputs, batched, params, size } = call;
  const [x, w, bias] = inputs as Tensor[];
  if (size === 0) return null;
  if (!batched[1]) {
    const first = bias !== undefined && !batched[2] ? [bias] : [];
    const y = batched[0] ? unfold(run(call, [fold(x!), w!, ...first])[0]!, size) : run(call, [x!, w!])[0]!;
    return [batched[2] ? add(y, reshape(bias!, [size, 1, -1, 1, 1])) : y];
  }
  // Filters of all examples side by side; on images of their own they are groups.
  const filters = [fold(w!), ...(bias === undefined ? [] : [fold(full(call, 2))])];
  const shared = !batched[0] && params.groups === 1;
  const y = shared
    ? run(call, [x!, ...filters])
    : run(call, [foldChannels(full(call, 0)), ...filters], { ...params, groups: params.groups * size });
  return [unfoldChannels(y[0]!, size)];
};

const conv2dGradInput: Rule = (call) => {
  const { inputs, batched, params, size } = call;
  const [n, c, ...image] = params.shape;
  if (size === 0) return null;
  if (!batched[1]) {
    const y = run(call, [fold(full(call, 0)), inputs[1]!], { ...params, shape: [n * size, c, ...image] });
    return [unfold(y[0]!, size)];
  }
  const folded = { ...params, groups: params.groups * size, shape: [n, c * size, ...image] };
  return [unfoldChannels(run(call, [foldChannels(full(call, 0)), fold(inputs[1] as Tensor)], folded)[0]!, size)];
};

const conv2dGradWeight: Rule = (call) => {
  const { params, size } = call;
  if (size === 0) return null;
  const [out, ...rest] = params.shape;
  const folded = { ...params, groups: params.groups * size, shape: [out * size, ...rest] };
  return [unfold(run(call, fullAll(call).map(foldChannels), folded)[0]!, size)];
};

// ---- matrix products

const matmul: Rule = (call) => {
  const { inputs, batched, size } = call;
  const [a, b] = inputs as Tensor[];
  // Rows of all examples by one matrix are one product, when they lie one after the other.
  const oneMatrix = batched[0] && !batched[1] && a!.ndim === 3;
  if (!oneMatrix || (a!.shape[1] !== 1 && a!.strides[0] !== a!.shape[1]! * a!.strides[1]!) || size === 0)
    return run(call, fullAll(call));
  const c = inputs.length > 2 ? [fold(full(call, 2))] : [];
  return [unfold(run(call, [fold(a!), b!, ...c])[0]!, size)];
};

// ---- normalisation and losses

const layerNorm: Rule = (call) => {
  const { params, size, inputs, batched } = call;
  const { hasWeight, hasBias } = params;
  const x = full(call, 0);
  if (size === 0) return null;
  const rows = (stats: Tensor[]) => stats.map((s) => unfold(s, size));
  if (!batched[1] && !batched[2]) {
    const [y, ...stats] = run(call, [x, ...inputs.slice(1)]);
    return [y!, ...rows(stats)];
  }
  const [normal, ...stats] = run(call, [x], { ...params, hasWeight: false, hasBias: false });
  const scales = inputs.slice(1).map((t, i) => (batched[1 + i] ? align(t as Tensor, x.ndim - 1) : (t as Tensor)));
  let y = normal!;
  if (hasWeight) y = mul(y, scales[0]!);
  if (hasBias) y = add(y, scales[hasWeight ? 1 : 0]!);
  return [y, ...rows(stats)];
};

/** (x or g, weights and statistics of (C)): channels of all examples side by side. */
const batchNorm: Rule = (call) => {
  const { size } = call;
  if (size === 0) return null;
  const given = fullAll(call).map((x) => (x.ndim > 2 ? foldChannels(x) : fold(x)));
  return run(call, given).map((y) => (y.ndim > 1 ? unfoldChannels(y, size) : unfold(y, size)));
};

/** Logits (N,C), targets and what else stands for a row (N); class weights, last, are the same for all examples. */
const crossEntropy =
  (weight: number): Rule =>
  (call) => {
    if (call.size === 0 || call.batched[weight]) return null;
    const given = call.inputs.map((x, i) => (i === weight ? x : fold(full(call, i))));
    return run(call, given).map((y) => unfold(y, call.size));
  };

// ---- indices

const indexSelect: Rule = (call) => {
  const { inputs, batched, params, size } = call;
  const [x, index] = inputs as Tensor[];
  const dim = params.dim as number;
  if (!batched[1]) return run(call, [x!, index!], { dim: dim + 1 });
  if (batched[0]) return [gather(x!, dim + 1, alongSlices(index!, x!, dim + 1))];
  const [y] = run(call, [x!, fold(index!)]);
  return [
    movedim(reshape(y!, [...x!.shape.slice(0, dim), size, index!.shape[1]!, ...x!.shape.slice(dim + 1)]), dim, 0),
  ];
};
/** An index (B,K) into `dim`, repeated over the other dims of x. */
function alongSlices(index: Tensor, x: Tensor, dim: number): Tensor {
  const [size, count] = index.shape as [number, number];
  const column = x.shape.map((_, d) => (d === 0 ? size : d === dim ? count : 1));
  return expand(
    reshape(index, column),
    x.shape.map((n, d) => (d === dim ? count : n)),
  );
}
const indexAdd: Rule = (call) => {
  const [x, index, src] = [full(call, 0), call.inputs[1] as Tensor, full(call, 2)];
  const params = { ...call.params, dim: (call.params.dim as number) + 1 };
  if (!call.batched[1]) return run(call, [x, index, src], params);
  return [apply(lookup('scatterAdd'), [x, alongSlices(index, src, params.dim), src], params)];
};

// ---- attention: examples are more sequences

const attention: Rule = (call) => {
  const { size } = call;
  if (size === 0) return null;
  const flat = fullAll(call).map((x) => reshape(x, [x.shape[0]! * x.shape[1]!, ...x.shape.slice(2)]));
  return run(call, flat).map((y) => reshape(y, [size, y.shape[0]! / size, ...y.shape.slice(1)]));
};

// ---- lstm: examples are more rows of the batch; or layers of their own, step by step, where the weight differs

const lstm: Rule = (call) => {
  const { op, size, params, batched } = call;
  if (size === 0) return null;
  const sequences = op.name === 'lstm' ? 1 : 5; // they come first, (T,B,F)
  const timed = fullAll(call).map((x, i) => (i < sequences ? movedim(x, 0, 1) : x)); // (T,S,B,F), (S,…)
  const outputs = (y: Tensor, i: number) => (op.name === 'lstm' || i === 0 ? movedim(y, 1, 0) : y);
  if (batched[sequences]) return (op.decompose!(timed, params) as Tensor[]).map(outputs);
  const batch = timed[0]!.shape[2]!;
  const joined = timed.map((x, i) => {
    if (i === sequences) return call.inputs[i] as Tensor;
    return i < sequences
      ? reshape(x, [x.shape[0]!, size * batch, x.shape[3]!])
      : reshape(x, [size * batch, x.shape[2]!]);
  });
  return run(call, joined).map((y, i) =>
    outputs(reshape(y, [...y.shape.slice(0, -2), size, batch, y.shape.at(-1)!]), i),
  );
};

// ---- random numbers: an example draws from the counters behind those of the one before it, 4 numbers a counter

const padded = (n: number): number => Math.ceil(n / 4) * 4;

const random: Rule = (call) => {
  const { params, size } = call;
  const n = sizeOf(params.shape);
  const [rows] = run(call, call.inputs, { ...params, shape: [size, padded(n)] });
  return [reshape(slice(rows!, 1, 0, n), [size, ...params.shape])];
};
const dropout: Rule = (call) => {
  const x = full(call, 0);
  const n = sizeOf(x.shape.slice(1));
  const rows = reshape(x, [call.size, n]);
  const { dtype, device } = x;
  const wide = n === padded(n) ? rows : cat([rows, zeros([call.size, padded(n) - n], { dtype, device })], 1);
  return [reshape(slice(run(call, [wide, ...call.inputs.slice(1)])[0]!, 1, 0, n), x.shape)];
};

// ---- the table

const each = (rule: Rule, ...names: string[]) => Object.fromEntries(names.map((name) => [name, rule]));

const rules: Record<string, Rule> = {
  ...views,
  ...each(alongDims, 'sum', 'sumSquares', 'mean', 'prod', 'amax', 'amin', 'variance'),
  ...each(alongDim, 'argmax', 'argmin', 'cumsum', 'cumprod', 'sort', 'topk', 'cat', 'gather', 'scatter', 'scatterAdd'),
  ...each(alongDim, 'softmax', 'softmaxGrad', 'logSoftmax', 'logSoftmaxGrad'),
  ...each(foldFirst, 'maxPool2d', 'maxPool2dGrad', 'avgPool2d', 'avgPool2dGrad'),
  ...each(foldFirst, 'adaptiveAvgPool2d', 'adaptiveAvgPool2dGrad'),
  ...each(batchNorm, 'batchNorm', 'batchNormGrad'),
  ...each(matmul, 'matmul', 'matmulInteger'),
  conv2d,
  conv2dGradInput,
  conv2dGradWeight,
  layerNorm,
  ...each(attention, 'attention', 'attentionGrad'),
  ...each(lstm, 'lstm', 'lstmGrad'),
  crossEntropy: crossEntropy(2),
  crossEntropyGrad: crossEntropy(4),
  indexSelect,
  indexAdd,
  random,
  dropout,
};

/** Ops that give each example numbers of its own, whatever they are given. */
export function drawsNumbers({ name, byUser }: Op): boolean {
  return !byUser && (name === 'random' || name === 'dropout');
}

/** The rule of an op. A composite of ours that became one elementwise kernel is elementwise. */
export function ruleOf({ op, call }: Plan): Rule | null {
  if (op.byUser) return null;
  if (op.kind === 'elementwise' || (op.kind === 'composite' && call !== null)) return elementwise;
  return rules[op.name] ?? null;
}
