/** recompute(), and programs held to a memory budget. */
import { describe, expect, test } from 'vitest';
import {
  ArgumentError,
  collectGarbage,
  compile,
  crossEntropy,
  dropout,
  GradError,
  grad,
  gradients,
  manualSeed,
  memoryStats,
  noGrad,
  ones,
  randint,
  randn,
  recompute,
  relu,
  scan,
  type Tensor,
  tanh,
  tensor,
  vmap,
} from '../lib/index.js';
import { BatchNorm2d, Conv2d, Dropout, Flatten, Linear, Module, Sequential } from '../lib/nn/index.js';
import { Adam } from '../lib/optim/index.js';

/** Blocks one after another; each a recomputed one, or as it is. */
class Blocks extends Module {
  blocks: Module[];
  wrap: (fn: (x: Tensor) => Tensor) => (x: Tensor) => Tensor;
  constructor(blocks: Module[], wrap: boolean) {
    super();
    this.blocks = blocks;
    this.wrap = wrap ? recompute : (fn) => fn;
  }
  forward(x: Tensor): Tensor {
    return this.blocks.reduce((y, block) => this.wrap((z) => block.forward(z) as Tensor)(y), x);
  }
}

const cnn = (wrap: boolean): Blocks =>
  new Blocks(
    [
      new Sequential(new Conv2d(1, 4, 3), new BatchNorm2d(4), relu),
      new Sequential(new Conv2d(4, 4, 3), new BatchNorm2d(4), relu, new Dropout(0.3)),
      new Sequential(new Flatten(), new Linear(64, 16), relu, new Dropout(0.2), new Linear(16, 3)),
    ],
    wrap,
  );

/** Five steps from one seed: losses and the whole state. */
function train(wrap: boolean, compiled: boolean, options = {}) {
  manualSeed(7);
  const model = cnn(wrap);
  const optimizer = new Adam(model.parameters());
  const step = (x: Tensor, y: Tensor) => {
    optimizer.zeroGrad();
    const loss = crossEntropy(model.forward(x), y);
    loss.backward();
    optimizer.step();
    return loss;
  };
  const run = compiled ? compile(step, options) : step;
  const losses = Array.from({ length: 5 }, () => run(randn([4, 1, 8, 8]), randint(0, 3, [4])).item());
  return { losses, state: Object.entries(model.stateDict()).map(([name, p]) => [name, p.toArray()]) };
}

describe('recompute', () => {
  const plain = train(false, false);
  test.each([
    ['eager', false],
    ['compiled', true],
  ])('trains bitwise as without: dropout, batch statistics, parameters, %s', (_, compiled) => {
    expect(new Set(plain.losses).size).toBe(5);
    expect(train(true, compiled)).toEqual(plain);
  });

  test('runs the function again in backward, and not without gradients', () => {
    let runs = 0;
    const f = recompute((x: Tensor) => {
      runs++;
      return x.exp().exp();
    });
    const x = tensor([0.5], { requiresGrad: true });
    noGrad(() => f(x));
    expect(f(tensor([1])).requiresGrad).toBe(false);
    expect(runs).toBe(2);
    const y = f(x);
    expect(runs).toBe(3);
    y.backward();
    expect(runs).toBe(4);
    expect(x.grad!.item()).toBe(gradients(x.exp().exp(), [x])[0]!.item());
  });

  test('trains bitwise as without in the least memory there is', () => {
    expect(train(false, true, { memoryBudget: 0 })).toEqual(plain);
    expect(train(true, true, { memoryBudget: 0 })).toEqual(plain);
  });

  test('several arguments and results, in any form; what does not depend on anything stays', () => {
    const w = tensor([3, 4], { requiresGrad: true });
    const fixed = ones([2]);
    const f = (x: Tensor, k: number, y: Tensor) => ({ a: x.mul(w).mul(k), list: [y.square().add(x), fixed, x] });
    const run = (fn: typeof f) => {
      const [x, y] = [tensor([1, 2], { requiresGrad: true }), tensor([5, 6], { requiresGrad: true })];
      const out = fn(x, 2, y.mul(2));
      expect(out.list[1]).toBe(fixed);
      expect(out.list[2]).toBe(x);
      const total = out.a.sum().add(out.list[0]!.sum());
      return gradients(total, [x, y, w]).map((g) => g.toArray());
    };
    expect(run(recompute(f))).toEqual(run(f));
    const only = recompute(f)(tensor([1, 2]), 2, tensor([1, 2])).list[0]!;
    expect(only.requiresGrad).toBe(false);
  });

  test('nests, and a random number inside is the same in every run', () => {
    // A weight for each use: the gradients of one that is shared would be added in another order.
    const weights = Array.from({ length: 4 }, () => randn([8, 8], { requiresGrad: true }));
    const deep = (wrap: typeof recompute) => {
      let next = 0;
      const inner = (w: Tensor) => wrap((x: Tensor) => dropout(tanh(x.matmul(w)), 0.5));
      const outer = (a: Tensor, c: Tensor) => wrap((x: Tensor) => inner(a)(dropout(inner(c)(x), 0.25)).mul(2));
      manualSeed(11);
      const x = ones([4, 8]).requiresGrad_();
      const y = outer(weights[next++]!, weights[next++]!)(outer(weights[next++]!, weights[next++]!)(x));
      const after = randn([2]).toArray();
      return [y, ...gradients(y.square().sum(), [x, ...weights])].map((v) => v.toArray()).concat(after);
    };
    expect(deep(recompute)).toEqual(deep((fn) => fn));
  });

  test('second gradients, and gradients inside the function', () => {
    const w = tensor([0.5, 2], { dtype: 'f64', requiresGrad: true });
    const f = (x: Tensor) => tanh(x.mul(w)).mul(x);
    const second = (fn: typeof f) => {
      const x = tensor([1, -1], { dtype: 'f64', requiresGrad: true });
      const [g] = gradients(fn(x).sum(), [x], { createGraph: true });
      return gradients(g!.square().sum(), [x, w]).map((v) => v.toArray());
    };
    expect(second(recompute(f))).toEqual(second(f));
    const slope = (x: Tensor) => grad((v: Tensor) => f(v).sum())(x);
    const x = tensor([1, -1], { dtype: 'f64', requiresGrad: true });
    const outer = (fn: typeof f) => gradients(fn(x).sum(), [x])[0]!.toArray();
    expect(outer(recompute(slope))).toEqual(outer(slope));
  });

  test('inside vmap(), and vmap() inside', () => {
    const w = randn([3, 3], { dtype: 'f64', requiresGrad: true });
    const f = (x: Tensor) => tanh(x.matmul(w)).square().sum();
    const xs = randn([4, 3], { dtype: 'f64' });
    const each = (fn: typeof f) => vmap((x: Tensor) => gradients(fn(x), [w])[0]!)(xs).toArray();
    expect(each(recompute(f))).toEqual(each(f));
    const all = (fn: (x: Tensor) => Tensor) => gradients(fn(xs).sum(), [w])[0]!.toArray();
    expect(all(recompute((x: Tensor) => vmap(f)(x)))).toEqual(all((x) => vmap(f)(x)));
    expect(all((x) => vmap(recompute(f))(x))).toEqual(all((x) => vmap(f)(x)));
  });

  test('the graph holds no intermediate value', () => {
    const kept = (wrap: typeof recompute) => {
      const x = ones([64, 1024]).requiresGrad_();
      collectGarbage(true);
      const before = memoryStats().liveBytes;
      const y = wrap((v: Tensor) => v.exp().tanh().exp().tanh().exp())(x);
      collectGarbage(true);
      const bytes = memoryStats().liveBytes - before;
      y.sum().backward();
      return bytes / (64 * 1024 * 4);
    };
    expect(kept((fn) => fn)).toBe(5);
    expect(kept(recompute)).toBe(1);
  });

  test('the memory of a compiled deep chain falls, for the same bits', () => {
    const weights = Array.from({ length: 16 }, () => randn([32, 32], { requiresGrad: true }));
    const block = (from: number) => (x: Tensor) =>
      weights.slice(from, from + 4).reduce((y, w) => tanh(y.matmul(w)).mul(0.5), x);
    const step = (wrap: typeof recompute) =>
      compile((x: Tensor) => {
        const y = [0, 4, 8, 12].reduce((v, i) => wrap(block(i))(v), x);
        return gradients(y.square().sum(), weights);
      });
    const x = randn([256, 32]);
    const [all, less] = [step((fn) => fn), step(recompute)];
    expect(less(x).map((g) => g.toArray())).toEqual(all(x).map((g) => g.toArray()));
    expect(less.stats().arenaBytes).toBeLessThan(0.6 * all.stats().arenaBytes);
    expect(less.stats().kernels).toBeGreaterThan(all.stats().kernels);
  });

  test('so does that of a loop whose body is recomputed, which a budget leaves as it is', () => {
    const block = (c: Tensor) => [1, 2, 3, 4].reduce((y) => tanh(y.sin().exp()), c);
    const step = (wrap: typeof recompute, memoryBudget?: number) =>
      compile(
        (x: Tensor) => {
          const z = x.mul(1).requiresGrad_();
          const [y] = scan((c: Tensor) => [wrap(block)(c), null] as [Tensor, null], z, null, { length: 16 });
          return gradients(y.sum(), [z])[0]!;
        },
        memoryBudget === undefined ? {} : { memoryBudget },
      );
    const x = randn([256]);
    const [all, held, less] = [step((fn) => fn), step((fn) => fn, 0), step(recompute)];
    const want = all(x).toArray();
    expect([held(x).toArray(), less(x).toArray()]).toEqual([want, want]);
    expect(held.stats()).toMatchObject({ arenaBytes: all.stats().arenaBytes, overBudget: all.stats().arenaBytes });
    expect(less.stats().arenaBytes).toBeLessThan(0.25 * all.stats().arenaBytes);
  });

  test('errors', () => {
    expect(() => recompute(3 as never)).toThrow(ArgumentError);
    const w = ones([2], { requiresGrad: true });
    const f = recompute((x: Tensor) => x.mul(w).exp());
    const x = ones([2]).mul(1).requiresGrad_();
    const y = f(x.mul(1)).sum();
    noGrad(() => w.add_(1));
    expect(() => y.backward()).toThrow(/a tensor that it uses was modified/);
    const arg = x.mul(1);
    const z = f(arg).sum();
    noGrad(() => arg.add_(1));
    expect(() => z.backward()).toThrow(GradError);
    let n = 0;
    const other = recompute((v: Tensor) => (n++ === 0 ? v.exp() : v.detach()));
    expect(() => other(x).sum().backward()).toThrow(/not do the same again/);
  });
});

describe('memoryBudget', () => {
  manualSeed(3);
  const shape = [64, 64];
  const weights = Array.from({ length: 6 }, () => randn(shape, { requiresGrad: true }));
  /** Activations that backward wants again, each cheap to make from a matrix product that is kept for it. */
  const step = (x: Tensor) => {
    const y = weights.reduce((v, w) => {
      const z = v.matmul(w).mul(0.1);
      return dropout(relu(z.add(1)).mul(z.exp()), 0.25);
    }, x);
    return gradients(y.square().mean(), weights);
  };
  const x = randn([256, 64]);
  const run = (memoryBudget?: number) => {
    const compiled = compile(step, memoryBudget === undefined ? {} : { memoryBudget });
    manualSeed(9);
    const bits = [compiled(x), compiled(x)].map((list) => list.map((g) => g.toArray()));
    return { bits, stats: compiled.stats() };
  };
  const free = run();

  test.each([0.9, 0.8])('met at %d of what is free, with the same bits', (share) => {
    const budget = share * free.stats.arenaBytes;
    const { bits, stats } = run(budget);
    expect(stats.arenaBytes).toBeLessThanOrEqual(budget);
    expect(stats.overBudget).toBe(0);
    expect(stats.kernels).toBeGreaterThan(free.stats.kernels);
    expect(bits).toEqual(free.bits);
  });

  test('a budget that is large enough changes nothing', () => {
    expect(run(free.stats.arenaBytes).stats).toEqual(free.stats);
  });

  test('what cannot be met gives the least there is, and says so', () => {
    const { bits, stats } = run(1);
    expect(stats.arenaBytes).toBeLessThanOrEqual(0.8 * free.stats.arenaBytes);
    expect(stats.overBudget).toBe(stats.arenaBytes - 1);
    expect(bits).toEqual(free.bits);
    expect(() => compile(step, { memoryBudget: -1 })).toThrow(ArgumentError);
  });

  test.each([0.8, 0.6, 0.4, 0])(
    'at %d: values that are read in several places, and programs of several results',
    (share) => {
      const mix = (v: Tensor) => {
        const y = weights.reduce((z, w) => dropout(tanh(z.matmul(w)).mul(relu(z.add(1))), 0.1), v);
        return gradients(y.square().mean(), weights);
      };
      const bits = (fn: typeof mix) => {
        manualSeed(9);
        return fn(x).map((g) => g.toArray());
      };
      const whole = compile(mix);
      const want = bits(whole);
      const held = compile(mix, { memoryBudget: share * whole.stats().arenaBytes });
      expect(bits(held)).toEqual(want);
      expect(held.stats().arenaBytes).toBeLessThan(0.85 * whole.stats().arenaBytes);
    },
  );

  test('a value is not made again from memory that was written since', () => {
    const w = ones([4096]);
    const f = (v: Tensor) => {
      const early = v.mul(w).exp();
      const total = early.sum();
      noGrad(() => w.add_(1));
      const peak = Array.from({ length: 4 }, (_, i) => v.cumsum(0).add(i).cumsum(0));
      return [total, peak.reduce((a, b) => a.mul(b)).add(early.cumsum(0))];
    };
    const v = randn([4096]);
    const want = f(v);
    noGrad(() => w.fill_(1));
    compile(f, { memoryBudget: 1 })(v).forEach((y, i) => {
      const off = y.sub(want[i]!).abs().max().div(want[i]!.abs().max());
      expect(off.item()).toBeLessThan(1e-6); // a sum's order may differ
    });
  });
});
