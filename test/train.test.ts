import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crossEntropy, defaultGenerator, manualSeed, mseLoss, mul, randn, relu, Tensor, tensor } from 'brasa';
import { DataLoader, TensorDataset } from 'brasa/data';
import { Accuracy, ConfusionMatrix } from 'brasa/metrics';
import { BatchNorm1d, Dropout, Linear, Sequential } from 'brasa/nn';
import { Adam, OneCycleLR, SGD, StepLR } from 'brasa/optim';
import {
  type Callback,
  checkpoint,
  earlyStopping,
  evaluate,
  type FitOptions,
  fit,
  history,
  lineCharts,
  loadCheckpoint,
  predict,
  progress,
  saveCheckpoint,
  sparkline,
  terminateOnNaN,
} from 'brasa/train';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'brasa-train-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let folders = 0;
const fresh = () => join(folder, String(folders++));

beforeEach(() => {
  manualSeed(0);
});

/** Points (n,2) in two classes, by the sign of their product: no line parts them. */
function points(n: number): TensorDataset<[Tensor, Tensor]> {
  const xy = randn([n, 2]);
  const data = xy.dataSync();
  const labels = Int32Array.from({ length: n }, (_, i) => (data[2 * i]! * data[2 * i + 1]! > 0 ? 1 : 0));
  return new TensorDataset(xy, tensor(labels));
}

/** A training with everything that has state: dropout, batch norm, moments, a schedule, a shuffled loader. */
function setup(seed = 0) {
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

const values = (model: Sequential) =>
  Object.fromEntries(Object.entries(model.stateDict()).map(([name, x]) => [name, x.toArray()]));

/** Aborts when `step` steps are done. */
function abortAt(step: number): { signal: AbortSignal; callback: Callback } {
  const controller = new AbortController();
  return {
    signal: controller.signal,
    callback: { onBatchEnd: (run) => run.step === step && controller.abort() } as Callback,
  };
}

describe('fit', () => {
  it('learns what a line cannot', async () => {
    const [train, test] = [points(400), points(200)];
    const model = new Sequential(new Linear(2, 32), relu, new Linear(32, 2));
    const { epochs, stopped } = await fit(model, {
      train: new DataLoader(train, { batchSize: 32, shuffle: true, seed: 1 }),
      validation: new DataLoader(test, { batchSize: 64 }),
      loss: crossEntropy,
      optimizer: new Adam(model.parameters(), { lr: 0.02 }),
      epochs: 15,
      metrics: { accuracy: new Accuracy() },
    });
    expect(stopped).toBe('completed');
    expect(epochs.map(({ epoch, step }) => [epoch, step])).toEqual(epochs.map((_, i) => [i + 1, 13 * (i + 1)]));
    expect(epochs).toHaveLength(15);
    expect(epochs[14]!.train.loss).toBeLessThan(epochs[0]!.train.loss / 2);
    expect(epochs[14]!.validation!.accuracy).toBeGreaterThan(0.93);
  });

  it("is PyTorch's loop: the same steps give the same weights", async () => {
    const a = setup();
    await fit(a.model, { ...a.options, epochs: 2, clipNorm: 0.5, compile: false });
    const compiled = setup();
    await fit(compiled.model, { ...compiled.options, epochs: 2, clipNorm: 0.5 });
    const b = setup();
    const { clipGradNorm_ } = await import('brasa/optim');
    for (let epoch = 0; epoch < 2; epoch++) {
      for await (const [x, y] of b.train) {
        b.optimizer.zeroGrad();
        crossEntropy(b.model.forward(x), y).backward();
        clipGradNorm_(b.model.parameters(), 0.5);
        b.optimizer.step();
        b.schedule.step();
      }
    }
    expect(values(a.model)).toEqual(values(b.model));
    // Compiled, sums are added up in another order; weights whose gradient is mere rounding are anywhere after Adam.
    const lossOf = async ({ model, data }: typeof a) =>
      (await evaluate(model, [data.tensors], { loss: crossEntropy })).loss;
    expect(await lossOf(compiled)).toBeCloseTo(await lossOf(b), 4);
  });

  describe('compiled', () => {
    const warnings = async (run: () => Promise<unknown>): Promise<string[]> => {
      const heard: string[] = [];
      const listen = ({ message }: Error) => heard.push(message);
      process.on('warning', listen);
      try {
        await run();
        await new Promise((resolve) => setImmediate(resolve));
      } finally {
        process.off('warning', listen);
      }
      return heard;
    };
    const counted = (options: Partial<FitOptions<[Tensor, Tensor]>> = {}) => {
      const { model, options: all } = setup();
      let calls = 0;
      const loss = (prediction: Tensor, target: Tensor) => {
        calls++;
        return crossEntropy(prediction, target);
      };
      return { model, run: () => fit(model, { ...all, loss, epochs: 3, ...options }), calls: () => calls };
    };

    it('records a step for each form of the batch, with `loss` by default', async () => {
      const one = counted();
      expect(await warnings(one.run)).toEqual([]);
      expect(one.calls()).toBe(2); // 16 and 4 samples
      const plain = counted({ compile: false });
      await plain.run();
      expect(plain.calls()).toBe(21);
    });

    it('runs line by line what cannot be recorded, and says why', async () => {
      const { model, options } = setup();
      const loss = (prediction: Tensor, target: Tensor) => {
        const value = crossEntropy(prediction, target);
        return value.item() > 100 ? value.mul(0) : value;
      };
      const heard = await warnings(() => fit(model, { ...options, loss, epochs: 1 }));
      expect(heard).toEqual([expect.stringMatching(/^fit: the step cannot be compiled .*item.* line by line/s)]);
      expect(model.parameters()[0]!.grad).not.toBe(null);
    });

    it('runs line by line when hardly two batches are alike', async () => {
      const train = Array.from({ length: 40 }, (_, i) => [randn([i + 2, 2]), tensor(new Int32Array(i + 2))] as const);
      const one = counted({ train: train as never, epochs: 1 });
      expect(await warnings(one.run)).toEqual([expect.stringContaining('16 of 16 batches had a form of their own')]);
      expect(one.calls()).toBe(40);
    });

    it('lets timers go on during long steps, with the same weights', async () => {
      const train = async (compile: boolean) => {
        manualSeed(4);
        const model = new Sequential(new Linear(64, 1024), relu, new Linear(1024, 1024), relu, new Linear(1024, 2));
        const batches = Array.from({ length: 12 }, () => [randn([256, 64]), tensor(new Int32Array(256))] as const);
        let ticks = 0;
        const timer = setInterval(() => ticks++, 1);
        const { epochs } = await fit(model, {
          train: batches as never,
          loss: crossEntropy,
          optimizer: new SGD(model.parameters(), { lr: 0.01 }),
          metrics: { accuracy: new Accuracy() },
          epochs: 1,
          compile,
        });
        clearInterval(timer);
        return { ticks, epochs };
      };
      const eager = await train(false);
      const beside = await train(true);
      expect(beside.ticks).toBeGreaterThan(eager.ticks);
      expect(beside.epochs[0]!.train.loss).toBeCloseTo(eager.epochs[0]!.train.loss, 4);
      expect(beside.epochs[0]!.train.accuracy).toBeCloseTo(eager.epochs[0]!.train.accuracy, 2);
    });

    it('runs line by line while modules have hooks', async () => {
      const { model, run } = counted();
      let seen = 0;
      const remove = (model[0] as Linear).registerForwardHook(() => {
        seen++;
      });
      await run();
      expect(seen).toBe(21);
      remove();
    });
  });

  it('weighs losses by samples, also of a short last batch', async () => {
    const model = new Sequential(new Linear(1, 1));
    const data = new TensorDataset(randn([5, 1]), randn([5, 1]));
    const { epochs } = await fit(model, {
      train: new DataLoader(data, { batchSize: 2 }),
      validation: new DataLoader(data, { batchSize: 3 }),
      loss: mseLoss,
      optimizer: new SGD(model.parameters(), { lr: 0 }),
      epochs: 1,
    });
    const [x, y] = data.tensors;
    const whole = mseLoss(model.forward(x), y).item();
    expect(epochs[0]!.train.loss).toBeCloseTo(whole, 6);
    expect(epochs[0]!.validation!.loss).toBeCloseTo(whole, 6);
    expect((await evaluate(model, [[x, y]], { loss: mseLoss })).loss).toBeCloseTo(whole, 6);
  });

  it('trains what is in train mode, validates in eval mode, and puts the modes back', async () => {
    const { model, options } = setup();
    const [norm, seen] = [model[1] as BatchNorm1d, [] as [string, boolean, number][]];
    model.eval();
    norm.train();
    const loss = (prediction: Tensor, target: Tensor) => {
      seen.push([prediction.requiresGrad ? 'train' : 'validation', norm.training, prediction.shape[0]!]);
      return crossEntropy(prediction, target);
    };
    await fit(model, {
      ...options,
      loss,
      validation: [[randn([3, 2]), tensor(Int32Array.of(0, 1, 1))]],
      epochs: 1,
      compile: false,
    });
    expect(seen.map(([part, training]) => [part, training])).toEqual([
      ...Array(7).fill(['train', true]),
      ['validation', false],
    ]);
    expect([model.training, norm.training]).toEqual([false, true]);
  });

  it('takes a step of its own, and data of any form', async () => {
    const w = tensor([0], { requiresGrad: true });
    const model = new Sequential(new Linear(1, 1));
    const batches = [
      { x: 2, y: 6 },
      { x: 1, y: 3 },
    ];
    const { epochs } = await fit(model, {
      train: batches,
      step: ({ x, y }) => mul(w, x).sub(y).pow(2).sum(),
      optimizer: new SGD([w], { lr: 0.1 }),
      epochs: 20,
    });
    expect(w.item()).toBeCloseTo(3, 3);
    expect(epochs[0]!.train.loss).toBeGreaterThan(epochs[19]!.train.loss);
  });

  it('steps schedules once an epoch, or once a batch', async () => {
    const { model, train, optimizer } = setup();
    const schedule = new StepLR(optimizer, { stepSize: 1, gamma: 0.5 });
    const { epochs } = await fit(model, { train, loss: crossEntropy, optimizer, schedule, epochs: 3 });
    expect(epochs.map(({ lr }) => lr / epochs[0]!.lr)).toEqual([1, 0.5, 0.25]);
    const each = setup();
    await fit(each.model, { ...each.options, epochs: 2 });
    expect(each.schedule.lastEpoch).toBe(14);
  });

  it('calls the hooks in order, and those marked last after the others', async () => {
    const calls: string[] = [];
    const spy = (name: string, last = false): Callback => ({
      last,
      onTrainStart: () => void calls.push(`${name} start`),
      onEpochStart: async (run) => void calls.push(`${name} epoch ${run.epoch}`),
      onBatchEnd: (run) => void calls.push(`${name} batch ${run.batch}/${run.batches}`),
      onEpochEnd: async (run, record) => void calls.push(`${name} epoch ${record.epoch} end ${run.history.length}`),
      onTrainEnd: (run) => void calls.push(`${name} end ${run.stopped}`),
    });
    const { model, options, data } = setup();
    const train = new DataLoader(data, { batchSize: 50 });
    await fit(model, { ...options, train, epochs: 1, callbacks: [spy('a', true), spy('b')] });
    const order = ['start', 'epoch 1', 'batch 1/2', 'batch 2/2', 'epoch 1 end 1', 'end completed'];
    expect(calls).toEqual(order.flatMap((call) => [`b ${call}`, `a ${call}`]));
  });

  it('passes on the errors of callbacks, models and data, and puts the modes back', async () => {
    const fails = async (change: Partial<FitOptions<never>>) => {
      const { model, options } = setup();
      model.eval();
      const error = await fit(model, { ...options, epochs: 1, ...(change as object) }).catch((e) => e);
      expect(model.training).toBe(false);
      return error.message;
    };
    const oops = () => {
      throw new Error('oops');
    };
    expect(await fails({ callbacks: [{ onBatchEnd: oops }] })).toBe('oops');
    expect(await fails({ callbacks: [{ onEpochEnd: async () => oops() }] })).toBe('oops');
    expect(await fails({ loss: oops })).toBe('oops');
    expect(await fails({ step: oops } as never)).toMatch('either loss or step');
    expect(await fails({ epochs: -1 })).toMatch('epochs must be an integer >= 0');
    expect(await fails({ metrics: { loss: new Accuracy() } })).toMatch("cannot be named 'loss'");
    expect(await fails({ train: [1, 2] as never })).toMatch('a batch is [inputs…, target]');
  });

  it('finishes the step when it is aborted', async () => {
    const { model, options } = setup();
    const { signal, callback } = abortAt(9);
    const ended: unknown[] = [];
    const last: Callback = { onTrainEnd: (run) => void ended.push(run.stopped, run.step, run.batch) };
    const { epochs, stopped } = await fit(model, { ...options, epochs: 5, signal, callbacks: [callback, last] });
    expect([stopped, epochs.length, ...ended]).toEqual(['aborted', 1, 'aborted', 9, 2]);
    const none = await fit(model, { ...options, epochs: 5, signal: AbortSignal.abort() });
    expect(none).toEqual({ epochs: [], stopped: 'aborted' });
  });

  it('hears timers and signals in the middle of an epoch', async () => {
    const { model, options } = setup();
    const start = performance.now();
    const endless = {
      *[Symbol.iterator]() {
        for (;;) yield [randn([8, 2]), tensor(new Int32Array(8))] as const;
      },
    };
    const { stopped } = await fit(model, {
      ...options,
      schedule: [],
      train: endless,
      epochs: 1,
      signal: AbortSignal.timeout(100),
    });
    expect(stopped).toBe('aborted');
    expect(performance.now() - start).toBeLessThan(5000);
  });
});

describe('evaluate and predict', () => {
  it('measures over all batches and leaves the model as it was', async () => {
    const { model, data } = setup();
    const before = values(model);
    const metrics = { accuracy: new Accuracy(), matrix: new ConfusionMatrix({ classes: 2 }) };
    const results = await evaluate(model, new DataLoader(data, { batchSize: 7 }), { loss: crossEntropy, metrics });
    const y = await predict(model, new DataLoader(data, { batchSize: 7 }), { dropTarget: true });
    expect(y.shape).toEqual([100, 2]);
    expect(y.requiresGrad).toBe(false);
    const [x, target] = data.tensors;
    expect(y.toArray()).toEqual(model.eval().forward(x).toArray());
    const right = Array.from(y.argmax(1).dataSync()).filter((c, i) => c === target.dataSync()[i]).length;
    expect(results.accuracy).toBeCloseTo(right / 100, 12);
    expect(results.matrix.flat().reduce((a, b) => a + b)).toBe(100);
    expect(values(model)).toEqual(before);
  });
});

describe('callbacks', () => {
  /** A training whose validation losses are given, the epoch's number in the model's one weight. */
  function scripted(losses: number[]) {
    const model = new Sequential(new Linear(1, 1, { bias: false }));
    let epoch = 0;
    const options = {
      train: [0],
      validation: [0],
      step: () =>
        mul(model.parameters()[0]!, 0)
          .sum()
          .add(losses[epoch - 1]!),
      optimizer: new SGD(model.parameters(), { lr: 0 }),
      epochs: losses.length,
    };
    const counter: Callback = {
      onEpochStart: (run) => {
        epoch = run.epoch;
        model.loadStateDict({ '0.weight': tensor([[epoch]]) });
      },
    };
    return { model, options, counter, weight: () => model.parameters()[0]!.item() };
  }

  it('earlyStopping waits, stops, and restores the best', async () => {
    const { model, options, counter, weight } = scripted([5, 3, 4, 2.95, 4, 1]);
    const early = earlyStopping({ monitor: 'validation.loss', patience: 1, minDelta: 0.1, restoreBest: true });
    const { epochs, stopped } = await fit(model, { ...options, callbacks: [counter, early] });
    expect([epochs.length, stopped, weight()]).toEqual([4, 'earlyStopping', 2]);
  });

  it('earlyStopping watches what is to grow', async () => {
    const { model, options, counter } = scripted([1, 2, 1, 1]);
    const early = earlyStopping({ monitor: 'train.loss', mode: 'max' });
    expect((await fit(model, { ...options, callbacks: [counter, early] })).epochs).toHaveLength(3);
  });

  it('earlyStopping says what it can watch', async () => {
    expect(() => earlyStopping({ monitor: 'validation.accuracy' })).toThrow("mode 'max' or 'min'");
    const { model, options, counter } = scripted([1]);
    const run = fit(model, { ...options, callbacks: [counter, earlyStopping({ monitor: 'valid.loss' })] });
    await expect(run).rejects.toThrow('there is: train.loss, validation.loss');
  });

  it('terminateOnNaN stops at the first loss that is no number', async () => {
    const { model, options, counter } = scripted([1, Number.NaN, 1]);
    const { epochs, stopped } = await fit(model, { ...options, callbacks: [counter, terminateOnNaN()] });
    expect([epochs.length, stopped]).toEqual([1, 'nan']);
  });

  it('history records the steps', async () => {
    const { model, options } = setup();
    const [all, some] = [history(), history({ every: 3 })];
    const metrics = { accuracy: new Accuracy(), matrix: new ConfusionMatrix() };
    const { epochs } = await fit(model, { ...options, metrics, epochs: 1, callbacks: [all, some] });
    expect(all.metrics.accuracy!.at(-1)).toBe(epochs[0]!.train.accuracy);
    expect(Object.keys(some.metrics)).toEqual(['accuracy']);
    expect(all.steps).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(some.steps).toEqual([3, 6]);
    const { loss } = all;
    expect(some.loss[1]).toBeCloseTo((loss[3]! + loss[4]! + loss[5]!) / 3, 12);
    const weighted = loss.reduce((sum, value, i) => sum + value * (i < 6 ? 16 : 4), 0);
    expect(epochs[0]!.train.loss).toBeCloseTo(weighted / 100, 12);
  });

  it('checkpoint keeps the newest, the best and the last few', async () => {
    const { model, options, counter } = scripted([5, 3, 4, 6]);
    const dir = fresh();
    await fit(model, { ...options, callbacks: [checkpoint(dir, { best: 'validation.loss', keep: 2 }), counter] });
    expect(readdirSync(dir).sort()).toEqual(['best', 'checkpoint.safetensors', 'epoch-3', 'epoch-4']);
    const weights = [];
    for (const name of ['', 'best', 'epoch-3', 'epoch-4']) {
      const { fit: state } = await loadCheckpoint(join(dir, name), { model });
      weights.push([model.parameters()[0]!.item(), state!.epoch]);
    }
    expect(weights).toEqual([[4, 4], [2, 2], [3, 3], [4, 4]]); // biome-ignore format: a row a checkpoint
  });
});

describe('progress', () => {
  async function printed(stream: { isTTY?: boolean; columns?: number }): Promise<string> {
    let text = '';
    const write = (part: string) => {
      text += part;
      return true;
    };
    const { model, options, data } = setup();
    // Slow enough that the bar is drawn.
    const slow: Callback = { onBatchEnd: () => new Promise((resolve) => setTimeout(resolve, 40)) };
    await fit(model, {
      ...options,
      validation: new DataLoader(data, { batchSize: 50 }),
      metrics: { accuracy: new Accuracy() },
      epochs: 2,
      callbacks: [slow, progress({ stream: { ...stream, write } as never })],
    });
    return text;
  }

  it('prints plain lines where there is no terminal', async () => {
    const lines = (await printed({})).trimEnd().split('\n');
    const number = '[0-9.]+';
    const results = `loss ${number}  accuracy ${number}`;
    for (const [i, line] of lines.entries()) {
      expect(line).toMatch(new RegExp(`^epoch ${i + 1}/2  train ${results}  validation ${results}  ${number} s$`));
    }
    expect(lines).toHaveLength(2);
  });

  it('redraws one line on a terminal, not too often and not too wide', async () => {
    const text = await printed({ isTTY: true, columns: 200 });
    const frames = text.split('\r\x1b[K').filter((frame) => frame.includes('━'));
    expect(frames[0]).toMatch(
      /^epoch 1\/2 {2}━+─* {2}\d\/7 {2}loss [0-9.]+ {2}accuracy [0-9.]+ {2}\d+ samples\/s {2}ETA [0-9.]+ s$/,
    );
    expect(frames.length).toBeGreaterThan(1);
    expect(frames.length).toBeLessThan(8);
    expect(text.split('\n')).toHaveLength(3);
    const narrow = (await printed({ isTTY: true, columns: 30 }))
      .split('\r\x1b[K')
      .filter((frame) => frame.includes('━'));
    expect(Math.max(...narrow.map(({ length }) => length))).toBeLessThan(30);
  });
});

describe('checkpoints', () => {
  it('hold everything: a training that goes on from one, within an epoch, ends with the same bytes', async () => {
    const train = async (stopAt: number[], epochs = 4) => {
      const dir = fresh();
      let state: Awaited<ReturnType<typeof loadCheckpoint>> | undefined;
      for (const step of [...stopAt, -1]) {
        const { model, optimizer, schedule, train, options, data } = setup(state ? 77 : 0); // a resumed one begins elsewhere
        if (state) state = await loadCheckpoint(dir, { model, optimizer, schedule, train });
        const { signal, callback } = abortAt(step);
        const { stopped, epochs: records } = await fit(model, {
          ...options,
          epochs,
          signal,
          validation: new DataLoader(data, { batchSize: 50 }),
          metrics: { accuracy: new Accuracy(), matrix: new ConfusionMatrix() },
          callbacks: [
            callback,
            checkpoint(dir, { best: 'train.loss' }),
            earlyStopping({ monitor: 'validation.loss', patience: 9, restoreBest: true }),
            history(),
          ],
          resume: state?.fit,
        });
        expect(stopped).toBe(step < 0 ? 'completed' : 'aborted');
        state ??= {};
        if (step < 0) {
          const file = (name: string) => readFileSync(join(dir, name, 'checkpoint.safetensors'), 'latin1');
          return { weights: values(model), records, files: [file(''), file('best')] };
        }
      }
    };
    const whole = await train([]);
    // Within an epoch, at its last batch, before the first epoch's end, twice in an epoch.
    expect(await train([10])).toEqual(whole);
    expect(await train([14])).toEqual(whole);
    expect(await train([3, 5, 21])).toEqual(whole);
  });

  it('keep the random state and data of the caller', async () => {
    const { model } = setup();
    const dir = fresh();
    const extra = { note: 'ä', numbers: [Number.NaN, Number.NEGATIVE_INFINITY, -0, 0.1, null, true], x: randn([3]) };
    await saveCheckpoint(dir, { model, extra });
    const next = randn([4]).toArray();
    manualSeed(99);
    const loaded = (await loadCheckpoint(dir, { model })).extra as typeof extra;
    expect(randn([4]).toArray()).toEqual(next);
    expect({ ...loaded, x: loaded.x.toArray() }).toEqual({ ...extra, x: extra.x.toArray() });
    await expect(saveCheckpoint(dir, { model, extra: { f: () => 1 } })).rejects.toThrow(
      'training.extra.f is no plain data',
    );
    expect((await loadCheckpoint(dir, { model })).extra).toMatchObject({ note: 'ä' }); // the old one is whole
  });

  it('that are damaged or of another model are errors, and change nothing', async () => {
    const { model, optimizer, schedule, train, options } = setup();
    await fit(model, { ...options, epochs: 1 });
    const dir = fresh();
    const parts = { model, optimizer, schedule, train };
    await saveCheckpoint(dir, parts);
    const path = join(dir, 'checkpoint.safetensors');
    const good = readFileSync(path);
    await fit(model, { ...options, epochs: 1 }); // move on from what was saved
    const snapshot = () => ({
      model: values(model),
      optimizer: JSON.stringify(optimizer.stateDict(), (_, x) => (x instanceof Tensor ? x.toArray() : x)),
      rest: [schedule.stateDict(), train.stateDict(), defaultGenerator.getState()],
    });
    const refused = async (bytes: Uint8Array, code: string) => {
      writeFileSync(path, bytes);
      const before = snapshot();
      await expect(loadCheckpoint(dir, parts)).rejects.toMatchObject({ code });
      expect(snapshot()).toEqual(before);
    };
    for (const length of [0, 7, 8, 100, good.length - 1]) await refused(good.subarray(0, length), 'ERR_BRASA_FORMAT');
    const flips = Array.from({ length: 60 }, (_, i) => Math.floor((i * good.length) / 60));
    for (const at of flips) {
      const bytes = Uint8Array.from(good);
      bytes[at]! ^= 1;
      await refused(bytes, 'ERR_BRASA_FORMAT');
    }
    const text = good.toString('latin1');
    const edited = text.replace('lastEpoch', 'lastepoch');
    expect(edited).not.toBe(text);
    await refused(Buffer.from(edited, 'latin1'), 'ERR_BRASA_FORMAT');

    // Sound, of a model that fits and an optimizer that does not: the model is as it was.
    const other = setup();
    const wide = new SGD([...other.model.parameters(), tensor([1], { requiresGrad: true })]);
    await saveCheckpoint(dir, { ...parts, optimizer: wide, schedule: new StepLR(wide, { stepSize: 1 }) });
    await refused(readFileSync(path), 'ERR_BRASA_ARGUMENT');
    await saveCheckpoint(dir, { model: new Sequential(new Linear(2, 2)) });
    await refused(readFileSync(path), 'ERR_BRASA_ARGUMENT');

    writeFileSync(path, good);
    const before = snapshot();
    await loadCheckpoint(dir, parts);
    expect(snapshot()).not.toEqual(before);
    await saveCheckpoint(dir, parts);
    expect(readFileSync(path).equals(good)).toBe(true);
  });

  it('removes what a killed writer left', async () => {
    const { model } = setup();
    const dir = fresh();
    await saveCheckpoint(dir, { model });
    writeFileSync(join(dir, '.checkpoint.safetensors.0123.tmp'), 'half');
    writeFileSync(join(dir, 'mine.tmp'), 'kept');
    await saveCheckpoint(dir, { model });
    expect(readdirSync(dir).sort()).toEqual(['checkpoint.safetensors', 'mine.tmp']);
  });
});

describe('charts', () => {
  it('sparkline goes from the smallest to the largest', () => {
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7])).toBe('▁▂▃▄▅▆▇█');
    expect(sparkline([1, 1, 5, 5], { width: 2 })).toBe('▁█');
    expect(sparkline([3, Number.NaN, 3])).toBe('▁ ▁');
    expect(sparkline([])).toBe('');
  });

  it('lineCharts draws each series where its values are', () => {
    const svg = lineCharts([
      { title: 'a < b', series: [{ name: 's', x: [0, 10], y: [0, 1] }] },
      { title: 'log', log: true, series: [{ name: 't', x: [1, 2, 3, 4], y: [1, 0, 10, 100] }] },
    ]);
    expect(svg).toMatch(/^<svg .*<\/svg>\n$/s);
    expect(svg).toContain('a &#60; b');
    expect(svg).toContain('d="M56.0 280.0L464.0 40.0"'); // from the lower left corner to the upper right
    expect(svg.match(/translate\(/g)).toHaveLength(2);
    expect(svg).toContain('d="M56.0 280.0M328.0 160.0L464.0 40.0"'); // the value 0 has no logarithm
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    expect(() => lineCharts([{ title: '', series: [{ name: 's', x: [1], y: [] }] }])).toThrow('1 x and 0 y');
  });
});
