import { ArgumentError } from '../core/error.js';
import type { Tensor } from '../core/tensor.js';
import { dropout } from '../ops/random.js';
import { Module } from './module.js';
import { describe } from './options.js';

/** While training, zeroes each value with probability `p` and scales the others by 1 / (1 - p). PyTorch: nn.Dropout. */
export class Dropout extends Module {
  p: number;

  constructor(p = 0.5) {
    super();
    if (!(p >= 0 && p <= 1)) throw new ArgumentError(`p must be between 0 and 1, got ${p}`, { op: 'Dropout' });
    this.p = p;
  }

  forward(x: Tensor): Tensor {
    return this.training ? dropout(x, this.p) : x;
  }

  override extraRepr(): string {
    return describe({ p: this.p });
  }
}
