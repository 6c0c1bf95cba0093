import { Module } from './module.js';

/** Returns what it is given. PyTorch: nn.Identity. */
export class Identity extends Module {
  forward<T>(x: T): T {
    return x;
  }
}
