import type { DType } from '../core/dtype.js';
import { ArgumentError } from '../core/error.js';
import type { Pair } from '../ops/conv.js';

/** What every layer with parameters takes: their type (f32) and device (the default one). */
export interface LayerOptions {
  dtype?: DType;
  device?: string;
}

/** Height and width. */
export function pair(value: Pair): [number, number] {
  return typeof value === 'number' ? [value, value] : [value[0], value[1]];
}

/** Checks sizes and counts at construction, where the stack still says which layer is wrong. */
export function positive(layer: string, sizes: Readonly<Record<string, number>>): void {
  for (const [name, size] of Object.entries(sizes)) {
    if (!(Number.isInteger(size) && size > 0)) {
      throw new ArgumentError(`${name} must be a positive integer, got ${size}`, { op: layer });
    }
  }
}

/** What `extraRepr` returns: `1, 2, kernelSize=[3, 3]`. */
export function describe(...parts: (number | readonly number[] | Readonly<Record<string, unknown>>)[]): string {
  const text = (value: unknown): string => (Array.isArray(value) ? `[${value.join(', ')}]` : JSON.stringify(value));
  return parts
    .flatMap((part) =>
      typeof part === 'number' || Array.isArray(part)
        ? [text(part)]
        : Object.entries(part).map(([key, value]) => `${key}=${text(value)}`),
    )
    .join(', ');
}
