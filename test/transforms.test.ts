/** vmap, vjp, jvp, jacobian, hessian: every row of the samples table, and each other. */
import { describe, expect, test } from 'vitest';
import { type DType, gradients, stack, Tensor, TraceError, vmap } from '../lib/index.js';
import { looped } from '../lib/transforms/level.js';
import { makeInputs } from './samples/make.js';
import { type Inputs, type Sample, samples } from './samples.js';

const list = (out: unknown): Tensor[] => (Array.isArray(out) ? out : [out]) as Tensor[];
const SIZE = 3;

/** What no trace can do, because its result depends on values. */
const readsValues = new Set(['nonzero', 'maskedSelect', 'unique']);

function expectClose(got: Tensor, want: Tensor, at: string): void {
  expect([got.dtype, got.shape], at).toEqual([want.dtype, want.shape]);
  const [a, e] = [got.dataSync(), want.dataSync()];
  const tolerance = { f64: 1e-10, f32: 1e-5, f16: 4e-3, bf16: 3e-2 }[got.dtype as string] ?? 0;
  const scale = e.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 1);
  for (let i = 0; i < e.length; i++) {
    if (Object.is(a[i], e[i]) || a[i] === e[i]) continue;
    if (!(Math.abs(a[i]! - e[i]!) <= tolerance * scale)) expect.fail(`${at}: element ${i} is ${a[i]}, expected ${e[i]}`);
  }
}

/** Values, and gradients by what the row says. */
function withGradients(sample: Sample, positions: readonly number[], xs: Inputs): Tensor[] {
  const given = xs.map((x, i) => (positions.includes(i) ? (x as Tensor).mul(1).requiresGrad_() : x));
  const out = list(sample.call(...(given as never[])));
  const total = out.filter((y) => y.requiresGrad).map((y) => y.square().sum().to('f64'));
  if (total.length === 0) return out;
  const leaves = positions.map((i) => given[i] as Tensor);
  const sum = total.reduce((a, b) => a.add(b));
  return [...out.map((y) => y.detach()), ...gradients(sum, leaves, { allowUnused: true })];
}

/** Examples from several seeds: for each case, the inputs of each example. */
function examples(sample: Sample, dtype: DType): Inputs[][] {
  const seeds = Array.from({ length: SIZE }, (_, i) => sample.cases(makeInputs(dtype, 1 + i)));
  return seeds[0]!.map((_, k) => seeds.map((cases) => cases[k]!));
}

function checkMapped(sample: Sample, dtype: DType, each: readonly Inputs[], at: string): void {
  const first = each[0]!;
  const tensors = first.flatMap((x, i) => (x instanceof Tensor ? [i] : []));
  const positions = (sample.grad ?? []).filter((i) => (first[i] as Tensor).dtype?.startsWith('f') ?? false);
  // All operands mapped, each alone, and over another dim than the first.
  const choices = [tensors, ...(tensors.length > 1 ? tensors.map((i) => [i]) : [])];
  for (const mapped of choices) {
    for (const dim of [0, -1]) {
      if (dim === -1 && mapped !== tensors) continue;
      const inputs = first.map((x, i) => (mapped.includes(i) ? stack(each.map((one) => one[i] as Tensor), dim) : x));
      const inDims = first.map((_, i) => (mapped.includes(i) ? dim : null));
      const one = (...xs: (Tensor | number)[]) => withGradients(sample, positions, xs);
      const want = each.map((example) => one(...first.map((x, i) => (mapped.includes(i) ? example[i]! : x))));
      const got = vmap(one, { inDims })(...inputs);
      want[0]!.forEach((_, k) => {
        expectClose(got[k]!, stack(want.map((outputs) => outputs[k]!)), `${at} ${dtype} mapped ${mapped} at ${dim}, output ${k}`);
      });
    }
  }
}

describe('every sample mapped is a loop, values and gradients', () => {
  for (const sample of samples) {
    test(sample.name, () => {
      for (const dtype of (sample.dtypes ?? (['f32', 'f64'] as const)).slice(0, 2)) {
        examples(sample, dtype).forEach((each, k) => {
          if (!each[0]!.some((x) => x instanceof Tensor)) return;
          if (readsValues.has(sample.name)) {
            const inputs = each[0]!.map((x, i) => (x instanceof Tensor ? stack(each.map((one) => one[i] as Tensor)) : x));
            expect(() => vmap((...xs: never[]) => list(sample.call(...xs)))(...(inputs as never[]))).toThrow(TraceError);
          } else checkMapped(sample, dtype, each, `case ${k}`);
        });
      }
    });
  }
  test('by rules', () => {
    expect([...looped].sort()).toEqual([]);
  });
});
