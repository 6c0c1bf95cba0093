/** Vulkan's attention and its gradients against the CPU's at sizes around the edges of their blocks, with the validation layers listening. */
import { expect, test } from 'vitest';
import * as b from '../lib/index.js';
import type { DType, Tensor } from '../lib/index.js';
import { device, vulkan } from './vulkan/compare.js';
import { compare, nothingSaid, random, tolerance, withGradients } from './vulkan/kernels.js';

vulkan('attention', () => {
  test('of sizes around the edges of a block, in each way to hide keys', () => {
    const sizes = [
      [2, 4, 2, 33, 65, 20, 31],
      [1, 2, 1, 1, 200, 128, 128],
      [2, 3, 3, 64, 32, 33, 97],
      [1, 1, 1, 70, 3, 5, 129],
    ] as const;
    for (const [batch, heads, groups, queries, keys, depth, width] of sizes)
      for (const causal of [false, true, 'last'] as const) {
        const at = `(${queries}, ${depth}) with (${keys}, ${width}), causal ${causal}`;
        const inputs = [
          random([batch, heads, queries, depth]),
          random([batch, groups, keys, depth]),
          random([batch, groups, keys, width]),
        ];
        const lengths = b.full([batch], Math.ceil(keys / 2), { dtype: 'i32' });
        const mask = b.gt(random([queries, keys]), -0.5);
        const f = b.scaledDotProductAttention;
        compare((q, k, v) => f(q!, k!, v!, { causal }), inputs, 5e-6, at);
        compare(
          (q, k, v, m, n) => f(q!, k!, v!, { causal, mask: m!, lengths: n! }),
          [...inputs, mask, lengths],
          5e-6,
          at,
        );
        const halves = inputs.map((x) => x.to('f16'));
        compare((q, k, v) => f(q!, k!, v!, { causal }), halves, tolerance('f16'), `${at}, f16`);
      }
    const hidden = b.zeros([1, 2, 40, 50]).to('bool');
    const nothing = (q: Tensor, m: Tensor) => b.scaledDotProductAttention(q, q, q, { mask: b.slice(m, 3, 0, 40) });
    compare(nothing, [random([1, 2, 40, 8]), hidden], 0, 'a mask that hides all');
  });
});

vulkan('gradients of attention', () => {
  const gradients = (x: readonly Tensor[], g: Tensor, options: b.AttentionOptions, tolerated: number, at: string) =>
    compare(
      (q, k, v, g, ...rest) => {
        const [mask, lengths] = [options.mask && rest.shift()!, options.lengths && rest.shift()!];
        const all = { ...options, ...(mask ? { mask } : {}), ...(lengths ? { lengths } : {}) };
        return withGradients((q, k, v) => b.scaledDotProductAttention(q!, k!, v!, all), [q!, k!, v!], g!);
      },
      [...x, g, ...[options.mask, options.lengths].filter((t) => t !== undefined)],
      tolerated,
      at,
    );
  const operands = (batch: number, heads: number, groups: number, sizes: readonly number[], dtype: DType = 'f32') => {
    const [queries, keys, depth, width] = sizes as [number, number, number, number];
    b.manualSeed(5);
    const shapes = [
      [heads, queries, depth],
      [groups, keys, depth],
      [groups, keys, width],
      [heads, queries, width],
    ];
    const [q, k, v, g] = shapes.map((shape) => b.randn([batch, ...shape]).to(dtype)) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    return { x: [q, k, v], g };
  };

  test('with masks of both kinds, lengths, heads that share keys, and halves', () => {
    const sizes = [33, 65, 20, 31] as const;
    const { x, g } = operands(2, 4, 2, sizes);
    const lengths = b.tensor(Int32Array.of(40, 0));
    const mask = b.gt(random([33, 65]), -0.5);
    for (const causal of [false, true, 'last'] as const) {
      gradients(x, g, { causal }, 2e-5, `causal ${causal}`);
      gradients(x, g, { causal, mask, lengths }, 2e-5, `causal ${causal}, mask and lengths`);
    }
    gradients(x, g, { mask: b.where(mask, random([65]), -Infinity), scale: 0.3 }, 2e-5, 'a mask that is added');
    const half = operands(2, 4, 2, sizes, 'f16');
    gradients(half.x, half.g, { causal: true }, 2e-3, 'f16');
  });

  test('of sizes around the edges of a block', () => {
    for (const [heads, groups, causal, ...sizes] of [
      [1, 1, 'last', 100, 31, 97, 5],
      [6, 1, true, 3, 70, 33, 128],
      [2, 2, 'last', 1, 200, 8, 8],
      [2, 1, true, 130, 129, 8, 8],
    ] as const) {
      const { x, g } = operands(1, heads, groups, sizes);
      gradients(x, g, { causal }, 2e-5, `${heads} of ${groups}, (${sizes}), causal ${causal}`);
    }
  });

  test('keep no matrix of queries by keys, and are the same bytes each time', () => {
    const { x, g } = operands(1, 4, 4, [500, 500, 16, 16]);
    const [own, weight] = [x.map((t) => t.to(device)), g.to(device)];
    const run = () =>
      withGradients((q, k, v) => b.scaledDotProductAttention(q!, k!, v!, { causal: true }), own, weight);
    b.emptyCache(device);
    const before = b.memoryStats(device).liveBytes;
    const [first, again] = [run(), run()];
    for (const [i, y] of first.entries()) expect(y.dataSync()).toEqual(again[i]!.dataSync());
    const { liveBytes, cachedBytes } = b.memoryStats(device); // a matrix would be kept for reuse
    expect(liveBytes - before + cachedBytes).toBeLessThan(4 * 500 * 500 * 4);
  });
});

nothingSaid();
