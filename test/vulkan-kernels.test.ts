/** Vulkan's kernels of rows, lines and indices against the CPU's at sizes around the edges of their tiles, with the validation layers listening. */
import { expect, test } from 'vitest';
import * as b from '../lib/index.js';
import type { Tensor } from '../lib/index.js';
import { device, vulkan } from './vulkan/compare.js';
import { compare, nothingSaid, type Outputs, random, tolerance, withGradients } from './vulkan/kernels.js';

vulkan('reductions', () => {
  const folds: Record<string, (x: Tensor, dims: number[]) => Outputs> = {
    sum: (x, dims) => b.sum(x, dims),
    amax: (x, dims) => b.max(x, dims),
    amin: (x, dims) => b.min(x, dims),
  };
  const floats: typeof folds = {
    mean: (x, dims) => b.mean(x, dims),
    variance: (x, dims) => b.variance(x, dims),
    norm: (x, dims) => b.norm(x, dims),
    prod: (x, dims) => b.prod(b.add(1, b.mul(x, 0.01)), dims),
  };
  const shapes = [
    [1, 1],
    [3, 5],
    [7, 33],
    [257, 4],
    [5, 255],
    [4, 1025],
    [1025, 3],
    [2, 40_000],
    [40_000, 2],
  ];

  test.each(Object.keys(folds).concat(Object.keys(floats)))('%s of rows, of columns and of all', (name) => {
    for (const shape of shapes)
      for (const dims of [[0], [1], [0, 1]]) {
        const f = folds[name] ?? floats[name]!;
        compare((x) => f(x, dims), [random(shape)], 3e-5, `${name} of (${shape}) over ${dims}`);
      }
  });

  test('of every type', () => {
    for (const dtype of ['f64', 'f16', 'bf16', 'i8', 'u8', 'i32', 'i64', 'bool'] as const)
      for (const [name, f] of Object.entries(['f64', 'f16', 'bf16'].includes(dtype) ? { ...folds, ...floats } : folds))
        for (const dims of [[0], [1]])
          compare((x) => f(x, dims), [random([37, 300], dtype)], tolerance(dtype), `${name} of ${dtype} over ${dims}`);
  });

  test('of dims in the middle, turned and strided', () => {
    const x = random([6, 35, 4, 19]);
    for (const dims of [[1], [2], [0, 2], [1, 3], [0, 1, 3]])
      for (const [name, f] of Object.entries({ ...folds, ...floats })) {
        compare((t) => f(t, dims), [x], 1e-5, `${name} over ${dims}`);
        compare((t) => f(b.permute(t, [2, 0, 3, 1]), dims), [x], 1e-5, `${name} of a permutation over ${dims}`);
        compare((t) => f(b.slice(t, 1, 1, 34, 3), dims), [x], 1e-5, `${name} of a slice over ${dims}`);
      }
  });

  test('arguments of extremes: the first of equals, and NaN before all', () => {
    for (const shape of [
      [3, 1],
      [5, 37],
      [300, 2],
      [2, 70_001],
    ])
      for (const dim of [0, 1]) {
        const at = `(${shape}) along ${dim}`;
        compare((x) => [b.argmax(x, dim), b.argmin(x, dim)], [random(shape)], 0, at);
        compare((x) => [b.argmax(x, dim), b.argmin(x, dim)], [random(shape, 'i32')], 0, at);
        const holes = b.where(b.gt(random(shape), 1.5), Number.NaN, random(shape));
        compare((x) => [b.argmax(x, dim), b.argmin(x, dim)], [holes], 0, `${at}, NaN`);
      }
    compare((x) => b.argmax(x, 0), [b.full([700], Number.NEGATIVE_INFINITY)], 0, 'of nothing above -inf');
  });

  test('of no elements', () => {
    compare((x) => [b.sum(x, 1), b.prod(x, 1), b.sum(x, 0)], [b.zeros([3, 0])], 0, 'of (3, 0)');
  });

  test('with a program before them, fused', () => {
    for (const shape of [
      [1, 7],
      [130, 257],
      [3, 70_000],
      [5000, 12],
    ])
      for (const dims of [[0], [1], [0, 1]])
        compare(
          b.compile((x: Tensor) => {
            const y = b.mul(b.sigmoid(x), b.mul(x, 3));
            return [y, b.sum(y, dims), b.mean(b.square(x), dims)];
          }) as unknown as (x: Tensor) => Tensor[],
          [random(shape)],
          1e-5,
          `(${shape}) over ${dims}`,
        );
    compare(
      b.compile((x: Tensor) => [b.sum(b.square(x), 0), b.sum(b.square(x), 1), b.sum(b.gt(x, 0))]) as unknown as (
        x: Tensor,
      ) => Tensor[],
      [random([65, 130])],
      1e-5,
      'sums of different dims and types',
    );
  });
});

vulkan('kernels of rows', () => {
  const sizes = [1, 3, 33, 255, 2048, 2049, 9000];

  test('softmax and logSoftmax with their gradients, along rows and columns', () => {
    for (const f of [b.softmax, b.logSoftmax])
      for (const n of sizes)
        for (const shape of [
          [3, n],
          [n, 35],
        ]) {
          const dim = shape[0] === 3 ? 1 : 0;
          compare(
            (x, g) => withGradients((x) => f(x, dim), [x], g),
            [random(shape), random(shape)],
            3e-6,
            `${f.name} of (${shape})`,
          );
        }
    for (const dtype of ['f64', 'f16', 'bf16'] as const)
      compare((x) => [b.softmax(x, 1), b.logSoftmax(x, 0)], [random([5, 77], dtype)], tolerance(dtype), dtype);
    const edge = b.tensor([
      [-Infinity, -Infinity],
      [-Infinity, 1],
      [Infinity, 1],
      [NaN, 1],
      [300, -300],
    ]);
    compare((x) => [b.softmax(x, 1), b.logSoftmax(x, 1)], [edge], 1e-6, 'values at the edge');
  });

  test('of one long row', () => {
    compare((x) => [b.softmax(x, 0), b.logSoftmax(x, 0)], [random([150_001])], 1e-6, 'softmax');
    compare((x) => b.layerNorm(x, [150_001]), [random([1, 150_001])], 1e-5, 'layerNorm');
  });

  test('crossEntropy, weighted, smoothed, and with rows to be left out', () => {
    for (const n of [2, 10, 257, 2049, 9000])
      for (const options of [{}, { labelSmoothing: 0.1 }, { ignoreIndex: 1 }])
        for (const weighted of [false, true]) {
          const weight = b.add(b.rand([n]), 0.5);
          const target = b.remainder(random([37], 'i32'), n);
          compare(
            (x, t, w) =>
              withGradients((x) => b.crossEntropy(x, t, { ...options, ...(weighted ? { weight: w } : {}) }), [x]),
            [random([37, n]), target, weight],
            5e-6,
            `of (37, ${n}), ${JSON.stringify(options)}${weighted ? ', weighted' : ''}`,
          );
        }
    const wrong = b.crossEntropy(random([3, 4]).to(device), b.tensor(Int32Array.of(0, 4, 1)).to(device));
    expect(() => wrong.item()).toThrow('index 4 is out of range for a dim of size 4');
  });

  test('layerNorm and its gradients', () => {
    for (const n of sizes.slice(1))
      for (const rows of [1, 40]) {
        const f = (x: Tensor, w: Tensor, c: Tensor, g: Tensor) =>
          withGradients((x, w, c) => b.layerNorm(x, [n], w, c), [x, w, c], g);
        compare(f, [random([rows, n]), b.rand([n]), random([n]), random([rows, n])], 1e-5, `of (${rows}, ${n})`);
      }
    const turned = (x: Tensor, w: Tensor, g: Tensor) =>
      withGradients((x, w) => b.layerNorm(b.permute(x, [2, 0, 3, 1]), [5, 9], w), [x, w], g);
    compare(turned, [random([6, 9, 4, 5]), random([5, 9]), random([4, 6, 5, 9])], 1e-5, 'of a permutation');
  });

  test('batchNorm and its gradients', () => {
    for (const shape of [
      [2, 3],
      [64, 130],
      [5, 3, 7],
      [4, 33, 9, 11],
      [2, 2, 150, 151],
    ]) {
      const c = shape[1]!;
      const f = (x: Tensor, w: Tensor, d: Tensor, g: Tensor) =>
        withGradients((x, w, d) => b.batchNorm(x, null, w, d, { training: true }), [x, w, d], g);
      compare(f, [random(shape), b.rand([c]), random([c]), random(shape)], 3e-5, `of (${shape})`);
    }
    const last = (x: Tensor, w: Tensor, d: Tensor) =>
      b.batchNorm(b.permute(x, [0, 3, 1, 2]), null, w, d, { training: true });
    compare(last, [random([3, 8, 9, 40]), b.rand([40]), random([40])], 1e-5, 'channels last');
  });
});

vulkan('scans and orders', () => {
  test('cumsum and cumprod of lines and columns', () => {
    for (const shape of [
      [1, 1],
      [3, 5],
      [2, 1024],
      [3, 1025],
      [2, 70_001],
      [70_001, 2],
      [300, 700],
      [1, 300_000],
    ])
      for (const dim of [0, 1]) {
        const at = `(${shape}) along ${dim}`;
        compare((x) => b.cumsum(x, dim), [b.rand(shape)], 2e-6, at);
        compare((x) => b.cumsum(x, dim), [random(shape, 'i32')], 0, `${at}, integers`);
        compare((x) => b.cumprod(b.add(1, b.mul(x, 1e-3)), dim), [random(shape)], 2e-4, `${at}, products`);
      }
    for (const dim of [0, 1, 2])
      compare((x) => b.cumsum(b.permute(x, [2, 0, 1]), dim), [b.rand([33, 70, 9])], 2e-6, `of a permutation, ${dim}`);
    compare((x) => [b.cumsum(x, 1), b.cumsum(b.gt(x, 0), 0)], [random([70, 3000], 'f64')], 1e-12, 'f64, bool');
  });

  test('sort is stable, NaN last, at all sizes', () => {
    const sorts = (x: Tensor, dim: number) =>
      [false, true].flatMap((descending) => Object.values(b.sort(x, dim, { descending })) as Tensor[]);
    for (const shape of [
      [1, 1],
      [5, 2],
      [700, 3],
      [9, 31],
      [4, 513],
      [3, 2048],
      [2, 2049],
      [3, 5000],
      [1, 20_000],
    ]) {
      compare((x) => sorts(x, 1), [random(shape)], 0, `rows of (${shape})`);
      compare((x) => sorts(b.permute(x, [1, 0]), 0), [random(shape, 'i32')], 0, `columns of (${shape}), with equals`);
    }
    const holes = b.where(b.gt(random([3, 3000]), 1), NaN, b.where(b.lt(random([3, 3000]), -1), -0, random([3, 3000])));
    compare((x) => sorts(x, 1), [holes], 0, 'NaN and -0');
    for (const dtype of ['f64', 'f16', 'bf16', 'i8', 'u8', 'i64', 'bool'] as const)
      compare((x) => sorts(x, 1), [random([3, 2500], dtype)], 0, dtype);
  });

  test('topk of short, long and equal rows', () => {
    const tops = (x: Tensor, k: number) =>
      [true, false].flatMap((largest) => Object.values(b.topk(x, k, 1, { largest })) as Tensor[]);
    for (const [n, k] of [
      [1, 1],
      [10, 3],
      [1000, 5],
      [5000, 7],
      [5000, 3000],
      [100_000, 900],
      [3000, 3000],
    ] as const)
      for (const dtype of ['f32', 'i32', 'i64'] as const)
        compare((x) => tops(x, k), [random([3, n], dtype)], 0, `${k} of ${n}, ${dtype}`);
  });

  test('nonzero keeps its order', () => {
    for (const shape of [[1], [63], [65], [130, 77], [40_001]])
      compare((x) => b.nonzero(b.gt(x, 0.5)), [random(shape)], 0, `(${shape})`);
  });
});

vulkan('elements put by index', () => {
  const indices = (shape: number[], size: number) => {
    b.manualSeed(3);
    return b.randint(-size, size, shape);
  };

  test('scatter, scatterAdd and indexAdd of short, long and many lines, many to one place', () => {
    for (const [lines, n, size] of [
      [3, 5, 4],
      [5, 65, 7],
      [2, 3000, 900],
      [1, 70_001, 3],
      [1, 5000, 20_000],
      [20_000, 70, 9],
    ] as const)
      for (const dtype of ['f32', 'i32'] as const) {
        const at = `${lines} lines of ${n} into ${size}, ${dtype}`;
        const [x, i, src] = [random([lines, size], dtype), indices([lines, n], size), random([lines, n], dtype)];
        compare((x, i, s) => [b.scatter(x, 1, i, s), b.scatterAdd(x, 1, i, s)], [x, i, src], 2e-5, at);
        const turned = (t: Tensor) => b.permute(t, [1, 0]);
        if (lines < 100)
          compare((x, i, s) => b.scatterAdd(turned(x), 0, turned(i), turned(s)), [x, i, src], 2e-5, `${at}, turned`);
      }
    for (const [n, size, width] of [
      [300, 40, 33],
      [5000, 3, 2],
      [70, 1000, 1],
    ] as const)
      compare(
        (x, i, s) => [b.indexAdd(x, 0, i, s), b.indexAdd(b.permute(x, [1, 0]), 1, i, b.permute(s, [1, 0]))],
        [random([size, width]), indices([n], size), random([n, width])],
        2e-5,
        `${n} rows of ${width} into ${size}`,
      );
    for (const dtype of ['f64', 'f16', 'bf16', 'i64', 'u8'] as const)
      compare(
        (x, i, s) => b.scatterAdd(x, 1, i, s),
        [b.mul(random([2, 50], dtype), 0), indices([2, 100], 50), random([2, 100], dtype)],
        tolerance(dtype),
        dtype,
      );
    const wrong = b.scatterAdd(
      b.zeros([4]).to(device),
      0,
      b.full([100], 4, { dtype: 'i32', device }),
      b.ones([100], { device }),
    );
    expect(() => wrong.dataSync()).toThrow('index 4 is out of range for a dim of size 4');
  });
});

nothingSaid();
