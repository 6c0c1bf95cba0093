/** Tape records: what ran, on what, and what backward needs. Plain data: lib/autograd interprets them. */
import type { Op, Params } from './define.js';
import type { Layout } from './layout.js';
import type { Tensor } from './tensor.js';

/** An input of a recorded op: the tensor when its values are needed, else its layout alone, or the number that was given. */
export type Saved = Tensor | Layout | number;

export interface Node {
  /** Null for a leaf, which collects a gradient into `leaf.gradient`. */
  op: Op | null;
  /** Grows with time: backward goes from high to low. */
  seq: number;
  /** For each input, the record that made it, or null when it needs no gradient. */
  edges: (Node | null)[];
  /** Which output of its record each input was. */
  edgeIndex: number[];
  inputs: Saved[];
  outputs: Saved[];
  /** Versions of saved tensors, inputs first; empty when nothing was saved. */
  versions: number[];
  params: Params;
  layouts: readonly Layout[];
  leaf: Tensor | null;
  hooks: ((grad: Tensor) => Tensor | void)[][] | null;
  /** Filled during backward: the gradients of the outputs so far. */
  pending: (Tensor | null)[] | null;
  freed: boolean;
}

let seq = 0;

export function nextSeq(): number {
  return ++seq;
}

const NONE: never[] = [];

/** The record that collects the gradient of a leaf. */
export function leafNode(leaf: Tensor): Node {
  return {
    op: null,
    seq: 0,
    edges: NONE,
    edgeIndex: NONE,
    inputs: NONE,
    outputs: NONE,
    versions: NONE,
    params: NO_PARAMS,
    layouts: NONE,
    leaf,
    hooks: null,
    pending: null,
    freed: false,
  };
}

export const NO_PARAMS: Params = Object.freeze({});

/**
 * Whether ops are recorded for backward: not inside noGrad(), nor in a backward that leaves no graph. `stopped`: for good, also where a
 * transform traces; the gradient of a transformed function leaves that open to whoever differentiates the transform.
 */
export const recording = { enabled: true, stopped: false };
