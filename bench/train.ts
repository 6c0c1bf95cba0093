/** Whole training steps: zero the gradients, forward, cross entropy, backward, Adam. */
import { backward, crossEntropy, randint, randn, relu, scope, type Tensor } from '../lib/index.js';
import { Conv2d, Flatten, Linear, MaxPool2d, Sequential } from '../lib/nn/index.js';
import { Adam } from '../lib/optim/index.js';
import { type Case, type TorchForm, timed } from './case.js';

const BATCH = 128;
const CLASSES = 10;

interface Model {
  name: string;
  build(): Sequential;
  input: readonly number[];
  /** The same model in bench/peers/torch_peer.py. */
  torch: string;
  images: boolean;
}

const models: Model[] = [
  {
    name: 'MNIST CNN, batch 128',
    // (B,1,28,28) -> (B,32,26,26) -> (B,64,24,24) -> (B,64,12,12) -> (B,9216) -> (B,128) -> (B,10)
    build: () =>
      new Sequential(
        ...[new Conv2d(1, 32, 3), relu, new Conv2d(32, 64, 3), relu, new MaxPool2d(2)],
        ...[new Flatten(), new Linear(9216, 128), relu, new Linear(128, CLASSES)],
      ),
    input: [BATCH, 1, 28, 28],
    torch: 'cnn()',
    images: true,
  },
  {
    name: 'MLP 784-512-256-10, batch 128',
    build: () => new Sequential(new Linear(784, 512), relu, new Linear(512, 256), relu, new Linear(256, CLASSES)),
    input: [BATCH, 784],
    torch: 'mlp(784, 512, 256, 10)',
    images: false,
  },
];

function makeStep({ build, input }: Model): () => void {
  const model = build();
  const optimizer = new Adam(model.parameters());
  const x = randn(input);
  const y = randint(0, CLASSES, [BATCH]);
  return () =>
    scope(() => {
      optimizer.zeroGrad();
      backward(crossEntropy(model.forward(x) as Tensor, y));
      optimizer.step();
    });
}

/** Every form that a user may choose; the fastest is the peer. */
function forms({ torch, input, images }: Model): TorchForm[] {
  return [false, true].flatMap((fused) =>
    (images ? [false, true] : [false]).map((last) => ({
      label: `${last ? 'channels last' : 'contiguous'}, ${fused ? 'fused' : 'default'} Adam`,
      setup: `step = train_step(${torch}, (${input.join(', ')}), ${CLASSES}, ${last ? 'True' : 'False'}, ${fused ? 'True' : 'False'})`,
      code: 'step()',
      grad: true,
    })),
  );
}

export const train = (threads: number): Case[] =>
  models.map((model) =>
    timed({
      group: 'train',
      name: model.name,
      threads,
      unit: 'ms',
      pace: { sample: 0.002, samples: 5, budget: 0.3 },
      make: () => makeStep(model),
      torch: () => forms(model),
    }),
  );
