import { expect, test } from 'vitest';
import { compile, cond, gradients, manualSeed, rand, scan, type Tensor, tensor, whileLoop } from '../lib/index.js';
import { generator } from './samples/make.js';
/** A random function of carries, slices and weights, all (3); `depth`: how many levels of control flow it may hold. */
function body(random: () => number, depth: number): (values: Tensor[]) => Tensor[] {
  const pick = (n: number): number => Math.floor(random() * n);
  const count = 2 + pick(5);
  const moves: ((values: Tensor[]) => Tensor)[] = [];
  for (let i = 0; i < count; i++) {
    const [a, b, kind] = [random(), random(), pick(depth > 0 ? 14 : 9)];
    const at = (values: Tensor[], r: number): Tensor => values[Math.floor(r * values.length)]!;
    const inner = depth > 0 ? body(random, depth - 1) : () => [];
    const inner2 = depth > 0 ? body(random, depth - 1) : () => [];
    const reverse = random() < 0.5;
    const max = pick(4);
    moves.push((values) => {
      const [x, y] = [at(values, a), at(values, b)];
      switch (kind) {
        case 0:
          return x.add(y);
        case 1:
          return x.mul(y).sin();
        case 2:
          return x.tanh();
        case 3:
          return x.sub(y.mul(0.5)).cos();
        case 4:
          return x
            .reshape([3, 1])
            .matmul(y.reshape([1, 3]))
            .sum(0)
            .sin();
        case 5:
          return x.sum().add(y).sin();
        case 6:
          return x.detach().mul(y).sin();
        case 7:
          return x.mul(1).add_(y).sin();
        case 8:
          return x;
        case 9:
        case 10: {
          const rows = x
            .reshape([3, 1])
            .mul(y.reshape([1, 3]))
            .sin();
          const [last, ys] = scan(
            (c: Tensor[], r: Tensor) => {
              const out = inner([...c, r, ...values]);
              return [[out.at(-1)!, c[0]!], out[out.length >> 1]!] as [Tensor[], Tensor];
            },
            [x, y],
            rows,
            { reverse },
          );
          return last[0]!.add(last[1]!).add(ys.sum(0)).sin();
        }
        case 11:
        case 12:
          return cond(
            x.sum().gt(y.sum()),
            (z: Tensor) => inner([z, ...values]).at(-1)!,
            (z: Tensor) => inner2([z, ...values]).at(-1)!,
            y,
          );
        default:
          return whileLoop(
            ([i, c]) => i!.lt(2).logicalAnd(c!.sum().lt(2)),
            ([i, c, d]) => [i!.add(1), inner([c!, d!, ...values]).at(-1)!, c!],
            [tensor(0), x, y] as Tensor[],
            { maxSteps: max },
          )[1]!;
      }
    });
  }
  return (values) => {
    const all = values.slice();
    for (const move of moves) all.push(move(all.slice()));
    return all;
  };
}
const weightedSum = (list: readonly Tensor[]): Tensor =>
  list.map((y, i) => y.mul(i + 1).sum()).reduce((a, b) => a.add(b));

/** The values, and gradients of their sum by all arguments; `order` 2: gradients of the sum of those too. */
const withGradients =
  (f: (values: Tensor[]) => Tensor[], order: 1 | 2) =>
  (...xs: Tensor[]): Tensor[] => {
    const given = xs.map((x) => x.mul(1).requiresGrad_());
    const found = f(given).slice(given.length);
    let last = found;
    for (let i = 1; i <= order; i++) {
      const total = weightedSum(last);
      if (!total.requiresGrad) break;
      last = gradients(total, given, { allowUnused: true, createGraph: i < order });
      found.push(...last);
    }
    return found;
  };

// The whole set takes two minutes: BRASA_TEST_NESTS=600.
const count = Number(process.env.BRASA_TEST_NESTS ?? 60);
function check(seed: number, depth: number, order: 1 | 2): void {
  const f = withGradients(body(generator(seed), depth), order);
  manualSeed(seed);
  const xs = [0, 1, 2].map(() => rand([3], { dtype: 'f64', low: -1, high: 1 }));
  const want = f(...xs).map((y) => y.dataSync());
  for (const passes of [false, {}] as const) {
    const compiled = compile(f, { passes });
    for (let run = 0; run < 2; run++)
      compiled(...xs).forEach((y, i) => {
        y.dataSync().forEach((v, k) => {
          const near = Math.abs(v - want[i]![k]!) <= 1e-8 * (1 + Math.abs(v));
          expect(near, `seed ${seed}, output ${i}: ${v}, eager ${want[i]![k]}`).toBe(true);
        });
      });
  }
}

test(`${count} random nests of scan, cond and whileLoop: values and gradients are those of eager`, () => {
  for (let seed = 0; seed < count; seed++) check(seed, 2, 1);
});
test(`${count >> 1} random nests: gradients of gradients are those of eager`, () => {
  for (let seed = 0; seed < count >> 1; seed++) check(seed, seed % 4 === 0 ? 2 : 1, 2);
});
