import type { DType } from '../core/dtype.js';
import { Tensor } from '../core/tensor.js';
import { fromBytes } from '../io/bytes.js';
import { bytes } from '../ops/read.js';
import { isPlain } from './collate.js';

/** A batch as threads can exchange it: tensors by their bytes, which are transferred, tuples and objects part by part. */
export type Packed =
  | { kind: 'tensor'; data: Uint8Array<ArrayBuffer>; shape: readonly number[]; dtype: DType }
  | { kind: 'tuple'; items: Packed[] }
  | { kind: 'object'; entries: [string, Packed][] }
  | { kind: 'value'; value: unknown };

/** Packs a batch and adds the buffers to hand over to `transfer`. */
export function pack(batch: unknown, transfer: ArrayBuffer[]): Packed {
  if (batch instanceof Tensor) {
    const data = bytes(batch) as Uint8Array<ArrayBuffer>;
    transfer.push(data.buffer);
    return { kind: 'tensor', data, shape: [...batch.shape], dtype: batch.dtype };
  }
  if (Array.isArray(batch)) return { kind: 'tuple', items: batch.map((item) => pack(item, transfer)) };
  if (isPlain(batch)) {
    return { kind: 'object', entries: Object.entries(batch).map(([key, value]) => [key, pack(value, transfer)]) };
  }
  return { kind: 'value', value: batch };
}

export function unpack(packed: Packed): unknown {
  switch (packed.kind) {
    case 'tensor':
      return fromBytes(packed.data, packed.shape, packed.dtype);
    case 'tuple':
      return packed.items.map(unpack);
    case 'object':
      return Object.fromEntries(packed.entries.map(([key, value]) => [key, unpack(value)]));
    case 'value':
      return packed.value;
  }
}
