import type { Tensor } from '../core/tensor.js';
import { flatten } from '../ops/view.js';
import { Module } from './module.js';
import { describe } from './options.js';

/** Joins the dims from `startDim` to `endDim`: (N, C, H, W) -> (N, C*H*W). PyTorch: nn.Flatten. */
export class Flatten extends Module {
  readonly startDim: number;
  readonly endDim: number;

  constructor({ startDim = 1, endDim = -1 }: { startDim?: number; endDim?: number } = {}) {
    super();
    this.startDim = startDim;
    this.endDim = endDim;
  }

  forward(x: Tensor): Tensor {
    return flatten(x, this.startDim, this.endDim);
  }

  override extraRepr(): string {
    return describe({ startDim: this.startDim, endDim: this.endDim });
  }
}
