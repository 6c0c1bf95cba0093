/** scan() and whileLoop(): loops that are one part of a compiled program, however often they run. */
import { ArgumentError, checkOptions, describe, ShapeError } from '../../core/error.js';
import { layoutOf, show } from '../../core/layout.js';
import { abstract, type Tensor } from '../../core/tensor.js';
import { stack, zeros } from '../../ops/free.js';
import { item } from '../../ops/read.js';
import { select } from '../../ops/view.js';
import { trace } from '../tracer.js';
import { recorderNow } from './body.js';
import { recordLoop, refuseUnbounded } from './loop.js';
import { attach, passing } from './tape.js';
import { alike, checkFunctions, checkTest, type Flat, flat, withLeaves } from './trees.js';

export interface ScanOptions {
  /** Iterations; needed where xs has no tensors. */
  length?: number;
  /** From the last x to the first; y[i] still belongs to x[i]. */
  reverse?: boolean;
}

/** What fn answered, as leaves: the next carry, like the first, and y. */
function answered(result: unknown, init: Flat): { next: Flat; ys: Flat } {
  if (!Array.isArray(result) || result.length !== 2)
    throw new ArgumentError(`fn answers [carry, y], got ${describe(result)}`, { op: 'scan' });
  const next = flat(result[0], 'scan', 'the next carry');
  alike(init, next, 'scan', { want: 'init', now: 'the next carry' });
  return { next, ys: flat(result[1], 'scan', 'y') };
}

function lengthOf(xs: Flat, given: number | undefined): number {
  if (given !== undefined && (!Number.isInteger(given) || given < 0))
    throw new ArgumentError(`length is a whole number, got ${describe(given)}`, { op: 'scan' });
  let length = given;
  xs.leaves.forEach((x, i) => {
    const here = `xs${xs.paths[i]}`;
    if (x.ndim === 0) throw new ShapeError(`${here} is 0-d: it has no dim to go along`, { op: 'scan' });
    if (length !== undefined && x.shape[0] !== length)
      throw new ShapeError(`${here} ${show(x.shape)} has ${x.shape[0]} slices, the scan ${length} steps`, {
        op: 'scan',
      });
    length = x.shape[0]!;
  });
  if (length === undefined) throw new ArgumentError('without tensors in xs a length is needed', { op: 'scan' });
  return length;
}

function refuseWritten(list: readonly (readonly [Tensor, number])[], op: string): void {
  if (list.some(([x, version]) => x.storage.version !== version))
    throw new ArgumentError('the function writes in place to what it was given: answer the new value instead', { op });
}

const versions = (list: readonly Tensor[]): [Tensor, number][] => list.map((x) => [x, x.storage.version]);

/**
 * A loop with a memory: `[carry, y[i]] = fn(carry, x[i])` for each slice x[i] of the tensors in `xs` along dim 0, from `init` on.
 * Answers the last carry and the y, each stacked on a new dim 0. Carry, xs and y are trees of tensors; the carry keeps its form, shapes
 * and dtypes. In a compiled function the body is recorded once, and slices are read and written where they lie; gradients go to
 * init, xs and whatever else fn uses. Random numbers are the same compiled as in eager. (jax.lax.scan)
 * @throws ShapeError, DTypeError when the carry changes shape or dtype, naming the leaf; ShapeError when xs differ in dim 0
 */
export function scan<C, X, Y>(
  fn: (carry: C, x: X) => readonly [C, Y],
  init: C,
  xs: X,
  options: ScanOptions = {},
): [C, Y] {
  checkFunctions('scan', { fn });
  checkOptions(options, 'scan');
  const first = flat(init, 'scan', 'init');
  const rows = flat(xs, 'scan', 'xs');
  const length = lengthOf(rows, options.length);
  const reverse = options.reverse ?? false;
  const recorder = recorderNow();
  let made: Flat | null = null;
  const run = (carry: readonly Tensor[], x: readonly Tensor[]) => {
    const { next, ys } = answered(fn(withLeaves(first, carry), withLeaves(rows, x)), first);
    if (made !== null) alike(made, ys, 'scan', { want: 'y', now: 'a later y' });
    made ??= ys;
    return { carry: next.leaves, ys: ys.leaves };
  };
  if (recorder !== null) {
    const body = (carry: readonly Tensor[], x: readonly Tensor[]) => {
      made = null;
      return run(carry, x);
    };
    const { outside } = recordLoop(recorder, {
      name: 'scan',
      length,
      reverse,
      init: first.leaves,
      xs: rows.leaves,
      test: null,
      body,
    });
    const count = first.leaves.length;
    return [withLeaves(first, outside.slice(0, count)), withLeaves(made!, outside.slice(count))];
  }
  if (length === 0) return [init, empty(first, rows, run, () => made!)];
  let carry: readonly Tensor[] = first.leaves;
  const all: Tensor[][] = [];
  for (let n = 0; n < length; n++) {
    const i = reverse ? length - 1 - n : n;
    const given = carry.map(passing);
    const x = rows.leaves.map((row) => select(row, 0, i));
    const before = versions([...given, ...x]);
    const got = run(given, x);
    refuseWritten(before, 'scan');
    carry = got.carry;
    all[i] = got.ys.map(passing);
  }
  const ys = all[0]!.map((_, k) => stack(all.map((list) => list[k]!)));
  return [withLeaves(first, carry), withLeaves(made!, ys)];
}

/** y of a scan without iterations: what fn would answer is found without running it. */
function empty<Y>(
  first: Flat,
  rows: Flat,
  run: (carry: readonly Tensor[], x: readonly Tensor[]) => { ys: readonly Tensor[] },
  made: () => Flat,
): Y {
  const part = ({ shape, dtype, device }: Tensor) => abstract(layoutOf(shape.slice(1), dtype, device));
  const { result } = trace(() =>
    run(
      first.leaves.map((x) => abstract(x.layout)),
      rows.leaves.map(part),
    ),
  );
  const none = result.ys.map(({ shape, dtype, device }) => zeros([0, ...shape], { dtype, device }));
  return withLeaves(made(), none);
}

export interface WhileOptions {
  /** It ends after so many iterations, whatever the condition says. Gradients need it. */
  maxSteps?: number;
}

/**
 * `carry = body(carry)` while `condition(carry)`, a 0-d bool, holds, from `init` on; answers the last carry, a tree of tensors that
 * keeps its form, shapes and dtypes. In a compiled function the number of iterations is found at each run, on the device. With
 * `maxSteps` gradients go to init and whatever else the body uses; memory is kept for so many iterations.
 *
 * Random numbers drawn in a compiled whileLoop are those of eager; those drawn after it are too only when maxSteps was reached.
 * (jax.lax.while_loop)
 * @throws GradError from a backward through a loop without maxSteps; ShapeError, DTypeError as scan
 */
export function whileLoop<C>(
  condition: (carry: C) => Tensor,
  body: (carry: C) => C,
  init: C,
  options: WhileOptions = {},
): C {
  checkFunctions('whileLoop', { condition, body });
  checkOptions(options, 'whileLoop');
  const { maxSteps = Number.POSITIVE_INFINITY } = options;
  if (options.maxSteps !== undefined && (!Number.isInteger(maxSteps) || maxSteps < 0))
    throw new ArgumentError(`maxSteps is a whole number, got ${describe(maxSteps)}`, { op: 'whileLoop' });
  const first = flat(init, 'whileLoop', 'init');
  const test = (carry: readonly Tensor[]): Tensor => {
    const value = condition(withLeaves(first, carry));
    checkTest(value, 'whileLoop', 'the condition');
    return value;
  };
  const step = (carry: readonly Tensor[]): readonly Tensor[] => {
    const next = flat(body(withLeaves(first, carry)), 'whileLoop', 'the next carry');
    alike(first, next, 'whileLoop', { want: 'init', now: 'the next carry' });
    return next.leaves;
  };
  const recorder = recorderNow();
  if (recorder !== null) {
    const { outside } = recordLoop(recorder, {
      name: 'whileLoop',
      length: maxSteps,
      reverse: false,
      init: first.leaves,
      xs: [],
      test,
      body: (carry) => ({ carry: step(carry), ys: [] }),
    });
    return withLeaves(first, outside);
  }
  let carry: readonly Tensor[] = first.leaves;
  for (let n = 0; n < maxSteps; n++) {
    const before = versions(carry);
    if (!item(test(carry))) break;
    const given = carry.map(passing);
    carry = step(given);
    refuseWritten(before, 'whileLoop');
  }
  return withLeaves(first, Number.isFinite(maxSteps) ? carry : carry.map(unbounded));
}

/** As in a compiled function: no gradient goes through. */
function unbounded(x: Tensor): Tensor {
  if (x.node === null) return x;
  const y = passing(x);
  attach('whileLoop', [y], [{ source: x, layout: x.layout }], () => refuseUnbounded('whileLoop'));
  return y;
}
