/** Whole training steps, line by line; bench/compiled.ts has the same steps compiled. */
import { type Case, timed } from './case.js';
import { cnn, type Model, perceptron, torchForms, trainStep } from './models.js';

export const models: readonly Model[] = [
  cnn,
  perceptron(128, 784, 512, 256, 10),
  perceptron(32, 784, 512, 256, 10),
  perceptron(16, 4, 16, 16, 3),
];

/** How training steps are timed, eager or compiled. */
export const stepTiming = ({ input, batch }: Model) =>
  ({
    unit: input.reduce((a, b) => a * b) < 1000 ? 'us' : 'ms',
    samples: batch,
    pace: { sample: 0.002, samples: 5, budget: 0.3 },
  }) as const;

export const train = (threads: number): Case[] =>
  models.map((model) =>
    timed({
      group: 'train',
      name: model.name,
      threads,
      ...stepTiming(model),
      make: () => trainStep(model, false),
      forms: () => torchForms(model, false),
    }),
  );
