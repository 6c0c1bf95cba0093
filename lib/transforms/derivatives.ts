/** Derivatives of functions as functions: vjp, jvp, jacobian, hessian. (torch.func) */
import { gradientsOf } from '../autograd/backward.js';
import { type GradOptions, transforming, variable } from '../autograd/functions.js';
import { asTensor } from '../core/define.js';
import { isFloat } from '../core/dtype.js';
import { ArgumentError, describe, DTypeError, ShapeError, TraceError } from '../core/error.js';
import { sameShape, show } from '../core/layout.js';
import { requiresGrad_, unrecorded } from '../core/leaf.js';
import { recording } from '../core/tape.js';
import type { Tensor } from '../core/tensor.js';
import { flatten, rebuild } from '../graph/tree.js';
import { eye, stack, zerosLike } from '../ops/free.js';
import { reshape, select } from '../ops/view.js';
import { vmap } from './vmap.js';

/** Answers a tensor, or tensors in plain arrays and objects. */
type Answer = Tensor | readonly Answer[] | { readonly [key: string]: Answer };

/** The function's value at `xs`, differentiable by the variables that stand for them. */
function evaluate<R>(fn: (...xs: Tensor[]) => R, xs: readonly Tensor[], op: string) {
  const vars = xs.map((x) => variable(x));
  const form = fn(...vars);
  const outputs: Tensor[] = [];
  flatten(form, outputs, 'results', op);
  return { vars, form, outputs };
}

function checkInputs(xs: readonly Tensor[], op: string): void {
  for (const x of xs) {
    asTensor(x, op);
    if (!isFloat(x.dtype)) throw new DTypeError(`only floats have derivatives, this is ${x.dtype}`, { op });
  }
}

/** Tensors of the form and shapes of `like`. */
function checkAlike(given: unknown, like: readonly Tensor[], what: string, op: string): Tensor[] {
  const list: Tensor[] = [];
  flatten(given, list, what, op);
  if (list.length !== like.length)
    throw new ArgumentError(`${what} are ${like.length} tensors, got ${list.length}`, { op });
  list.forEach((x, i) => {
    if (!sameShape(x.shape, like[i]!.shape))
      throw new ShapeError(
        `${what} have the shapes of what they belong to: ${show(like[i]!.shape)}, got ${show(x.shape)}`,
        {
          op,
        },
      );
  });
  return list;
}

/** Sum over outputs of gradient * d(output)/d(var), for each var: zeros where nothing depends on it. */
function pull(
  outputs: readonly Tensor[],
  vars: readonly Tensor[],
  seeds: readonly Tensor[],
  options: { createGraph: boolean; retainGraph?: boolean },
): Tensor[] {
  const live = outputs.map((_, i) => i).filter((i) => outputs[i]!.node !== null);
  if (live.length === 0) return vars.map((x) => zerosLike(x));
  return gradientsOf(
    live.map((i) => outputs[i]!),
    vars,
    { ...options, gradient: live.map((i) => seeds[i]!), allowUnused: true, transformed: true },
  );
}

/** The values for the caller: without the graph, unless a transform around wants it. */
function released<R>(form: R, outputs: readonly Tensor[], nested: boolean): R {
  return nested ? form : (rebuild(form, outputs.map((y) => unrecorded(y)).values()) as R);
}

/**
 * The function's value and a function that multiplies from the left by its Jacobian: of a tensor of the value's shape (of the value's
 * form, when it is an array or object) it makes a gradient for each of `primals`. That one may be called several times. (torch.func.vjp)
 * @throws DTypeError when a primal is no float
 */
export function vjp<P extends readonly Tensor[], R extends Answer>(
  fn: (...primals: P) => R,
  ...primals: P
): [value: R, vjpFn: (cotangents: R) => Tensor[]] {
  if (typeof fn !== 'function') throw new ArgumentError(`takes a function, got ${describe(fn)}`, { op: 'vjp' });
  checkInputs(primals, 'vjp');
  return transforming(primals, (nested) => {
    const { vars, form, outputs } = evaluate(fn as unknown as (...xs: Tensor[]) => R, primals, 'vjp');
    const vjpFn = (cotangents: R): Tensor[] => {
      const seeds = checkAlike(cotangents, outputs, 'cotangents', 'vjp');
      return transforming(seeds, (inner) =>
        pull(outputs, vars, seeds, { createGraph: nested || inner, retainGraph: true }),
      );
    };
    return [released(form, outputs, nested), vjpFn];
  });
}

/**
 * The function's value and its derivative in the direction of `tangents`, one for each primal: J * tangents, of the value's form. Taken as
 * the vjp of the vjp, so every op that has a second gradient will do; it costs a forward and two backward passes, and keeps the graph
 * meanwhile as grad() does. (torch.func.jvp; the double-vjp trick of https://j-towns.github.io/2017/06/12/A-new-trick.html)
 * @throws ShapeError when tangents have not the shapes of the primals; DTypeError when a primal is no float
 */
export function jvp<P extends readonly Tensor[], R extends Answer>(
  fn: (...primals: P) => R,
  primals: P,
  tangents: { readonly [K in keyof P]: Tensor },
): [value: R, tangents: R] {
  if (typeof fn !== 'function') throw new ArgumentError(`takes a function, got ${describe(fn)}`, { op: 'jvp' });
  if (!Array.isArray(primals) || !Array.isArray(tangents))
    throw new ArgumentError('primals and tangents are arrays of tensors', { op: 'jvp' });
  checkInputs(primals, 'jvp');
  const directions = checkAlike(tangents, primals, 'tangents', 'jvp');
  return transforming([...primals, ...directions], (nested) => {
    const { vars, form, outputs } = evaluate(fn as unknown as (...xs: Tensor[]) => R, primals, 'jvp');
    // u -> u * J is linear: its derivative by u, times the tangents, is J * tangents whatever u is.
    const us = outputs.map((y) => (isFloat(y.dtype) ? requiresGrad_(zerosLike(y)) : zerosLike(y)));
    const rows = pull(outputs, vars, us, { createGraph: true });
    const floats = us.filter((u) => u.node !== null);
    const moved = pull(rows, floats, directions, { createGraph: nested });
    const all = us.map((u) => (u.node === null ? u : moved[floats.indexOf(u)]!));
    return [released(form, outputs, nested), rebuild(form, all.values()) as R];
  });
}

export interface JacobianOptions extends GradOptions {
  /** Rows of the Jacobian that are computed at a time; all unless said. */
  chunk?: number;
}
type Jacobian<R, O> = R extends Tensor
  ? O extends { argnums: readonly number[] }
    ? Tensor[]
    : Tensor
  : { [K in keyof R]: Jacobian<R[K], O> };

/**
 * A function that gives the derivative of each element of fn's value by each element of its first argument, or of those of `argnums`: of
 * the value's shape followed by the argument's. One forward pass, and one backward for all rows at once, by vmap(); row by row where the
 * backward of an op reads values. (torch.func.jacrev)
 */
export function jacobian<A extends unknown[], R extends Answer, const O extends JacobianOptions>(
  fn: (...args: A) => R,
  options?: O,
): (...args: A) => Jacobian<R, O> {
  const { argnums = 0, chunk } = options ?? {};
  const places = typeof argnums === 'number' ? [argnums] : argnums;
  return (...args) => {
    const xs = places.map((i) => args[i] as Tensor);
    checkInputs(xs, 'jacobian');
    return transforming(xs, (nested) => {
      const { vars, form, outputs } = evaluate(
        (...inner) => fn(...(args.map((arg, i) => (places.includes(i) ? inner[places.indexOf(i)] : arg)) as A)),
        xs,
        'jacobian',
      );
      const blocks = outputs.map((y) => {
        const rows = rowsOf(y, vars, nested, chunk);
        const parts = rows.map((part, i) => reshape(part, [...y.shape, ...xs[i]!.shape]));
        return typeof argnums === 'number' ? parts[0]! : parts;
      });
      return replaceTensors(form, blocks.values()) as Jacobian<R, O>;
    });
  };
}

/** For each var, the gradients of all elements of y: (y.size, …). */
function rowsOf(y: Tensor, vars: readonly Tensor[], nested: boolean, chunk: number | undefined): Tensor[] {
  if (!isFloat(y.dtype))
    throw new DTypeError(`only floats have derivatives, the value is ${y.dtype}`, { op: 'jacobian' });
  const basis = reshape(eye(y.size, y.size, { dtype: y.dtype, device: y.device }), [y.size, ...y.shape]);
  const row = (u: Tensor) => pull([y], vars, [u], { createGraph: nested, retainGraph: true });
  const { enabled } = recording;
  recording.enabled = nested;
  try {
    return vmap(row, chunk === undefined ? {} : { chunk })(basis);
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    const each = Array.from({ length: y.size }, (_, i) => row(select(basis, 0, i)));
    return vars.map((_, k) => stack(each.map((list) => list[k]!)));
  } finally {
    recording.enabled = enabled;
  }
}

/** The form with each tensor replaced by the next of `values`, whatever those are. */
function replaceTensors(form: unknown, values: Iterator<unknown>): unknown {
  return rebuild(form, values as Iterator<Tensor>);
}

/**
 * A function that gives the second derivatives of fn's value by its first argument: of the value's shape followed by the argument's,
 * twice; with a list of `argnums` a row of blocks for each. (torch.func.hessian)
 */
export function hessian<A extends unknown[], const O extends JacobianOptions>(
  fn: (...args: A) => Tensor,
  options?: O,
): (...args: A) => O extends { argnums: readonly number[] } ? Tensor[][] : Tensor {
  return jacobian(jacobian(fn, options) as never, options) as never;
}
