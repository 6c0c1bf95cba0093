import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import {
  DisposedError,
  memoryStats,
  ones,
  op,
  randn,
  registerHook,
  scope,
  type Tensor,
  tensor,
  zeros,
} from '../lib/index.js';
import { SGD } from '../lib/optim/index.js';

const fixture = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const live = () => memoryStats().liveBytes;

describe('dispose', () => {
  test('frees now; using the tensor afterwards is a DisposedError', () => {
    const before = live();
    const x = zeros([1024, 1024]);
    expect(live() - before).toBeGreaterThanOrEqual(4 << 20);
    x.dispose();
    expect(live()).toBe(before);
    x.dispose();
    expect(() => x.add(1)).toThrow(DisposedError);
    expect(() => x.dataSync()).toThrow(DisposedError);
    expect(String(x)).toContain('disposed');
  });

  test('views go with the tensor that owns the memory; disposing one leaves it', () => {
    const x = ones([4]);
    const y = x.reshape([2, 2]);
    y.dispose();
    expect(() => y.sum()).toThrow(DisposedError);
    expect(x.sum().item()).toBe(4);
    const z = x.at([0, 2]);
    x.dispose();
    expect(() => z.sum()).toThrow(DisposedError);
  });

  test('results that are views of something internal own their memory', () => {
    const x = ones([2, 3, 1 << 12]);
    const w = ones([1 << 12, 1 << 12]);
    const before = live();
    for (const y of [x.sum(0), x.matmul(w), x.argmax(2), x.permute([2, 1, 0]).reshape([-1])]) y.dispose();
    expect(live()).toBe(before);
  });

  test('using', () => {
    const before = live();
    {
      using x = zeros([1 << 18]);
      expect(x.size).toBe(1 << 18);
    }
    expect(live()).toBe(before);
  });

  test('a disposed tensor that backward needs is refused', () => {
    const x = tensor([1, 2], { requiresGrad: true });
    const y = x.exp();
    const z = y.mul(y).sum();
    y.dispose();
    expect(() => z.backward()).toThrow(/was disposed after being saved/);
  });
});

describe('scope', () => {
  test('frees what is not answered, in nested scopes too, also after an error', () => {
    const before = live();
    const kept = scope(() => {
      const a = zeros([1 << 16]);
      const inner = scope(() => ({ list: [a.add(1)], gone: a.add(2).size }));
      a.add(3);
      return inner;
    });
    expect(live() - before).toBe(1 << 18);
    expect(kept.list[0]!.at(0).item()).toBe(1);
    kept.list[0]!.dispose();
    expect(live()).toBe(before);
    expect(() =>
      scope(() => {
        zeros([1 << 16]);
        throw new Error('mine');
      }),
    ).toThrow('mine');
    expect(live()).toBe(before);
  });

  test('gradients of leaves from outside survive', () => {
    const w = tensor([1, 2, 3], { requiresGrad: true });
    scope(() => w.mul(w).sum().backward());
    expect(w.grad!.toArray()).toEqual([2, 4, 6]);
  });
});

test('memory of unreachable tensors is freed without the event loop turning', () => {
  // In a process of its own, where nothing else has run.
  const { left } = JSON.parse(execFileSync(process.execPath, [fixture('unreachable.mjs')], { encoding: 'utf8' }));
  expect(Math.max(...left)).toBeLessThan(4 << 20);
});

test('memory that is freed is used again', () => {
  const x = randn([512, 512]);
  scope(() => void x.mul(2));
  const before = memoryStats().deviceAllocations;
  for (let i = 0; i < 50; i++) scope(() => void x.mul(2));
  expect(memoryStats().deviceAllocations).toBe(before);
});

const sanitized = process.env.LD_PRELOAD?.includes('asan') ?? false;
if (sanitized) console.log('skipped: resident memory, which AddressSanitizer multiplies');
test.skipIf(sanitized)('five million eager ops in a synchronous loop keep resident memory below 300 MB', () => {
  const { peak, value } = JSON.parse(execFileSync(process.execPath, [fixture('memory.mjs')], { encoding: 'utf8' }));
  expect(value).toBe(5_000_001);
  expect(peak).toBeLessThan(300);
});

test('two worker threads train at once, to the results of one alone', async () => {
  const run = (seed: number) =>
    new Promise<number>((resolve, reject) => {
      const worker = new Worker(fixture('worker-train.mjs'), { workerData: { seed } });
      worker.on('message', resolve);
      worker.on('error', reject);
    });
  const [a, b] = await Promise.all([run(1), run(2)]);
  expect(a).toBeLessThan(1.2);
  expect(await run(1)).toBe(a);
  expect(await run(2)).toBe(b);
});

describe('gradients', () => {
  const N = 1 << 16;
  const bytes = 4 * N;

  test('backward frees each gradient when it was used, and zeroGrad those of the parameters', () => {
    const x = randn([N]).requiresGrad_();
    const loss = x.mul(2).exp().neg().tanh().sum();
    const before = live();
    loss.backward();
    expect(live() - before).toBeLessThan(1.5 * bytes); // of a chain of 5, x.grad alone
    const accumulated = live();
    x.mul(3).sum().backward();
    expect(live() - accumulated).toBeLessThan(1.5 * bytes); // the result of mul
    new SGD([x], { lr: 1 }).zeroGrad();
    expect(live()).toBeLessThan(accumulated + 0.5 * bytes);
  });

  test('what the user was given stays: grad, hooks, gradients of user ops', () => {
    const kept: Tensor[] = [];
    const double = op('double', {
      args: (x: Tensor) => ({ inputs: [x] }),
      decompose: ([x]) => x!.mul(2),
      grad: (g) => {
        const mine = g.mul(2);
        kept.push(g, mine);
        return [mine];
      },
    });
    const x = ones([N]).requiresGrad_();
    const y = double(x.mul(3));
    kept.length = 0; // the rule was run on tensors without values, to see what it saves
    const z = y.mul(5);
    registerHook(y, (g) => void kept.push(g));
    z.sum().backward();
    kept.push(x.grad!);
    const optimizer = new SGD([x], { lr: 1 });
    optimizer.zeroGrad();
    expect(x.grad).toBe(null);
    double(x).sum().backward();
    optimizer.zeroGrad();
    expect(kept.map((g) => g.at(0).item())).toEqual([5, 5, 10, 30, 1, 2]);
  });
});
