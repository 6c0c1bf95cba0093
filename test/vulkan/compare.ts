/** What tests of Vulkan share: the device, where there is one, and a row of the samples table on it and on the CPU. The validation layers listen. */
import { describe, expect } from 'vitest';
import { whyMissing } from '../../lib/core/device.js';
import * as b from '../../lib/index.js';
import { type DType, Tensor } from '../../lib/index.js';
import { makeInputs } from '../samples/make.js';
import type { Sample } from '../samples.js';

process.env.BRASA_VULKAN_VALIDATION ??= '1'; // before the library is opened
const reason = whyMissing('vulkan');
/** A CPU driver (lavapipe) where there is no GPU. */
export const device = reason === '' ? b.devices().find(({ id }) => id.startsWith('vulkan'))!.id : '';
export const vulkan = reason === '' ? describe : describe.skip;
if (reason !== '') console.log(`no Vulkan device here, its tests are skipped: ${reason}`);
/** As it is now. */
export const checked = () => b.devices().find(({ id }) => id === device)!;

/** Between two devices, each of which may be off by PyTorch's tolerance. */
const tolerance: Record<DType, readonly [number, number]> = {
  f64: [2e-7, 2e-7],
  f32: [2.6e-6, 2e-5],
  f16: [2e-3, 2e-5],
  bf16: [3.2e-2, 2e-5],
  i8: [0, 0],
  u8: [0, 0],
  i32: [0, 0],
  i64: [0, 0],
  bool: [0, 0],
};

/** Ops without a kernel, or with one for some types only, and without a decomposition. */
export const lacking = new Map<string, Set<string>>();

const list = (out: unknown): Tensor[] => (Array.isArray(out) ? out : [out]) as Tensor[];

function expectClose(got: Tensor, want: Tensor, slack: number, at: string): void {
  expect(got.device, at).toBe(device);
  expect(got.shape, at).toEqual(want.shape);
  expect(got.dtype, at).toBe(want.dtype);
  const [values, wanted] = [got.dataSync(), want.dataSync()];
  const [rtol, atol] = tolerance[want.dtype];
  for (let i = 0; i < wanted.length; i++) {
    const [a, e] = [values[i]!, wanted[i]!];
    if (a === e || (Number.isNaN(a) && Number.isNaN(e))) continue;
    if (!(Math.abs(a - e) <= slack * (atol + rtol * Math.abs(e))))
      expect.fail(`${at}: element ${i} is ${a}, on the CPU ${e}`);
  }
}

/** Runs the row on both; false when the device has neither kernel nor decomposition. */
export function compare(sample: Sample, dtype: DType): boolean {
  for (const [i, inputs] of sample.cases(makeInputs(dtype, 1)).entries()) {
    const run = (on: string) =>
      list(sample.call(...(inputs.map((x) => (x instanceof Tensor ? x.to(on) : x)) as never[])));
    let got: Tensor[];
    try {
      got = run(device);
    } catch (error) {
      if (!/no kernel for/.test((error as Error).message)) throw error;
      const op = (error as b.BrasaError).op ?? sample.name;
      lacking.set(op, (lacking.get(op) ?? new Set()).add(dtype));
      return false;
    }
    run('cpu').forEach((want, k) => {
      expectClose(got[k]!, want, sample.slack ?? 1, `${dtype} case ${i}, output ${k}`);
    });
  }
  return true;
}
