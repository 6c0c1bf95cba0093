/** Control flow in a recorded function: a region is one step with bodies of its own, run none, one or many times. */
import type { Tensor } from '../core/tensor.js';
import type { Step } from './recorder.js';

/** What counts iterations. A loop and the one that goes back through it have it in common: both see the same parts of memory. */
export interface Loop {
  readonly name: string;
}

/** Memory of a body that is part of memory outside: at a loop's index i, `inside` lies i * stride elements behind `outside`. */
export interface Slice {
  readonly inside: Tensor;
  readonly outside: Tensor;
  readonly stride: number;
}

export interface Region {
  readonly kind: 'cond' | 'loop';
  /** Stays the same when passes replace the bodies. */
  readonly loop: Loop;
  /** A backward's: the loop or choice that it goes back through, body by body. It may read what those made. */
  readonly of: Loop | null;
  /** cond: if the test holds, if not. loop: what is repeated, and what makes the test before each iteration, if any. */
  readonly bodies: readonly (readonly Step[])[];
  /** A 0-d bool. */
  readonly test: Tensor | null;
  /** Iterations at most. */
  readonly length: number;
  /** The index runs downward. */
  readonly reverse: boolean;
  /** 0-d i64: how often to run, where it is known at run time only. */
  readonly trips: Tensor | null;
  /** 0-d i64, written: how often it ran. */
  readonly count: Tensor | null;
  readonly slices: readonly Slice[];
  /** Values of the steps around it that it is the first to write. */
  readonly results: readonly Tensor[];
}
