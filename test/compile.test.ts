import { describe, expect, test } from 'vitest';
import {
  compile,
  crossEntropy,
  dropout,
  gradients,
  IndexError,
  gather,
  matmul,
  full,
  manualSeed,
  memoryStats,
  noGrad,
  ones,
  relu,
  randint,
  randn,
  scope,
  ShapeError,
  Tensor,
  tensor,
  TraceError,
  zeros,
} from '../lib/index.js';
import { BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, type Module, Sequential } from '../lib/nn/index.js';
import { Adam, AdamW, clipGradNorm_, type Optimizer, RMSprop, SGD } from '../lib/optim/index.js';
import { makeInputs } from './samples/make.js';
import { samples } from './samples.js';

const cnn = (): Sequential =>
  new Sequential(
    ...[new Conv2d(1, 4, 3), new BatchNorm2d(4), relu, new MaxPool2d(2), new Flatten()],
    ...[new Linear(36, 16), relu, new Dropout(0.3), new Linear(16, 3)],
  );
const mlp = (): Sequential => new Sequential(new Linear(5, 8), relu, new Linear(8, 3));

interface Task {
  model: Module;
  optimizer: Optimizer;
  step: (x: Tensor, y: Tensor) => Tensor;
}

/** What leaves rounding as it is: sums are not added up in another order. */
const exact = { passes: { reduce: false, products: false } } as const;

/** The same training, eager and compiled, from the same seeds: losses, weights and moments. */
function train(
  build: () => Module,
  shape: number[],
  optimizerOf: (model: Module) => Optimizer,
  body: (task: Omit<Task, 'step'>, x: Tensor, y: Tensor) => Tensor,
  during: (task: Task, i: number) => void = () => {},
): void {
  const run = (compiled: boolean) => {
    manualSeed(7);
    const model = build();
    const optimizer = optimizerOf(model);
    const batches = Array.from({ length: 6 }, () => [randn(shape), randint(0, 3, [shape[0]!])] as const);
    const fn = (x: Tensor, y: Tensor) => body({ model, optimizer }, x, y);
    const step = compiled ? compile(fn, exact) : fn;
    const losses = batches.map(([x, y], i) => {
      during({ model, optimizer, step }, i);
      return step(x, y).item();
    });
    const weights = Object.values(model.stateDict()).map((p) => p.toArray());
    return { losses, weights, stats: compiled ? (step as ReturnType<typeof compile>).stats() : null };
  };
  const eager = run(false);
  const compiled = run(true);
  expect(new Set(eager.losses).size).toBe(6);
  expect(compiled.losses).toEqual(eager.losses);
  expect(compiled.weights).toEqual(eager.weights);
}

const plain = ({ model, optimizer }: Omit<Task, 'step'>, x: Tensor, y: Tensor): Tensor => {
  optimizer.zeroGrad();
  const loss = crossEntropy(model.forward(x) as Tensor, y);
  loss.backward();
  optimizer.step();
  return loss;
};

describe('a training step is bitwise what eager gives', () => {
  for (const [name, optimizer] of Object.entries({
    SGD: (m: Module) => new SGD(m.parameters(), { lr: 0.1, momentum: 0.9, weightDecay: 0.01 }),
    Adam: (m: Module) => new Adam(m.parameters()),
    AdamW: (m: Module) => new AdamW(m.parameters(), { lr: 0.01 }),
    RMSprop: (m: Module) => new RMSprop(m.parameters(), { lr: 0.01 }),
  })) {
    test(`CNN with batch norm and dropout, ${name}`, () => train(cnn, [4, 1, 8, 8], optimizer, plain));
  }

  test('changes between runs: learning rate, eval mode, a frozen parameter', () => {
    train(
      cnn,
      [4, 1, 8, 8],
      (m) => new Adam(m.parameters()),
      plain,
      ({ model, optimizer }, i) => {
        if (i === 2) optimizer.lr = 0.1;
        if (i === 3) model.eval();
        if (i === 4) model.train();
        if (i === 5) [...model.parameters()][0]!.requiresGrad_(false);
      },
    );
  });

  test('accumulation outside, clipping, gradients set by hand', () => {
    train(
      mlp,
      [4, 5],
      (m) => new SGD(m.parameters(), { lr: 0.1 }),
      ({ model }, x, y) => {
        const loss = crossEntropy(model.forward(x) as Tensor, y);
        loss.backward();
        clipGradNorm_(model.parameters(), 0.5);
        return loss;
      },
      ({ model, optimizer }, i) => {
        if (i === 0 || i % 2 === 1) return;
        optimizer.step();
        if (i === 4) for (const p of model.parameters()) p.grad = ones(p.shape);
        else optimizer.zeroGrad();
      },
    );
  });

  test('second order inside the function', () => {
    train(
      mlp,
      [4, 5],
      (m) => new SGD(m.parameters(), { lr: 0.1 }),
      ({ model, optimizer }, x, y) => {
        optimizer.zeroGrad();
        const input = x.mul(1).requiresGrad_();
        const loss = crossEntropy(model.forward(input) as Tensor, y);
        const [g] = gradients(loss, [input], { createGraph: true });
        const total = loss.add(g!.square().sum());
        total.backward();
        optimizer.step();
        return total;
      },
    );
  });
});

/** What cannot be compiled, because its result depends on values. */
const readsValues = new Set<string>(['nonzero', 'maskedSelect', 'unique']);

/** Values of one dtype and shape that differ by the rounding of sums at most. */
function expectClose(got: Tensor, want: Tensor, name: string): void {
  expect([got.dtype, got.shape]).toEqual([want.dtype, want.shape]);
  const [a, b] = [got, want].map((x) => x.to('f64').dataSync() as Float64Array) as [Float64Array, Float64Array];
  const scale = b.reduce((most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most), 1);
  const bound = scale * (want.dtype === 'f64' ? 1e-12 : 1e-5);
  const far = a.findIndex((x, i) => !(Object.is(x, b[i]!) || Math.abs(x - b[i]!) <= bound));
  expect(far < 0 ? null : [name, far, a[far], b[far]]).toBe(null);
}

describe('every sample compiled is what eager gives, values and gradients: bitwise where sums keep their order', () => {
  for (const sample of samples) {
    test(sample.name, () => {
      for (const dtype of (sample.dtypes ?? (['f32', 'f64'] as const)).slice(0, 2)) {
        for (const inputs of sample.cases(makeInputs(dtype, 1))) {
          const tensors = inputs.map((x) => x instanceof Tensor);
          const positions = (sample.grad ?? []).filter(
            (i) => tensors[i] && (inputs[i] as Tensor).dtype.startsWith('f'),
          );
          const f = (xs: readonly (Tensor | number)[]): Tensor[] => {
            const given = xs.map((x, i) => (positions.includes(i) ? (x as Tensor).mul(1).requiresGrad_() : x));
            const out = sample.call(...(given as never[])) as Tensor | readonly Tensor[];
            const list = Array.isArray(out) ? (out as Tensor[]) : [out as Tensor];
            const total = list.filter((y) => y.requiresGrad).map((y) => y.square().sum().to('f64'));
            if (total.length === 0) return list;
            const grads = gradients(
              total.reduce((a, b) => a.add(b)),
              positions.map((i) => given[i] as Tensor),
              { allowUnused: true },
            );
            return [...list, ...grads];
          };
          const compiled = compile(f, exact);
          const want = f(inputs);
          if (readsValues.has(sample.name)) {
            expect(() => compiled(inputs)).toThrow(TraceError);
            continue;
          }
          for (let run = 0; run < 2; run++) {
            const got = compiled(inputs);
            expect(got.map((y) => [y.dtype, y.shape, y.dataSync()])).toEqual(
              want.map((y) => [y.dtype, y.shape, y.dataSync()]),
            );
          }
          compile(f)(inputs).forEach((y, i) => {
            expectClose(y, want[i]!, sample.name);
          });
        }
      }
    });
  }
});

describe('sums of products are one product', () => {
  const unrolled = (steps: number, extra: boolean) => {
    manualSeed(3);
    const w = randn([6, 5]).requiresGrad_();
    const v = randn([5, 6]);
    const f = (x: Tensor) => {
      let h = x;
      for (let i = 0; i < steps; i++) h = h.matmul(w).tanh().matmul(v);
      const loss = h.square().sum();
      return gradients(extra ? loss.add(w.square().sum()) : loss, [w])[0]!;
    };
    return { f, x: randn([3, 6]) };
  };
  for (const [steps, extra, products] of [
    [5, false, 1],
    [5, true, 1],
    [3, false, 3],
  ] as const) {
    test(`${steps} steps${extra ? ' and another term' : ''}`, () => {
      const { f, x } = unrolled(steps, extra);
      const compiled = compile(f);
      for (let run = 0; run < 2; run++) expectClose(compiled(x), f(x), 'the gradient of w');
      // (6,K) x (K,5): what makes the gradient of w
      expect(compiled.explain().match(/matmul[^(]*\(%\d+:f32\(6,/g)).toHaveLength(products);
    });
  }
  test('not when a factor is overwritten in between', () => {
    const f = (x: Tensor) => {
      const scratch = zeros([2, 2]);
      let sum = zeros([2, 2]);
      for (let i = 0; i < 6; i++) {
        scratch.copy_(x.mul(i + 1));
        sum = sum.add(scratch.matmul(x));
      }
      return sum;
    };
    const x = tensor([
      [1, 2],
      [3, 4],
    ]);
    expect(compile(f)(x).toArray()).toEqual(f(x).toArray());
  });
});

describe('compile', () => {
  test('one program a form of the arguments', () => {
    const double = compile((x: Tensor, { by, name }: { by: number; name?: string }) => ({
      y: x.mul(by),
      name,
      list: [x],
    }));
    expect(double(tensor([1, 2]), { by: 2 }).y.toArray()).toEqual([2, 4]);
    expect(double(tensor([3, 4]), { by: 2 }).y.toArray()).toEqual([6, 8]);
    expect(double.stats().programs).toBe(1);
    expect(double(tensor([3, 4]), { by: 3, name: 'a' })).toMatchObject({ name: 'a' });
    expect(double(tensor([[3, 4]]), { by: 2 }).list[0]!.toArray()).toEqual([[3, 4]]);
    expect(double(tensor([[3, 4, 5]]).at('...', [0, 2]), { by: 2 }).y.toArray()).toEqual([[6, 8]]);
    expect(double.stats().programs).toBe(4);
    expect(double.explain()).toContain('mul');
  });

  test('disposed of, it gives its memory back at once, also with a call under way, and records again when it is called', async () => {
    const f = compile((x: Tensor) => matmul(matmul(x, x), x));
    const x = full([256, 256], 2 ** -8);
    f(x).dispose();
    const arena = f.stats().arenaBytes;
    expect(arena).toBeGreaterThan(0);
    const under = f.async(x);
    const before = memoryStats().liveBytes;
    f.dispose();
    expect(before - memoryStats().liveBytes).toBeGreaterThanOrEqual(arena);
    expect(f.stats()).toMatchObject({ programs: 0, arenaBytes: 0 });
    expect((await under).at(0, 0).item()).toBe(2 ** -8);
    {
      using once = compile((y: Tensor) => y.mul(2));
      expect(once(tensor([1, 2])).toArray()).toEqual([2, 4]);
    }
    expect(f(tensor([[2]])).item()).toBe(8);
    expect(f.stats()).toMatchObject({ programs: 1, traces: 2 });
  });

  test('results are new at each run, detached, and not what they were made of', () => {
    const w = tensor([1, 2]).requiresGrad_();
    const f = compile((x: Tensor) => [x, w, x.mul(w), w.at(0)]);
    const x = tensor([3, 4]);
    const first = f(x);
    const second = f(tensor([5, 6]));
    expect(first.map((y) => y.toArray())).toEqual([[3, 4], [1, 2], [3, 8], 1]);
    expect(second.map((y) => y.toArray())).toEqual([[5, 6], [1, 2], [5, 12], 1]);
    expect(second.every((y) => !y.requiresGrad)).toBe(true);
    noGrad(() => first[1]!.add_(1));
    expect(w.toArray()).toEqual([1, 2]);
  });

  test('writes in place reach tensors from outside and arguments, also through views', () => {
    const table = zeros([2, 2]);
    const f = compile((x: Tensor) => {
      table.at(1).add_(x);
      x.mul_(2);
      return table.sum();
    });
    const x = tensor([1, 2]);
    expect([f(x).item(), f(x).item()]).toEqual([3, 9]);
    expect(table.toArray()).toEqual([
      [0, 0],
      [3, 6],
    ]);
    expect(x.toArray()).toEqual([4, 8]);
    const same = compile((y: Tensor, z: Tensor) => [y.mul_(2), z]);
    const [doubled, other] = same(x, tensor([[1], [2], [3]]));
    expect([doubled!.toArray(), other!.toArray(), x.toArray()]).toEqual([
      [8, 16],
      [[1], [2], [3]],
      [8, 16],
    ]);
    noGrad(() => x.zero_());
    expect(doubled!.toArray()).toEqual([8, 16]);
  });

  test('two fused groups do not wait for each other', () => {
    const f = (x: Tensor, y: Tensor) => {
      const u = x.add(1);
      const product = u.matmul(u);
      const v = y.mul(2);
      return [u.add(v.matmul(v)), product.tanh().add(v)];
    };
    const given = [tensor([[0, 1], [2, 3]]), tensor([[1, 0], [2, 1]])] as const; // biome-ignore format: matrices
    expect(compile(f)(...given).map((y) => y.toArray())).toEqual(f(...given).map((y) => y.toArray()));
  });

  test('what is summed before it is overwritten is summed as it was', () => {
    const w = ones([3, 4]);
    const f = compile((x: Tensor) => {
      const before = w.sum([0]);
      w.mul_(x);
      return before;
    });
    const x = tensor([2, 2, 2, 2]);
    expect([f(x).toArray(), f(x).toArray()]).toEqual([
      [3, 3, 3, 3],
      [6, 6, 6, 6],
    ]);
    // In memory that the program places itself, the double lies over what was doubled.
    const g = compile((y: Tensor) => {
      const z = y.matmul(y);
      const double = z.add(z);
      return [z.sum([1]), double.matmul(double)];
    });
    expect(g(tensor([[1, 2], [3, 4]]))[0]!.toArray()).toEqual([17, 37]); // biome-ignore format: a matrix
  });

  test('a leaf made in the function leaves no gradient behind, and one program serves every run', () => {
    const w = tensor([2]).requiresGrad_();
    const f = compile((x: Tensor) => {
      w.grad = null;
      const leaf = x.mul(1).requiresGrad_();
      leaf.mul(w).sum().backward();
      return leaf.grad!;
    });
    const x = tensor([3]);
    expect([f(x).item(), f(x).item(), w.grad!.item()]).toEqual([2, 2, 3]);
    expect(f.stats().programs).toBe(1);
  });

  test('random numbers go on from run to run as in eager', () => {
    const f = (x: Tensor) => dropout(x, 0.5).add(randn([4]));
    const compiled = compile(f);
    const runs = (fn: (x: Tensor) => Tensor) => {
      manualSeed(3);
      return [fn(ones([4])), randn([2]), fn(ones([4])), fn(ones([4]))].map((y) => y.toArray());
    };
    expect(runs(compiled)).toEqual(runs(f));
    expect(runs(compiled)).toEqual(runs(f));
  });

  test('a moved parameter and a loaded state are found', () => {
    const layer = new Linear(2, 1);
    const f = compile((x: Tensor) => layer.forward(x));
    const x = tensor([[1, 1]]);
    f(x);
    layer.loadStateDict({ weight: tensor([[2, 3]]), bias: tensor([1]) });
    expect(f(x).item()).toBe(6);
    layer.to('f64');
    expect(f(x.to('f64')).dtype).toBe('f64');
  });

  test('a compiled function inside another is part of it', () => {
    const inner = compile((x: Tensor) => x.add(1));
    const outer = compile((x: Tensor) => inner(x).mul(2));
    expect(outer(tensor([1])).item()).toBe(4);
    expect(inner.stats().programs).toBe(0);
  });

  test('errors: read values, promises, foreign values, arguments that require grad, shapes, indices', () => {
    expect(() => compile((x: Tensor) => x.mul(x.item()))(ones([1]))).toThrow(TraceError);
    expect(() => compile(async (x: Tensor) => x)(ones([1]))).toThrow(/async/);
    expect(() => compile((f: unknown) => f)(() => 1)).toThrow(/plain arrays and objects/);
    expect(() => compile((x: Tensor) => x)(ones([1]).requiresGrad_())).toThrow(/requires grad/);
    expect(() => compile((x: Tensor) => x.matmul(x))(ones([2, 3]))).toThrow(ShapeError);
    const take = compile((x: Tensor, i: Tensor) => gather(x, 0, i));
    const bad = tensor([5], { dtype: 'i32' });
    expect(take(ones([3]), tensor([2], { dtype: 'i32' })).item()).toBe(1);
    expect(() => take(ones([3]), bad).item()).toThrow(IndexError);
    expect(take(ones([3]), tensor([1], { dtype: 'i32' })).item()).toBe(1);
    let leaked: Tensor | null = null;
    compile((x: Tensor) => {
      leaked = x.add(1);
      return x.mul(2);
    })(ones([1]));
    expect(() => leaked!.item()).toThrow(TraceError);
  });

  test('a failing function leaves gradients and modes as they were', () => {
    const w = ones([2]).requiresGrad_();
    w.sum().backward();
    const before = w.grad;
    expect(() =>
      compile((x: Tensor) => {
        x.mul(w).sum().backward();
        throw new Error('mine');
      })(ones([2])),
    ).toThrow('mine');
    expect(w.grad).toBe(before);
    expect(w.mul(2).requiresGrad).toBe(true);
  });

  test('after the first runs no memory is asked of the system, and scopes free results', () => {
    manualSeed(1);
    const model = mlp();
    const optimizer = new Adam(model.parameters());
    const step = compile((x: Tensor, y: Tensor) => plain({ model, optimizer }, x, y));
    const [x, y] = [randn([4, 5]), randint(0, 3, [4])];
    for (let i = 0; i < 3; i++) scope(() => void step(x, y));
    const before = memoryStats();
    for (let i = 0; i < 100; i++) scope(() => void step(x, y));
    const after = memoryStats();
    expect(after.liveBytes).toBe(before.liveBytes);
    expect(after.deviceAllocations).toBe(before.deviceAllocations);
  });
});
