/** Scaled dot-product attention. */
import { asTensor, opMany } from '../core/define.js';
import { isFloat, isInteger, statisticsType } from '../core/dtype.js';
import { ArgumentError, checkOptions, describe, DTypeError, ShapeError } from '../core/error.js';
import { sameShape, type Shape, show, sizeOf } from '../core/layout.js';
import { isGradEnabled } from '../core/scope.js';
import type { Tensor } from '../core/tensor.js';
import { add, cast, div, eq, exp, gt, le, log, logicalAnd, lt, mul, sub, where } from './elementwise.js';
import { arange, full, zeros, zerosLike } from './free.js';
import { matmul } from './matmul.js';
import { dropout } from './random.js';
import { amax, sum } from './reduce.js';
import { expand, reshape, transpose, unsqueeze } from './view.js';

interface Params {
  scale: number;
  /** 0: every key; 1: query i sees keys up to i; 2: the same, counted from the last query and the last key. */
  causal: 0 | 1 | 2;
  hasMask: boolean;
  hasLengths: boolean;
}
/** q (B,H,T,D), k (B,G,S,D), v (B,G,S,E), mask (B,H,T,S) and lengths (B) where there are. */
type Inputs = readonly Tensor[];

const shapeOf = ([q, k]: Inputs) => [...q!.shape.slice(0, 3), k!.shape[2]!] as [number, number, number, number];
const encode = ({ scale, causal, hasMask, hasLengths }: Params) => [scale, causal, hasMask ? 1 : 0, hasLengths ? 1 : 0];

/** Keys or values (B,G,S,D) for each of the `heads` that share them: (B,H,S,D). */
function forHeads(x: Tensor, heads: number): Tensor {
  const [batch, groups, size, depth] = x.shape as [number, number, number, number];
  if (groups === heads) return x;
  return reshape(expand(unsqueeze(x, 2), [batch, groups, heads / groups, size, depth]), [batch, heads, size, depth]);
}
/** The sum over the heads that share keys. */
function ofGroups(x: Tensor, groups: number): Tensor {
  const [batch, heads, size, depth] = x.shape as [number, number, number, number];
  return groups === heads ? x : sum(reshape(x, [batch, groups, heads / groups, size, depth]), 2);
}

/** Which keys each query sees, broadcast to (B,H,T,S); null: all. */
function visible(inputs: Inputs, { causal, hasMask, hasLengths }: Params): Tensor | null {
  const [, , queries, keys] = shapeOf(inputs);
  const { device } = inputs[0]!;
  const key = arange(0, keys, { dtype: 'i32', device });
  const length = hasLengths ? reshape(inputs[hasMask ? 4 : 3]!, [-1, 1, 1, 1]) : null;
  let seen: Tensor | null = length && lt(key, length);
  const mask = hasMask ? inputs[3]! : null;
  if (mask?.dtype === 'bool') seen = seen ? logicalAnd(seen, mask) : mask;
  if (causal === 0) return seen;
  const query = unsqueeze(arange(0, queries, { dtype: 'i32', device }), 1);
  const last =
    causal === 1 ? query : add(query, length ? sub(cast(clampLength(length, keys), 'i32'), queries) : keys - queries);
  const before = le(key, last);
  return seen ? logicalAnd(seen, before) : before;
}
const clampLength = (length: Tensor, keys: number) => where(gt(length, keys), keys, where(lt(length, 0), 0, length));

/** All probabilities (B,H,T,S), zeros in the row of a query that sees nothing, and the logarithm of the sums below them (B,H,T,1). */
function probabilities(inputs: Inputs, params: Params): { p: Tensor; lse: Tensor } {
  const [q, k] = inputs as [Tensor, Tensor];
  const wide = statisticsType(q.dtype);
  const keys = cast(forHeads(k, q.shape[1]!), wide);
  let scores = mul(matmul(cast(q, wide), transpose(keys, -2, -1)), params.scale);
  if (params.hasMask && inputs[3]!.dtype !== 'bool') scores = add(scores, cast(inputs[3]!, wide));
  const seen = visible(inputs, params);
  if (seen) scores = where(seen, scores, Number.NEGATIVE_INFINITY);
  const peak = amax(scores, -1, { keepDim: true });
  const shift = where(eq(peak, Number.NEGATIVE_INFINITY), 0, peak);
  const e = exp(sub(scores, shift));
  const total = sum(e, -1, { keepDim: true });
  return { p: div(e, where(eq(total, 0), 1, total)), lse: add(log(total), shift) };
}

/** Attention with all scores in memory, and lse. `dropped`: what befalls the probabilities before they meet the values. */
function plainly(inputs: Inputs, params: Params, dropped = (p: Tensor): Tensor => p): [Tensor, Tensor] {
  const [q, , v] = inputs as [Tensor, Tensor, Tensor];
  const { dtype, device } = q;
  const rows = q.shape.slice(0, 3);
  const wide = statisticsType(dtype);
  if (shapeOf(inputs).includes(0))
    return [
      zeros([...rows, v.shape[3]!], { dtype, device }),
      full(rows, Number.NEGATIVE_INFINITY, { dtype: wide, device }),
    ];
  const { p, lse } = probabilities(inputs, params);
  return [cast(matmul(dropped(p), cast(forHeads(v, q.shape[1]!), wide)), dtype), reshape(lse, rows)];
}

/** A dense tensor whose heads lie inside its rows where x's do, so that joining them again is a view. */
function inOrderOf(x: Tensor, width: number) {
  const [batch, heads, rows] = x.shape as [number, number, number];
  const { dtype } = x;
  const shape = [batch, heads, rows, width];
  if (x.strides[1]! >= x.strides[2]!) return { shape, dtype };
  return { shape, dtype, strides: [rows * heads * width, width, heads * width, 1] };
}

const attentionKernel = opMany('attention', {
  args: (inputs: Inputs, params: Params) => ({ inputs, params }),
  infer: ([q, , v]) => [inOrderOf(q!, v!.shape[3]!), { shape: q!.shape.slice(0, 3), dtype: statisticsType(q!.dtype) }],
  encode,
  decompose: plainly,
  grad: (g, inputs, [y, lse], params) => {
    let all: Tensor[] | null = null;
    const part = (i: number) => () => {
      all ??= attentionGrad([g[0]!, y!, lse!, ...inputs], params);
      return all[i]!;
    };
    return [part(0), part(1), part(2), ...inputs.slice(3).map(() => null)];
  },
});
// Without a gradient rule of its own: a second derivative goes through the decomposition, which takes y and lse from q, k and v again.
const attentionGrad = opMany('attentionGrad', {
  args: (inputs: Inputs, params: Params) => ({ inputs, params }),
  infer: ([, , , q, k, v]) => [q!, k!, v!].map((x) => inOrderOf(x, x.shape[3]!)),
  encode,
  decompose: ([g, , , ...inputs], params) => {
    const [q, k, v] = inputs as [Tensor, Tensor, Tensor];
    if (shapeOf(inputs).includes(0)) return [q, k, v].map((x) => zerosLike(x));
    const wide = statisticsType(q.dtype);
    const [heads, groups] = [q.shape[1]!, k.shape[1]!];
    const dy = cast(g!, wide);
    const values = cast(forHeads(v, heads), wide);
    const { p } = probabilities(inputs, params);
    const share = sum(mul(dy, matmul(p, values)), -1, { keepDim: true });
    const ds = mul(mul(p, sub(matmul(dy, transpose(values, -2, -1)), share)), params.scale);
    return [
      cast(matmul(ds, cast(forHeads(k, heads), wide)), q.dtype),
      cast(ofGroups(matmul(transpose(ds, -2, -1), cast(q, wide)), groups), k.dtype),
      cast(ofGroups(matmul(transpose(p, -2, -1), dy), groups), v.dtype),
    ];
  },
});

export interface AttentionOptions {
  /** What each query sees, broadcast to (…,H,T,S): bool (true is seen) or floats, which are added to the scores. */
  mask?: Tensor;
  /** true: query i sees keys up to i, as PyTorch's is_causal; 'last': the last query sees the last key (decoding with a cache). */
  causal?: boolean | 'last';
  /** What scores are multiplied by: 1 / sqrt(D) unless said. */
  scale?: number;
  /** Which share of the probabilities is dropped, the others scaled up. All scores are in memory then. */
  dropout?: number;
  /** How many keys each sequence has: integers, in the shape of the dims before the heads. Those beyond are not seen. */
  lengths?: Tensor;
}

/**
 * softmax(q k^T * scale) v, never with all scores in memory: q (…,H,T,D), k (…,G,S,D), v (…,G,S,E) -> (…,H,T,E). G divides H: heads in
 * groups share keys and values. A query that sees nothing gives zeros. (torch.nn.functional.scaled_dot_product_attention; Dao et al.
 * 2022, arXiv:2205.14135; grouped queries: arXiv:2305.13245)
 * @throws ShapeError when sizes do not fit; DTypeError when the operands are not floats of one dtype
 */
export function scaledDotProductAttention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const name = 'scaledDotProductAttention';
  for (const x of [q, k, v]) asTensor(x, name);
  checkOptions(options, name);
  const { causal = false, scale = 1 / Math.sqrt(q.shape.at(-1) || 1), dropout: share = 0 } = options;
  checkOperands(q, k, v, name);
  if (typeof causal !== 'boolean' && causal !== 'last')
    throw new ArgumentError(`causal is true, false or 'last', got ${describe(causal)}`, { op: name });
  if (typeof scale !== 'number' || Number.isNaN(scale))
    throw new ArgumentError(`scale is a number, got ${describe(scale)}`, { op: name });
  if (typeof share !== 'number' || !(share >= 0 && share < 1))
    throw new ArgumentError(`dropout is a share from 0 to below 1, got ${describe(share)}`, { op: name });

  const lead = q.shape.slice(0, -3);
  const fourDims = (x: Tensor) =>
    x.ndim === 4 ? x : reshape(x, [sizeOf(lead), ...(x.ndim === 2 ? [1] : []), ...x.shape.slice(-3)]);
  const [queries, keys] = [q.shape.at(-2)!, k.shape.at(-2)!];
  const mask = options.mask ? maskOf(options.mask, [...q.shape.slice(0, -2), queries, keys], lead, name) : null;
  const lengths = options.lengths ? lengthsOf(options.lengths, lead, name) : null;
  const params: Params = {
    scale,
    causal: causal === 'last' ? 2 : causal ? 1 : 0,
    hasMask: mask !== null,
    hasLengths: lengths !== null,
  };
  const inputs = [fourDims(q), fourDims(k), fourDims(v), ...(mask ? [mask] : []), ...(lengths ? [lengths] : [])];
  // What needs all scores anyway: their gradient (the mask's), and dropping some.
  const whole = share > 0 || (mask?.requiresGrad && isGradEnabled());
  const y = whole ? plainly(inputs, params, (p) => dropout(p, share))[0] : attentionKernel(inputs, params)[0]!;
  return q.ndim === 4 ? y : reshape(y, [...q.shape.slice(0, -1), v.shape.at(-1)!]);
}

function checkOperands(q: Tensor, k: Tensor, v: Tensor, name: string): void {
  const shapes = `${show(q.shape)}, ${show(k.shape)}, ${show(v.shape)}`;
  const fail = (what: string): never => {
    throw new ShapeError(`${what}: got ${shapes}`, { op: name });
  };
  if (!isFloat(q.dtype) || k.dtype !== q.dtype || v.dtype !== q.dtype)
    throw new DTypeError(`needs floats of one dtype, got ${q.dtype}, ${k.dtype}, ${v.dtype}`, { op: name });
  if (q.ndim < 2 || k.ndim !== q.ndim || v.ndim !== q.ndim) fail('needs (…,H,T,D), (…,G,S,D), (…,G,S,E)');
  if (q.shape.at(-1) !== k.shape.at(-1)) fail('queries and keys differ in their last dim');
  if (k.shape.at(-2) !== v.shape.at(-2)) fail('there are not as many keys as values');
  if (!sameShape(k.shape.slice(0, -2), v.shape.slice(0, -2))) fail('keys and values differ in the dims before');
  if (!sameShape(q.shape.slice(0, -3), k.shape.slice(0, -3)))
    fail('queries and keys differ in the dims before the heads');
  const [heads, groups] = [q.shape.at(-3) ?? 1, k.shape.at(-3) ?? 1];
  if (heads !== groups && (groups === 0 || heads % groups !== 0))
    fail(`${heads} heads of queries cannot share ${groups} of keys`);
}

/** The mask as (B,H,T,S), by views. */
function maskOf(mask: Tensor, shape: Shape, lead: Shape, name: string): Tensor {
  asTensor(mask, name);
  if (mask.dtype !== 'bool' && !isFloat(mask.dtype))
    throw new DTypeError(`a mask is bool (true is seen) or floats to add, got ${mask.dtype}`, { op: name });
  const fits =
    mask.ndim <= shape.length && mask.shape.every((n, d) => n === 1 || n === shape[shape.length - mask.ndim + d]);
  if (!fits) throw new ShapeError(`a mask of ${show(mask.shape)} does not broadcast to ${show(shape)}`, { op: name });
  const whole = expand(mask, shape);
  return shape.length === 4
    ? whole
    : reshape(whole, [sizeOf(lead), ...(shape.length === 2 ? [1] : []), ...shape.slice(-3)]);
}

/** The lengths as (B) i32. */
function lengthsOf(lengths: Tensor, lead: Shape, name: string): Tensor {
  asTensor(lengths, name);
  if (!isInteger(lengths.dtype)) throw new DTypeError(`lengths are integers, got ${lengths.dtype}`, { op: name });
  if (!sameShape(lengths.shape, lead))
    throw new ShapeError(`lengths of ${show(lengths.shape)} do not fit sequences of ${show(lead)}`, { op: name });
  return reshape(cast(lengths, 'i32'), [sizeOf(lead)]);
}
