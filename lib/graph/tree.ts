/** Arguments and results of compiled and transformed functions: tensors in plain arrays and objects, beside numbers, strings, booleans and null. */
import { ArgumentError, describe } from '../core/error.js';
import { layoutEpoch } from '../core/layout.js';
import { Tensor } from '../core/tensor.js';

export type Tree =
  | Tensor
  | number
  | string
  | boolean
  | bigint
  | null
  | undefined
  | readonly Tree[]
  | { [key: string]: Tree };

/** Collects the tensors into `leaves`, in order, and answers a text that tells trees of different form apart. */
export function flatten(tree: unknown, leaves: Tensor[], what: string, op = 'compile'): string {
  if (tree instanceof Tensor) {
    leaves.push(tree);
    return `T${layoutEpoch}.${tree.layout.id}`;
  }
  if (Array.isArray(tree)) return `[${tree.map((item) => flatten(item, leaves, what, op)).join()}]`;
  switch (typeof tree) {
    case 'string':
      return JSON.stringify(tree);
    case 'number':
      return Object.is(tree, -0) ? '-0' : `${tree}`;
    case 'boolean':
    case 'undefined':
      return `${tree}`;
    case 'bigint':
      return `${tree}n`;
    case 'object': {
      if (tree === null) return 'null';
      const proto = Object.getPrototypeOf(tree);
      if (proto !== Object.prototype && proto !== null) break;
      const entries = Object.entries(tree).map(
        ([key, value]) => `${JSON.stringify(key)}:${flatten(value, leaves, what, op)}`,
      );
      return `{${entries.join()}}`;
    }
  }
  throw new ArgumentError(
    `${what} are tensors, numbers, strings, booleans and null in plain arrays and objects, got ${describe(tree)}`,
    { op },
  );
}

/** The same form, each tensor replaced by the next of `leaves`. */
export function rebuild(tree: unknown, leaves: Iterator<Tensor>): unknown {
  if (tree instanceof Tensor) return leaves.next().value;
  if (Array.isArray(tree)) return tree.map((item) => rebuild(item, leaves));
  if (tree === null || typeof tree !== 'object') return tree;
  return Object.fromEntries(Object.entries(tree).map(([key, value]) => [key, rebuild(value, leaves)]));
}
