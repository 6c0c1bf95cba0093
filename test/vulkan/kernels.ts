/** What the tests of Vulkan's kernels share: a function on the device and on the CPU, its gradients, and inputs. */
import { expect, test } from 'vitest';
import * as b from '../../lib/index.js';
import { type DType, noGrad, type Tensor } from '../../lib/index.js';
import { checked, device, vulkan } from './compare.js';

export type Outputs = Tensor | readonly Tensor[];

/** What f makes of x on both devices is the same, to `tolerance` of the largest value. */
export function compare(
  f: (...x: Tensor[]) => Outputs,
  inputs: readonly Tensor[],
  tolerance: number,
  at: string,
): void {
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
export function withGradients(f: (...x: Tensor[]) => Tensor, x: readonly Tensor[], g?: Tensor): Tensor[] {
  return b.enableGrad(() => {
    const own = x.map((one) => b.detach(one).requiresGrad_());
    const y = f(...own);
    return [b.detach(y), ...b.gradients(g ? b.sum(b.mul(y, g)) : b.sum(y), own)];
  });
}

export const random = (shape: number[], dtype: DType = 'f32') => {
  b.manualSeed(7);
  return ['f32', 'f64', 'f16', 'bf16'].includes(dtype)
    ? b.randn(shape).to(dtype)
    : b.randint(0, dtype === 'bool' ? 2 : 100, shape).to(dtype);
};
export const tolerance = (dtype: DType) => ({ f16: 2e-3, bf16: 2e-2, f64: 1e-12 })[dtype as string] ?? 2e-6;

/** The last test of a file, over all that ran before it. */
export const nothingSaid = () =>
  vulkan('afterwards', () => {
    test('the validation layers have nothing to say', () => {
      expect(checked().messages).toBe(0);
    });
  });
