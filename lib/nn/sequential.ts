import type { Tensor } from '../core/tensor.js';
import { Module } from './module.js';

/** A module of one tensor, or a plain function of one. */
export type Stage = ({ forward(x: Tensor): Tensor } & Module) | ((x: Tensor) => Tensor);

/**
 * Runs its stages one after the other. They are the properties 0, 1, …, so that names are PyTorch's (`0.weight`; a plain
 * function takes its place too) and `model[2] = new Linear(…)` replaces one. PyTorch: nn.Sequential.
 */
export class Sequential extends Module implements Iterable<Stage> {
  [index: number]: Stage;
  readonly length: number;

  constructor(...stages: Stage[]) {
    super();
    this.length = stages.length;
    Object.assign(this, stages);
  }

  *[Symbol.iterator](): Generator<Stage> {
    for (let i = 0; i < this.length; i++) yield this[i]!;
  }

  forward(x: Tensor): Tensor {
    let y = x;
    for (const stage of this) y = typeof stage === 'function' ? stage(y) : stage.forward(y);
    return y;
  }
}
