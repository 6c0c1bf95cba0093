/** Matrix products. */
import { asTensor, op } from '../core/define.js';
import { promoteTypes } from '../core/dtype.js';
import { DTypeError, ShapeError } from '../core/error.js';
import { broadcastTwo, show } from '../core/layout.js';
import { handOver, type Tensor } from '../core/tensor.js';
import { cast } from './elementwise.js';
import { expand, reshape, squeeze, transpose, unsqueeze } from './view.js';

// a (...,M,K) @ b (...,K,N), batch dims equal; optionally + c of the output's shape (usually an expanded bias).
// The gradient of an operand that lies transposed lies transposed too, so that nobody need copy it to walk both.
const product: (a: Tensor, b: Tensor, c?: Tensor) => Tensor = op('matmul', {
  args: (a: Tensor, b: Tensor, c?: Tensor) => ({ inputs: (c ? [a, b, c] : [a, b]) as readonly Tensor[] }),
  infer: ([a, b]) => ({ shape: [...a!.shape.slice(0, -1), b!.shape[b!.ndim - 1]!], dtype: a!.dtype }),
  grad: (g, [a, b]) => [
    () => (isTransposed(a!) ? transpose(product(b!, transpose(g))) : product(g, transpose(b!))),
    () => (isTransposed(b!) ? transpose(product(transpose(g), a!)) : product(transpose(a!), g)),
    g,
  ],
});

function isTransposed({ ndim, strides }: Tensor): boolean {
  return strides[ndim - 2] === 1 && strides[ndim - 1] !== 1;
}

function same(a: Tensor, b: Tensor, name: string): [Tensor, Tensor] {
  asTensor(a, name);
  asTensor(b, name);
  const dtype = promoteTypes(a.dtype, b.dtype);
  if (dtype === 'bool') throw new DTypeError('bool matrices do not multiply: convert with .to()', { op: name });
  return [a.dtype === dtype ? a : cast(a, dtype), b.dtype === dtype ? b : cast(b, dtype)];
}

// Batch dims broadcast, a 1-d operand as a row or a column; `one` multiplies (...,M,K) and (...,K,N) of equal batch dims.
function multiply(a: Tensor, b: Tensor, name: string, one: (a: Tensor, b: Tensor) => Tensor): Tensor {
  const shapes = `${show(a.shape)} x ${show(b.shape)}`;
  if (a.ndim === 0 || b.ndim === 0) throw new ShapeError(`0-d tensors have no matrix product: ${shapes}`, { op: name });
  if (a.shape[a.ndim - 1] !== b.shape[Math.max(b.ndim - 2, 0)])
    throw new ShapeError(`inner sizes differ: ${shapes}`, { op: name });
  if (a.ndim === 1) return squeeze(multiply(unsqueeze(a, 0), b, name, one), b.ndim === 1 ? 0 : -2);
  if (b.ndim === 1) return squeeze(multiply(a, unsqueeze(b, 1), name, one), -1);
  if (a.ndim === 2 && b.ndim === 2) return one(a, b);
  // One matrix on the right: all rows on the left are one matrix.
  if (b.ndim === 2) {
    const y = one(reshape(a, [-1, a.shape[a.ndim - 1]!]), b);
    return handOver(y, reshape(y, [...a.shape.slice(0, -1), b.shape[1]!]));
  }
  const batch = broadcastTwo(a.shape.slice(0, -2), b.shape.slice(0, -2));
  if (!batch) throw new ShapeError(`batch dims do not broadcast: ${shapes}`, { op: name });
  return one(expand(a, [...batch, ...a.shape.slice(-2)]), expand(b, [...batch, ...b.shape.slice(-2)]));
}

/**
 * The matrix product of the last two dims, batch dims broadcast: (…,M,K) x (…,K,N) -> (…,M,N). A 1-d operand is a row on the left,
 * a column on the right, and its dim disappears. (torch.matmul)
 * @throws ShapeError when inner sizes or batch dims do not fit
 */
export function matmul(x: Tensor, y: Tensor): Tensor {
  const [a, b] = same(x, y, 'matmul');
  return multiply(a, b, 'matmul', product);
}

const integerProduct: (a: Tensor, b: Tensor) => Tensor = op('matmulInteger', {
  args: (a: Tensor, b: Tensor) => ({ inputs: [a, b] as readonly Tensor[] }),
  infer: ([a, b]) => ({ shape: [...a!.shape.slice(0, -1), b!.shape[b!.ndim - 1]!], dtype: 'i32' }),
  decompose: ([a, b]) => product(cast(a!, 'i32'), cast(b!, 'i32')),
  grad: null,
});

/**
 * The matrix product of bytes, i8 or u8 each, in i32: (…,M,K) x (…,K,N) -> (…,M,N), shapes as in matmul. Exact; sums beyond i32 wrap.
 * (torch._int_mm; ONNX's MatMulInteger without zero points)
 * @throws DTypeError for other dtypes, ShapeError when inner sizes or batch dims do not fit
 */
export function matmulInteger(x: Tensor, y: Tensor): Tensor {
  for (const one of [x, y]) {
    asTensor(one, 'matmulInteger');
    if (one.dtype !== 'i8' && one.dtype !== 'u8') {
      throw new DTypeError(`multiplies i8 and u8, got ${one.dtype}: quantize with .to(), or use matmul`, {
        op: 'matmulInteger',
      });
    }
  }
  return multiply(x, y, 'matmulInteger', integerProduct);
}

/** The matrix product of two batches: (B,M,K) x (B,K,N) -> (B,M,N). (torch.bmm) */
export function bmm(x: Tensor, y: Tensor): Tensor {
  asTensor(x, 'bmm');
  asTensor(y, 'bmm');
  if (x.ndim !== 3 || y.ndim !== 3 || x.shape[0] !== y.shape[0]) {
    throw new ShapeError(`needs (B,M,K) and (B,K,N), got ${show(x.shape)} x ${show(y.shape)}`, { op: 'bmm' });
  }
  return matmul(x, y);
}

/** The sum of products of two 1-d tensors. (torch.dot) */
export function dot(x: Tensor, y: Tensor): Tensor {
  asTensor(x, 'dot');
  asTensor(y, 'dot');
  if (x.ndim !== 1 || y.ndim !== 1 || x.size !== y.size) {
    throw new ShapeError(`needs two 1-d tensors of one size, got ${show(x.shape)} and ${show(y.shape)}`, { op: 'dot' });
  }
  return matmul(x, y);
}

/** All products of two 1-d tensors: (N) x (M) -> (N,M). (torch.outer) */
export function outer(x: Tensor, y: Tensor): Tensor {
  asTensor(x, 'outer');
  asTensor(y, 'outer');
  if (x.ndim !== 1 || y.ndim !== 1)
    throw new ShapeError(`needs 1-d tensors, got ${show(x.shape)} and ${show(y.shape)}`, { op: 'outer' });
  return matmul(unsqueeze(x, 1), unsqueeze(y, 0));
}

/**
 * x @ weight^T + bias in one kernel: (…,in) -> (…,out), weight (out,in), bias (out) or null. (torch.nn.functional.linear)
 */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null = null): Tensor {
  const [a, w] = same(x, weight, 'linear');
  if (bias !== null) asTensor(bias, 'linear');
  if (w.ndim !== 2 || a.ndim < 1 || a.shape[a.ndim - 1] !== w.shape[1]) {
    throw new ShapeError(
      `the input's last size and the weight's differ: ${show(x.shape)} x ${show(weight.shape)} (out,in)`,
      { op: 'linear' },
    );
  }
  const out = w.shape[0]!;
  if (bias !== null && (bias.ndim !== 1 || bias.size !== out)) {
    throw new ShapeError(`the bias has shape ${show(bias.shape)}, the output ${out} features`, { op: 'linear' });
  }
  const rows = a.ndim === 2 ? a : reshape(a, [-1, w.shape[1]!]);
  const c =
    bias === null ? undefined : expand(bias.dtype === a.dtype ? bias : cast(bias, a.dtype), [rows.shape[0]!, out]);
  const y = product(rows, transpose(w), c);
  return a.ndim === 2 ? y : handOver(y, reshape(y, [...a.shape.slice(0, -1), out]));
}
