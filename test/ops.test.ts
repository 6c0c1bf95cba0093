/** Every row of the samples table: forward against its reference, gradients numerically, strided views, errors, leaks. */
import { describe, expect, test } from 'vitest';
import { type DType, gradcheck, memoryStats, noGrad, scope, Tensor } from '../lib/index.js';
import { makeInputs } from './samples/make.js';
import { type Inputs, type Nd, type Sample, samples } from './samples.js';

/** PyTorch's tolerances: relative, absolute. */
const tolerance: Record<DType, readonly [number, number]> = {
  f64: [1e-7, 1e-7],
  f32: [1.3e-6, 1e-5],
  f16: [1e-3, 1e-5],
  bf16: [1.6e-2, 1e-5],
  i8: [0, 0],
  u8: [0, 0],
  i32: [0, 0],
  i64: [0, 0],
  bool: [0, 0],
};

const list = (out: unknown): Tensor[] => (Array.isArray(out) ? out : [out]) as Tensor[];
const run = (sample: Sample, inputs: Inputs): Tensor[] => list(sample.call(...(inputs as never[])));
const toNd = (x: Tensor | number): Nd | number =>
  typeof x === 'number' ? x : { shape: x.shape, data: Float64Array.from(x.dataSync()) };

function expectClose(got: Tensor, want: Nd, slack: number, at: string): void {
  expect(got.shape, at).toEqual(want.shape);
  const values = got.dataSync();
  const [rtol, atol] = tolerance[got.dtype];
  for (let i = 0; i < values.length; i++) {
    const [a, e] = [values[i]!, want.data[i]!];
    if (Object.is(a, e) || (Number.isNaN(a) && Number.isNaN(e)) || a === e) continue;
    if (!(Math.abs(a - e) <= slack * (atol + rtol * Math.abs(e)))) {
      // Wider than the dtype holds: both are infinite there.
      if (Math.abs(e) > 65504 && got.dtype === 'f16' && Math.abs(a) === Number.POSITIVE_INFINITY) continue;
      expect.fail(`${at}: element ${i} is ${a}, expected ${e}`);
    }
  }
}

/** What a result wraps to in an integer dtype. */
function wrapped(want: Nd, dtype: DType): Nd {
  const bits = { i8: 8, u8: 8, i32: 32, i64: 64 }[dtype as string];
  if (!bits) return want;
  const fit = (v: number) => Number(dtype === 'u8' ? BigInt.asUintN(8, BigInt(v)) : BigInt.asIntN(bits, BigInt(v)));
  return { shape: want.shape, data: want.data.map((v) => (Number.isInteger(v) ? fit(v) : v)) };
}

/** The same values over other memory: transposed storage, and every second element of a wider one. */
function strided(x: Tensor | number): (Tensor | number)[] {
  if (typeof x === 'number' || x.ndim === 0 || x.size === 0) return [x, x];
  const dims = x.shape.map((_, d) => d);
  const turned = x.permute(dims.toReversed()).contiguous().permute(dims.toReversed());
  const wide = x
    .unsqueeze(-1)
    .expand([...x.shape, 2])
    .contiguous()
    .select(-1, 1);
  return [turned, wide];
}

for (const sample of samples) {
  const dtypes = sample.dtypes ?? (['f32', 'f64'] as const);
  describe(sample.name, () => {
    if (sample.reference) {
      const reference = sample.reference as (...inputs: unknown[]) => Nd | readonly Nd[];
      test.each(dtypes)('forward %s', (dtype) => {
        sample.cases(makeInputs(dtype, 1)).forEach((inputs, i) => {
          const want = reference(...inputs.map(toNd));
          const got = run(sample, inputs);
          (Array.isArray(want) ? (want as Nd[]) : [want as Nd]).forEach((one, k) => {
            expectClose(got[k]!, wrapped(one, got[k]!.dtype), sample.slack ?? 1, `case ${i}, output ${k}`);
          });
        });
      });
    }

    test('strided views give the same', () => {
      for (const dtype of dtypes.slice(0, 2)) {
        for (const inputs of sample.cases(makeInputs(dtype, 2))) {
          const want = run(sample, inputs);
          for (const which of [0, 1]) {
            const got = run(
              sample,
              inputs.map((x) => strided(x)[which]!),
            );
            want.forEach((y, k) => {
              // A GPU's kernel may add in another order where neighbours lie apart.
              if ((sample.exact ?? true) && y.device === 'cpu')
                expect(got[k]!.dataSync(), `${dtype} ${y.shape}`).toEqual(y.dataSync());
              else expectClose(got[k]!, toNd(y) as Nd, Math.max(sample.slack ?? 1, 4), `${dtype} ${y.shape}`);
            });
          }
        }
      }
    });

    if (sample.grad) {
      const positions = sample.grad;
      test('gradient', () => {
        const make = makeInputs('f64', 3);
        for (const inputs of (sample.gradCases ?? sample.cases).call(sample, make)) {
          const chosen = positions.filter((p) => inputs[p] instanceof Tensor);
          const fn = (...xs: Tensor[]) =>
            run(
              sample,
              inputs.map((x, p) => (chosen.includes(p) ? xs[chosen.indexOf(p)]! : x)),
            );
          expect(
            gradcheck(
              fn,
              chosen.map((p) => inputs[p] as Tensor),
              { order: sample.firstOrder ? 1 : 2 },
            ),
          ).toBe(true);
        }
      });
    }

    if (sample.errors) {
      test('refuses bad input', () => {
        for (const [call, name, message] of sample.errors!) {
          let error: Error | null = null;
          try {
            for (const y of list(call())) if (y instanceof Tensor) y.dataSync(); // where devices tell what they find out late
          } catch (thrown) {
            error = thrown as Error;
          }
          expect(error?.constructor.name, String(message)).toBe(name);
          expect(error!.message).toMatch(message);
        }
      });
    }

    test('leaks nothing in a scope', () => {
      const inputs = sample.cases(makeInputs(dtypes[0]!, 4))[0]!;
      const once = () => noGrad(() => scope(() => void run(sample, inputs)));
      once();
      const before = memoryStats().liveBytes;
      once();
      expect(memoryStats().liveBytes).toBeLessThanOrEqual(before);
    });
  });
}
