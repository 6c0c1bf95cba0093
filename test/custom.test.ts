/** Ops of one's own. */
import { describe, expect, test } from 'vitest';
import {
  add,
  compile,
  full,
  grad,
  gradcheck,
  gradients,
  mul,
  noGrad,
  op,
  opMany,
  randn,
  relu,
  reshape,
  sigmoid,
  stack,
  sum,
  type Tensor,
  tensor,
  vmap,
  where,
} from '../lib/index.js';

const leaf = (data: number[]) => tensor(data, { dtype: 'f64', requiresGrad: true });

describe('custom ops', () => {
  const swish = op('testSwish', {
    args: (x: Tensor, beta: number = 1) => ({ inputs: [x], params: { beta } }),
    decompose: ([x], { beta }) => mul(x, sigmoid(mul(x, beta))),
  });
  const clipped = op('testClippedRelu', {
    args: (x: Tensor) => ({ inputs: [x] }),
    decompose: ([x]) => relu(x),
    grad: (g, [x]) => where(x.gt(0), mul(g, 0.5), 0),
  });
  const rowSum = op('testRowSum', {
    args: (x: Tensor) => ({ inputs: [x] }),
    decompose: ([x]) => sum(mul(x, x), 1),
  });

  test('a decomposition is enough: value, gradient, second gradient', () => {
    const x = randn([3, 4], { dtype: 'f64' });
    expect(gradcheck((a) => swish(a, 1.5), [x], { order: 2 })).toBe(true);
    const eager = x.mul(sigmoid(x.mul(1.5)));
    expect(swish(x, 1.5).sub(eager).abs().max().item()).toBeLessThan(1e-12);
    expect(gradcheck(rowSum, [x], { order: 2 })).toBe(true);
  });

  test('a gradient of one’s own is used', () => {
    const x = leaf([1, -1]);
    clipped(x).sum().backward();
    expect(x.grad!.toArray()).toEqual([0.5, 0]);
  });

  describe('a gradient of one’s own wins where the decomposition is no single kernel', () => {
    const args = (x: Tensor) => ({ inputs: [x] as [Tensor] });
    const twice = full([2], 2, { dtype: 'f64' });
    const forms: Record<string, (x: Tensor) => Tensor> = {
      'a sum': (x) => sum(mul(x, x), 0, { keepDim: true }),
      'what it captures': (x) => mul(x, twice),
      'the very input': (x) => x,
      'a view of it': (x) => reshape(x, [1, 2]),
    };
    for (const [name, decompose] of Object.entries(forms)) {
      test(name, () => {
        const own = op('testOwn', {
          args,
          decompose: ([x]) => decompose(x),
          grad: (g, [x]) => mul(x, mul(sum(g), 10)),
        });
        const none = op('testNone', { args, decompose: ([x]) => decompose(x), grad: null });
        const variable = (x: Tensor) => x.mul(1).requiresGrad_();
        const first = (y: Tensor) => {
          const x = variable(y);
          return gradients(own(x).sum(), [x])[0]!;
        };
        const second = (y: Tensor) => {
          const x = variable(y);
          const [g] = gradients(own(x).sum(), [x], { createGraph: true });
          return gradients(g!.sum(), [x])[0]!;
        };
        const around = (y: Tensor) => {
          const x = variable(y);
          return gradients(none(x).sum().add(x.sum()), [x])[0]!;
        };
        const x = tensor([1, -3], { dtype: 'f64' });
        const { size } = decompose(x);
        for (const run of [(f: (x: Tensor) => Tensor) => f(x), (f: (x: Tensor) => Tensor) => compile(f)(x)]) {
          expect(run(own).toArray()).toEqual(decompose(x).toArray());
          expect(run(first).toArray()).toEqual([10 * size, -30 * size]);
          expect(run(second).toArray()).toEqual([10 * size, 10 * size]);
          expect(run(around).toArray()).toEqual([1, 1]);
        }
        expect(none(variable(x)).requiresGrad).toBe(false);
        // In vmap(), and with the gradient taken around it.
        const rows = stack([x, x.mul(2)]);
        const want = [[10 * size, -30 * size], [20 * size, -60 * size]]; // biome-ignore format: rows
        expect(vmap(own)(rows).toArray()).toEqual(rows.unbind().map((row) => decompose(row).toArray()));
        expect(vmap(grad((y: Tensor) => own(y).sum()))(rows).toArray()).toEqual(want);
        expect(grad((y: Tensor) => vmap(own)(y).sum())(rows).toArray()).toEqual(want);
      });
    }

    test('of several results, one of them twice and one the input, which is not written through it', () => {
      const triple = opMany('testTriple', {
        args,
        decompose: ([x]) => {
          const y = sum(x, 0);
          return [y, y, x];
        },
        grad: ([a, b, c], [x]) => [add(mul(x, add(a!, mul(b!, 2))), c!)],
      });
      const x = leaf([1, -3]);
      const [a, b, c] = triple(x) as [Tensor, Tensor, Tensor];
      expect([a, b, c].map((y) => y.toArray())).toEqual([-2, -2, [1, -3]]);
      a.add(b).add(c.sum()).backward();
      expect(x.grad!.toArray()).toEqual([4, -8]);
      expect(x.isLeaf()).toBe(true);
      expect(() => c.add_(1)).toThrow(/leaf/);
    });
  });

  test('what it captures from outside stays right', () => {
    const scale = full([2], 3, { dtype: 'f64' });
    const scaled = op('testScaled', { args: (x: Tensor) => ({ inputs: [x] }), decompose: ([x]) => mul(x, scale) });
    expect(scaled(tensor([1, 2], { dtype: 'f64' })).toArray()).toEqual([3, 6]);
    noGrad(() => scale.fill_(4));
    expect(scaled(tensor([1, 2], { dtype: 'f64' })).toArray()).toEqual([4, 8]);
  });

  test('a definition without a gradient does not type-check', () => {
    // @ts-expect-error infer without grad or decompose
    expect(() => op('testBad', { args: (x: Tensor) => ({ inputs: [x] }) })).toThrow(/decompose, or infer and grad/);
  });
});
