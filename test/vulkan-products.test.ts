/** Vulkan's products and convolutions against the CPU's at sizes around the edges of their tiles, with the validation layers listening. */
import { test } from 'vitest';
import * as b from '../lib/index.js';
import type { Tensor } from '../lib/index.js';
import { checked, device, vulkan } from './vulkan/compare.js';
import { compare, nothingSaid, random, tolerance, withGradients } from './vulkan/kernels.js';

vulkan('products', () => {
  test('of matrices around the edges of tiles, turned and batched', () => {
    for (const [m, k, n] of [
      [1, 1, 1],
      [3, 5, 7],
      [33, 17, 40],
      [64, 16, 64],
      [65, 33, 129],
      [100, 260, 96],
      [257, 64, 130],
      // Thin ones, of either side.
      [5, 36, 200],
      [8, 33, 65],
      [16, 260, 70],
      [11, 4100, 131],
      [200, 36, 7],
      [130, 70, 16],
      [131, 4100, 9],
    ] as const) {
      const [x, y] = [random([m, k]), random([k, n])];
      const at = `(${m}, ${k}) by (${k}, ${n})`;
      compare(b.matmul, [x, y], 3e-6, at);
      compare(
        (x, y) => b.matmul(b.permute(x, [1, 0]), b.permute(y, [1, 0])),
        [random([k, m]), random([n, k])],
        3e-6,
        `${at}, turned`,
      );
    }
    compare(b.matmul, [random([3, 1, 70, 20]), random([1, 5, 20, 66])], 3e-6, 'a batch that is broadcast');
    compare(
      (x, y) => b.matmul(b.slice(x, 1, 1, 41), b.slice(y, 0, 3, 43)),
      [random([70, 44]), random([44, 70])],
      3e-6,
      'of slices',
    );
    compare(b.matmul, [random([300, 128]), random([128, 2000])], 3e-6, 'many tiles');
    for (const dtype of ['f64', 'f16', 'bf16', 'i32', 'i64', 'i8'] as const)
      for (const k of [12, 300])
        for (const m of [70, 6])
          compare(
            b.matmul,
            [random([m, k], dtype), random([k, 68], dtype)],
            tolerance(dtype),
            `${dtype}, (${m}, ${k})`,
          );
  });

  test('of halves, by matrix units where the device has them: turned, strided, batched, in parts, with what follows', () => {
    console.log(`${device}: ${checked().isa}`);
    const halves = (shape: number[]) => random(shape, 'f16');
    const turned = (x: Tensor) => b.permute(x, [1, 0]);
    for (const [m, k, n] of [
      [16, 16, 16],
      [65, 33, 129],
      [96, 264, 200],
      [300, 64, 1000],
    ] as const) {
      const at = `(${m}, ${k}) by (${k}, ${n})`;
      const [x, y] = [halves([m, k]), halves([k, n])];
      const [xt, yt] = [halves([k, m]), halves([n, k])];
      compare(b.matmul, [x, y], 2e-3, at);
      compare((x, y) => b.matmul(turned(x), y), [xt, y], 2e-3, `${at}, the first turned`);
      compare((x, y) => b.matmul(x, turned(y)), [x, yt], 2e-3, `${at}, the second turned`);
      compare((x, y) => b.matmul(turned(x), turned(y)), [xt, yt], 2e-3, `${at}, both turned`);
      compare((x, y, c) => b.linear(x, y, c), [x, yt, halves([n])], 2e-3, `${at}, with bias`);
    }
    // Where rows begin at odd places, and steps of more than one.
    const odd = (x: Tensor, y: Tensor) => b.matmul(b.slice(x, 1, 1, 65), b.slice(y, 1, 3, 67));
    compare(odd, [halves([40, 72]), halves([64, 72])], 2e-3, 'from odd columns on');
    const rows = (x: Tensor, y: Tensor) => b.matmul(b.slice(x, 0, 1, 41), b.slice(y, 0, 1, 65));
    compare(rows, [halves([41, 64]), halves([65, 72])], 2e-3, 'from the second row on');
    compare(rows, [halves([41, 63]), halves([64, 71])], 2e-3, 'from the second row on, of odd lengths');
    const steps = (x: Tensor, y: Tensor) => b.matmul(b.slice(x, 1, 0, 128, 2), b.slice(y, 1, 0, 70, 2));
    compare(steps, [halves([40, 128]), halves([64, 70])], 2e-3, 'every second column');
    compare(b.matmul, [halves([3, 1, 40, 24]), halves([1, 5, 24, 72])], 2e-3, 'a batch that is broadcast');
    compare(b.matmul, [halves([40, 7000]), halves([7000, 33])], 2e-3, 'in parts');
    compare(
      (x, y, c) => b.linear(x, y, c),
      [halves([64, 4104]), halves([72, 4104]), halves([72])],
      2e-3,
      'parts, bias',
    );
    const then = b.compile((x: Tensor, y: Tensor) => b.gelu(b.add(b.matmul(x, y), 1)));
    compare(
      then as unknown as (x: Tensor, y: Tensor) => Tensor,
      [halves([96, 80]), halves([80, 72])],
      2e-3,
      'then gelu',
    );
    const specials = b.where(b.gt(random([32, 32]), 2), 65504, b.where(b.lt(random([32, 32]), -2), NaN, 6e-8));
    compare(b.matmul, [specials.to('f16'), halves([32, 32])], 2e-3, 'with the largest, the smallest and NaN');
  });

  test('along a long K, in parts, and with vectors', () => {
    for (const [m, k, n] of [
      [40, 70_000, 33],
      [64, 4096, 64],
      [5, 5003, 9],
      [1, 3000, 700],
      [700, 3000, 1],
      [2, 70_000, 2],
    ] as const) {
      const at = `(${m}, ${k}) by (${k}, ${n})`;
      compare(b.matmul, [b.rand([m, k]), b.rand([k, n])], 3e-6, at);
      compare((x, y) => b.matmul(x, b.permute(y, [1, 0])), [b.rand([m, k]), b.rand([n, k])], 3e-6, `${at}, turned`);
      compare((x, y, c) => b.linear(x, y, c), [b.rand([m, k]), b.rand([n, k]), b.rand([n])], 3e-6, `${at}, with bias`);
    }
    compare(b.matmul, [random([2, 3, 40, 4100]), random([2, 1, 4100, 33])], 3e-5, 'a batch');
    compare(b.matmul, [random([2, 3, 12, 4100]), random([2, 1, 4100, 68])], 3e-5, 'a batch of thin ones');
    compare(
      (x, y, c) => b.linear(x, y, c),
      [b.rand([12, 5000]), b.rand([80, 5000]), b.rand([80])],
      3e-6,
      'thin, with bias',
    );
  });

  test('convolution and its gradients: strides, pads, dilations, groups, channels last', () => {
    const cases = [
      { x: [2, 3, 9, 11], w: [8, 3, 3, 3], options: { padding: 1 } },
      { x: [1, 16, 20, 20], w: [24, 16, 5, 3], options: { stride: [2, 1], padding: [2, 0] } },
      { x: [3, 12, 15, 14], w: [18, 4, 3, 3], options: { stride: 2, padding: 1, dilation: 2, groups: 3 } },
      { x: [2, 70, 7, 7], w: [66, 70, 1, 1], options: {} },
      { x: [2, 12, 13, 9], w: [12, 1, 3, 3], options: { padding: 1, groups: 12 } },
      { x: [2, 6, 30, 30], w: [12, 1, 5, 5], options: { stride: 2, padding: 2, groups: 6 } },
      { x: [4, 33, 30, 30], w: [2, 33, 3, 3], options: { padding: 1 } },
    ] as const;
    for (const { x, w, options } of cases) {
      const at = `(${x}) by (${w}), ${JSON.stringify(options)}`;
      const f = (x: Tensor, w: Tensor, c: Tensor) => b.square(b.conv2d(x, w, c, options as never));
      const inputs = [random([...x]), b.mul(random([...w]), 0.1), random([w[0]])];
      compare((...t) => withGradients(f, t), inputs, 1e-5, at);
      const last = (t: Tensor) => b.permute(b.contiguous(b.permute(t, [0, 2, 3, 1])), [0, 3, 1, 2]);
      compare(
        (x, w, c) => withGradients((x, w, c) => f(last(x), last(w), c), [x, w, c]),
        inputs,
        1e-5,
        `${at}, channels last`,
      );
    }
    for (const dtype of ['f64', 'f16', 'bf16'] as const)
      compare(
        (x, w) => b.conv2d(x, w, null, { padding: 1 }),
        [random([2, 8, 9, 9], dtype), random([16, 8, 3, 3], dtype)],
        tolerance(dtype),
        dtype,
      );
  });
});

nothingSaid();
