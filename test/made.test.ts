/** Tensors of data that a compiled function makes itself: at each call, or once. */
import { describe, expect, test } from 'vitest';
import {
  compile,
  cond,
  empty,
  gradients,
  grad,
  noGrad,
  recompute,
  scan,
  scope,
  type Tensor,
  tensor,
  vmap,
} from '../lib/index.js';
import { SGD } from '../lib/optim/index.js';

/** Calls with other arguments give what eager gives, from one program; `traces`: how often the function ran for it. */
function same(f: (x: Tensor) => Tensor | Tensor[], traces: number): void {
  const values = (y: Tensor | Tensor[]) => [y].flat().map((one) => one.toArray());
  for (const passes of [false, {}] as const) {
    const compiled = compile(f, { passes });
    for (const data of [
      [3, 4],
      [5, -6],
      [7, 8],
    ])
      expect(values(compiled(tensor(data)))).toEqual(values(f(tensor(data))));
    expect(compiled.stats()).toMatchObject({ programs: 1, traces });
  }
}

describe('made at each call', () => {
  test('a constant that is only read', () => same((x) => x.mul(tensor([1, 2])), 1));
  test('a constant in a scope() of the function', () => same((x) => scope(() => x.mul(tensor([1, 2]))), 1));
  test('a leaf with gradients', () =>
    same((x) => {
      const w = tensor([1, 2]).requiresGrad_();
      w.mul(x).sum().backward();
      return w.grad!;
    }, 2));
  test('its gradients, added up and forgotten', () =>
    same((x) => {
      const w = tensor([1, 2], { requiresGrad: true });
      w.mul(x).sum().backward();
      w.mul(x).square().sum().backward();
      const first = w.grad!.clone();
      w.grad = null;
      w.square().sum().backward();
      return [first, w.grad!];
    }, 2));
  test('gradients() of it', () =>
    same((x) => {
      const w = tensor([1, 2]).requiresGrad_();
      return gradients(w.mul(x).sum(), [w]);
    }, 1));
  test('what is trained in the function', () =>
    same((x) => {
      const w = tensor([1, 2]).requiresGrad_();
      const optimizer = new SGD([w], { lr: 0.1 });
      for (let i = 0; i < 3; i++) {
        optimizer.zeroGrad();
        w.mul(x).square().sum().backward();
        optimizer.step();
      }
      return w.detach();
    }, 2));
  test('written in place, whole and through views, after it was read', () =>
    same((x) => {
      const buffer = tensor([1, 2, 3, 4]).detach().at([1, 3]);
      const before = buffer.mul(2);
      const all = tensor([[1, 2], [3, 4]]); // biome-ignore format: rows
      all.at(1).add_(x);
      return [before, buffer.add_(x), all, buffer];
    }, 2));
  test('empty() that is filled', () => same((x) => empty([2]).copy_(x).mul_(x), 2));
  test('in loops and branches: anew in each iteration, or once for all', () =>
    same((x) => {
      const total = tensor([1, 1]);
      const [, ys] = scan(
        (c: Tensor, i: Tensor) => {
          const own = tensor([10, 20]);
          own.add_(x).mul_(i);
          const w = tensor([1, 2]).requiresGrad_();
          w.square().mul(i).sum().backward();
          total.add_(own);
          return [c, own.add(w.grad!)] as [Tensor, Tensor];
        },
        x,
        tensor([1, 2, 3]),
      );
      const chosen = cond(
        x.sum().gt(5),
        () => tensor([1, 1]).add_(x),
        () => tensor([2, 2]).sub_(x),
      );
      return [ys, total, chosen];
    }, 2));
  test('in recompute() and vmap()', () =>
    same((x) => {
      const block = (y: Tensor) => y.mul(tensor([1, 2]).add_(1)).square();
      const each = vmap((y: Tensor) => tensor([1]).add_(1).mul(y))(x);
      return [grad((y: Tensor) => recompute(block)(y).sum())(x), each];
    }, 2));
});

describe('made once, and kept', () => {
  test('a parameter made at the first call is trained from then on', () => {
    const run = (compiled: boolean) => {
      const kept: { w?: Tensor; optimizer?: SGD } = {};
      const f = (x: Tensor) => {
        kept.w ??= tensor([1, 2]).requiresGrad_();
        kept.optimizer ??= new SGD([kept.w], { lr: 0.1, momentum: 0.5 });
        const { w, optimizer } = kept;
        const loss = w.mul(x).square().sum();
        loss.backward();
        optimizer.step();
        return loss;
      };
      const step = compiled ? compile(f) : f;
      const losses = [1, 2, 3].map((v) => step(tensor([v, 1])).item());
      return [losses, kept.w!.toArray(), kept.w!.grad!.toArray()];
    };
    expect(run(true)).toEqual(run(false));
  });
  test('a buffer made at the first call is written at each', () => {
    let kept: Tensor | undefined;
    const f = compile((x: Tensor) => {
      kept ??= tensor([1, 2]);
      return kept.add_(x).mul(1);
    });
    expect([1, 2].map((v) => f(tensor([v, 0])).toArray())).toEqual([[2, 2], [4, 2]]); // biome-ignore format: rows
    expect(kept!.toArray()).toEqual([4, 2]);
    noGrad(() => kept!.zero_());
    expect(f(tensor([1, 1])).toArray()).toEqual([1, 1]);
    expect(f.stats()).toMatchObject({ programs: 1, traces: 2 });
  });
});
