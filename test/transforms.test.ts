/** vmap, vjp, jvp, jacobian, hessian: every row of the samples table, and each other. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  ArgumentError,
  arange,
  cat,
  compile,
  crossEntropy,
  detach,
  type DType,
  dropout,
  eye,
  grad,
  gradients,
  hessian,
  jacobian,
  jvp,
  manualSeed,
  matmul,
  mul,
  noGrad,
  ones,
  op,
  pad,
  rand,
  randn,
  registerHook,
  ShapeError,
  softmax,
  stack,
  Tensor,
  tanh,
  tensor,
  TraceError,
  vjp,
  vmap,
  zeros,
} from '../lib/index.js';
import { BatchNorm2d, Conv2d, Flatten, LayerNorm, Linear, Sequential } from '../lib/nn/index.js';
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
  const scale = Array.from(e).reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 1);
  for (let i = 0; i < e.length; i++) {
    if (Object.is(a[i], e[i]) || a[i] === e[i]) continue;
    if (!(Math.abs(a[i]! - e[i]!) <= tolerance * scale))
      expect.fail(`${at}: element ${i} is ${a[i]}, expected ${e[i]}`);
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
      const inputs = first.map((x, i) =>
        mapped.includes(i)
          ? stack(
              each.map((one) => one[i] as Tensor),
              dim,
            )
          : x,
      );
      const inDims = first.map((_, i) => (mapped.includes(i) ? dim : null));
      const one = (...xs: (Tensor | number)[]) => withGradients(sample, positions, xs);
      const want = each.map((example) => one(...first.map((x, i) => (mapped.includes(i) ? example[i]! : x))));
      const got = vmap(one, { inDims })(...inputs);
      want[0]!.forEach((_, k) => {
        expectClose(
          got[k]!,
          stack(want.map((outputs) => outputs[k]!)),
          `${at} ${dtype} mapped ${mapped} at ${dim}, output ${k}`,
        );
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
            const inputs = each[0]!.map((x, i) =>
              x instanceof Tensor ? stack(each.map((one) => one[i] as Tensor)) : x,
            );
            expect(() => vmap((...xs: never[]) => list(sample.call(...xs)))(...(inputs as never[]))).toThrow(
              TraceError,
            );
          } else checkMapped(sample, dtype, each, `case ${k}`);
        });
      }
    });
  }
  test('and takes a rule', () => {
    looped.clear();
    for (const sample of samples) {
      if (readsValues.has(sample.name)) continue;
      const each = examples(sample, (sample.dtypes ?? ['f32'])[0]!)[0]!;
      const inDims = each[0]!.map((x) => (x instanceof Tensor ? 0 : null));
      if (!inDims.includes(0)) continue;
      const inputs = each[0]!.map((x, i) => (x instanceof Tensor ? stack(each.map((one) => one[i] as Tensor)) : x));
      vmap((...xs: (Tensor | number)[]) => list(sample.call(...(xs as never[]))), { inDims })(...inputs);
    }
    expect([...looped]).toEqual([]);
  });
});

/** A function of a loop over dim 0, for comparison. */
const loop =
  (fn: (...xs: Tensor[]) => Tensor) =>
  (...xs: Tensor[]): Tensor =>
    stack(Array.from({ length: xs[0]!.shape[0]! }, (_, i) => fn(...xs.map((x) => x.select(0, i)))));

describe('jvp is a central difference, for every sample with second gradients', () => {
  for (const sample of samples) {
    if (!sample.grad || sample.firstOrder) continue;
    test(sample.name, () => {
      const positions = sample.grad!;
      for (const inputs of (sample.gradCases ?? sample.cases).call(sample, makeInputs('f64', 3))) {
        const chosen = positions.filter((p) => inputs[p] instanceof Tensor);
        const fn = (...xs: Tensor[]) => {
          const given = inputs.map((x, p) => (chosen.includes(p) ? xs[chosen.indexOf(p)]! : x));
          return list(sample.call(...(given as never[]))).filter((y) => y.dtype === 'f64');
        };
        const primals = chosen.map((p) => inputs[p] as Tensor);
        manualSeed(5);
        const tangents = primals.map((x) => randn(x.shape, { dtype: 'f64' }));
        const [values, slopes] = jvp(fn, primals, tangents);
        const eps = 1e-6;
        const at = (by: number) => fn(...primals.map((x, i) => x.add(tangents[i]!.mul(by))));
        const [high, low] = [at(eps), at(-eps)];
        expect(values.map((y) => y.requiresGrad)).toEqual(values.map(() => false));
        slopes.forEach((slope, k) => {
          const numeric = high[k]!.sub(low[k]!).div(2 * eps);
          expect(slope.shape).toEqual(numeric.shape);
          const error = slope.sub(numeric).abs().sub(numeric.abs().mul(1e-3));
          if (error.size > 0) expect(error.max().item(), `output ${k}`).toBeLessThanOrEqual(1e-5);
        });
      }
    });
  }
});

describe('torch.func', () => {
  const golden = JSON.parse(readFileSync(new URL('golden/transforms.json', import.meta.url), 'utf8'));
  const f64 = (name: string) => tensor(golden[name], { dtype: 'f64' });
  const [w1, w2, b, x, t, u] = ['w1', 'w2', 'b', 'x', 't', 'u'].map(f64) as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
  ];
  const y = tensor(golden.y, { dtype: 'i64' });
  const net = (v: Tensor) => softmax(tanh(matmul(v, w1).add(b)).matmul(w2), -1);
  const loss = (w: Tensor, v: Tensor, label: Tensor) => {
    const logits = tanh(matmul(v, w).add(b)).matmul(w2);
    return crossEntropy(logits.unsqueeze(0), label.unsqueeze(0));
  };
  const energy = (v: Tensor) => {
    const [from, to] = [v.slice(0, 0, -1), v.slice(0, 1, 3)];
    return to.sub(from.square()).square().sum().mul(100).add(from.neg().add(1).square().sum());
  };
  const example = x.select(0, 0);
  const cases: Record<string, () => Tensor> = {
    vjp: () => vjp(net, example)[1](u)[0]!,
    jvp: () => jvp(net, [example], [t])[1],
    jacobian: () => jacobian(net)(example),
    jacobians: () => vmap(jacobian(net))(x),
    hessian: () => hessian(energy)(example),
    hessians: () => vmap(hessian(net))(x),
    gradients: () => vmap(grad(loss), { inDims: [null, 0, 0] })(w1, x, y),
    hvp: () => jvp(grad(energy), [example], [t])[1],
  };
  for (const [name, value] of Object.entries(cases)) {
    test(name, () => expectClose(value(), f64(name), name));
    test(`${name}, compiled`, () => {
      const compiled = compile(value);
      expectClose(compiled(), f64(name), name);
      expectClose(compiled(), f64(name), name);
    });
  }
});

describe('vmap', () => {
  const [x, y] = [
    arange(12, undefined, { dtype: 'f64' }).reshape([3, 4]),
    arange(8, undefined, { dtype: 'f64' }).reshape([2, 4]),
  ];

  test('nests: every pair of rows', () => {
    const pairs = vmap((a: Tensor) => vmap((c: Tensor) => a.mul(c).sum())(y))(x);
    expect(pairs.toArray()).toEqual(x.matmul(y.transpose()).toArray());
    const inner = vmap((c: Tensor) => vmap((a: Tensor) => a.at(0).add(c))(x), { outDims: 1 })(y);
    expect(inner.shape).toEqual([3, 2, 4]);
    expect(inner.select(1, 1).toArray()).toEqual(loop((a) => a.at(0).add(y.at(1)))(x).toArray());
  });

  test('inDims and outDims: other dims, none, trees; what is no tensor is passed on', () => {
    const f = ({ a, k }: { a: Tensor; k: number }, c: Tensor) => ({ sum: a.mul(k).add(c), same: c.mul(1), list: [a] });
    const got = vmap(f, { inDims: [{ a: 1, k: null }, null], outDims: { sum: -1, same: null, list: 0 } })(
      { a: x, k: 2 },
      ones([3]),
    );
    expect(got.sum.toArray()).toEqual(x.mul(2).add(1).toArray());
    expect(got.same.shape).toEqual([3]);
    expect(got.list[0]!.shape).toEqual([4, 3]);
    expect(vmap((a: Tensor) => [a, ones([2])])(x)[1]!.shape).toEqual([3, 2]);
  });

  test('chunk: the same in parts', () => {
    let calls = 0;
    const f = (a: Tensor) => {
      calls++;
      return [a.cumsum(0), a.sum(), zeros([])];
    };
    const whole = vmap(f, { outDims: [1, 0, null] })(x);
    const parts = vmap(f, { outDims: [1, 0, null], chunk: 2 })(x);
    expect(calls).toBe(3);
    expect(parts.map((p) => p.toArray())).toEqual(whole.map((p) => p.toArray()));
  });

  test('an empty batch', () => {
    const f = (a: Tensor) => [softmax(a), a.sum(), matmul(a, ones([4, 2], { dtype: 'f64' }))];
    expect(vmap(f)(zeros([0, 4], { dtype: 'f64' })).map((v) => v.shape)).toEqual([[0, 4], [0], [0, 2]]);
  });

  test('a 0-d example stays weak beside others', () => {
    const f = (a: Tensor, c: Tensor) => [a.mul(c), a.add(2), c.mul(a.mul(2))];
    const got = vmap(f, { inDims: [0, null] })(tensor([1, 2], { dtype: 'f64' }), ones([3]));
    expect(got.map((v) => [v.dtype, v.shape])).toEqual([
      ['f32', [2, 3]],
      ['f64', [2]],
      ['f32', [2, 3]],
    ]);
  });

  test('writes in place: into examples, into new tensors, through views', () => {
    const f = (a: Tensor) => {
      const table = zeros([3, 4], { dtype: 'f64' });
      const row = table.at(1);
      row.copy_(a);
      table.at(2).add_(row.mul(2));
      const own = a.mul(1);
      own.mul_(3).at(0).zero_();
      return cat([table, own.unsqueeze(0), pad(a, [1, 0]).at([0, 4]).unsqueeze(0)]);
    };
    expect(vmap(f)(x).toArray()).toEqual(loop(f)(x).toArray());
    const slopes = vmap((a: Tensor) => grad((v: Tensor) => f(v).square().sum())(a))(x);
    expect(slopes.toArray()).toEqual(loop((a) => grad((v: Tensor) => f(v).square().sum())(a))(x).toArray());
    const leaf = x.clone().requiresGrad_();
    vmap(f)(leaf).square().sum().backward();
    expect(leaf.grad!.toArray()).toEqual(slopes.toArray());
    const written = x.clone();
    vmap((a: Tensor) => a.add_(1))(written);
    expect(written.toArray()).toEqual(x.add(1).toArray());
    const table = zeros([4], { dtype: 'f64' });
    expect(() => vmap((a: Tensor) => table.add_(a))(x)).toThrow(/outside vmap.*differ/);
    vmap((a: Tensor) => {
      table.add_(1);
      return a;
    })(x);
    expect(table.toArray()).toEqual([1, 1, 1, 1]);
  });

  test('random numbers: each example its own, and the generator moves on by all of them', () => {
    const run = (each: (f: (a: Tensor) => Tensor) => Tensor) => {
      manualSeed(3);
      return [each((a) => dropout(a.add(1), 0.5)), each((a) => rand([3]).mul(a.sum())), rand([2])].map((v) =>
        v.toArray(),
      );
    };
    const wide = ones([3, 5]);
    expect(run((f) => vmap(f)(wide))).toEqual(run((f) => loop(f)(wide)));
    const twice = (f: (a: Tensor) => Tensor) => vmap((a: Tensor) => vmap(f)(a))(wide.unsqueeze(1));
    expect(run((f) => twice(f).squeeze(1))).toEqual(run((f) => loop(f)(wide)));
    manualSeed(3);
    const compiled = compile((a: Tensor) => vmap((v: Tensor) => dropout(v, 0.5))(a));
    const got = [compiled(wide), compiled(wide)].map((v) => v.toArray());
    manualSeed(3);
    expect(got).toEqual([wide, wide].map((v) => loop((a) => dropout(a, 0.5))(v).toArray()));
    expect(got[0]).not.toEqual(got[1]);
  });

  test('through a network: gradients of parameters, and a gradient of each example', () => {
    manualSeed(1);
    const net = new Sequential(new Conv2d(1, 3, 3), new LayerNorm([4, 4]), new Flatten(), new Linear(48, 3)).to('f64');
    const [images, labels] = [randn([4, 1, 6, 6], { dtype: 'f64' }), tensor([0, 1, 2, 1], { dtype: 'i32' })];
    const params = [...net.parameters()];
    const each = (image: Tensor, label: Tensor) =>
      crossEntropy(net.forward(image.unsqueeze(0)) as Tensor, label.unsqueeze(0));
    const direct = gradients(crossEntropy(net.forward(images) as Tensor, labels), params);
    const mapped = gradients(vmap(each)(images, labels).mean(), params);
    mapped.forEach((g, i) => {
      expectClose(g, direct[i]!, `parameter ${i}`);
    });
    const perExample = vmap((image: Tensor, label: Tensor) => gradients(each(image, label), params))(images, labels);
    perExample.forEach((g, i) => {
      expectClose(
        g,
        loop((image, label) => gradients(each(image, label), params)[i]!)(images, labels),
        `example gradient ${i}`,
      );
      expect(g.requiresGrad).toBe(false);
    });
    const compiled = compile((a: Tensor, l: Tensor) =>
      vmap((image: Tensor, label: Tensor) => gradients(each(image, label), params))(a, l),
    )(images, labels);
    compiled.forEach((g, i) => {
      expectClose(g, perExample[i]!, `compiled, ${i}`);
    });
  });

  test('batch norm in training mode has statistics of each example', () => {
    const norm = new BatchNorm2d(2, { trackRunningStats: false }).to('f64');
    const images = randn([3, 4, 2, 3, 3], { dtype: 'f64' });
    expectClose(vmap((a: Tensor) => norm.forward(a))(images), loop((a) => norm.forward(a))(images), 'values');
  });

  test('outer gradients go through inner ones, stop at detach() and noGrad()', () => {
    const f = (a: Tensor) => grad((v: Tensor) => v.pow(3).sum())(a);
    const leaf = x.clone().requiresGrad_();
    vmap(f)(leaf).sum().backward();
    expectClose(leaf.grad!, x.mul(6), 'second order');
    const cut = (fn: (a: Tensor) => Tensor) => gradients(vmap(fn)(leaf).sum(), [leaf])[0]!.toArray();
    expect(cut((a) => a.mul(detach(a)))).toEqual(x.toArray());
    expect(cut((a) => a.mul(noGrad(() => a.mul(1))))).toEqual(x.toArray());
    expect(vmap(f)(x).requiresGrad).toBe(false);
    expect(noGrad(() => vmap((a: Tensor) => a.mul(2))(leaf)).requiresGrad).toBe(false);
  });

  test('an inner variable is not the outer one', () => {
    // d/dx of x * d/dy (y * x^2 at y = x) = d/dx of x^3
    const f = (a: Tensor) =>
      grad((v: Tensor) => v.mul(a.mul(a)).sum())(a)
        .mul(a)
        .sum();
    expect(grad(f)(tensor([2], { dtype: 'f64' })).toArray()).toEqual([12]);
  });

  test('ops of the user: by their decomposition, with their gradient', () => {
    const clipped = op('clipped', {
      args: (v: Tensor) => ({ inputs: [v] }),
      decompose: ([v]) => v.clamp(-1, 1).mul(v.size),
      grad: (g) => mul(g, 5),
    });
    expect(vmap(clipped)(x).toArray()).toEqual(loop(clipped)(x).toArray());
    const leaf = x.clone().requiresGrad_();
    vmap(clipped)(leaf).sum().backward();
    expect(vmap(grad((v: Tensor) => clipped(v).sum()))(x).toArray()).toEqual(x.mul(0).add(5).toArray());
    expect(leaf.grad!.toArray()).toEqual(
      loop((a) => gradients(clipped(a.requiresGrad_()).sum(), [a])[0]!)(x).toArray(),
    );
  });

  test('errors', () => {
    expect(() => vmap((a: Tensor) => a.mul(a.sum().item()))(x)).toThrow(TraceError);
    expect(() => vmap((a: Tensor, c: Tensor) => a.add(c))(x, ones([2, 4]))).toThrow(/different sizes: 3 and 2/);
    expect(() => vmap((a: Tensor) => a)(tensor(1))).toThrow(ShapeError);
    expect(() => vmap((a: Tensor) => a, { inDims: null })(x)).toThrow(/no argument/);
    expect(() => vmap((a: Tensor) => a, { inDims: [0, 0] as never })(x)).toThrow(ArgumentError);
    expect(() => vmap((a: Tensor) => a, { outDims: null })(x)).toThrow(/differs from example/);
    expect(() => vmap((a: Tensor) => a, { chunk: 0 })).toThrow(/chunk/);
    expect(() => vmap((a: Tensor) => (() => a) as never)(x)).toThrow(/results are tensors/);
    const w = ones([4], { dtype: 'f64', requiresGrad: true });
    const leaving = (a: Tensor) => {
      a.mul(w).sum().backward();
      return a;
    };
    expect(() => vmap(leaving)(x)).toThrow(/tensor from outside/);
    expect(w.grad).toBe(null);
    let leaked: Tensor | null = null;
    vmap((a: Tensor) => {
      leaked = a;
      return a;
    })(x);
    expect(() => leaked!.add(1)).toThrow(/outside its trace/);
    expect(x.mul(w).requiresGrad).toBe(true);
  });
});

describe('vjp, jvp, jacobian, hessian', () => {
  const x = tensor([0.5, -1, 2], { dtype: 'f64' });

  test('several arguments, results in arrays and objects, what does not depend', () => {
    const f = (a: Tensor, c: Tensor) => ({
      product: a.mul(c),
      list: [c.square().sum(), zeros([2], { dtype: 'f64' })] as const,
    });
    const c = x.add(1);
    const [value, pull] = vjp(f, x, c);
    expect(value.product.requiresGrad).toBe(false);
    const seeds = {
      product: x.mul(0).add(1),
      list: [tensor(1, { dtype: 'f64' }), ones([2], { dtype: 'f64' })] as const,
    };
    expect(pull(seeds).map((g) => g.toArray())).toEqual([c.toArray(), x.add(c.mul(2)).toArray()]);
    expect(pull(seeds)[0]!.toArray()).toEqual(c.toArray());
    const [, slopes] = jvp(f, [x, c], [x.mul(0), c.mul(0).add(1)]);
    expect(slopes.product.toArray()).toEqual(x.toArray());
    expect(slopes.list.map((s) => s.toArray())).toEqual([c.sum().mul(2).item(), [0, 0]]);
    const blocks = jacobian(f, { argnums: [0, 1] })(x, c);
    expectClose(blocks.product[1]!, x.mul(eye(3, 3, { dtype: 'f64' })), 'by the second argument');
    expect(blocks.list[0][0]!.toArray()).toEqual([0, 0, 0]);
    expect(blocks.list[1].map((part) => part.shape)).toEqual([
      [2, 3],
      [2, 3],
    ]);
  });

  test('compose: jvp of jvp, jacobian of jvp, gradient of a jacobian, hessian by two arguments', () => {
    const f = (a: Tensor) => a.pow(3);
    const one = ones([3], { dtype: 'f64' });
    const slope = (a: Tensor) => jvp(f, [a], [one])[1];
    expectClose(jvp(slope, [x], [one])[1], x.mul(6), 'jvp of jvp');
    expectClose(jacobian(slope)(x).sum(0), x.mul(6), 'jacobian of jvp');
    expectClose(grad((a: Tensor) => jacobian(f)(a).sum())(x), x.mul(6), 'gradient of jacobian');
    expectClose(vmap((a: Tensor) => jvp(f, [a], [tensor(1, { dtype: 'f64' })])[1])(x), x.square().mul(3), 'mapped');
    const blocks = hessian((a: Tensor, c: Tensor) => a.square().mul(c).sum(), { argnums: [0, 1] })(x, one);
    expectClose(
      blocks[0]![1]!,
      tensor(
        [
          [1, 0, 0],
          [0, -2, 0],
          [0, 0, 4],
        ],
        { dtype: 'f64' },
      ),
      'mixed',
    );
    expect(blocks[1]![1]!.toArray()).toEqual([
      [0, 0, 0],
      [0, 0, 0],
      [0, 0, 0],
    ]);
  });

  test('rows in chunks, and one by one where a backward reads values', () => {
    const seen: number[] = [];
    const reading = (a: Tensor) => {
      const y = a.mul(2);
      registerHook(y, (g) => void seen.push(g.sum().item()));
      return y;
    };
    const diagonal = (values: number[]) => tensor(values, { dtype: 'f64' }).mul(eye(3, 3, { dtype: 'f64' }));
    expectClose(jacobian(reading)(x), diagonal([2, 2, 2]), 'rows');
    expect(seen).toEqual([1, 1, 1]);
    expectClose(jacobian((a: Tensor) => a.square(), { chunk: 2 })(x), diagonal([1, -2, 4]), 'chunks');
  });

  test('errors', () => {
    expect(() => jvp((a: Tensor) => a, [x], [ones([2])])).toThrow(ShapeError);
    expect(() => vjp((a: Tensor) => a, x)[1](ones([2]))).toThrow(ShapeError);
    expect(() => jacobian((a: Tensor) => a)(ones([2], { dtype: 'i32' }))).toThrow(/only floats/);
    expect(() => jvp((a: Tensor) => a, x as never, [x])).toThrow(ArgumentError);
  });
});
