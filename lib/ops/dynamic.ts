/** Windows of a tensor at places that are themselves tensors: a cache that is written at a position, a batch cut out of a corpus. */
import { applyInto } from '../core/apply.js';
import { asTensor, lookup, type Operand, op } from '../core/define.js';
import { isInteger } from '../core/dtype.js';
import { ArgumentError, describe, DTypeError, ShapeError } from '../core/error.js';
import { type Shape, show } from '../core/layout.js';
import { Tensor } from '../core/tensor.js';
import { add, cast, clamp, ge, le, logicalAnd, sub, where } from './elementwise.js';
import { arange, zeros } from './free.js';
import { indexSelect } from './index.js';
import { checkShape, reshape, select } from './view.js';

/** Where a window begins: one 1-d tensor of integers, an element a dim, or a list of 0-d tensors and numbers, one a dim. */
export type Starts = Tensor | readonly Operand[];

/** The starts as operands of a kernel: one (ndim) tensor, or one operand a dim. */
function startsOf(x: Tensor, starts: Starts, name: string): readonly Operand[] {
  const wrong = (got: string): never => {
    throw new ShapeError(`${x.ndim} starts are needed for ${show(x.shape)}, got ${got}`, { op: name });
  };
  const integers = (start: Tensor): void => {
    if (!isInteger(start.dtype)) throw new DTypeError(`starts are integers, got ${start.dtype}`, { op: name });
  };
  if (starts instanceof Tensor) {
    integers(starts);
    if (starts.ndim === 0 && x.ndim === 1) return [starts];
    if (starts.ndim !== 1 || starts.size !== x.ndim) wrong(show(starts.shape));
    return x.ndim === 0 ? [] : [starts];
  }
  if (!Array.isArray(starts)) throw new ArgumentError(`starts are tensors, got ${describe(starts)}`, { op: name });
  if (starts.length !== x.ndim) wrong(`${starts.length}`);
  for (const start of starts as readonly unknown[]) {
    if (start instanceof Tensor) {
      integers(start);
      if (start.ndim !== 0) throw new ShapeError(`a start of the list is 0-d, got ${show(start.shape)}`, { op: name });
    } else if (!Number.isInteger(start)) {
      throw new ArgumentError(`a start is a whole number or a 0-d tensor, got ${describe(start)}`, { op: name });
    }
  }
  return starts;
}

/** What native/ops.def documents: nothing for one tensor of starts, else which of them are numbers. */
const kinds = (starts: readonly Operand[], ndim: number): number[] =>
  starts.length === 1 && typeof starts[0] !== 'number' && starts[0]!.ndim === 1
    ? []
    : Array.from({ length: ndim }, (_, d) => (typeof starts[d] === 'number' ? 1 : 0));

/** The start along dim d, clamped to [0, room]. */
function startAt(starts: readonly Operand[], d: number, room: number): Operand {
  const one = starts[0];
  const start = one instanceof Tensor && one.ndim === 1 ? select(one, 0, d) : starts[d]!;
  return typeof start === 'number' ? Math.min(Math.max(start, 0), room) : clamp(cast(start, 'i64'), 0, room);
}

const sliceKernel: (x: Tensor, starts: readonly Operand[], sizes: Shape) => Tensor = op('dynamicSlice', {
  args: (x: Tensor, starts: readonly Operand[], sizes: Shape) => ({
    inputs: [x, ...starts] as readonly [Tensor, ...Operand[]],
    params: { sizes },
  }),
  infer: ([x], { sizes }) => ({ shape: sizes, dtype: x.dtype }),
  encode: (_, [x, ...starts]) => kinds(starts, x.ndim),
  decompose: ([x, ...starts], { sizes }) =>
    sizes.reduce((y, size, d) => {
      const places = arange(size, undefined, { dtype: 'i64', device: x.device });
      return indexSelect(y, d, add(places, startAt(starts, d, x.shape[d]! - size)));
    }, x as Tensor),
  grad: (g, [x, ...starts]) => [
    () => updateKernel(zeros(x.shape, { dtype: g.dtype, device: g.device }), g, starts),
    ...starts.map(() => null),
  ],
});

const updateKernel: (x: Tensor, update: Tensor, starts: readonly Operand[]) => Tensor = op('dynamicUpdateSlice', {
  args: (x: Tensor, update: Tensor, starts: readonly Operand[]) => ({
    inputs: [x, update, ...starts] as readonly [Tensor, Tensor, ...Operand[]],
  }),
  infer: ([x]) => ({ shape: x.shape, dtype: x.dtype }),
  encode: (_, [x, , ...starts]) => kinds(starts, x.ndim),
  // The update is spread over all of x, then taken where it belongs.
  decompose: ([x, update, ...starts]) => {
    if (update.size === 0) return add(x, zeros([], { dtype: x.dtype, device: x.device }));
    let spread = update;
    let inside: Tensor | null = null;
    x.shape.forEach((n, d) => {
      const size = update.shape[d]!;
      const place = sub(arange(n, undefined, { dtype: 'i64', device: x.device }), startAt(starts, d, n - size));
      const within = logicalAnd(ge(place, 0), le(place, size - 1));
      const mask = reshape(
        within,
        x.shape.map((_, i) => (i === d ? n : 1)),
      );
      inside = inside === null ? mask : logicalAnd(inside, mask);
      spread = indexSelect(spread, d, clamp(place, 0, size - 1));
    });
    return inside === null ? add(update, 0) : where(inside, spread, x);
  },
  grad: (g, [, update, ...starts]) => [
    () => updateKernel(g, zeros(update.shape, { dtype: g.dtype, device: g.device }), starts),
    () => sliceKernel(g, starts, update.shape),
    ...starts.map(() => null),
  ],
});

/**
 * The window of `sizes` that begins at `starts`, which are read where they lie: no value comes to JavaScript. Starts are clamped
 * so that the window lies in x. (jax.lax.dynamic_slice)
 * @throws ShapeError when sizes do not fit x, or there is not one start a dim; DTypeError when starts are no integers
 */
export function dynamicSlice(x: Tensor, starts: Starts, sizes: Shape): Tensor {
  asTensor(x, 'dynamicSlice');
  checkShape(sizes, 'dynamicSlice');
  if (sizes.length !== x.ndim || sizes.some((n, d) => n < 0 || n > x.shape[d]!))
    throw new ShapeError(`a window ${show(sizes)} does not fit into ${show(x.shape)}`, { op: 'dynamicSlice' });
  return sliceKernel(x, startsOf(x, starts, 'dynamicSlice'), sizes);
}

function updateArgs(x: Tensor, update: Tensor, starts: Starts, name: string): readonly Operand[] {
  asTensor(x, name);
  asTensor(update, name);
  if (update.dtype !== x.dtype) throw new DTypeError(`the update is ${update.dtype}, x ${x.dtype}`, { op: name });
  if (update.ndim !== x.ndim || update.shape.some((n, d) => n > x.shape[d]!))
    throw new ShapeError(`an update ${show(update.shape)} does not fit into ${show(x.shape)}`, { op: name });
  return startsOf(x, starts, name);
}

/**
 * x with `update`, of as many dims and x's dtype, written at `starts`, which are clamped so that it lies in x.
 * (jax.lax.dynamic_update_slice)
 * @throws ShapeError, DTypeError as dynamicSlice
 */
export function dynamicUpdateSlice(x: Tensor, update: Tensor, starts: Starts): Tensor {
  return updateKernel(x, update, updateArgs(x, update, starts, 'dynamicUpdateSlice'));
}

/** dynamicUpdateSlice in place: writes the window alone. */
export function dynamicUpdateSlice_(x: Tensor, update: Tensor, starts: Starts): Tensor {
  const operands = updateArgs(x, update, starts, 'dynamicUpdateSlice_');
  return applyInto(lookup('dynamicUpdateSlice'), [x, update, ...operands], {}, [x])[0]!;
}
