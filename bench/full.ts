/** The models of lib/models: whole training steps and inference, compiled, beside the peers' best. */
import { argmax, compile, noGrad, randint, randn, scope, select, type Tensor } from '../lib/index.js';
import { bert, type Gpt2, gpt2, KeyValueCache, miniLM, mobilenetV2, resnet50 } from '../lib/models/index.js';
import { type Case, type PeerForm, timed } from './case.js';
import { gpt, type Model, recurrent, resnet, torchForms, trainStep } from './models.js';

const group = 'models';
const peers = ['torch', 'onnxruntime'] as const;
/** Steps take from milliseconds to seconds. */
const pace = { sample: 0.002, samples: 5, budget: 0.5 };

const training = (model: Model, threads: number): Case =>
  timed({
    group,
    name: model.name,
    threads,
    unit: 'ms',
    samples: model.batch,
    pace,
    make: () => trainStep(model, true),
    // Which implementation of the optimizer is the fastest is no question at these sizes.
    forms: () => torchForms(model, true).filter(({ label }) => label?.includes('fused')),
  });

interface Inference {
  readonly name: string;
  build(): { eval(): { forward(x: Tensor): unknown } };
  readonly input: readonly number[];
  /** Inputs are token ids of so many kinds, else images. */
  readonly vocabulary?: number;
  /** The model in torch_models.py, and in onnxruntime_peer.py. */
  readonly peer: string;
  readonly onnx: string;
}

const inferences: readonly Inference[] = [
  ...[1, 8].map((batch) => ({
    name: `ResNet-50, batch ${batch}`,
    build: resnet50,
    input: [batch, 3, 224, 224],
    peer: 'resnet50()',
    onnx: 'resnet50',
  })),
  {
    name: 'MobileNetV2, batch 1',
    build: mobilenetV2,
    input: [1, 3, 224, 224],
    peer: 'mobilenet_v2()',
    onnx: 'mobilenet_v2',
  },
  { name: 'BERT-base, T 128', build: bert, input: [1, 128], vocabulary: 30522, peer: 'Bert()', onnx: 'bert()' },
  {
    name: 'MiniLM-L6, T 128',
    build: miniLM,
    input: [1, 128],
    vocabulary: 30522,
    peer: 'Bert(6, 12, 384, 1536)',
    onnx: 'bert(6, 12, 384, 1536)',
  },
];

function inferenceForms({ peer, onnx, input, vocabulary }: Inference): PeerForm[] {
  const of = (options: string, model = peer): string =>
    `step, sync = inference(${model}, (${input.join(', ')}), ${vocabulary ?? 0}${options})`;
  return [
    { label: 'eager', setup: of(''), code: 'step()' },
    ...(vocabulary ? [] : [{ label: 'eager, channels last', setup: of(', channels_last=True'), code: 'step()' }]),
    { label: 'torch.compile', setup: of(', compiled=True'), code: 'step()', slow: true },
    { peer: 'onnxruntime', setup: of('', onnx), code: 'step()' },
  ];
}

const inference = (one: Inference, threads: number): Case =>
  timed({
    group,
    name: one.name,
    threads,
    peers,
    unit: 'ms',
    pace,
    make() {
      const model = one.build().eval();
      const x = one.vocabulary ? randint(0, one.vocabulary, one.input) : randn(one.input);
      const run = compile((given: Tensor) => model.forward(given) as Tensor);
      return () =>
        noGrad(() =>
          scope(() => {
            run(x);
          }),
        );
    },
    forms: () => inferenceForms(one),
  });

// ---- decoding

const CONTEXT = 127;

/** The likeliest token after 127 in the cache and one more; the position stays where it is. */
function decodeStep(model: Gpt2): () => void {
  const cache = new KeyValueCache(model, { length: 256 });
  cache.position.fill_(CONTEXT);
  const step = compile((token: Tensor) => argmax(select(model.forward(token, { cache, lastOnly: true }), 1, 0), 1));
  const token = randint(0, 50257, [1, 1]);
  return () =>
    scope(() => {
      step(token);
    });
}

const decoding = (threads: number): Case =>
  timed({
    group,
    name: 'GPT-2 124M, a token at context 128',
    threads,
    peers,
    unit: 'ms',
    samples: 1,
    pace,
    make: () => decodeStep(gpt2().eval()),
    forms: () => [
      { label: 'eager', setup: `step, sync = decoding(GPT(), ${CONTEXT})`, code: 'step()' },
      { label: 'torch.compile', setup: `step, sync = decoding(GPT(), ${CONTEXT}, True)`, code: 'step()', slow: true },
      {
        peer: 'onnxruntime',
        setup: `step, sync = inference(gpt2_step(${CONTEXT}), (1, 1), 50257)`,
        code: 'step()',
      },
    ],
  });

export const full = (threads: number): Case[] => [
  ...[resnet(8, 224), gpt, recurrent].map((model) => training(model, threads)),
  ...inferences.map((one) => inference(one, threads)),
  decoding(threads),
];
