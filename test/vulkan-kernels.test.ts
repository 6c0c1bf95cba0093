/** Vulkan's kernels against the CPU's at sizes around the edges of their tiles, with the validation layers listening. */
process.env.BRASA_VULKAN_VALIDATION = '1'; // before the library is opened
import { describe, expect, test } from 'vitest';
import * as b from '../lib/index.js';
import { whyMissing } from '../lib/core/device.js';
import { type DType, noGrad, type Tensor } from '../lib/index.js';

const reason = whyMissing('vulkan');
const device = reason === '' ? b.devices().find(({ id }) => id.startsWith('vulkan'))!.id : '';
const vulkan = reason === '' ? describe : describe.skip;

type Outputs = Tensor | readonly Tensor[];

/** What f makes of x on both devices is the same, to `tolerance` of the largest value. */
function compare(f: (...x: Tensor[]) => Outputs, inputs: readonly Tensor[], tolerance: number, at: string): void {
  const run = (on: string) => [noGrad(() => f(...inputs.map((x) => x.to(on))))].flat() as Tensor[];
  const wanted = run('cpu');
  for (const [k, y] of run(device).entries()) {
    const [values, want] = [y.dataSync(), wanted[k]!.dataSync()];
    expect(y.shape, at).toEqual(wanted[k]!.shape);
    let scale = 1;
    for (const v of want) if (Number.isFinite(Number(v))) scale = Math.max(scale, Math.abs(Number(v)));
    for (let i = 0; i < want.length; i++) {
      const [a, e] = [Number(values[i]), Number(want[i])];
      if (a === e || (Number.isNaN(a) && Number.isNaN(e))) continue;
      if (!(Math.abs(a - e) <= tolerance * scale)) expect.fail(`${at}, output ${k}: element ${i} is ${a}, not ${e}`);
    }
  }
}

/** y, and the gradients of sum(y * g) for each of x. */
function withGradients(f: (...x: Tensor[]) => Tensor, x: readonly Tensor[], g?: Tensor): Tensor[] {
  return b.enableGrad(() => {
    const own = x.map((one) => b.detach(one).requiresGrad_());
    const y = f(...own);
    return [b.detach(y), ...b.gradients(g ? b.sum(b.mul(y, g)) : b.sum(y), own)];
  });
}

const random = (shape: number[], dtype: DType = 'f32') => {
  b.manualSeed(7);
  return ['f32', 'f64', 'f16', 'bf16'].includes(dtype)
    ? b.randn(shape).to(dtype)
    : b.randint(0, dtype === 'bool' ? 2 : 100, shape).to(dtype);
};
const tolerance = (dtype: DType) => ({ f16: 2e-3, bf16: 2e-2, f64: 1e-12 })[dtype as string] ?? 2e-6;

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
    console.log(`${device}: ${b.devices().find(({ id }) => id === device)!.isa}`);
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

vulkan('afterwards', () => {
  test('the validation layers have nothing to say', () => {
    expect(b.devices().find(({ id }) => id === device)!.messages).toBe(0);
  });
});
