// A small convolutional network learns to read handwritten digits: npm start, or npm start -- --epochs 5 --device vulkan --resume
import { existsSync, realpathSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { crossEntropy, manualSeed, relu } from 'brasa';
import { DataLoader, type Dataset, mnist, randomSplit, Subset } from 'brasa/data';
import { save } from 'brasa/io';
import { Accuracy, classificationReport, ConfusionMatrix } from 'brasa/metrics';
import { BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, Sequential } from 'brasa/nn';
import { Adam, OneCycleLR } from 'brasa/optim';
import { checkpoint, evaluate, fit, history, lineCharts, loadCheckpoint, progress, sparkline } from 'brasa/train';

export interface Options {
  epochs?: number;
  batchSize?: number;
  /** The highest rate of the one-cycle schedule. */
  lr?: number;
  seed?: number;
  device?: string;
  /** The folder for checkpoints, the model and the curves. */
  out?: string;
  /** Goes on from the checkpoint in `out`. */
  resume?: boolean;
  /** Uses only so many samples of each set, for a quick try. */
  limit?: number;
}

/** Trains, tests and saves; answers the exit code: 130 after Ctrl-C, else 0. */
export async function main({
  epochs = 3,
  batchSize = 128,
  lr = 0.01,
  seed = 0,
  device = 'cpu',
  out = 'runs/mnist',
  resume = false,
  limit = Number.POSITIVE_INFINITY,
}: Options = {}): Promise<number> {
  manualSeed(seed);

  // Images f32 (N,1,28,28), labels i32 (N): 55,000 to train, 5,000 to validate, 10,000 to test.
  const first = <T>(set: Dataset<T>) => new Subset(set, [...Array(Math.min(limit, set.length)).keys()]);
  const [trainSet, validationSet] = randomSplit(mnist({ split: 'train', normalize: true }), [55_000, 5_000], { seed });
  const train = new DataLoader(first(trainSet!), { batchSize, shuffle: true, seed });
  const validation = new DataLoader(first(validationSet!), { batchSize: 500 });
  const test = new DataLoader(first(mnist({ split: 'test', normalize: true })), { batchSize: 500 });

  const model = new Sequential(
    new Conv2d(1, 16, 3),
    new MaxPool2d(2), // (N,16,13,13); pooling first leaves less to do for the rest
    new BatchNorm2d(16),
    relu,
    new Conv2d(16, 32, 3),
    new MaxPool2d(2), // (N,32,5,5)
    new BatchNorm2d(32),
    relu,
    new Flatten(),
    new Linear(800, 64),
    relu,
    new Linear(64, 10), // (N,10)
  ).to(device);

  // Ctrl-C finishes the step and saves; a second one ends at once.
  const interrupt = new AbortController();
  const abort = () => interrupt.abort();
  process.once('SIGINT', abort);

  console.log(`${model.parameterCount()} parameters, ${train.dataset.length} digits, on ${device}`);

  const optimizer = new Adam(model.parameters(), { lr });
  const schedule = new OneCycleLR(optimizer, { maxLr: lr, totalSteps: epochs * train.length });
  const goOn = resume && existsSync(join(out, 'checkpoint.safetensors'));
  const saved = goOn ? await loadCheckpoint(out, { model, optimizer, schedule, train }) : undefined;

  const curve = history({ every: 10 });
  const { epochs: records, stopped } = await fit(model, {
    train,
    validation,
    loss: crossEntropy,
    optimizer,
    schedule,
    scheduleEvery: 'batch',
    epochs,
    metrics: { accuracy: new Accuracy() },
    callbacks: [progress(), curve, checkpoint(out)],
    signal: interrupt.signal,
    resume: saved?.fit,
  });
  process.off('SIGINT', abort);
  if (stopped === 'aborted') {
    console.log(`saved in ${out}; --resume goes on from there`);
    return 130;
  }

  const metrics = { accuracy: new Accuracy(), matrix: new ConfusionMatrix({ classes: 10 }) };
  const { loss, accuracy } = await evaluate(model, test, { loss: crossEntropy, metrics });
  console.log(`\n${metrics.matrix}\n\n${classificationReport(metrics.matrix, { digits: 4 })}\n`);
  console.log(`training loss, logarithmic ${sparkline(curve.loss.map(Math.log))}`);
  console.log(`training accuracy          ${sparkline(curve.metrics.accuracy!)}`);
  console.log(`test loss ${loss.toFixed(4)}, test accuracy ${(100 * accuracy).toFixed(2)}%`);

  const steps = records.map(({ step }) => step);
  const curves = lineCharts([
    {
      title: 'Loss',
      xLabel: 'step',
      log: true,
      series: [
        { name: 'train', x: curve.steps, y: curve.loss },
        { name: 'validation', x: steps, y: records.map((record) => record.validation!.loss) },
      ],
    },
    {
      title: 'Accuracy',
      xLabel: 'step',
      series: [
        { name: 'train', x: curve.steps, y: curve.metrics.accuracy! },
        { name: 'validation', x: steps, y: records.map((record) => record.validation!.accuracy) },
      ],
    },
  ]);
  await writeFile(join(out, 'curves.svg'), curves);
  await save(join(out, 'mnist.safetensors'), model.stateDict());
  console.log(`saved ${join(out, 'mnist.safetensors')} and ${join(out, 'curves.svg')}`);
  return 0;
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      ...{ epochs: { type: 'string' }, seed: { type: 'string' }, limit: { type: 'string' } },
      ...{ device: { type: 'string' }, out: { type: 'string' }, resume: { type: 'boolean' } },
    },
  });
  const number = (text?: string) => (text === undefined ? undefined : Number(text));
  const { epochs, seed, limit, ...rest } = values;
  process.exitCode = await main({ ...rest, epochs: number(epochs), seed: number(seed), limit: number(limit) });
}
