/** Gradients of gradients through compiled control flow; random nests of it are in nests.test.ts. */
import { describe, expect, test } from 'vitest';
import {
  compile,
  cond,
  dropout,
  GradError,
  gradients,
  manualSeed,
  rand,
  scan,
  type Tensor,
  tensor,
  whileLoop,
  zeros,
} from '../lib/index.js';

type Fn = (x: Tensor, w: Tensor) => Tensor;

/** f's value, and the gradients of the first three orders, each of the sum of those before. */
const orders = (f: Fn) => (x0: Tensor, w0: Tensor) => {
  const given = [x0.mul(1).requiresGrad_(), w0.mul(1).requiresGrad_()];
  const found = [f(given[0]!, given[1]!)];
  let total = found[0]!.sum();
  for (let order = 1; order <= 3 && total.requiresGrad; order++) {
    const [g, h] = gradients(total, given, { createGraph: true, allowUnused: true }) as [Tensor, Tensor];
    found.push(g, h);
    total = g.square().sum().add(h.sin().sum());
  }
  return found;
};
const inputs = (): [Tensor, Tensor] => {
  manualSeed(5);
  return [rand([3], { dtype: 'f64' }), rand([3], { dtype: 'f64', low: -1 })];
};
function check(f: Fn): void {
  const [x, w] = inputs();
  const run = (g: (x: Tensor, w: Tensor) => Tensor[]) => {
    manualSeed(11);
    return [g(x, w), g(x, w), g(w, x)].map((list) => list.map((y) => y.dataSync()));
  };
  const want = run(orders(f));
  for (const passes of [false, {}] as const) {
    const compiled = compile(orders(f), { passes });
    run(compiled).forEach((list, i) => {
      expect(list.length).toBe(want[i]!.length);
      list.forEach((y, k) => {
        y.forEach((v, n) => {
          expect(v, `run ${i}, output ${k}`).toBeCloseTo(Number(want[i]![k]![n]), 9);
        });
      });
    });
    expect(compiled.stats().programs).toBe(1);
  }
}
const step = (c: Tensor, x: Tensor, w: Tensor): Tensor => c.mul(w).add(x).sin().mul(c);

describe('three orders of gradients are those of eager', () => {
  test('cond', () =>
    check((x, w) =>
      cond(
        x.sum().gt(w.sum()),
        (z) => z.mul(w).sin().mul(x),
        (z) => z.exp().mul(w),
        x.mul(w),
      ),
    ));
  test('scan: carries and slices, both ways', () => {
    for (const reverse of [false, true])
      check((x, w) => {
        const [last, ys] = scan((c: Tensor, v: Tensor) => [step(c, v, w), c.mul(v)] as [Tensor, Tensor], x, x.mul(w), {
          reverse,
        });
        return last.add(ys.sum(0));
      });
  });
  test('a carry that stays, one without gradients, no iteration', () =>
    check((x, w) => {
      const init = [x, w, tensor(0)] as [Tensor, Tensor, Tensor];
      const next = ([c, d, i]: typeof init, v: Tensor) => [[step(c, v, d), d, i.add(1)], c] as [typeof init, Tensor];
      const [[last]] = scan(next, init, x);
      const [none] = scan((c: Tensor) => [c.mul(c), null] as [Tensor, null], last, null, { length: 0 });
      return none.mul(last);
    }));
  test('a backward that depends on no value', () =>
    check((x, w) => {
      const next = ([c, d]: Tensor[]) => [[d!.add(d!), c!], null] as [Tensor[], null];
      return scan(next, [x, w], null, { length: 2 })[0][0]!;
    }));
  test('whileLoop', () =>
    check(
      (x, w) =>
        whileLoop(
          ([i, c]) => i.lt(3).logicalAnd(c.sum().lt(9)),
          ([i, c]) => [i.add(1), step(c, x, w)] as [Tensor, Tensor],
          [tensor(0), x] as [Tensor, Tensor],
          { maxSteps: 5 },
        )[1],
    ));
  test('random numbers are the same in all runs of a body, also in loops within it', () =>
    check((x, w) => {
      const inner = (c: Tensor) =>
        scan((d: Tensor) => [dropout(step(d, c, w), 0.4), null] as [Tensor, null], c, null, { length: 2 })[0];
      const [last] = scan(
        (c: Tensor, v: Tensor) => [dropout(inner(c), 0.3).add(v.mul(c)), null] as [Tensor, null],
        x,
        w,
      );
      return last.mul(dropout(x, 0.5));
    }));
  test('what a body writes into tensors from outside is written once', () => {
    const count = zeros([]);
    const f = compile((x: Tensor) => {
      const z = x.mul(1).requiresGrad_();
      const [y] = scan(
        (c: Tensor) => {
          count.add_(1);
          return [c.mul(z).sin(), null] as [Tensor, null];
        },
        z,
        null,
        { length: 3 },
      );
      const [g] = gradients(y.sum(), [z], { createGraph: true });
      return gradients(g!.square().sum(), [z])[0]!;
    });
    f(inputs()[0]);
    expect(count.item()).toBe(3);
  });
});

describe('a body that would do something else when it runs again is refused', () => {
  const [x, w] = inputs();
  const refused = (f: Fn, message: RegExp) => {
    expect(() => compile(orders(f))(x, w)).toThrow(GradError);
    expect(() => compile(orders(f))(x, w)).toThrow(message);
  };
  test('a variable that changes later', () => {
    refused((a, b) => {
      let h = a;
      for (let i = 0; i < 2; i++) {
        const before = h;
        h = cond(
          b.sum().gt(0),
          () => h.mul(b).sin(),
          () => before.cos(),
        );
      }
      return h;
    }, /as operands or carries/);
    // As an operand it is what it was.
    check((a, b) => {
      let h = a;
      for (let i = 0; i < 2; i++)
        h = cond(
          b.sum().gt(0),
          (z) => z.mul(b).sin(),
          (z) => z.cos(),
          h,
        );
      return h;
    });
  });
  test('a number that changes later', () => {
    let scale = 1;
    refused((a) => {
      scale++;
      const y = scan((c: Tensor) => [c.mul(scale).sin(), null] as [Tensor, null], a, null, { length: 2 })[0];
      scale++;
      return y;
    }, /as operands or carries/);
  });
  test('a tensor that is written later', () =>
    refused((a) => {
      const scale = zeros([3], { dtype: 'f64' }).add_(2);
      const [y] = scan((c: Tensor) => [c.mul(scale).sin(), null] as [Tensor, null], a, null, { length: 2 });
      scale.add_(1);
      return y;
    }, /modified in place/));
});
