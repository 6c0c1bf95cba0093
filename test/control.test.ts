import { describe, expect, test } from 'vitest';
import {
  arange,
  compile,
  cond,
  dropout,
  dynamicSlice,
  grad,
  gradients,
  manualSeed,
  noGrad,
  rand,
  randn,
  scan,
  sigmoid,
  tanh,
  type Tensor,
  tensor,
  whileLoop,
  zeros,
} from '../lib/index.js';
import { AdamW } from '../lib/optim/index.js';
import { check, checkNear, type Fn, f64, int, withGradients } from './control/check.js';

describe('scan', () => {
  test('a cumulative product with a memory, forward and backward in time', () => {
    for (const reverse of [false, true]) {
      check(
        (h, xs) => {
          const [last, ys] = scan(
            (carry: Tensor, x: Tensor) => {
              const next = tanh(carry.mul(x).add(x));
              return [next, next.mul(carry)];
            },
            h,
            xs,
            { reverse },
          );
          return [last, ys];
        },
        [f64([3], 1), f64([5, 3], 2)],
        [f64([3], 3), f64([5, 3], 4)],
      );
    }
  });

  test('trees, swapped and unchanged carries, a carry as y, views, weights that the body captures', () => {
    check(
      (a, b, w, xs) => {
        const [last, ys] = scan(
          ({ a, b, k }: { a: Tensor; b: Tensor; k: Tensor }, { x }: { x: Tensor }) => {
            const both = x.matmul(w).add(a.mul(k));
            return [
              { a: b, b: both.slice(0, 0, 2).mul(0.5), k },
              { old: a, part: both.slice(0, 1, 2) },
            ] as const;
          },
          { a, b, k: tensor([2, 3], { dtype: 'f64' }) },
          { x: xs.transpose(0, 1) },
        );
        return [last.a, last.b, ys.old, ys.part, last.k];
      },
      [f64([2], 1), f64([2], 2), f64([4, 2], 3), f64([4, 6], 4)],
    );
  });

  test('slices and a predicate from outside the function, which change from call to call', () => {
    const rows = f64([4, 3], 1);
    const positive = tensor(true);
    const f = compile((x: Tensor) => {
      const [last, ys] = scan((c: Tensor, row: Tensor) => [c.mul(row).add(1), c.sub(row)] as [Tensor, Tensor], x, rows);
      return cond(
        positive,
        () => ys.add(last),
        () => ys.sub(last),
      );
    });
    const expected = (x: Tensor, on: boolean) => {
      let c = x;
      const ys = rows.unbind().map((row) => {
        const y = c.sub(row);
        c = c.mul(row).add(1);
        return y;
      });
      return ys.map((y) => (on ? y.add(c) : y.sub(c)).toArray());
    };
    const x = f64([3], 2);
    expect(f(x).toArray()).toEqual(expected(x, true));
    rows.mul_(2);
    positive.copy_(tensor(false));
    expect(f(x).toArray()).toEqual(expected(x, false));
    expect(f.stats().programs).toBe(1);
  });

  test('no slices but a length; no iteration; nothing to differentiate', () => {
    check((h) => scan((c: Tensor) => [c.mul(c).add(0.1), c.sum()] as const, h, null, { length: 4 }), [f64([2], 1)]);
    check(
      (h, xs) => scan((c: Tensor, x: Tensor) => [c.add(x), c.mul(x)] as const, h, xs),
      [f64([2], 1), zeros([0, 2], { dtype: 'f64' })],
    );
    const count = compile((xs: Tensor) => scan((c: Tensor, x: Tensor) => [c.add(x), c] as const, int(0), xs));
    expect(count(arange(5)).map((y) => y.toArray())).toEqual([10, [0, 0, 1, 3, 6]]);
  });

  test('scan in scan: gradients of the inner go to weights of both', () => {
    checkNear(
      (h, xs, w) =>
        scan(
          (outer: Tensor, rows: Tensor) => {
            const scale = tanh(outer.mul(w));
            const [inner, ys] = scan(
              (c: Tensor, x: Tensor) => {
                const next = sigmoid(c.mul(scale).add(x.mul(w)));
                return [next, next.mul(x)] as const;
              },
              outer,
              rows,
            );
            return [inner.add(scale), ys.sum(0)] as const;
          },
          h,
          xs,
        ),
      [f64([2], 1), f64([3, 4, 2], 2), f64([2], 3)],
    );
  });

  test('gradients taken in the body', () => {
    const f = (w: Tensor, xs: Tensor) =>
      scan(
        (p: Tensor, x: Tensor) => {
          const slope = grad((at: Tensor) => at.mul(x).sin().sum())(p);
          return [p.sub(slope.mul(0.1)), slope] as const;
        },
        w,
        xs,
      );
    const [w, xs] = [randn([3]), randn([4, 3])];
    const read = (ys: readonly Tensor[]) => ys.map((y) => y.toArray());
    expect(read(compile(f, { passes: false })(w, xs))).toEqual(read(f(w, xs)));
  });

  test('dropout draws other numbers in each iteration, the same as eager', () => {
    for (const reverse of [false, true]) {
      const f = (h: Tensor, xs: Tensor) => {
        const before = rand([2]);
        const [last, ys] = scan(
          (c: Tensor, x: Tensor) => {
            const [inner] = scan(
              (d: Tensor) => [dropout(d, 0.3).add(rand([6], { dtype: 'f64' })), null] as const,
              x,
              null,
              {
                length: 2,
              },
            );
            const next = dropout(c.add(inner), 0.5);
            return [next.mul(0.5), next] as const;
          },
          h,
          xs,
          { reverse },
        );
        return [last, ys, before, randn([3])];
      };
      const g = withGradients(f);
      const compiled = compile(g, { passes: false });
      const [h, xs] = [f64([6], 1), f64([5, 6], 2)];
      const runs = (fn: Fn) => {
        manualSeed(5);
        return [fn(h, xs), fn(h, xs)].map((list) => (list as Tensor[]).map((y) => y.dataSync().map((v) => v + 0)));
      };
      const want = runs(g);
      expect(runs(compiled)).toEqual(want);
      expect(want[0]).not.toEqual(want[1]);
    }
  });

  test('an LSTM of 64 steps trains as in eager', () => {
    const [T, B, I, H] = [64, 4, 3, 8];
    const run = (compiled: boolean, passes: false | object = false) => {
      manualSeed(1);
      const weights = [randn([I, 4 * H]), randn([H, 4 * H]), zeros([4 * H]), randn([H, 1])].map((w) =>
        noGrad(() => w.mul(0.3)).requiresGrad_(),
      );
      const [wx, wh, b, out] = weights as [Tensor, Tensor, Tensor, Tensor];
      const optimizer = new AdamW(weights, { lr: 0.01 });
      const fn = (xs: Tensor, y: Tensor) => {
        optimizer.zeroGrad();
        const [, hs] = scan(
          ([h, c]: [Tensor, Tensor], x: Tensor) => {
            const [i, f, g, o] = x.matmul(wx).add(h.matmul(wh)).add(b).chunk(4, 1) as [Tensor, Tensor, Tensor, Tensor];
            const next = sigmoid(f)
              .mul(c)
              .add(sigmoid(i).mul(tanh(g)));
            const now = sigmoid(o).mul(tanh(next));
            return [[now, next] as [Tensor, Tensor], now] as const;
          },
          [zeros([B, H]), zeros([B, H])],
          xs,
        );
        const loss = hs.matmul(out).sub(y).square().mean();
        loss.backward();
        optimizer.step();
        return loss;
      };
      const step = compiled ? compile(fn, { passes }) : fn;
      const losses = Array.from({ length: 5 }, () => step(randn([T, B, I]), randn([T, B, 1])).item());
      return { losses, weights: weights.map((w) => w.toArray()), step };
    };
    const eager = run(false);
    const plain = run(true);
    expect(plain.losses).toEqual(eager.losses);
    expect(plain.weights).toEqual(eager.weights);
    run(true, {}).losses.forEach((loss, i) => {
      expect(loss).toBeCloseTo(eager.losses[i]!, 5);
    });
  });
});

describe('cond', () => {
  const bool = (value: boolean) => tensor(value);

  test('both ways in one program; gradients of operands and of what is captured', () => {
    check(
      (p, x, w) => {
        const [y, z] = cond(
          p,
          (a: Tensor) => [a.mul(w).sin(), w] as const,
          (a: Tensor) => [a.exp(), w.add(a)] as const,
          x,
        );
        return [y, z.mul(y)];
      },
      [bool(true), f64([3], 1), f64([3], 2)],
      [bool(false), f64([3], 3), f64([3], 4)],
    );
  });

  test('cond in scan: a predicate of the carry, and of x; scan in cond', () => {
    checkNear(
      (h, xs, w) =>
        scan(
          (c: Tensor, x: Tensor) => {
            const next = cond(
              c.sum().gt(0),
              () => tanh(c.mul(w).add(x)),
              () =>
                cond(
                  x.sum().lt(0),
                  () => x.mul(c).exp(),
                  () => c.sub(w.mul(x)),
                ),
            );
            return [next, next.mul(w)] as const;
          },
          h,
          xs,
        ),
      [f64([2], 1), f64([7, 2], 2), f64([2], 3)],
      [f64([2], 4), f64([7, 2], 5), f64([2], 6)],
    );
    const f = (p: Tensor, h: Tensor, xs: Tensor) =>
      cond(
        p,
        () => scan((c: Tensor, x: Tensor) => [c.mul(x).sin(), null] as const, h, xs)[0],
        () => h.mul(2),
      );
    check(f, [bool(true), f64([2], 1), f64([4, 2], 2)], [bool(false), f64([2], 1), f64([4, 2], 2)]);
  });

  test('writes to tensors from outside happen in the branch that is taken', () => {
    const hits = zeros([2]);
    const f = compile((p: Tensor) => {
      cond(
        p,
        () => void hits.at(0).add_(1),
        () => void hits.at(1).add_(1),
      );
    });
    for (const p of [true, false, true]) f(bool(p));
    expect(hits.toArray()).toEqual([2, 1]);
    expect(f.stats().programs).toBe(1);
  });

  test('eager reads the predicate and runs one branch', () => {
    const refuse = (): Tensor => {
      throw new Error('not this one');
    };
    expect(cond(bool(true), (x: Tensor) => x.add(1), refuse, tensor(1)).item()).toBe(2);
    expect(cond(bool(false), refuse, () => tensor(3)).item()).toBe(3);
  });
});

describe('whileLoop', () => {
  test('a recurrent net over a runtime length is one program', () => {
    const w = f64([3, 3], 1);
    const cell = (xs: Tensor, length: Tensor) =>
      whileLoop(
        ({ t }) => t.lt(length),
        ({ t, h }) => ({ t: t.add(1), h: tanh(h.matmul(w).add(dynamicSlice(xs, [t, 0], [1, 3]))) }),
        { t: int(0), h: zeros([1, 3], { dtype: 'f64' }) },
      ).h;
    const compiled = compile(cell);
    const xs = f64([6, 3], 2);
    for (const length of [0, 1, 6, 3])
      expect(compiled(xs, int(length)).toArray()).toEqual(cell(xs, int(length)).toArray());
    expect(compiled.stats().programs).toBe(1);
  });

  test('gradients with maxSteps, whatever the number of steps', () => {
    check(
      (n, x, w) =>
        whileLoop(
          ([i, y]) => i.lt(n).logicalAnd(y.sum().lt(100)),
          ([i, y]) => [i.add(1), y.mul(w).add(y.sin())] as [Tensor, Tensor],
          [int(0), x] as [Tensor, Tensor],
          { maxSteps: 5 },
        )[1],
      [int(3), f64([2], 1), f64([2], 2)],
      [int(0), f64([2], 1), f64([2], 2)],
      [int(9), f64([2], 1), f64([2], 2)],
    );
  });

  test('in a scan, with lengths that differ by iteration', () => {
    checkNear(
      (h, w, lengths) =>
        scan(
          (c: Tensor, n: Tensor) => {
            const [, y] = whileLoop(
              ([i]) => i.lt(n),
              ([i, y]) => [i.add(1), tanh(y.mul(w))] as [Tensor, Tensor],
              [int(0), c] as [Tensor, Tensor],
              { maxSteps: 4 },
            );
            return [y.add(c.mul(0.5)), y] as const;
          },
          h,
          lengths,
        ),
      [f64([2], 1), f64([2], 2), tensor([2, 0, 4, 1], { dtype: 'i32' })],
      [f64([2], 3), f64([2], 4), tensor([0, 3, 1, 2], { dtype: 'i32' })],
    );
  });

  test('without maxSteps a backward is refused, in eager and compiled', () => {
    const f = (x: Tensor) => {
      const w = x.mul(1).requiresGrad_();
      const y = whileLoop(
        (c: Tensor) => c.sum().lt(10),
        (c: Tensor) => c.mul(w),
        x,
      );
      return gradients(y.sum(), [w])[0]!;
    };
    for (const g of [f, compile(f)])
      expect(() => g(tensor([2, 3]))).toThrow(/\[whileLoop\] gradients need \{ maxSteps \}/);
  });
});
