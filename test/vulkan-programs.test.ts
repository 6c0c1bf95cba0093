/** Training on Vulkan beside training on the CPU, and what must hold from process to process. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import * as b from '../lib/index.js';
import { DataLoader, mnist } from '../lib/data/index.js';
import { Gpt2Decoder, gpt2 } from '../lib/models/index.js';
import { BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, Sequential } from '../lib/nn/index.js';
import { Adam, OneCycleLR } from '../lib/optim/index.js';
import { loadCheckpoint, saveCheckpoint } from '../lib/train/index.js';
import { checked, device, vulkan } from './vulkan/compare.js';

const folder = mkdtempSync(join(tmpdir(), 'brasa-vulkan-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A small network for 28 by 28 digits, its optimizer and schedule, from a seed. */
function setup(on: string) {
  b.manualSeed(3);
  const model = new Sequential(
    ...[new Conv2d(1, 6, 5, { stride: 2 }), new BatchNorm2d(6), b.relu, new MaxPool2d(2)], // (N,6,6,6)
    ...[new Flatten(), new Linear(216, 32), b.relu, new Linear(32, 10)],
  ).to(on);
  const optimizer = new Adam(model.parameters(), { lr: 0.005 });
  const schedule = new OneCycleLR(optimizer, { maxLr: 0.01, totalSteps: 200 });
  const step = b.compile((x: b.Tensor, y: b.Tensor) => {
    optimizer.zeroGrad();
    const loss = b.crossEntropy(model.forward(x) as b.Tensor, y);
    loss.backward();
    optimizer.step();
    return loss;
  });
  return { model, optimizer, schedule, step };
}

vulkan('MNIST', () => {
  const train = mnist({ split: 'train', normalize: true });
  const digits = mnist({ split: 'test', normalize: true });

  /** Losses of 200 steps and the accuracy on the first 4,000 test digits. */
  function run(on: string) {
    const { model, schedule, step } = setup(on);
    const losses: number[] = [];
    for (const [x, y] of new DataLoader(train, { batchSize: 32, shuffle: true, seed: 1 })) {
      b.scope(() => void losses.push(step(x.to(on), y.to(on)).item()));
      schedule.step();
      if (losses.length === 200) break;
    }
    model.eval();
    let right = 0;
    for (let first = 0; first < 4000; first += 500) {
      b.scope(() => {
        const [x, y] = digits.tensors.map((all) => b.narrow(all, 0, first, 500).to(on)) as [b.Tensor, b.Tensor];
        const guess = b.noGrad(() => b.argmax(model.forward(x) as b.Tensor, 1));
        right += b.sum(b.eq(guess, y).to('f32'), null).item();
      });
    }
    return { losses, accuracy: right / 4000 };
  }

  test('the losses of 20 steps, and the accuracy after 200', () => {
    const [got, want] = [run(device), run('cpu')];
    want.losses.slice(0, 20).forEach((loss, i) => {
      expect(Math.abs(got.losses[i]! - loss), `step ${i}`).toBeLessThan(1e-4);
    });
    console.log(`accuracy ${got.accuracy} on ${checked().name}, ${want.accuracy} on the CPU`);
    expect(want.accuracy).toBeGreaterThan(0.9);
    expect(Math.abs(got.accuracy - want.accuracy)).toBeLessThan(0.003);
  });
});

vulkan('checkpoints', () => {
  const batch = (i: number, on: string): [b.Tensor, b.Tensor] => {
    b.manualSeed(100 + i);
    return [b.randn([8, 1, 28, 28]).to(on), b.randint(0, 10, [8]).to(on)];
  };
  const cpu = 'cpu';

  /** Ten losses: five on one device, and from its checkpoint five on another. */
  async function losses(first: string, then: string): Promise<number[]> {
    const found: number[] = [];
    const go = ({ step, schedule }: ReturnType<typeof setup>, on: string) => {
      for (let i = 0; i < 5; i++) {
        found.push(step(...batch(found.length, on)).item());
        schedule.step();
      }
    };
    const dir = join(folder, `${first}-${then}`);
    const begun = setup(first);
    go(begun, first);
    await saveCheckpoint(dir, begun);
    const resumed = setup(then);
    await loadCheckpoint(dir, resumed);
    go(resumed, then);
    expect(new Set(Object.values(resumed.model.stateDict()).map((x) => (x as b.Tensor).device))).toEqual(
      new Set([then]),
    );
    return found;
  }

  test('of one device resume on the other: weights, statistics, moments', async () => {
    const want = await losses(cpu, cpu);
    for (const [first, then] of [
      [device, cpu],
      [cpu, device],
    ] as const) {
      const got = await losses(first, then);
      want.forEach((loss, i) => {
        expect(Math.abs(got[i]! - loss), `${first} to ${then}, step ${i}`).toBeLessThan(2e-4 * Math.max(1, loss));
      });
    }
  });
});

vulkan('decoding', () => {
  test('GPT-2 goes on from ids of the host as on the CPU', async () => {
    b.manualSeed(2);
    const model = gpt2({ vocabSize: 23, contextLength: 12, hiddenSize: 16, numLayers: 2, numHeads: 2 }).eval();
    const ids = b.randint(0, 23, [2, 5]);
    const run = async (on: string) => {
      const y = await new Gpt2Decoder(model.to(on), { batch: 2 }).generate(ids, { maxNewTokens: 6 });
      expect(y.device).toBe(on);
      return y.toArray();
    };
    expect(await run(device)).toEqual(await run('cpu'));
  });
});
