/** Indexing: x.at(0), x.at([1, 5]), x.at('...', null), x.at(mask), x.at(indices). */
import { asTensor } from '../core/define.js';
import { isInteger } from '../core/dtype.js';
import { ArgumentError, DTypeError, IndexError } from '../core/error.js';
import { broadcastShapes, show } from '../core/layout.js';
import { Tensor } from '../core/tensor.js';
import { add, cast, lt, mul, where } from './elementwise.js';
import { flatNonzero, indexSelect, nonzero } from './index.js';
import { expand, movedim, reshape, select, slice, unsqueeze } from './view.js';

/**
 * One step of indexing: a number picks (the dim disappears), `[start, end, step?]` is a range (null for an open bound), `'...'` stands
 * for as many whole dims as fit, null makes a dim of size 1, a tensor of integers gathers, a bool tensor selects.
 */
export type AtIndex =
  | number
  | readonly [start: number | null, end?: number | null, step?: number]
  | '...'
  | null
  | Tensor;

/** How many dims of x an index speaks of. */
function width(index: AtIndex): number {
  if (index === null || index === '...') return 0;
  return index instanceof Tensor && index.dtype === 'bool' ? index.ndim : 1;
}

/**
 * A part of x. Numbers, ranges, `'...'` and null give views; tensors give copies, their dims where the first of them stands.
 * (NumPy's basic and advanced indexing; write with `x.at(...).copy_(y)`)
 */
export function at(x: Tensor, ...index: AtIndex[]): Tensor {
  asTensor(x, 'at');
  const dots = index.indexOf('...');
  if (dots >= 0 && index.indexOf('...', dots + 1) >= 0) throw new ArgumentError("'...' may stand once", { op: 'at' });
  const used = index.reduce<number>((n, i) => n + width(i), 0);
  if (used > x.ndim) throw new IndexError(`${used} indices for the ${x.ndim} dims of ${show(x.shape)}`, { op: 'at' });
  let y = x;
  let dim = 0;
  const tensors: { dim: number; index: Tensor }[] = [];
  for (const one of index) {
    if (one === '...') dim += x.ndim - used;
    else if (one === null) y = unsqueeze(y, dim++);
    else if (typeof one === 'number') y = select(y, dim, one);
    else if (one instanceof Tensor) {
      if (one.dtype === 'bool') {
        for (const part of maskParts(y, dim, one)) tensors.push({ dim: dim++, index: part });
      } else if (isInteger(one.dtype)) tensors.push({ dim: dim++, index: one });
      else throw new DTypeError(`an index is of integers or bool, got ${one.dtype}`, { op: 'at' });
    } else if (Array.isArray(one)) {
      y = slice(y, dim++, one[0] ?? 0, one[1] ?? Number.POSITIVE_INFINITY, one[2] ?? 1);
    } else
      throw new ArgumentError(`an index is a number, [start, end, step?], '...', null or a tensor, got ${typeof one}`, {
        op: 'at',
      });
  }
  return tensors.length > 0 ? gatherAll(y, tensors) : y;
}

/** A mask over some dims, as one index for each of them. */
function maskParts(x: Tensor, dim: number, mask: Tensor): Tensor[] {
  for (let i = 0; i < mask.ndim; i++) {
    if (mask.shape[i] !== x.shape[dim + i])
      throw new IndexError(`a mask ${show(mask.shape)} does not fit ${show(x.shape)} at dim ${dim}`, { op: 'at' });
  }
  if (mask.ndim === 1) return [flatNonzero(mask)];
  const places = nonzero(mask);
  return mask.shape.map((_, i) => select(places, 1, i));
}

/** Several indices pick together: they become one index into their dims taken as one. */
function gatherAll(x: Tensor, tensors: readonly { dim: number; index: Tensor }[]): Tensor {
  const shape = broadcastShapes(
    'at',
    tensors.map((t) => t.index.shape),
  );
  const first = tensors[0]!.dim;
  let y = x;
  tensors.forEach(({ dim }, i) => {
    y = movedim(y, dim, first + i);
  });
  const sizes = tensors.map((_, i) => y.shape[first + i]!);
  let flat: Tensor | null = null;
  tensors.forEach(({ index }, i) => {
    const n = sizes[i]!;
    const place = tensors.length === 1 ? index : inside(cast(index, 'i64'), n);
    flat = flat === null ? place : add(mul(flat, n), place);
  });
  const joined = reshape(y, [
    ...y.shape.slice(0, first),
    sizes.reduce((a, b) => a * b, 1),
    ...y.shape.slice(first + sizes.length),
  ]);
  const picked = indexSelect(joined, first, reshape(expand(flat!, shape), [-1]));
  return reshape(picked, [...joined.shape.slice(0, first), ...shape, ...joined.shape.slice(first + 1)]);
}

/** Negative indices counted from the end; what lies outside is sent far outside, so that the kernel refuses it. */
function inside(index: Tensor, size: number): Tensor {
  const wrapped = where(lt(index, 0), add(index, size), index);
  return where(lt(wrapped, 0), 2 ** 40, where(lt(wrapped, size), wrapped, 2 ** 40));
}
