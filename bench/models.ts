/** What is trained in the benchmarks, and the same in every peer: bench/peers/*_peer.py have models of these names. */
import { backward, compile, crossEntropy, flatten, randint, randn, relu, scope, type Tensor } from '../lib/index.js';
import { gpt2, lstm, resnet18 } from '../lib/models/index.js';
import { Conv2d, Flatten, Linear, MaxPool2d, Sequential } from '../lib/nn/index.js';
import { Adam, AdamW, SGD } from '../lib/optim/index.js';
import type { PeerForm } from './case.js';

export interface Model {
  readonly name: string;
  build(): { parameters(): Tensor[]; forward(x: Tensor): Tensor };
  readonly input: readonly number[];
  /** Inputs are token ids of so many kinds, else normal numbers. */
  readonly vocabulary?: number;
  readonly classes: number;
  /** Rows of the logits, each with a target; the batch unless said. */
  readonly targets?: number;
  readonly batch: number;
  readonly optimizer: 'Adam' | 'AdamW' | 'SGD';
  /** The model in a peer's script. */
  readonly peer: string;
  /** Whether convolutions may choose their layout. */
  readonly images: boolean;
  /** TensorFlow has its loop as a graph of every step, which XLA compiles for minutes. */
  readonly unrolled?: boolean;
}

// ---- perceptrons

const mlp = (...sizes: number[]): Sequential =>
  new Sequential(
    ...sizes.slice(1).flatMap((n, i) => [new Linear(sizes[i]!, n), ...(i + 2 < sizes.length ? [relu] : [])]),
  );
export const perceptron = (batch: number, ...sizes: number[]): Model => ({
  name: `MLP ${sizes.join('-')}, batch ${batch}, Adam`,
  build: () => mlp(...sizes),
  input: [batch, sizes[0]!],
  classes: sizes.at(-1)!,
  batch,
  optimizer: 'Adam',
  peer: `mlp(${sizes.join(', ')})`,
  images: false,
});

// ---- convolutions

export const cnn: Model = {
  name: 'MNIST CNN, batch 128, Adam',
  // (B,1,28,28) -> (B,32,26,26) -> (B,64,24,24) -> (B,64,12,12) -> (B,9216) -> (B,128) -> (B,10)
  build: () =>
    new Sequential(
      ...[new Conv2d(1, 32, 3), relu, new Conv2d(32, 64, 3), relu, new MaxPool2d(2)],
      ...[new Flatten(), new Linear(9216, 128), relu, new Linear(128, 10)],
    ),
  input: [128, 1, 28, 28],
  classes: 10,
  batch: 128,
  optimizer: 'Adam',
  peer: 'cnn()',
  images: true,
};

/** ResNet-18 (He et al. 2016): 11.7 million parameters. */
export const resnet = (batch: number, size: number): Model => ({
  name: `ResNet-18, batch ${batch}, ${size}x${size}`,
  build: resnet18,
  input: [batch, 3, size, size],
  classes: 1000,
  batch,
  optimizer: 'SGD',
  peer: 'resnet18()',
  images: true,
});

// ---- sequences

export const recurrent: Model = {
  name: 'LSTM 2x256, T 64, batch 32, AdamW',
  // (T,B,I) -> (T*B,C)
  build: () => {
    const model = lstm({ outputSize: 65 });
    return { parameters: () => model.parameters(), forward: (x) => flatten(model.forward(x)[0], 0, 1) };
  },
  input: [64, 32, 256],
  classes: 65,
  targets: 64 * 32,
  batch: 32,
  optimizer: 'AdamW',
  peer: 'lstm()',
  images: false,
  unrolled: true,
};

export const gpt: Model = {
  name: 'GPT 6x384, batch 8, T 256, AdamW',
  // (B,T) -> (B*T,V)
  build: () => {
    const sizes = { vocabSize: 65, contextLength: 256, hiddenSize: 384, numLayers: 6, numHeads: 6 };
    const model = gpt2({ ...sizes, dropout: 0 });
    return { parameters: () => model.parameters(), forward: (x) => flatten(model.forward(x), 0, 1) };
  },
  input: [8, 256],
  vocabulary: 65,
  classes: 65,
  targets: 8 * 256,
  batch: 8,
  optimizer: 'AdamW',
  peer: 'GPT(6, 6, 384, 256, 65)',
  images: false,
};

// ---- the step

const optimizers: Record<Model['optimizer'], (model: ReturnType<Model['build']>) => Adam | SGD> = {
  Adam: (model) => new Adam(model.parameters()),
  AdamW: (model) => new AdamW(model.parameters()),
  SGD: (model) => new SGD(model.parameters(), { lr: 0.01, momentum: 0.9 }),
};

/** A whole step on one batch: zero the gradients, forward, cross entropy, backward, the optimizer. */
export function trainStep(
  { build, input, vocabulary, classes, targets, batch, optimizer: name }: Model,
  compiled: boolean,
): () => void {
  const model = build();
  const optimizer = optimizers[name](model);
  const x = vocabulary ? randint(0, vocabulary, input) : randn(input);
  const y = randint(0, classes, [targets ?? batch]);
  const step = (given: Tensor, labels: Tensor): Tensor => {
    optimizer.zeroGrad();
    const loss = crossEntropy(model.forward(given), labels);
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

const setup = (model: Model, options: Record<string, string> = {}): string => {
  const { peer, input, classes, optimizer, vocabulary } = model;
  const more = Object.entries({ ...options, ...(vocabulary ? { vocabulary: `${vocabulary}` } : {}) }).map(
    ([name, value]) => `, ${name}=${value}`,
  );
  return `step, sync = train_step(${peer}, (${input.join(', ')}), ${classes}, "${optimizer}"${more.join('')})`;
};

/** Every form that a user of PyTorch may choose; torch.compile only where the whole step is compared with compiled ones. */
export function torchForms(model: Model, compiled: boolean): PeerForm[] {
  const layouts = model.images ? [false, true] : [false];
  const make = (last: boolean, kind: string, whole: boolean): PeerForm => ({
    label: [
      whole ? 'torch.compile' : 'eager',
      ...(model.images ? [last ? 'channels last' : 'contiguous'] : []),
      `${kind} ${model.optimizer}`,
    ].join(', '),
    setup: setup(model, {
      channels_last: last ? 'True' : 'False',
      kind: `"${kind}"`,
      compiled: whole ? 'True' : 'False',
    }),
    code: 'step()',
    grad: true,
    ...(whole ? { slow: true } : {}),
  });
  return layouts.flatMap((last) => [
    ...['default', 'foreach', 'fused'].map((kind) => make(last, kind, false)),
    ...(compiled ? [make(last, 'fused', true)] : []),
  ]);
}

/** The forms of JAX and TensorFlow, which compile by themselves. */
export function graphForms(model: Model): PeerForm[] {
  const tensorflow = (label: string, xla: string): PeerForm => ({
    peer: 'tensorflow',
    label,
    setup: setup(model, { xla }),
    code: 'step()',
  });
  return [
    { peer: 'jax', label: 'jit', setup: setup(model), code: 'step()' },
    tensorflow('tf.function', 'False'),
    ...(model.unrolled ? [] : [tensorflow('tf.function with XLA', 'True')]),
  ];
}
