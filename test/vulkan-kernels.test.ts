/** Vulkan's kernels against the CPU's at sizes around the edges of their tiles, with the validation layers listening. */
process.env.BRASA_VULKAN_VALIDATION = '1'; // before the library is opened
import { describe, expect, test } from 'vitest';
import * as b from '../lib/index.js';
import { whyMissing } from '../lib/core/device.js';
import { type DType, noGrad, Tensor } from '../lib/index.js';

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
  const shapes = [[1, 1], [3, 5], [7, 33], [257, 4], [5, 255], [4, 1025], [1025, 3], [2, 40_000], [40_000, 2]];

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
    for (const shape of [[3, 1], [5, 37], [300, 2], [2, 70_001]])
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
    for (const shape of [[1, 7], [130, 257], [3, 70_000], [5000, 12]])
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

vulkan('afterwards', () => {
  test('the validation layers have nothing to say', () => {
    expect(b.devices().find(({ id }) => id === device)!.messages).toBe(0);
  });
});
