import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import {
  compile,
  crossEntropy,
  dropout,
  gather,
  IndexError,
  manualSeed,
  memoryStats,
  noGrad,
  ones,
  relu,
  randint,
  randn,
  scope,
  synchronize,
  type Tensor,
  tensor,
  TraceError,
  zeros,
} from '../lib/index.js';
import { BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Sequential } from '../lib/nn/index.js';
import { Adam } from '../lib/optim/index.js';

const fixture = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));

/** A function of x, (512,512) ones, that answers ones and takes about so many milliseconds. */
function slow(ms: number) {
  const x = ones([512, 512]);
  const scaled = tensor(1 / 512);
  const chain = (n: number) =>
    compile((y: Tensor) => {
      for (let i = 0; i < n; i++) y = y.matmul(y).mul(scaled);
      return y;
    });
  const ten = chain(10);
  ten(x);
  const start = performance.now();
  ten(x);
  const f = chain(Math.ceil((10 * ms) / (performance.now() - start)));
  f(x);
  return { run: f.async, x };
}

const cnn = (): Sequential =>
  new Sequential(
    ...[new Conv2d(1, 4, 3), new BatchNorm2d(4), relu, new MaxPool2d(2), new Flatten()],
    ...[new Linear(36, 16), relu, new Dropout(0.3), new Linear(16, 3)],
  );

/** Twenty steps of training, by one way of calling. */
async function train(how: 'blocking' | 'awaited' | 'queued' | 'mixed') {
  manualSeed(5);
  const model = cnn();
  const optimizer = new Adam(model.parameters(), { lr: 0.01 });
  const step = compile((x: Tensor, y: Tensor) => {
    optimizer.zeroGrad();
    const loss = crossEntropy(model.forward(x), y);
    loss.backward();
    optimizer.step();
    return loss;
  });
  const losses: (Tensor | Promise<Tensor>)[] = [];
  for (let i = 0; i < 20; i++) {
    if (i === 10) optimizer.lr = 0.002;
    const x = randn([4, 1, 8, 8]);
    const y = randint(0, 3, [4]);
    if (how === 'blocking' || (how === 'mixed' && i % 3 === 0)) losses.push(step(x, y));
    else if (how === 'awaited') losses.push(await step.async(x, y));
    else losses.push(step.async(x, y));
  }
  // Read while steps may still be under way.
  const weights = Object.values(model.stateDict()).map((p) => p.toArray());
  const grads = [...model.parameters()].map((p) => p.grad!.toArray());
  return { weights, grads, losses: (await Promise.all(losses)).map((x) => x.item()) };
}

describe('training', () => {
  test.each(['awaited', 'queued', 'mixed'] as const)(
    '20 steps with Adam, dropout and batch norm, %s: bitwise what blocking calls give',
    async (how) => {
      const blocking = await train('blocking');
      expect(new Set(blocking.losses).size).toBe(20);
      expect(await train(how)).toEqual(blocking);
    },
  );
});

describe('order', () => {
  test('calls of several functions, blocking and not, see what earlier ones wrote', async () => {
    const total = zeros([1]);
    const log: number[] = [];
    const add = compile((x: Tensor) => total.mul_(2).add_(x).clone());
    const halve = compile(() => total.mul_(0.5).clone());
    const note = (p: Promise<Tensor>, i: number) => p.then((y) => log.push(i) && y.item());
    const a = note(add.async(tensor([4])), 0); // 4
    const b = note(halve.async(), 1); // 2
    expect(add(tensor([1])).item()).toBe(5);
    const c = note(add.async(tensor([6])), 2); // 16
    expect(total.item()).toBe(16);
    expect(await Promise.all([c, b, a])).toEqual([16, 2, 4]);
    expect(log).toEqual([0, 1, 2]);
  });

  test('what was computed before is submitted before: random numbers', async () => {
    const f = (x: Tensor) => dropout(x, 0.5).add(randn([64]));
    const compiled = compile(f);
    manualSeed(3);
    const eager = [f(ones([64])), randn([2]), f(ones([64])), f(ones([64]))].map((y) => y.toArray());
    manualSeed(3);
    const mine = [compiled.async(ones([64])), randn([2]), compiled.async(ones([64])), compiled(ones([64]))];
    expect((await Promise.all(mine)).map((y) => y.toArray())).toEqual(eager);
  });

  test('synchronize() waits for what is in flight', async () => {
    const { run, x } = slow(300);
    let settled = false;
    const result = run(x).then(() => {
      settled = true;
    });
    synchronize();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(settled).toBe(true);
    await result;
    expect(() => synchronize('nowhere')).toThrow("unknown device 'nowhere'");
  });

  test('500 calls at once', async () => {
    const count = zeros([3]);
    const next = compile((x: Tensor) => count.add_(x).clone());
    const results = await Promise.all(Array.from({ length: 500 }, () => next.async(ones([3]))));
    expect(results.map((y) => y.at(0).item())).toEqual(Array.from({ length: 500 }, (_, i) => i + 1));
  });
});

describe('the event loop', () => {
  test('turns while a program of 300 ms is under way', async () => {
    const { run, x } = slow(300);
    const delay = monitorEventLoopDelay({ resolution: 1 });
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    delay.enable();
    const start = performance.now();
    const y = await run(x);
    const took = performance.now() - start;
    delay.disable();
    clearInterval(timer);
    expect(y.at(0, 0).item()).toBe(1);
    console.log(`${took.toFixed(0)} ms: ${ticks} ticks, delay p99 ${(delay.percentile(99) / 1e6).toFixed(2)} ms`);
    expect(ticks).toBeGreaterThan(20);
  });

  test('ops on other tensors go on, those on its own wait', async () => {
    const { run, x } = slow(200);
    const other = randn([64]);
    let done = false;
    const y = run(x).then((result) => {
      done = true;
      return result;
    });
    const start = performance.now();
    const sums = Array.from({ length: 50 }, () => other.mul(2).sum().item());
    const unrelated = performance.now() - start;
    noGrad(() => x.add_(1));
    const related = performance.now() - start;
    expect(new Set(sums).size).toBe(1);
    expect(unrelated).toBeLessThan(related / 2);
    expect(done).toBe(false); // promises settle when the event loop turns
    expect((await y).toArray()).toEqual(ones([512, 512]).toArray());
    expect(x.at(0, 0).item()).toBe(2);
  });
});

describe('memory', () => {
  test('writes and reads of what a call under way uses wait for it', async () => {
    const { run, x } = slow(50);
    const w = zeros([4]);
    const set = compile((value: Tensor) => void w.add_(value).mul_(w));
    const p = run(x);
    const q = set.async(tensor([2]));
    expect(w.at(3).item()).toBe(4);
    const r = set.async(tensor([1]));
    noGrad(() => w.sub_(20));
    expect(w.toArray()).toEqual([5, 5, 5, 5]);
    expect(await Promise.all([q, r])).toEqual([undefined, undefined]);
    expect((await p).at(0, 0).item()).toBe(1);
  });

  test('arguments and parameters may be disposed at once, also by a scope', async () => {
    const { run, x } = slow(30);
    const f = compile((y: Tensor, w: Tensor) => y.mul(w).sum());
    const first = run(x);
    const before = memoryStats().liveStorages;
    const results = Array.from({ length: 20 }, (_, i) => {
      let result!: Promise<Tensor>;
      scope(() => {
        result = f.async(ones([1000]).mul(i), tensor([2]));
        // Memory that is free now would be taken by these.
        for (let k = 0; k < 5; k++) ones([1000]).mul(-1);
      });
      return result;
    });
    expect(memoryStats().liveStorages).toBe(before + 20);
    x.dispose();
    expect((await Promise.all(results)).map((y) => y.item())).toEqual(Array.from({ length: 20 }, (_, i) => 2000 * i));
    expect((await first).at(0, 0).item()).toBe(1);
    expect(() => x.sum()).toThrow('disposed');
  });

  test('after warm-up no call allocates from the device', async () => {
    const f = compile((y: Tensor) => y.mul(2).add(1).sum());
    const round = async () => {
      const all = Array.from({ length: 8 }, () => f.async(ones([20_000])));
      for (const y of await Promise.all(all)) y.dispose();
    };
    const x = ones([20_000]);
    for (let i = 0; i < 3; i++) (await f.async(x)).dispose();
    const before = memoryStats().deviceAllocations;
    for (let i = 0; i < 50; i++) (await f.async(x)).dispose();
    expect(memoryStats().deviceAllocations).toBe(before);
    await round();
  });
});

describe('errors', () => {
  test('reject with the class that a blocking call throws, and later calls work', async () => {
    const pick = compile((x: Tensor, i: Tensor) => gather(x, 0, i).mul(2));
    const x = tensor([1, 2, 3]);
    const bad = pick.async(x, tensor(new Int32Array([7])));
    const good = pick.async(x, tensor(new Int32Array([2])));
    await expect(bad).rejects.toThrow(IndexError);
    await expect(bad).rejects.toThrow('[gather] index 7 is out of range for a dim of size 3');
    expect((await good).item()).toBe(6);
    expect(pick(x, tensor(new Int32Array([0]))).item()).toBe(2);
  });

  test('a failed call frees what it was to answer', async () => {
    const pick = compile((x: Tensor, i: Tensor) => gather(x, 0, i).mul(2));
    const x = tensor([1, 2, 3]);
    const i = tensor(new Int32Array([7]));
    await expect(pick.async(x, i)).rejects.toThrow(IndexError);
    const before = memoryStats().liveStorages;
    for (let k = 0; k < 5; k++) await expect(pick.async(x, i)).rejects.toThrow(IndexError);
    expect(memoryStats().liveStorages).toBe(before);
  });

  test('what is wrong before it starts rejects too: disposed and foreign arguments, what cannot be compiled', async () => {
    const f = compile((x: Tensor) => x.add(1));
    const gone = ones([2]);
    gone.dispose();
    await expect(f.async(gone)).rejects.toThrow('disposed');
    await expect(f.async(new Date() as never)).rejects.toThrow('[compile] arguments are tensors');
    await expect(compile((x: Tensor) => x.item()).async(ones([1]))).rejects.toThrow(TraceError);
    expect((await f.async(ones([1]))).item()).toBe(2);
  });

  test('inside a function that is being compiled', () => {
    const inner = compile((x: Tensor) => x.add(1));
    const outer = compile((x: Tensor) => inner.async(x));
    expect(() => outer(ones([1]))).toThrow(TraceError);
    expect(() => outer(ones([1]))).toThrow('call it without .async');
  });
});

describe('a process', () => {
  const run = (mode: string, env: NodeJS.ProcessEnv = {}) => {
    const { status, signal, stdout, stderr } = spawnSync(
      process.execPath,
      ['--expose-gc', fixture('async.mjs'), mode],
      {
        encoding: 'utf8',
        env: { ...process.env, ...env },
        timeout: 50_000,
      },
    );
    return { status, signal, stdout: stdout.trim(), stderr };
  };

  test('waits for calls in flight, and ends when there are none', () => {
    expect(run('await')).toEqual({ status: 0, signal: null, stdout: '20', stderr: '' });
    expect(run('leave')).toEqual({ status: 0, signal: null, stdout: '20', stderr: '' });
  });

  test('may end with calls in flight: by exit(), by an error', () => {
    expect(run('exit')).toEqual({ status: 3, signal: null, stdout: '', stderr: '' });
    expect(run('throw')).toMatchObject({ status: 1, signal: null, stderr: expect.stringContaining('thrown while') });
  });

  test('shows the kernels of calls in flight in its profile', () => {
    const folder = mkdtempSync(join(tmpdir(), 'brasa-trace-'));
    try {
      const file = join(folder, 'trace.json');
      expect(run('await', { BRASA_PROFILE: file })).toMatchObject({ status: 0, stdout: '20' });
      const { traceEvents } = JSON.parse(readFileSync(file, 'utf8'));
      const products = traceEvents.filter(({ name }: { name: string }) => name.startsWith('matmul'));
      expect(products).toHaveLength(200);
      products.forEach(({ tid, ts, dur }: { tid: number; ts: number; dur: number }, i: number) => {
        expect(tid).toBe(1_000_000);
        expect(dur).toBeGreaterThan(0);
        if (i > 0) expect(ts).toBeGreaterThanOrEqual(products[i - 1].ts);
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('may lose a function whose calls are in flight', () => {
    expect(run('collect')).toEqual({ status: 0, signal: null, stdout: 'true 21', stderr: '' });
  });
});

describe('worker threads', () => {
  const start = (mode: string) => new Worker(fixture('async.mjs'), { workerData: mode });
  const message = (worker: Worker) =>
    new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  const exit = (worker: Worker) => new Promise((resolve) => worker.once('exit', resolve));

  test('each has its own calls in flight', async () => {
    const workers = [start('await'), start('leave')];
    const ends = workers.map(exit);
    expect(await Promise.all(workers.map(message))).toEqual([20, 20]);
    expect(await Promise.all(ends)).toEqual([0, 0]);
  });

  test('may be terminated with calls in flight', async () => {
    const worker = start('terminate');
    await message(worker);
    expect(await worker.terminate()).toBe(1);
    const other = start('exit');
    expect(await exit(other)).toBe(3);
  });

  test('may be the only ones to load the library, and come and go', () => {
    const { status, signal, stdout } = spawnSync(process.execPath, [fixture('async-workers.mjs')], {
      encoding: 'utf8',
    });
    expect({ status, signal, stdout }).toEqual({ status: 0, signal: null, stdout: '20 workers\n' });
  });
});
