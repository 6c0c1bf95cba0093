import { describe, expect, test } from 'vitest';
import {
  compile,
  crossEntropy,
  type DType,
  dropout,
  gradients,
  manualSeed,
  randint,
  randn,
  relu,
  type Tensor,
  tensor,
} from '../lib/index.js';
import { conv2d } from '../lib/index.js';
import { Conv2d, Flatten, Linear, MaxPool2d, Sequential } from '../lib/nn/index.js';
import { Adam, SGD } from '../lib/optim/index.js';

/** Kernels that hold an epilogue. */
const joined = (text: string): number =>
  text.split('\n').filter((line) => /= (matmul|conv2d\w*|linear)\+/.test(line)).length;

/** Compiled with and without the pass: bitwise the same, in two runs; `products` of them take an epilogue. */
function same(f: (...xs: Tensor[]) => Tensor | Tensor[], inputs: Tensor[], products = 1): string {
  const plain = compile(f, { passes: { epilogue: false } });
  const fused = compile(f);
  for (let run = 0; run < 2; run++) {
    // What is written in place must be new for each.
    const list = (y: Tensor | Tensor[]) => (Array.isArray(y) ? y : [y]);
    const seed = () => manualSeed(run);
    const values = [plain, fused].map((fn) => {
      seed();
      const given = inputs.map((x) => x.clone());
      return [...list(fn(...given)), ...given].map((y) => [y.dtype, y.shape, y.dataSync()]);
    });
    expect(values[1]).toEqual(values[0]);
  }
  expect(joined(plain.explain())).toBe(0);
  expect(joined(fused.explain())).toBe(products);
  return fused.explain();
}

const r = (shape: number[], dtype: DType = 'f32') => randn(shape, { dtype });

describe('a matmul and what follows are bitwise the two', () => {
  test('x', () => {
    console.log(same((a, b) => relu(a.matmul(b)), [r([130, 70]), r([70, 300])]));
  });
});
