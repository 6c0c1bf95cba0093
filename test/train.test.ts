import { crossEntropy, manualSeed, mseLoss, mul, randn, relu, type Tensor, tensor } from 'brasa';
import { DataLoader, TensorDataset } from 'brasa/data';
import { Accuracy, ConfusionMatrix } from 'brasa/metrics';
import { type BatchNorm1d, Linear, Sequential } from 'brasa/nn';
import { Adam, clipGradNorm_, SGD, StepLR } from 'brasa/optim';
import { type Callback, evaluate, type FitOptions, fit, predict } from 'brasa/train';
import { describe, expect, it } from 'vitest';
import { abortAt, points, setup, values } from './train/setup.js';

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
    expect(stopped).toBe('aborted'); // deaf, it would never end
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
