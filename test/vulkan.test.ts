/** What Vulkan's devices do: calls, random numbers, moves, memory, errors, with the validation layers listening. Op by op: vulkan-samples.test.ts. */
import { expect, test } from 'vitest';
import * as b from '../lib/index.js';
import type { Tensor } from '../lib/index.js';
import { programs } from './programs/index.js';
import { losses } from './programs/program.js';
import { checked, device, vulkan } from './vulkan/compare.js';

vulkan('compiled functions on Vulkan', () => {
  test.each(['mlp', 'gpt'] as const)('%s trains as on the CPU', (name) => {
    const [got, want] = [device, 'cpu'].map((device) => {
      const training = programs[name]({ dtype: 'f32', device });
      return losses(training, b.compile(training.step), 5);
    });
    expect(got!.length).toBeGreaterThanOrEqual(5);
    for (const [i, loss] of got!.entries()) expect(Math.abs(loss / want![i]! - 1), `loss ${i}`).toBeLessThan(1e-5);
  });

  test('a compiled call works on what it is given each time', () => {
    const step = b.compile((x: Tensor, k: Tensor) => b.add(b.mul(x, k), b.sum(x)));
    const results = [1, 2, 3, 4, 5].map((k) => {
      const x = b.full([300], k, { device });
      return step(x, b.full([], 10 * k, { device }));
    });
    results.forEach((y, i) => {
      expect(new Set(y.dataSync())).toEqual(new Set([(i + 1) * (10 * (i + 1)) + 300 * (i + 1)]));
    });
  });
});

vulkan('random numbers on Vulkan', () => {
  test('integers are those of the CPU, bit for bit', () => {
    const draw = (on: string) => {
      b.manualSeed(20_000_000_007);
      return [
        b.randint(-5, 1000, [1001], { device: on }),
        b.randint(-(2 ** 31), 2 ** 31, [77], { device: on }),
        b.bernoulli(0.3, [513], { device: on }),
        b.dropout(b.ones([999], { device: on }), 0.4),
        b.rand([1023], { device: on }),
      ].map((x) => Array.from(x.dataSync()));
    };
    expect(draw(device)).toEqual(draw('cpu'));
  });

  test('normal numbers differ in the last bits only', () => {
    const draw = (on: string) => {
      b.manualSeed(5);
      return b.randn([4001], { device: on }).dataSync();
    };
    const [got, want] = [draw(device), draw('cpu')];
    for (const [i, x] of got.entries())
      expect(Math.abs(x - want[i]!)).toBeLessThanOrEqual(4 * 2 ** -23 * Math.max(1, Math.abs(want[i]!)));
  });
});

vulkan('the device', () => {
  test('tensors of two devices are refused, and move by .to()', () => {
    const x = b.tensor([1, 2, 3], { device });
    const refused = () => b.add(x, b.tensor([1, 2, 3]));
    expect(refused).toThrow(b.DeviceError);
    expect(refused).toThrow(`move one with .to('${device}')`);
    expect(x.to('cpu').device).toBe('cpu');
    expect(b.add(x, b.tensor([1, 2, 3]).to(device)).dataSync()).toEqual(Float32Array.of(2, 4, 6));
  });

  test('powers in bf16 keep their sign', () => {
    const [x, y] = [b.tensor([-4, -2, 3, -4], { dtype: 'bf16' }), b.tensor([1, -1, 1, 2], { dtype: 'bf16' })];
    expect(b.pow(x.to(device), y.to(device)).toArray()).toEqual([-4, -0.5, 3, 16]);
  });

  test('gradients go back the way the values came, to the second order', () => {
    const x = b.tensor([1, 2, 3]).requiresGrad_();
    const y = x.to(device).mul(2).to('cpu').square();
    const [g] = b.gradients(y.sum(), [x], { createGraph: true });
    expect(g!.toArray()).toEqual([8, 16, 24]);
    g!.sum().backward();
    expect(x.grad!.toArray()).toEqual([8, 8, 8]);
    expect(b.noGrad(() => x.to(device)).requiresGrad).toBe(false);
  });

  test('an index out of range is an IndexError at the next read, and the device goes on', () => {
    const x = b.zeros([3, 4], { device });
    const y = b.indexSelect(x, 0, b.tensor(Int32Array.of(0, 7), { device }));
    expect(() => y.dataSync()).toThrow(b.IndexError);
    expect(() => b.indexSelect(x, 1, b.tensor(Int32Array.of(-5), { device })).dataSync()).toThrow(
      'index -5 is out of range for a dim of size 4',
    );
    expect(b.add(x, 1).dataSync()).toEqual(new Float32Array(12).fill(1));
  });

  test('large tensors go there and back in pieces', () => {
    const values = Float32Array.from({ length: 6_000_001 }, (_, i) => i % 1000);
    const x = b.tensor(values, { device });
    const doubled = b.mul(x, 2).dataSync();
    expect(values.findIndex((v, i) => doubled[i] !== 2 * v)).toBe(-1);
    expect(b.sum(x, null).item()).toBeCloseTo(
      values.reduce((a, v) => a + v, 0),
      -4,
    );
  });

  test('long sums are whole: a driver may leave loops of many turns', () => {
    const far = (f: (on: string) => Tensor) => {
      b.manualSeed(1);
      const got = f(device).dataSync();
      b.manualSeed(1);
      const want = f('cpu').dataSync() as Float32Array;
      const scale = want.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
      return want.reduce((most, v, i) => Math.max(most, Math.abs(v - Number(got[i])) / scale), 0);
    };
    const weights = (on: string) => {
      const x = b.randn([64, 1, 28, 28]).to(on);
      const w = b.randn([4, 1, 3, 3]).to(on).requiresGrad_();
      return b.gradients(b.sum(b.square(b.conv2d(x, w, null, { padding: 1 }))), [w])[0]!;
    };
    expect(far(weights)).toBeLessThan(1e-4);
    expect(far((on) => b.matmul(b.rand([2, 100_000]).to(on), b.rand([100_000, 3]).to(on)))).toBeLessThan(1e-4);
    expect(far((on) => b.sum(b.rand([3, 200_000]).to(on), 1))).toBeLessThan(1e-5);
  });

  test('what is freed is used again', () => {
    const once = () => b.scope(() => void b.exp(b.randn([1000, 100], { device })).dataSync());
    once();
    const before = b.memoryStats(device);
    for (let i = 0; i < 50; i++) once();
    const after = b.memoryStats(device);
    expect(after.liveBytes).toBe(before.liveBytes);
    expect(after.deviceAllocations).toBe(before.deviceAllocations);
  });

  test('memory that is not there is an OutOfMemoryError, and the device goes on', () => {
    expect(() => b.empty([2 ** 44], { device })).toThrow(b.OutOfMemoryError);
    expect(b.ones([2], { device }).dataSync()).toEqual(Float32Array.of(1, 1));
  });

  test('the validation layers have nothing to say', () => {
    expect(checked().messages).toBe(0);
  });
});
