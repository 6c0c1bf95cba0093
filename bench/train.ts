/** Whole training steps: zero the gradients, forward, cross entropy, backward, Adam; line by line, and compiled. */
import { backward, compile, crossEntropy, randint, randn, relu, scope, type Tensor } from '../lib/index.js';
import { Conv2d, Flatten, Linear, MaxPool2d, Sequential } from '../lib/nn/index.js';
import { Adam } from '../lib/optim/index.js';
import { type Case, type TorchForm, timed } from './case.js';

interface Model {
  name: string;
  build(): Sequential;
  input: readonly number[];
  classes: number;
  /** The same model in bench/peers/torch_peer.py. */
  torch: string;
  images: boolean;
}

const mlp = (...sizes: number[]): Sequential =>
  new Sequential(
    ...sizes.slice(1).flatMap((n, i) => [new Linear(sizes[i]!, n), ...(i + 2 < sizes.length ? [relu] : [])]),
  );
const perceptron = (batch: number, ...sizes: number[]): Model => ({
  name: `MLP ${sizes.join('-')}, batch ${batch}`,
  build: () => mlp(...sizes),
  input: [batch, sizes[0]!],
  classes: sizes.at(-1)!,
  torch: `mlp(${sizes.join(', ')})`,
  images: false,
});

const models: Model[] = [
  {
    name: 'MNIST CNN, batch 128',
    // (B,1,28,28) -> (B,32,26,26) -> (B,64,24,24) -> (B,64,12,12) -> (B,9216) -> (B,128) -> (B,10)
    build: () =>
      new Sequential(
        ...[new Conv2d(1, 32, 3), relu, new Conv2d(32, 64, 3), relu, new MaxPool2d(2)],
        ...[new Flatten(), new Linear(9216, 128), relu, new Linear(128, 10)],
      ),
    input: [128, 1, 28, 28],
    classes: 10,
    torch: 'cnn()',
    images: true,
  },
  perceptron(128, 784, 512, 256, 10),
  perceptron(32, 784, 512, 256, 10),
  perceptron(16, 4, 16, 16, 3),
];

function makeStep({ build, input, classes }: Model, compiled: boolean): () => void {
  const model = build();
  const optimizer = new Adam(model.parameters());
  const x = randn(input);
  const y = randint(0, classes, [input[0]!]);
  const step = (images: Tensor, labels: Tensor): Tensor => {
    optimizer.zeroGrad();
    const loss = crossEntropy(model.forward(images) as Tensor, labels);
    backward(loss);
    optimizer.step();
    return loss;
  };
  const run = compiled ? compile(step) : step;
  return () =>
    scope(() => {
      run(x, y);
    });
}

/** Every form that a user may choose; the fastest is the peer. */
function forms({ torch, input, images, classes }: Model): TorchForm[] {
  return [false, true].flatMap((fused) =>
    (images ? [false, true] : [false]).map((last) => ({
      label: `${last ? 'channels last' : 'contiguous'}, ${fused ? 'fused' : 'default'} Adam`,
      setup: `step = train_step(${torch}, (${input.join(', ')}), ${classes}, ${last ? 'True' : 'False'}, ${fused ? 'True' : 'False'})`,
      code: 'step()',
      grad: true,
    })),
  );
}

export const train = (threads: number): Case[] =>
  models.flatMap((model) =>
    [false, true].map((compiled) =>
      timed({
        group: 'train',
        name: compiled ? `${model.name}, compiled` : model.name,
        threads,
        unit: model.input.reduce((a, b) => a * b) < 1000 ? 'us' : 'ms',
        pace: { sample: 0.002, samples: 5, budget: 0.3 },
        make: () => makeStep(model, compiled),
        torch: () => forms(model),
      }),
    ),
  );
