/** Trees that must be alike: what a branch answers, what a loop carries. */
import { ArgumentError, describe, DTypeError, ShapeError } from '../../core/error.js';
import { sameShape, show } from '../../core/layout.js';
import { Tensor } from '../../core/tensor.js';
import { rebuild } from '../tree.js';

export interface Flat {
  readonly leaves: Tensor[];
  /** For each leaf, how to come to it: `.h[0]`. */
  readonly paths: string[];
  /** What is no tensor, and how it is put together. */
  readonly form: string;
  readonly tree: unknown;
}

export function flat(tree: unknown, op: string, what: string): Flat {
  const leaves: Tensor[] = [];
  const paths: string[] = [];
  const walk = (x: unknown, path: string): string => {
    if (x instanceof Tensor) {
      leaves.push(x);
      paths.push(path);
      return 'T';
    }
    if (Array.isArray(x)) return `[${x.map((item, i) => walk(item, `${path}[${i}]`)).join()}]`;
    if (x === null || ['number', 'string', 'boolean', 'undefined', 'bigint'].includes(typeof x)) return describe(x);
    const proto = typeof x === 'object' ? Object.getPrototypeOf(x) : undefined;
    if (proto !== Object.prototype && proto !== null)
      throw new ArgumentError(
        `${what}${path} is ${describe(x)}: tensors, numbers, strings, booleans and null in plain arrays and objects are taken`,
        { op },
      );
    return `{${Object.entries(x as object)
      .map(([key, item]) => `${JSON.stringify(key)}:${walk(item, `${path}.${key}`)}`)
      .join()}}`;
  };
  const form = walk(tree, '');
  return { leaves, paths, form, tree };
}

export const withLeaves = <T>({ tree }: Flat, leaves: readonly Tensor[]): T => rebuild(tree, leaves.values()) as T;

/** Refuses `now` when it is not of the form, shapes and dtypes of `want`. */
export function alike(want: Flat, now: Flat, op: string, names: { want: string; now: string }): void {
  if (want.form !== now.form)
    throw new ArgumentError(
      `${names.now} is not put together as ${names.want}: ${now.form} and ${want.form} (T: a tensor; other values are constants)`,
      { op },
    );
  want.leaves.forEach((x, i) => {
    const y = now.leaves[i]!;
    const path = want.paths[i]!;
    if (!sameShape(x.shape, y.shape))
      throw new ShapeError(`${names.now}${path} has shape ${show(y.shape)}, ${names.want}${path} ${show(x.shape)}`, {
        op,
      });
    if (x.dtype !== y.dtype)
      throw new DTypeError(`${names.now}${path} is ${y.dtype}, ${names.want}${path} ${x.dtype}`, { op });
  });
}

/** A 0-d bool, as conditions are. */
export function checkTest(test: unknown, op: string, what: string): asserts test is Tensor {
  if (!(test instanceof Tensor)) throw new ArgumentError(`${what} is a 0-d bool tensor, got ${describe(test)}`, { op });
  if (test.ndim !== 0) throw new ShapeError(`${what} is a 0-d bool tensor, got ${show(test.shape)}`, { op });
  if (test.dtype !== 'bool') throw new DTypeError(`${what} is a 0-d bool tensor, got ${test.dtype}`, { op });
}

export function checkFunctions(op: string, functions: Readonly<Record<string, unknown>>): void {
  for (const [name, fn] of Object.entries(functions))
    if (typeof fn !== 'function') throw new ArgumentError(`${name} is a function, got ${describe(fn)}`, { op });
}
