/** The API's contract: the lines of the documented sketch, but for serving, other devices and step.async(), run as they stand. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Tensor, cat, compile, crossEntropy, devices, gradients, manualSeed } from 'brasa';
import { mul, noGrad, ones, op, randn, sigmoid, silu, tensor } from 'brasa';
import { DataLoader, randomSplit, TensorDataset } from 'brasa/data';
import { load, save } from 'brasa/io';
import { Accuracy } from 'brasa/metrics';
import { Dropout, Linear, Module, parameter, Sequential } from 'brasa/nn';
import { AdamW, clipGradNorm_, CosineAnnealingLR } from 'brasa/optim';
import { checkpoint, earlyStopping, fit, loadCheckpoint, progress, saveCheckpoint } from 'brasa/train';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';

const home = process.cwd();
const folder = mkdtempSync(join(tmpdir(), 'brasa-sketch-'));
beforeAll(() => process.chdir(folder));
afterAll(() => {
  process.chdir(home);
  rmSync(folder, { recursive: true });
});

// Custom op: the very function the built-in ops use, so devices and second order follow.
const scaledSwish = op('scaledSwish', {
  args: (x: Tensor, options: { beta?: number } = {}) => ({ inputs: [x], params: { beta: options.beta ?? 1 } }),
  decompose: ([x], { beta }) => mul(x, sigmoid(mul(x, beta))), // its meaning; `grad` optional: (g, inputs, y, params)
});

// Custom layer: parameters and layers are plain properties (arrays of them too); `forward` is defined and called.
class RMSNorm extends Module {
  weight: Tensor;
  eps: number;
  constructor(size: number, { eps = 1e-6 }: { eps?: number } = {}) {
    super();
    this.weight = parameter(ones([size]));
    this.eps = eps;
  }
  forward(x: Tensor): Tensor {
    return x.mul(x.pow(2).mean(-1, { keepDim: true }).add(this.eps).rsqrt()).mul(this.weight);
  }
}

test('tensors', async () => {
  const printed = vi.spyOn(console, 'log').mockImplementation(() => {});
  manualSeed(0);
  const a = tensor([[1, 2], [3, 4]]); // biome-ignore format: as the sketch has it
  const w = randn([2, 2], { dtype: 'f32', device: 'cpu', requiresGrad: true });
  const p = a.matmul(w).add(1).softmax(-1);
  const centred = p.sub(p.mean(0, { keepDim: true }));
  const rows = p.at([0, 1], '...', null);
  const [dw] = gradients(p.pow(2).sum(), [w], { createGraph: true });
  p.pow(2).sum().backward();
  noGrad(() => w.add_(w.grad!.mul(-0.1)));
  console.log(cat([a, centred], 1), rows.shape, dw);
  console.log(a.sum().item(), a.toArray(), await a.data());
  expect(printed.mock.calls[0]![1]).toEqual([1, 2, 1]);
  expect(printed.mock.calls[1]).toEqual([10, [[1, 2], [3, 4]], Float32Array.of(1, 2, 3, 4)]); // biome-ignore format: short
  expect(dw!.requiresGrad).toBe(true);
  expect(dw!.detach().sub(w.grad!).abs().max().item()).toBeLessThan(1e-6);
  printed.mockRestore();
});

test('eager training, fit, save, load, resume, move', async () => {
  const written: string[] = [];
  const out = vi.spyOn(process.stdout, 'write').mockImplementation((text) => written.push(String(text)) > 0);
  try {
    const model = new Sequential(
      new Linear(784, 256), new RMSNorm(256), silu, (x) => scaledSwish(x, { beta: 1.5 }), new Dropout(0.1), new Linear(256, 10)); // biome-ignore format: as the sketch has it
    const data = new TensorDataset(randn([1000, 784]), tensor(new Int32Array(1000)));
    const [trainSet, validSet] = randomSplit(data, [0.9, 0.1], { seed: 1 });
    const train = new DataLoader(trainSet!, { batchSize: 128, shuffle: true, seed: 1 });
    const validation = new DataLoader(validSet!, { batchSize: 256 });

    const optimizer = new AdamW(model.parameters(), { lr: 3e-4, weightDecay: 0.01 });
    const schedule = new CosineAnnealingLR(optimizer, { tMax: 10 });
    const losses: number[] = [];
    for await (const [x, y] of train) {
      optimizer.zeroGrad();
      const loss = crossEntropy(model.forward(x), y, { labelSmoothing: 0.1 });
      loss.backward();
      clipGradNorm_(model.parameters(), 1);
      optimizer.step();
      losses.push(loss.item());
    }
    expect(losses).toHaveLength(8);
    expect(losses.at(-1)!).toBeLessThan(losses[0]!);

    const step = compile((x: Tensor, y: Tensor) => {
      optimizer.zeroGrad();
      const loss = crossEntropy(model.forward(x), y);
      loss.backward();
      optimizer.step();
      return loss;
    });
    const compiled: number[] = [];
    for await (const [x, y] of train) compiled.push(step(x!, y!).item());
    expect(compiled.at(-1)!).toBeLessThan(losses[0]!);
    expect(step.stats().programs).toBe(2); // the last batch is smaller

    const history = await fit(model, {
      train, validation, loss: crossEntropy, optimizer, schedule, epochs: 3, metrics: { accuracy: new Accuracy() },
      callbacks: [progress(), earlyStopping({ monitor: 'validation.loss', patience: 3 }), checkpoint('runs/mnist')],
      signal: AbortSignal.timeout(600_000),
    }); // biome-ignore format: as the sketch has it
    expect(history.stopped).toBe('completed');

    await save('mnist.safetensors', model.stateDict());
    model.loadStateDict(await load('mnist.safetensors'));
    await saveCheckpoint('runs/last', { model, optimizer, schedule, train });
    await loadCheckpoint('runs/last', { model, optimizer, schedule, train });
    const device = devices().some((d) => d.id === 'cuda:0') ? 'cuda:0' : 'cpu';
    model.to(device).eval();
    const x = randn([2, 784]);
    expect(model.forward(x).shape).toEqual([2, 10]);
  } finally {
    out.mockRestore();
  }
  expect(written.join('')).toMatch(/loss/);
});
