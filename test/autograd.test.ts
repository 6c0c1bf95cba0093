import { describe, expect, test } from 'vitest';
import {
  add,
  cat,
  detach,
  exp,
  GradError,
  gradcheck,
  gradients,
  grad,
  enableGrad,
  matmul,
  mul,
  noGrad,
  ones,
  op,
  randn,
  scope,
  type Tensor,
  tensor,
  valueAndGrad,
  zeros,
} from '../lib/index.js';

const leaf = (data: number[], dtype: 'f32' | 'f64' = 'f64') => tensor(data, { dtype, requiresGrad: true });

describe('backward', () => {
  test('accumulates into leaves, over several calls', () => {
    const x = leaf([1, 2, 3]);
    x.mul(x).sum().backward();
    expect(x.grad!.toArray()).toEqual([2, 4, 6]);
    x.mul(2).sum().backward();
    expect(x.grad!.toArray()).toEqual([4, 6, 8]);
  });

  test('a gradient belongs to one leaf: changing it changes no other', () => {
    const [x, y] = [leaf([1, 2]), leaf([3, 4])];
    x.add(y).sum().backward();
    x.grad!.mul_(10);
    expect(y.grad!.toArray()).toEqual([1, 1]);
    const [z, g] = [leaf([1, 2]), tensor([5, 6], { dtype: 'f64' })];
    z.add(0).backward({ gradient: g });
    z.grad!.zero_();
    expect(g.toArray()).toEqual([5, 6]);
  });

  test('a graph is freed unless retained', () => {
    const x = leaf([2]);
    const y = x.mul(x).sum();
    y.backward({ retainGraph: true });
    y.backward();
    expect(x.grad!.toArray()).toEqual([8]);
    expect(() => y.backward()).toThrow(/retainGraph/);
  });

  test('needs one element, or a gradient of the right shape', () => {
    const x = leaf([1, 2]);
    expect(() => x.mul(2).backward()).toThrow(/one element.*\(2\)/);
    expect(() => x.mul(2).backward({ gradient: ones([3]) })).toThrow(/shape \(3\)/);
    expect(() => tensor([1]).backward()).toThrow(GradError);
  });

  test('a value modified in place after being saved is refused', () => {
    const x = leaf([1, 2]);
    const y = x.exp();
    const z = y.mul(y).sum();
    noGrad(() => y.add_(1));
    expect(() => z.backward()).toThrow(/modified in place after being saved for backward/);
    const w = exp(x);
    w.mul_(2); // exp saved its output
    expect(() => w.sum().backward()).toThrow(/modified in place/);
  });

  test('writes in place are differentiated', () => {
    const x = leaf([1, 2]);
    const y = x.mul(3);
    y.add_(x).mul_(2);
    y.sum().backward();
    expect(x.grad!.toArray()).toEqual([8, 8]);
    const [z, v] = [zeros([3], { dtype: 'f64' }), leaf([5])];
    z.copy_(v);
    z.mul(tensor([1, 2, 3], { dtype: 'f64' }))
      .sum()
      .backward();
    expect(v.grad!.toArray()).toEqual([6]);
  });

  test('a leaf that requires grad is not changed in place while recording', () => {
    const x = leaf([1]);
    expect(() => x.add_(1)).toThrow(/leaf.*noGrad/);
    noGrad(() => x.add_(1));
    expect(x.item()).toBe(2);
  });

  test('writes in place through a view reach the base', () => {
    const v = leaf([5, 6]);
    const x = zeros([2, 2], { dtype: 'f64' });
    x.at(0).copy_(v);
    x.mul(
      tensor(
        [
          [1, 2],
          [3, 4],
        ],
        { dtype: 'f64' },
      ),
    )
      .sum()
      .backward();
    expect(v.grad!.toArray()).toEqual([1, 2]);

    const w = leaf([1, 2, 3]);
    const y = w.mul(2);
    const part = y.at([0, 2]);
    part.mul_(10);
    y.sum().backward();
    expect(w.grad!.toArray()).toEqual([20, 20, 2]);
    const stale = leaf([1, 2]).mul(1);
    const before = stale.at(0);
    stale.mul_(2);
    expect(() => before.mul(1)).toThrow(/make the view again/);
  });

  test('hooks see and replace gradients, of leaves and of computed tensors', () => {
    const x = leaf([1, 2]);
    const y = x.mul(2);
    const seen: number[][] = [];
    const remove = y.registerHook((g) => {
      seen.push(g.toArray() as number[]);
      return g.mul(10);
    });
    x.registerHook((g) => void seen.push(g.toArray() as number[]));
    y.sum().backward({ retainGraph: true });
    expect(seen).toEqual([
      [1, 1],
      [20, 20],
    ]);
    remove();
    y.sum().backward();
    expect(seen.at(-1)).toEqual([2, 2]);
    expect(() => tensor([1]).registerHook(() => {})).toThrow(GradError);
  });

  test('broadcast operands get gradients of their own shape and dtype', () => {
    const x = tensor([[1], [2]], { requiresGrad: true });
    const y = tensor([1, 2, 3], { dtype: 'f64', requiresGrad: true });
    x.mul(y).sum().backward();
    expect([x.grad!.shape, x.grad!.dtype, x.grad!.toArray()]).toEqual([[2, 1], 'f32', [[6], [6]]]);
    expect([y.grad!.shape, y.grad!.dtype, y.grad!.toArray()]).toEqual([[3], 'f64', [3, 3, 3]]);
  });

  test('a long chain does not overflow the stack', () => {
    const x = leaf([1]);
    let y: Tensor = x;
    for (let i = 0; i < 20_000; i++) y = add(y, 1);
    y.backward();
    expect(x.grad!.item()).toBe(1);
  });
});

describe('gradients()', () => {
  test('by any tensor of the graph, touching no grad', () => {
    const x = leaf([1, 2]);
    const y = x.mul(3);
    const z = y.mul(y).sum();
    const [dx, dy] = gradients(z, [x, y]);
    expect(dx!.toArray()).toEqual([18, 36]);
    expect(dy!.toArray()).toEqual([6, 12]);
    expect(x.grad).toBeNull();
  });

  test('higher orders', () => {
    const x = leaf([2]);
    const [d1] = gradients(x.pow(4).sum(), [x], { createGraph: true });
    const [d2] = gradients(d1!.sum(), [x], { createGraph: true });
    const [d3] = gradients(d2!.sum(), [x], { createGraph: true });
    expect([d1!.item(), d2!.item(), d3!.item()]).toEqual([32, 48, 48]);
  });

  test('an x outside the graph is an error, or zeros', () => {
    const [x, u] = [leaf([1]), leaf([1, 2])];
    const y = x.mul(2).sum();
    expect(() => gradients(y, [u], { retainGraph: true })).toThrow(/does not depend on tensor 0/);
    expect(gradients(y, [u], { allowUnused: true })[0]!.toArray()).toEqual([0, 0]);
  });
});

describe('grad() and valueAndGrad()', () => {
  test('nest', () => {
    const cube = (x: Tensor) => x.pow(3).sum();
    const x = tensor([2], { dtype: 'f64' });
    expect(grad(cube)(x).item()).toBe(12);
    expect(grad((y: Tensor) => grad(cube)(y).sum())(x).item()).toBe(12);
    const { value, grad: g } = valueAndGrad(cube)(x);
    expect([value.item(), g.item(), value.requiresGrad]).toEqual([8, 12, false]);
  });

  test('an inner gradient sees what it closes over', () => {
    const x = tensor([3], { dtype: 'f64' });
    const mixed = grad((a: Tensor) => grad((c: Tensor) => a.mul(a).mul(c).sum())(tensor([1], { dtype: 'f64' })).sum())(
      x,
    );
    expect(mixed.item()).toBe(6);
  });

  test('several arguments', () => {
    const [a, b] = grad((x: Tensor, y: Tensor) => x.mul(y).sum(), { argnums: [0, 1] })(tensor([2]), tensor([5]));
    expect([a!.item(), b!.item()]).toEqual([5, 2]);
  });
});

describe('modes', () => {
  test('noGrad and enableGrad', () => {
    const x = leaf([1]);
    expect(noGrad(() => x.mul(2)).requiresGrad).toBe(false);
    expect(noGrad(() => enableGrad(() => x.mul(2))).requiresGrad).toBe(true);
    expect(detach(x.mul(2)).requiresGrad).toBe(false);
  });

  test('async functions are refused, and modes restored', () => {
    const x = leaf([1]);
    // @ts-expect-error a Promise is no result
    expect(() => noGrad(async () => x)).toThrow(/synchronous/);
    // @ts-expect-error a Promise is no result
    expect(() => scope(async () => x)).toThrow(/synchronous/);
    expect(x.mul(2).requiresGrad).toBe(true);
    expect(() =>
      noGrad(() => {
        throw new Error('mine');
      }),
    ).toThrow('mine');
    expect(x.mul(2).requiresGrad).toBe(true);
  });

  test('integers have no gradient', () => {
    expect(() => tensor(new Int32Array([1]), { requiresGrad: true })).toThrow(/only floats/);
    const x = leaf([1.5, -1]);
    expect(x.gt(0).requiresGrad).toBe(false);
    expect(x.argmax().requiresGrad).toBe(false);
  });
});

test('gradcheck finds a wrong gradient', () => {
  const wrong = op('testWrong', {
    args: (x: Tensor) => ({ inputs: [x] }),
    decompose: ([x]) => mul(x, x),
    grad: (g, [x]) => mul(g, x),
  });
  expect(() => gradcheck(wrong, [tensor([1.5, 2], { dtype: 'f64' })])).toThrow(
    /the gradient by input 0 \(2\) at element 0 is/,
  );
});

test('a scope keeps what a returned tensor’s graph saved', () => {
  const x = leaf([1, 2]);
  const y = scope(() => x.exp().mul(x).sum());
  y.backward();
  expect(x.grad!.dataSync()[0]).toBeCloseTo(2 * Math.E);
  const z = scope(() => {
    x.mul(x).sum().backward();
    return 1;
  });
  expect(z).toBe(1);
  expect(x.grad!.toArray()).toHaveLength(2);
});

test('matmul and cat inside one graph', () => {
  const [a, c] = [randn([2, 3], { dtype: 'f64' }), randn([3, 2], { dtype: 'f64' })];
  expect(gradcheck((x, y) => cat([matmul(x, y), x.at('...', [0, 2])], 1).tanh(), [a, c], { order: 2 })).toBe(true);
});
