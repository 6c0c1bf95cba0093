import { ArgumentError } from '../core/error.js';
import { Tensor } from '../core/tensor.js';
import { stack, tensor } from '../ops/free.js';

type Scalar = number | boolean | bigint;
type Numeric = Scalar | Tensor | ArrayBufferView;

/** What a batch of samples `T` is: numbers and tensors become one tensor, tuples and objects keep their form. */
export type Collated<T> = T extends Numeric
  ? Tensor
  : T extends string
    ? string[]
    : T extends object
      ? { -readonly [K in keyof T]: Collated<T[K]> }
      : T[];

/**
 * Samples to a batch. Tensors and typed arrays are stacked along a new dim 0; numbers become f32, booleans bool, bigints i64
 * (B); strings an array; tuples and plain objects are collated part by part. A label that must be an integer is therefore a
 * bigint or an Int32Array.of(3) in the sample (the latter gives (B,1)), or a 0-d tensor. Throws ArgumentError for samples of different form.
 */
export function collate<T>(samples: readonly T[]): Collated<T> {
  return collateAny(samples) as Collated<T>;
}

function collateAny(samples: readonly unknown[]): unknown {
  const first = samples[0];
  const kind = kindOf(first);
  for (const sample of samples) {
    if (kindOf(sample) !== kind) throw bad(`samples of one batch differ: ${kind} and ${kindOf(sample)}`);
  }
  switch (kind) {
    case 'tensor':
      return stack(samples as Tensor[]);
    case 'number':
    case 'boolean':
    case 'bigint':
      return tensor(samples as number[]);
    case 'typed array':
      return stack((samples as Float32Array[]).map((array) => tensor(array)));
    case 'tuple': {
      const tuples = samples as unknown[][];
      if (tuples.some(({ length }) => length !== tuples[0].length)) throw bad('tuples of one batch differ in length');
      return tuples[0].map((_, k) => collateAny(tuples.map((tuple) => tuple[k])));
    }
    case 'object': {
      const objects = samples as Record<string, unknown>[];
      const keys = Object.keys(objects[0]);
      const same = (o: Record<string, unknown>) =>
        Object.keys(o).length === keys.length && keys.every((k) => Object.hasOwn(o, k));
      if (!objects.every(same)) throw bad('objects of one batch differ in keys');
      return Object.fromEntries(keys.map((key) => [key, collateAny(objects.map((object) => object[key]))]));
    }
    default:
      return [...samples];
  }
}

function kindOf(sample: unknown): string {
  if (sample instanceof Tensor) return 'tensor';
  if (ArrayBuffer.isView(sample)) return 'typed array';
  if (Array.isArray(sample)) return 'tuple';
  if (isPlain(sample)) return 'object';
  return typeof sample === 'object' && sample !== null ? `${sample.constructor?.name} instance` : typeof sample;
}

/** An object literal, and nothing of a class. */
export function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function bad(message: string): ArgumentError {
  return new ArgumentError(message, { op: 'collate' });
}
