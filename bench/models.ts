/** What is trained in the benchmarks, and the same in every peer: bench/peers/*_peer.py have models of these names. */
import {
  add,
  backward,
  cat,
  compile,
  crossEntropy,
  mul,
  randint,
  randn,
  relu,
  scope,
  sigmoid,
  split,
  type Tensor,
  tanh,
  unbind,
  zeros,
} from '../lib/index.js';
import { BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, Module, Sequential } from '../lib/nn/index.js';
import { Adam, AdamW, SGD } from '../lib/optim/index.js';
import type { PeerForm } from './case.js';

export interface Model {
  readonly name: string;
  build(): Sequential | Lstm;
  readonly input: readonly number[];
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

class Block extends Module {
  readonly body: Sequential;
  readonly shortcut: Sequential | null;

  constructor(channels: number, width: number, stride: number) {
    super();
    this.body = new Sequential(
      ...[new Conv2d(channels, width, 3, { stride, padding: 1, bias: false }), new BatchNorm2d(width), relu],
      ...[new Conv2d(width, width, 3, { padding: 1, bias: false }), new BatchNorm2d(width)],
    );
    const same = stride === 1 && channels === width;
    this.shortcut = same
      ? null
      : new Sequential(new Conv2d(channels, width, 1, { stride, bias: false }), new BatchNorm2d(width));
  }

  forward(x: Tensor): Tensor {
    return relu(add(this.body.forward(x), this.shortcut === null ? x : this.shortcut.forward(x)));
  }
}

const widths = [64, 128, 256, 512];
/** ResNet-18 (He et al. 2016): 11.7 million parameters. */
export const resnet18: Model = {
  name: 'ResNet-18, batch 8, 32x32',
  build: () =>
    new Sequential(
      ...[new Conv2d(3, 64, 7, { stride: 2, padding: 3, bias: false }), new BatchNorm2d(64), relu],
      new MaxPool2d(3, { stride: 2, padding: 1 }),
      ...widths.flatMap((width, i) => [
        new Block(widths[i - 1] ?? 64, width, i === 0 ? 1 : 2),
        new Block(width, width, 1),
      ]),
      (x) => x.mean([2, 3]),
      new Linear(512, 1000),
    ),
  input: [8, 3, 32, 32],
  classes: 1000,
  batch: 8,
  optimizer: 'SGD',
  peer: 'resnet18()',
  images: true,
};

// ---- recurrence

/** One layer over a sequence; the gates of a step are one product of what is given and the state. */
class Recurrent extends Module {
  readonly gates: Linear;
  readonly width: number;

  constructor(inputs: number, width: number) {
    super();
    this.gates = new Linear(inputs + width, 4 * width);
    this.width = width;
  }

  /** T times (B,I) -> T times (B,H) */
  forward(sequence: readonly Tensor[]): Tensor[] {
    let h = zeros([sequence[0]!.shape[0]!, this.width]);
    let c = h;
    return sequence.map((x) => {
      const gates = this.gates.forward(cat([x, h], 1));
      const [i, f, g, o] = split(gates, this.width, 1) as [Tensor, Tensor, Tensor, Tensor];
      c = add(mul(sigmoid(f), c), mul(sigmoid(i), tanh(g)));
      h = mul(sigmoid(o), tanh(c));
      return h;
    });
  }
}

class Lstm extends Module {
  readonly layers = [new Recurrent(256, 256), new Recurrent(256, 256)];
  readonly head = new Linear(256, 65);

  /** (T,B,I) -> (T*B,C) */
  forward(x: Tensor): Tensor {
    return this.head.forward(cat(this.layers.reduce((sequence, layer) => layer.forward(sequence), unbind(x))));
  }
}

export const lstm: Model = {
  name: 'LSTM 2x256, T 64, batch 32, AdamW',
  build: () => new Lstm(),
  input: [64, 32, 256],
  classes: 65,
  targets: 64 * 32,
  batch: 32,
  optimizer: 'AdamW',
  peer: 'lstm()',
  images: false,
  unrolled: true,
};

// ---- the step

const optimizers: Record<Model['optimizer'], (model: Module) => Adam | SGD> = {
  Adam: (model) => new Adam(model.parameters()),
  AdamW: (model) => new AdamW(model.parameters()),
  SGD: (model) => new SGD(model.parameters(), { lr: 0.01, momentum: 0.9 }),
};

/** A whole step on one batch: zero the gradients, forward, cross entropy, backward, the optimizer. */
export function trainStep(
  { build, input, classes, targets, batch, optimizer: name }: Model,
  compiled: boolean,
): () => void {
  const model = build();
  const optimizer = optimizers[name](model);
  const x = randn(input);
  const y = randint(0, classes, [targets ?? batch]);
  const step = (given: Tensor, labels: Tensor): Tensor => {
    optimizer.zeroGrad();
    const loss = crossEntropy(model.forward(given) as Tensor, labels);
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

const setup = ({ peer, input, classes, optimizer }: Model, options: Record<string, string> = {}): string => {
  const more = Object.entries(options).map(([name, value]) => `, ${name}=${value}`);
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
