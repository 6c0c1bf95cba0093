/** Vulkan without the types and the atomic additions that devices may lack: pretended, on whatever device is here. */
import { expect, test, vi } from 'vitest';
vi.hoisted(() => {
  process.env.BRASA_VULKAN_PRETEND = 'no-f64,no-8bit,no-16bit,no-atomics'; // before the library is opened
});
import * as b from '../lib/index.js';
import { samples } from './samples.js';
import { checked, compare, device, lacking, vulkan } from './vulkan/compare.js';
import { sums } from './vulkan/sums.js';

vulkan('samples without f64, and with narrow types in whole words', () => {
  // The row of casts goes from and to f64.
  test.each(samples.filter(({ name }) => name !== 'cast'))('$name', (sample) => {
    const dtypes = (sample.dtypes ?? (['f32'] as const)).filter((dtype) => dtype !== 'f64');
    b.noGrad(() => {
      for (const dtype of dtypes) compare(sample, dtype);
    });
    expect([...lacking.keys()]).toEqual([]);
  });

  test('f64 is refused in words', () => {
    expect(checked().dtypes).not.toContain('f64');
    const message = /\(.*\) has no f64: convert with .to\('f32'\) first, or stay on 'cpu'/;
    const host = b.tensor([1, 2], { dtype: 'f64' });
    for (const make of [
      () => b.zeros([2], { dtype: 'f64', device }),
      () => host.to(device),
      () => b.ones([2], { device }).to('f64'),
      () => b.add(b.ones([2], { device }), b.zeros([2], { device, dtype: 'f64' })),
    ]) {
      expect(make).toThrow(b.DTypeError);
      expect(make).toThrow(message);
    }
    expect(host.to('f32').to(device).dataSync()).toEqual(Float32Array.of(1, 2));
  });
});

vulkan('f32 where the device has no f64', () => {
  /** Distance in units in the last place of f32. */
  const ulps = (got: number, want: number): number => {
    if (Number.isNaN(want) || !Number.isFinite(Math.fround(want)) || want === 0)
      return Object.is(got, Math.fround(want)) ? 0 : Number.POSITIVE_INFINITY;
    const exponent = Math.max(Math.floor(Math.log2(Math.abs(want))), -126);
    return Math.abs(got - want) / 2 ** (exponent - 23);
  };
  const edges = [0, -0, 1, -1, 0.5, 3, -2, 1e-6, -1e-20, 1e20, -3e38, 100.5, 1 / 0, -1 / 0, Number.NaN];
  const spread = (limit: number) =>
    Float32Array.from({ length: 4000 }, (_, i) => {
      const t = (i - 2000) / 2000;
      return i % 3 === 0 ? t * limit : i % 3 === 1 ? t * 4 : Math.sign(t) * 2 ** (40 * t);
    });
  test.each([
    { f: b.sin, limit: 1e30 },
    { f: b.cos, limit: 1e30 },
    { f: b.tan, limit: 1e30 },
    { f: b.asinh, limit: 1e30 },
    { f: b.acosh, limit: 1e30 },
    { f: b.erfc, limit: 12 },
  ])('$f.name is within 4 units in the last place', ({ f, limit }) => {
    const values = Float32Array.from([...spread(limit), ...edges]);
    const got = f(b.tensor(values, { device })).dataSync();
    const want = f(b.tensor(values, { dtype: 'f64' })).dataSync();
    values.forEach((x, i) => {
      const off = ulps(got[i] as number, want[i] as number);
      if (!(off <= 4)) expect.fail(`${f.name}(${x}) is ${got[i]}, not ${want[i]}: ${off} units`);
    });
  });

  test.each([
    { name: 'pow', f: b.pow, units: 4 },
    { name: 'fmod', f: b.fmod, units: 0 },
    { name: 'remainder', f: b.remainder, units: 0 },
    { name: 'floorDivide', f: b.floorDivide, units: 0 },
  ])('$name is within $units units in the last place', ({ name, f, units }) => {
    const left = spread(300);
    const right = left.toReversed().map((x, i) => x * ((i % 7) + 0.37));
    const x = Float32Array.from([...left, ...edges.flatMap((e) => edges.map(() => e))]);
    const y = Float32Array.from([...right, ...edges.flatMap(() => edges)]);
    const run = (on: string) => f(b.tensor(x, { device: on }), b.tensor(y, { device: on })).dataSync();
    const [got, want] = [run(device), run('cpu')];
    x.forEach((a, i) => {
      const off = ulps(got[i] as number, want[i] as number);
      if (!(off <= units)) expect.fail(`${name}(${a}, ${y[i]}) is ${got[i]}, not ${want[i]}: ${off} units`);
    });
  });
});

vulkan('sums by index without atomic additions', () => {
  test('are exact of integers', () => {
    for (const dtype of ['i8', 'u8', 'i32', 'i64'] as const) {
      const want = sums('cpu', dtype);
      for (const [k, y] of sums(device, dtype).entries())
        expect(y.dataSync(), `${dtype} ${k}`).toEqual(want[k]!.dataSync());
    }
  });

  test('keep their order where any would do', () => {
    const want = sums(device, 'f32');
    b.setDeterministic(false);
    const got = sums(device, 'f32');
    b.setDeterministic(true);
    for (const [k, y] of got.entries()) expect(y.dataSync(), `${k}`).toEqual(want[k]!.dataSync());
  });
});

vulkan('the checker', () => {
  test('has nothing to say', () => expect(checked().messages).toBe(0));
});
