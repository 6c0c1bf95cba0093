import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Tensor } from '../lib/index.js';
import { afterAll, expect, test, vi } from 'vitest';

/** By name, how often a function of the native library was called. */
const calls = vi.hoisted(() => new Map<string, number>());
vi.mock('../lib/native.js', async (original) => {
  const module = await original<typeof import('../lib/native.js')>();
  for (const [name, value] of Object.entries(module.native)) {
    if (typeof value !== 'function') continue;
    const counted = (...args: unknown[]) => {
      calls.set(name, (calls.get(name) ?? 0) + 1);
      return (value as (...args: unknown[]) => unknown)(...args);
    };
    (module.native as unknown as Record<string, unknown>)[name] = counted;
  }
  return module;
});

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'brasa-malloc-'));
afterAll(() => rmSync(folder, { recursive: true }));

// A preloaded AddressSanitizer has its own malloc.
const sanitized = process.env.LD_PRELOAD !== undefined;
if (sanitized) console.log('allocations: not counted under AddressSanitizer');

test.skipIf(process.platform !== 'linux' || sanitized)(
  'a compiled step asks for no memory after its first runs',
  () => {
    const shim = join(folder, 'count.so');
    execFileSync(process.env.CC ?? 'cc', [
      '-O1',
      '-shared',
      '-fPIC',
      '-o',
      shim,
      here('native/count_malloc.c'),
      '-ldl',
    ]);
    const printed = execFileSync(process.execPath, [here('fixtures/allocations.mjs')], {
      encoding: 'utf8',
      env: { ...process.env, LD_PRELOAD: shim },
    });
    const [first, later] = printed.trim().split(' ').map(Number);
    expect(first).toBeGreaterThan(0);
    expect(later).toBe(0);
  },
);

test('a compiled step is one native call', async () => {
  const { compile, crossEntropy, randint, randn, relu } = await import('../lib/index.js');
  const { Linear, Sequential } = await import('../lib/nn/index.js');
  const { Adam } = await import('../lib/optim/index.js');
  const model = new Sequential(new Linear(5, 8), relu, new Linear(8, 3));
  const optimizer = new Adam(model.parameters());
  const step = compile((x: Tensor, y: Tensor) => {
    optimizer.zeroGrad();
    const loss = crossEntropy(model.forward(x) as Tensor, y);
    loss.backward();
    optimizer.step();
    return loss;
  });
  const [x, y] = [randn([4, 5]), randint(0, 3, [4])];
  step(x, y);
  calls.clear();
  for (let i = 0; i < 10; i++) step(x, y);
  expect([...calls]).toEqual([['runProgram', 10]]);
});
