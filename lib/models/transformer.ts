/** What BERT and GPT-2 have in common around their blocks. */
import { asTensor } from '../core/define.js';
import { ShapeError } from '../core/error.js';
import { show } from '../core/layout.js';
import type { Tensor } from '../core/tensor.js';
import { normal_, zeros_ } from '../nn/init.js';
import type { Module } from '../nn/module.js';
import { arange } from '../ops/free.js';

/** Matrices are drawn with the deviation that `std` says of their name, and biases are 0; norms stay as they are made. */
export function initialise(model: Module, std: (name: string) => number): void {
  for (const [name, p] of model.namedParameters()) {
    if (p.ndim > 1) normal_(p, { std: std(name) });
    else if (/bias$/i.test(name)) zeros_(p);
  }
}

/** Refuses what are not ids (B,T) with T up to `room`, and B as given. */
export function checkIds(ids: Tensor, room: number, batch: number | null, op: string): void {
  asTensor(ids, op);
  if (ids.ndim !== 2 || ids.shape[1]! > room || (batch !== null && ids.shape[0] !== batch))
    throw new ShapeError(`needs ids (${batch ?? 'B'},T) with T up to ${room}, got ${show(ids.shape)}`, { op });
}

/** The places of ids (B,T) in their sequences: (T) i32, from 0 on. */
export const placesOf = (ids: Tensor): Tensor => arange(ids.shape[1]!, undefined, { dtype: 'i32', device: ids.device });
