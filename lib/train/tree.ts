// Plain trees that hold tensors (state dicts, histories) as JSON beside named tensors, exact to the last bit.
import { ArgumentError, FormatError } from '../core/error.js';
import { Tensor } from '../core/tensor.js';
import type { TensorRecord } from '../io/file.js';

/** What JSON has no word for is `{ $tensor: name }` or `{ $number: 'NaN' }`. */
const TENSOR = '$tensor';
const NUMBER = '$number';

/**
 * `value` for JSON.stringify; its tensors go into `tensors`, named by their path (`model.0.weight`). Properties that are
 * undefined are left out. Throws ArgumentError for what is no plain data (functions, class instances, bigints).
 */
export function encodeTree(value: unknown, path: string, tensors: TensorRecord): unknown {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number') {
    if (Object.is(value, -0)) return { [NUMBER]: '-0' };
    return Number.isFinite(value) ? value : { [NUMBER]: String(value) };
  }
  if (value instanceof Tensor) {
    tensors[path] = value;
    return { [TENSOR]: path };
  }
  if (Array.isArray(value)) return value.map((item, i) => encodeTree(item, `${path}.${i}`, tensors));
  const prototype = typeof value === 'object' ? Object.getPrototypeOf(value) : undefined;
  if (prototype !== Object.prototype && prototype !== null) {
    throw new ArgumentError(`${path} is no plain data: ${typeof value}`, { op: 'saveCheckpoint' });
  }
  const entries = Object.entries(value as object).filter(([, item]) => item !== undefined);
  const reserved = entries.find(([key]) => key === TENSOR || key === NUMBER || key === '__proto__');
  if (reserved) throw new ArgumentError(`${path} has a key '${reserved[0]}'`, { op: 'saveCheckpoint' });
  return Object.fromEntries(entries.map(([key, item]) => [key, encodeTree(item, `${path}.${key}`, tensors)]));
}

/** The inverse; throws FormatError for a tensor that is not there and a key that would be a prototype. */
export function decodeTree(value: unknown, tensors: TensorRecord): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => decodeTree(item, tensors));
  const object = value as Record<string, unknown>;
  if (Object.hasOwn(object, NUMBER)) return Number(object[NUMBER]);
  if (Object.hasOwn(object, TENSOR)) {
    const x = tensors[String(object[TENSOR])];
    if (!x) throw new FormatError(`there is no tensor ${JSON.stringify(object[TENSOR])}`, { op: 'loadCheckpoint' });
    return x;
  }
  if (Object.hasOwn(object, '__proto__')) throw new FormatError("a key is named '__proto__'", { op: 'loadCheckpoint' });
  return Object.fromEntries(Object.entries(object).map(([key, item]) => [key, decodeTree(item, tensors)]));
}
