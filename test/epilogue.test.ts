import { describe, expect, test } from 'vitest';
import {
  compile,
  conv2d,
  crossEntropy,
  type DType,
  dropout,
  gradients,
  linear,
  manualSeed,
  randint,
  randn,
  relu,
  sigmoid,
  type Tensor,
  where,
} from '../lib/index.js';
import { Conv2d, Flatten, Linear, MaxPool2d, Sequential } from '../lib/nn/index.js';
import { Adam } from '../lib/optim/index.js';

type Function = (...xs: Tensor[]) => Tensor | readonly Tensor[];

/** Kernels with an epilogue, by the lines that explain them. */
const joined = (text: string): string[] =>
  text.split('\n').filter((line) => /= (matmul|conv2d|conv2dGradInput)\+/.test(line));

/** With and without the pass: bitwise the same results and arguments, twice. `kernels` of them have an epilogue. */
function same(f: Function, inputs: readonly Tensor[], kernels = 1): string[] {
  const [plain, fused] = [compile(f, { passes: { epilogue: false } }), compile(f)];
  for (let run = 0; run < 2; run++) {
    const [want, got] = [plain, fused].map((fn) => {
      manualSeed(run);
      const given = inputs.map((x) => x.clone());
      return [fn(...given), given].flat();
    });
    expect(got!.map((y) => [y.dtype, y.shape])).toEqual(want!.map((y) => [y.dtype, y.shape]));
    expect(got!.map((y, i) => sameBytes(y, want![i]!))).toEqual(want!.map(() => true));
  }
  expect(joined(plain.explain())).toEqual([]);
  const lines = joined(fused.explain());
  expect(lines).toHaveLength(kernels);
  expect(fused.stats().kernels).toBe(plain.stats().kernels - kernels);
  return lines;
}

const sameBytes = (x: Tensor, y: Tensor): boolean =>
  Buffer.compare(new Uint8Array(x.dataSync().buffer), new Uint8Array(y.dataSync().buffer)) === 0;

const draw = (shape: number[], dtype: DType = 'f32'): Tensor => {
  manualSeed(shape.reduce((a, b) => 31 * a + b, 7));
  return dtype.startsWith('f') || dtype === 'bf16' ? randn(shape).to(dtype) : randint(-9, 10, shape).to(dtype);
};

/** Enough of a program to be wrong in: a broadcast operand, a whole one, a number, y read twice, a new dtype for one result. */
const after = (y: Tensor, whole: Tensor, row: Tensor): Tensor[] => {
  const z = y.mul(2).add(row).maximum(whole).add(y);
  return [z, z.gt(0)];
};

describe('matmul', () => {
  // [M, N, K]: each way of computing it, around its blocks and those of the program.
  const sizes = [
    [...[3, 5, 7], 'direct'],
    [...[127, 130, 33], 'direct, several blocks'],
    [...[9, 300, 64], 'direct, few rows'],
    [...[182, 6000, 8], 'packed, tiles in strips'],
    [...[253, 129, 300], 'packed'],
    [...[31, 40, 2100], 'packed, slices of a long K'],
    [...[1, 300, 70], 'one row'],
    [...[300, 1, 70], 'one column'],
  ] as const;
  for (const [m, n, k, name] of sizes) {
    test(`${name}: ${m} x ${n} x ${k}`, () => {
      const large = m * n > 1e6;
      for (const dtype of large ? (['f32'] as const) : (['f32', 'f64', 'bf16'] as const)) {
        const a = [draw([m, k], dtype), draw([k, m], dtype).transpose(0, 1)];
        const b = [draw([k, n], dtype), draw([n, k], dtype).transpose(0, 1)];
        const [whole, row] = [draw([m, n], dtype), draw([n], dtype)];
        // An argument's clone() is dense: the transposes are made inside.
        for (const left of large ? [0] : [0, 1])
          for (const right of [0, 1]) {
            const f: Function = (x, w, whole, row) =>
              after((left ? x.transpose(0, 1) : x).matmul(right ? w.transpose(0, 1) : w), whole, row);
            same(f, [left ? a[1]!.transpose(0, 1) : a[0]!, right ? b[1]!.transpose(0, 1) : b[0]!, whole, row]);
          }
        const bias: Function = (x, w, whole, row) => after(linear(x, w, row), whole, row);
        same(bias, [a[0]!, b[1]!.transpose(0, 1), whole, row]);
      }
    });
  }

  test('integers', () => {
    for (const dtype of ['i8', 'i32', 'i64'] as const)
      same((a, b, c) => a.matmul(b).add(c).mul(2), [draw([40, 33], dtype), draw([33, 70], dtype), draw([70], dtype)]);
  });

  test('batches, one matrix for all of them, and rows of a batch', () => {
    const row = draw([40]);
    same(
      (a, b, whole, row) => after(a.matmul(b), whole, row),
      [draw([6, 30, 20]), draw([6, 20, 40]), draw([6, 30, 40]), row],
    );
    same(
      (a, b, mask) => where(mask.gt(0), a.matmul(b.transpose(-2, -1)).mul(0.3), -1e9),
      [draw([2, 3, 30, 20]), draw([2, 3, 50, 20]), draw([2, 1, 1, 50])],
    );
    same((a, w, row) => relu(linear(a, w, row)), [draw([4, 9, 20]), draw([40, 20]), row]);
    // An operand for each item cannot be read by rows of all.
    same((a, w, each) => linear(a, w).add(each), [draw([4, 9, 20]), draw([40, 20]), draw([4, 1, 40])], 0);
    same((a, b, each) => a.matmul(b).add(each), [draw([4, 9, 20]), draw([1, 20, 40]), draw([9, 40])]);
  });

  test('the result under another shape, or with dims exchanged', () => {
    same((a, b, c) => a.matmul(b).reshape([5, 6, 40]).add(c), [draw([30, 20]), draw([20, 40]), draw([5, 6, 40])]);
    same((a, b, c) => a.matmul(b).transpose(0, 1).add(c), [draw([30, 20]), draw([20, 40]), draw([40, 30])]);
    same((a, b, c) => a.matmul(b).at([0, 9]).add(c), [draw([30, 20]), draw([20, 40]), draw([9, 40])], 0);
    same((a, b) => a.matmul(b).add(a.matmul(b).transpose(0, 1)), [draw([30, 20]), draw([20, 30])], 0);
  });

  test('a result that others read is stored', () => {
    const inputs = [draw([130, 70]), draw([70, 300])];
    const [line] = same((a, b) => {
      const y = a.matmul(b);
      return [relu(y), y.amax(0)];
    }, inputs);
    expect(line!.split(' = ')[0]!.split(', ')).toHaveLength(2);
    same((a, b) => {
      const y = a.matmul(b);
      return [relu(y), y];
    }, inputs);
    // Nothing else has its dtype: it is made in memory of its own.
    same((a, b) => a.matmul(b).gt(0), inputs);
  });

  test('sums of two products, and of a residual', () => {
    const [a, b, c] = [draw([50, 50]), draw([50, 50]), draw([50, 50])];
    same((a, b, c) => a.matmul(b).add(b.matmul(c)), [a, b, c]);
    same((a, b, c) => relu(a.matmul(b).add(c)), [a, b, c]);
    same((a, b, c) => a.matmul(b).add(a.mul(c)), [a, b, c]);
  });

  test('in place', () => {
    const inputs = [draw([60, 50]), draw([50, 50]), draw([60, 50])];
    same((a, b, c) => a.matmul(b).add_(c), inputs);
    same((a, b, c) => c.mul(2).add_(a.matmul(b)), inputs);
    // Written while other blocks read it, and what changes an argument.
    const changes = (f: Function) => same((...xs) => [f(...xs), xs[1]!.mul(2)].flat().slice(-1), inputs, 0);
    changes((a, b) => a.copy_(relu(a.matmul(b))));
    changes((a, b, c) => c.add_(a.matmul(b)));
    same(
      (a, b, c) => {
        const y = a.matmul(b);
        const before = y.sum();
        y.mul_(c);
        return [y, before];
      },
      inputs,
      0,
    );
  });

  test('what is written between the product and its reader', () => {
    same(
      (a, b, c) => {
        const y = a.matmul(b);
        a.mul_(2);
        b.add_(1);
        return y.mul(c);
      },
      [draw([60, 40]), draw([40, 50]), draw([60, 50])],
    );
  });
});

describe('convolutions', () => {
  const options = { stride: 1, padding: 0, dilation: 1, groups: 1 };
  // [N, C, H, W], [O, KH, KW], options
  const cases = [
    [[3, 5, 20, 21], [40, 3, 3], { padding: 1 }],
    [[3, 16, 20, 20], [70, 3, 3], {}],
    [[1, 8, 70, 65], [33, 3, 3], { padding: 1 }],
    [[9, 16, 12, 12], [40, 1, 1], {}],
    [[2, 8, 21, 20], [32, 3, 3], { stride: 2, padding: 1 }],
    [[3, 8, 20, 20], [8, 3, 3], { groups: 8, padding: 1 }],
    [[3, 4, 60, 40], [4, 3, 3], { groups: 2, dilation: 2 }],
    [[2, 6, 9, 9], [3, 5, 5], { padding: 2 }],
  ] as const;
  for (const [size, [o, kh, kw], given] of cases) {
    const how = { ...options, ...given };
    test(`${size.join('x')} by ${o}x${kh}x${kw} ${JSON.stringify(given)}, and its input's gradient`, () => {
      for (const dtype of ['f32', 'f64', 'bf16'] as const) {
        const x = draw([...size], dtype);
        const w = draw([o, size[1] / how.groups, kh, kw], dtype);
        const bias = draw([o], dtype);
        const y = conv2d(x, w, null, how);
        const whole = draw([...y.shape], dtype);
        const row = draw([o, 1, 1], dtype);
        same((x, w, bias, whole, row) => after(conv2d(x, w, bias, how), whole, row), [x, w, bias, whole, row]);
        same((x, w, whole, row) => after(conv2d(x, w, null, how), whole, row), [x, w, whole, row]);
        const channels = draw([size[1], 1, 1], dtype);
        same(
          (x, w, g, channels) => {
            const input = x.mul(1).requiresGrad_();
            const [dx] = gradients(conv2d(input, w, null, how), [input], { gradient: g });
            return after(dx!, x, channels);
          },
          [x, w, whole, channels],
        );
      }
    });
  }

  test('channels-last', () => {
    const last = (x: Tensor) => x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
    same((x, w, b) => relu(conv2d(last(x), last(w), b)), [draw([2, 16, 14, 14]), draw([40, 16, 3, 3]), draw([40])]);
  });
});

describe('networks', () => {
  const train = (build: () => Sequential, input: number[], kernels: number) => {
    const run = (epilogue: boolean) => {
      manualSeed(5);
      const model = build();
      const optimizer = new Adam(model.parameters());
      const step = compile(
        (x: Tensor, y: Tensor) => {
          optimizer.zeroGrad();
          const loss = crossEntropy(model.forward(x) as Tensor, y);
          loss.backward();
          optimizer.step();
          return loss;
        },
        { passes: { epilogue } },
      );
      const losses = Array.from({ length: 4 }, () => step(randn(input), randint(0, 10, [input[0]!])).item());
      return {
        losses,
        weights: Object.values(model.stateDict()),
        lines: joined(step.explain()),
      };
    };
    const [plain, fused] = [run(false), run(true)];
    expect(new Set(plain.losses).size).toBe(4);
    expect(fused.losses).toEqual(plain.losses);
    expect(fused.weights.map((p, i) => sameBytes(p, plain.weights[i]!))).toEqual(plain.weights.map(() => true));
    expect(plain.lines).toEqual([]);
    expect(fused.lines).toHaveLength(kernels);
  };

  test('multilayer perceptron: relu, and its gradient where no bias needs its sum', () => {
    const build = (bias: boolean) => () =>
      new Sequential(new Linear(50, 70, { bias }), relu, new Linear(70, 33, { bias }), relu, new Linear(33, 10));
    train(build(true), [40, 50], 2);
    train(build(false), [40, 50], 4);
  });

  test('convolutional', () => {
    const build = (bias: boolean) => () =>
      new Sequential(
        ...[new Conv2d(1, 32, 3, { bias }), relu, new Conv2d(32, 40, 3), relu, new MaxPool2d(2)],
        ...[new Flatten(), new Linear(40 * 25, 10)],
      );
    train(build(true), [4, 1, 14, 14], 2);
    train(build(false), [4, 1, 14, 14], 3);
  });

  test('dropout and gates', () => {
    same(
      (x, w, u) => dropout(sigmoid(x.matmul(w).add(x.matmul(u))), 0.5),
      [draw([30, 40]), draw([40, 40]), draw([40, 40])],
    );
  });
});
