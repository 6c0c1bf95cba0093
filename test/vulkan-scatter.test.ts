/** Sums by index on Vulkan: integers exact, floats in order, or as they arrive where that is allowed. Without atomics: vulkan-types. */
import { afterEach, expect, test } from 'vitest';
import * as b from '../lib/index.js';
import type { DType, Tensor } from '../lib/index.js';
import { checked, device, vulkan } from './vulkan/compare.js';
import { sums } from './vulkan/sums.js';

afterEach(() => b.setDeterministic(true));
const bytes = (x: Tensor) => Buffer.from(x.dataSync().buffer);

function expectClose(got: readonly Tensor[], want: readonly Tensor[], tolerance: number): void {
  for (const [k, y] of got.entries()) {
    const [values, wanted] = [y.dataSync(), want[k]!.dataSync()];
    expect(y.shape).toEqual(want[k]!.shape);
    let scale = 1;
    for (const v of wanted) scale = Math.max(scale, Math.abs(Number(v)));
    for (const [i, v] of wanted.entries()) {
      if (!(Math.abs(Number(values[i]) - Number(v)) <= tolerance * scale))
        expect.fail(`output ${k}: element ${i} is ${values[i]}, not ${v}`);
    }
  }
}

vulkan('sums by index', () => {
  test.each(['i8', 'u8', 'i32', 'i64'] as const)('of %s are exact', (dtype) => {
    const want = sums('cpu', dtype);
    for (const on of [true, false]) {
      b.setDeterministic(on);
      for (const [k, y] of sums(device, dtype).entries()) expect(bytes(y).equals(bytes(want[k]!)), `${k}`).toBe(true);
    }
  });

  const tolerances: [DType, number][] = [
    ['f32', 3e-6],
    ['f64', 1e-14],
    ['f16', 2e-2],
    ['bf16', 1e-1],
  ];
  test.each(tolerances.filter(([dtype]) => device === '' || checked().dtypes.includes(dtype)))(
    'of %s are the same bytes each time, and near to the CPU in any order',
    (dtype, tolerance) => {
      const [first, again] = [sums(device, dtype), sums(device, dtype)];
      for (const [k, y] of first.entries()) expect(bytes(y).equals(bytes(again[k]!)), `${k}`).toBe(true);
      const want = sums('cpu', dtype);
      expectClose(first, want, tolerance);
      b.setDeterministic(false);
      expectClose(sums(device, dtype), want, tolerance);
    },
  );

  test('of a compiled function follow the switch', () => {
    b.manualSeed(1);
    const src = b.randn([4000, 5], { device });
    const index = b.randint(0, 2, [4000]).to(device);
    const f = (x: Tensor) => b.indexAdd(x, 0, index, src);
    const step = b.compile(f);
    const x = b.zeros([2, 5], { device });
    const ordered = bytes(f(x));
    expect(bytes(step(x)).equals(ordered)).toBe(true);
    b.setDeterministic(false);
    expectClose([step(x)], [f(x)], 3e-6);
    b.setDeterministic(true);
    expect(bytes(step(x)).equals(ordered)).toBe(true);
    expect(step.stats().programs).toBe(2);
  });

  test('raise an index that is out of range', () => {
    const wrong = b.tensor(Int32Array.of(0, 3, 1), { device });
    for (const on of [true, false])
      for (const dtype of ['i32', 'i64', 'f32'] as const) {
        b.setDeterministic(on);
        const y = b.indexAdd(b.zeros([3, 4], { dtype, device }), 0, wrong, b.ones([3, 4], { dtype, device }));
        expect(() => y.dataSync()).toThrow(b.IndexError);
        const again = b.scatterAdd(b.zeros([3], { dtype, device }), 0, wrong, b.ones([3], { dtype, device }));
        expect(() => again.dataSync()).toThrow('index 3 is out of range for a dim of size 3');
      }
  });

  test("are embedding's gradient", () => {
    b.manualSeed(2);
    const [weight, g] = [b.randn([20, 33]), b.randn([10, 90, 33])];
    const index = b.randint(0, 5, [10, 90]);
    const run = (on: string) => {
      const own = b.clone(weight).to(on).requiresGrad_();
      const y = b.embedding(index.to(on), own, { paddingIdx: 3 });
      return b.gradients(b.sum(b.mul(y, g.to(on))), [own]);
    };
    const want = run('cpu');
    expectClose(run(device), want, 3e-6);
    b.setDeterministic(false);
    expectClose(run(device), want, 3e-6);
  });

  test('leave the validation layers nothing to say', () => expect(checked().messages).toBe(0));
});
