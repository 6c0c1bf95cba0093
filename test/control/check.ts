/** What the tests of scan, cond and whileLoop share: compiled beside eager, with gradients, and small inputs. */
import { expect } from 'vitest';
import { compile, gradcheck, gradients, manualSeed, rand, type Tensor, tensor } from '../../lib/index.js';

export type Fn = (...xs: Tensor[]) => Tensor | readonly Tensor[];

/** f's values and, for float results, the gradients of their weighted sum by all float arguments. */
export const withGradients =
  (f: Fn): Fn =>
  (...xs) => {
    const given = xs.map((x) => (x.dtype === 'f64' ? x.mul(1).requiresGrad_() : x));
    const out = f(...given);
    const list = Array.isArray(out) ? (out as Tensor[]) : [out as Tensor];
    const parts = list
      .filter((y) => y.requiresGrad)
      .map((y, i) =>
        y
          .mul(i + 1)
          .sin()
          .sum(),
      );
    if (parts.length === 0) return list;
    const leaves = given.filter((x) => x.dtype === 'f64');
    const grads = gradients(
      parts.reduce((a, b) => a.add(b)),
      leaves,
      { allowUnused: true },
    );
    return [...list, ...grads];
  };

/** Compiled is eager: bitwise without passes, near with them; each in one program, whatever the values. Eager is right. */
export function check(f: Fn, ...runs: Tensor[][]): void {
  compare(f, true, runs);
}
/** As check, for gradients that come from a loop and from elsewhere: eager adds them up in another order. */
export function checkNear(f: Fn, ...runs: Tensor[][]): void {
  compare(f, false, runs);
}

function compare(f: Fn, bitwise: boolean, runs: Tensor[][]): void {
  for (const inputs of runs) {
    const floats = inputs.filter((x) => x.dtype === 'f64');
    const at = inputs.map((x) => floats.indexOf(x));
    gradcheck((...xs) => f(...inputs.map((x, i) => (at[i]! < 0 ? x : xs[at[i]!]!))), floats);
  }
  const g = withGradients(f);
  const plain = compile(g, { passes: false });
  const full = compile(g);
  for (const inputs of [...runs, ...runs]) {
    const want = g(...inputs) as readonly Tensor[];
    const exact = plain(...inputs) as readonly Tensor[];
    const near = full(...inputs) as readonly Tensor[];
    const read = (list: readonly Tensor[]) => list.map((y) => [y.dtype, y.shape, y.dataSync().map((v) => v + 0)]);
    if (bitwise) expect(read(exact)).toEqual(read(want));
    for (const got of [exact, near]) {
      expect(got.map((y) => [y.dtype, y.shape])).toEqual(want.map((y) => [y.dtype, y.shape]));
      got.forEach((y, i) => {
        const expected = want[i]!.dataSync();
        y.dataSync().forEach((v, k) => {
          expect(v).toBeCloseTo(expected[k]!, 10);
        });
      });
    }
  }
  expect(plain.stats().programs).toBe(1);
  expect(full.stats().programs).toBe(1);
}

export const f64 = (shape: number[], seed: number): Tensor => {
  manualSeed(seed);
  return rand(shape, { dtype: 'f64', low: -1, high: 1 });
};
export const int = (value: number): Tensor => tensor(value, { dtype: 'i32' });
