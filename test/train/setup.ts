/** What the tests of training share: data, a small training, an abort, folders; each test begins from seed 0. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crossEntropy, manualSeed, randn, relu, type Tensor, tensor } from 'brasa';
import { DataLoader, TensorDataset } from 'brasa/data';
import { BatchNorm1d, Dropout, Linear, Sequential } from 'brasa/nn';
import { Adam, OneCycleLR } from 'brasa/optim';
import type { Callback } from 'brasa/train';
import { afterAll, beforeEach } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'brasa-train-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let folders = 0;
/** A folder's path for one test; all go when the file's tests are done. */
export const fresh = () => join(folder, String(folders++));

beforeEach(() => {
  manualSeed(0);
});

/** Points (n,2) in two classes, by the sign of their product: no line parts them. */
export function points(n: number): TensorDataset<[Tensor, Tensor]> {
  const xy = randn([n, 2]);
  const data = xy.dataSync();
  const labels = Int32Array.from({ length: n }, (_, i) => (data[2 * i]! * data[2 * i + 1]! > 0 ? 1 : 0));
  return new TensorDataset(xy, tensor(labels));
}

/** A training with everything that has state: dropout, batch norm, moments, a schedule, a shuffled loader. */
export function setup(seed = 0) {
  manualSeed(1);
  const data = points(100);
  manualSeed(seed);
  const model = new Sequential(new Linear(2, 16), new BatchNorm1d(16), relu, new Dropout(0.2), new Linear(16, 2));
  const optimizer = new Adam(model.parameters(), { lr: 0.01 });
  const schedule = new OneCycleLR(optimizer, { maxLr: 0.02, totalSteps: 100 });
  const train = new DataLoader(data, { batchSize: 16, shuffle: true, seed: 3 }); // 7 batches, the last of 4
  const options = { train, loss: crossEntropy, optimizer, schedule, scheduleEvery: 'batch' } as const;
  return { data, model, optimizer, schedule, train, options };
}

export const values = (model: Sequential) =>
  Object.fromEntries(Object.entries(model.stateDict()).map(([name, x]) => [name, x.toArray()]));

/** Aborts when `step` steps are done. */
export function abortAt(step: number): { signal: AbortSignal; callback: Callback } {
  const controller = new AbortController();
  return {
    signal: controller.signal,
    callback: { onBatchEnd: (run) => run.step === step && controller.abort() } as Callback,
  };
}
