/** Vulkan without the types that devices may lack: pretended, on whatever device is here. */
process.env.BRASA_VULKAN_VALIDATION = '1'; // both before the library is opened
process.env.BRASA_VULKAN_PRETEND = 'no-f64,no-8bit,no-16bit';
import { describe, expect, test } from 'vitest';
import { whyMissing } from '../lib/core/device.js';
import * as b from '../lib/index.js';

const reason = whyMissing('vulkan');
const device = reason === '' ? b.devices().find(({ id }) => id.startsWith('vulkan'))!.id : '';
const vulkan = reason === '' ? describe : describe.skip;
if (reason !== '') console.log(`no Vulkan device here, its tests are skipped: ${reason}`);

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
  const unary = {
    ...{ sin: 1e30, cos: 1e30, tan: 1e30, asinh: 1e30, acosh: 1e30, erfc: 12 },
  };
  test.each(Object.entries(unary))('%s is within 4 units in the last place', (name, limit) => {
    const values = Float32Array.from([...spread(limit), ...edges]);
    const f = (b as unknown as Record<string, (x: b.Tensor) => b.Tensor>)[name]!;
    const got = f(b.tensor(values, { device })).dataSync();
    const want = f(b.tensor(values, { dtype: 'f64' })).dataSync();
    let worst = 0;
    values.forEach((x, i) => {
      const off = ulps(got[i] as number, want[i] as number);
      if (!(off <= 4)) expect.fail(`${name}(${x}) is ${got[i]}, not ${want[i]}: ${off} units`);
      worst = Math.max(worst, off);
    });
    console.log(`${name}: ${worst.toFixed(2)} units`);
  });

  test.each(['pow', 'fmod', 'remainder', 'floorDivide'] as const)('%s', (name) => {
    const left = spread(300);
    const right = left.toReversed().map((x, i) => x * ((i % 7) + 0.37));
    const x = Float32Array.from([...left, ...edges.flatMap((e) => edges.map(() => e))]);
    const y = Float32Array.from([...right, ...edges.flatMap(() => edges)]);
    const run = (on: string) => b[name](b.tensor(x, { device: on }), b.tensor(y, { device: on })).dataSync();
    const [got, want] = [run(device), run('cpu')];
    let worst = 0;
    x.forEach((a, i) => {
      const off = ulps(got[i] as number, want[i] as number);
      if (!(off <= (name === 'pow' ? 5 : 0))) expect.fail(`${name}(${a}, ${y[i]}) is ${got[i]}, not ${want[i]}: ${off} units`);
      worst = Math.max(worst, off);
    });
    console.log(`${name}: ${worst.toFixed(2)} units`);
  });
});
