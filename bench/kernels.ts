/** The kernels in which training and inference spend their time beside products, at the sizes of models: mostly at memory's speed. */
import {
  add,
  cat,
  clone,
  compile,
  contiguous,
  crossEntropy,
  embedding,
  exp,
  gelu,
  gradients,
  layerNorm,
  mul,
  ones,
  randint,
  randn,
  relu,
  requiresGrad_,
  scaledDotProductAttention,
  scope,
  softmax,
  sum,
  type Tensor,
  tanh,
  transpose,
} from '../lib/index.js';
import { AdamW } from '../lib/optim/index.js';
import { type Case, type Spec, timed } from './case.js';

const MANY = 16 * 2 ** 20;
const normal = (shape: readonly number[]): Spec => ({ kind: 'real', shape, dtype: 'f32', low: -2, high: 2 });

interface Row {
  readonly name: string;
  /** Inputs of ours, and what is timed. */
  readonly shapes: readonly (readonly number[])[];
  readonly call: (...inputs: Tensor[]) => unknown;
  readonly torch: string;
  /** The same into memory `y` that is there already, which spares PyTorch fresh pages. */
  readonly into?: string;
}

// ---- forward alone

const forward: readonly Row[] = [
  {
    name: 'relu 16M',
    shapes: [[MANY]],
    call: (x) => relu(x),
    torch: 'torch.relu(x0)',
    into: 'torch.clamp_min(x0, 0, out=y)',
  },
  {
    name: 'gelu tanh 16M',
    shapes: [[MANY]],
    call: (x) => gelu(x, { approximate: 'tanh' }),
    torch: "torch.nn.functional.gelu(x0, approximate='tanh')",
  },
  { name: 'exp 16M', shapes: [[MANY]], call: (x) => exp(x), torch: 'torch.exp(x0)', into: 'torch.exp(x0, out=y)' },
  { name: 'tanh 16M', shapes: [[MANY]], call: (x) => tanh(x), torch: 'torch.tanh(x0)', into: 'torch.tanh(x0, out=y)' },
  {
    name: 'mul and add 16M, compiled',
    shapes: [[MANY], [MANY], [MANY]],
    call: compile((x: Tensor, y: Tensor, z: Tensor) => add(mul(x, y), z)),
    torch: 'torch.addcmul(x2, x0, x1)',
    into: 'torch.addcmul(x2, x0, x1, out=y)',
  },
  { name: 'add in place 16M', shapes: [[MANY], [MANY]], call: (x, y) => x.add_(y), torch: 'x0.add_(x1)' },
  {
    name: 'softmax [8192, 1024]',
    shapes: [[8192, 1024]],
    call: (x) => softmax(x),
    torch: 'torch.softmax(x0, -1)',
    into: 'torch.softmax(x0, -1, out=y)',
  },
  {
    name: 'layer norm [8192, 1024]',
    shapes: [[8192, 1024], [1024], [1024]],
    call: (x, w, b) => layerNorm(x, [1024], w, b),
    torch: 'torch.nn.functional.layer_norm(x0, (1024,), x1, x2)',
  },
  {
    name: 'transpose [4096, 4096]',
    shapes: [[4096, 4096]],
    call: (x) => contiguous(transpose(x)),
    torch: 'x0.t().contiguous()',
    into: 'y.copy_(x0.t())',
  },
  {
    name: 'cat [4096, 2048] twice along 1',
    shapes: [
      [4096, 2048],
      [4096, 2048],
    ],
    call: (x, y) => cat([x, y], 1),
    torch: 'torch.cat([x0, x1], 1)',
    into: 'torch.cat([x0, x1], 1, out=y)',
  },
  { name: 'sum [4096, 4096] along 0', shapes: [[4096, 4096]], call: (x) => sum(x, 0), torch: 'x0.sum(0)' },
  ...[
    [4, 512],
    [1, 2048],
  ].map(
    ([batch, length]): Row => ({
      name: `causal attention B${batch} H12 T${length} D64`,
      shapes: new Array(3).fill([batch, 12, length, 64]),
      call: (q, k, v) => scaledDotProductAttention(q, k, v, { causal: true }),
      torch: 'torch.nn.functional.scaled_dot_product_attention(x0, x1, x2, is_causal=True)',
    }),
  ),
];

// ---- forward and backward: gradients of the first inputs

interface TrainedRow extends Row {
  readonly by: number;
  /** The i32 input that follows: its sizes and its end. */
  readonly index?: readonly [shape: readonly number[], end: number];
}

/** The rows of `forward` that begin with `start`, with the gradients of the first `by` inputs. */
const andBackward = (start: string, by: number, joint = ' '): TrainedRow[] =>
  forward
    .filter(({ name }) => name.startsWith(start))
    .map((row) => ({ ...row, name: `${row.name}${joint}forward and backward`, by }));

const trained: readonly TrainedRow[] = [
  {
    name: 'cross-entropy [4096, 32000] forward and backward',
    shapes: [[4096, 32000]],
    by: 1,
    index: [[4096], 32000],
    call: (x, y) => crossEntropy(x, y),
    torch: 'torch.nn.functional.cross_entropy(x0, x1)',
  },
  {
    name: 'embedding 32000x768, 8192 rows, forward and backward',
    shapes: [[32000, 768]],
    by: 1,
    index: [[8192], 32000],
    call: (w, i) => embedding(i, w),
    torch: 'torch.nn.functional.embedding(x1, x0)',
  },
  ...andBackward('layer norm', 3),
  ...andBackward('softmax', 1),
  ...andBackward('causal', 3, ', '),
];

/** One call with its gradients; the gradient that comes in is dense, made once. */
function trainedCase({ name, shapes, call, torch, by, index }: TrainedRow, threads: number): Case {
  const inputs: Spec[] = shapes.map(normal);
  if (index) inputs.push({ kind: 'index', shape: index[0], dtype: 'i32', low: 0, high: index[1] });
  const leaves = shapes.slice(0, by).map((_, i) => `x${i}`);
  return timed({
    group,
    name,
    threads,
    unit: 'ms',
    pace,
    make() {
      const tensors = shapes.map((shape, i) => (i < by ? requiresGrad_(randn(shape)) : randn(shape)));
      if (index) tensors.push(randint(0, index[1], index[0]));
      const seed = scope(() => ones((call(...tensors) as Tensor).shape));
      return () =>
        scope(() => {
          gradients(call(...tensors) as Tensor, tensors.slice(0, by), { gradient: seed });
        });
    },
    forms: () => [
      {
        inputs,
        setup: `[x.requires_grad_() for x in (${leaves.join(', ')},)]; x1 = x1.long() if ${index ? 'True' : 'False'} else ${shapes.length > 1 ? 'x1' : '0'}; seed = torch.ones_like(${torch})`,
        code: `torch.autograd.grad(${torch}, (${leaves.join(', ')},), seed)`,
        grad: true,
      },
    ],
  });
}

// ---- the optimizer

const WEIGHTS = 25;
/** 25 parameters of a million elements. */
const adamw = (threads: number): Case =>
  timed({
    group,
    name: 'AdamW over 25M parameters, compiled',
    threads,
    unit: 'ms',
    pace,
    make() {
      const weights = Array.from({ length: WEIGHTS }, () => requiresGrad_(randn([1000, 1000])));
      for (const w of weights) w.grad = clone(randn([1000, 1000]));
      const optimizer = new AdamW(weights);
      const step = compile(() => {
        optimizer.step();
      });
      return () => scope(() => step());
    },
    forms: () =>
      ['fused=True', 'foreach=True'].map((how) => ({
        label: how,
        setup: `ps = [torch.randn(1000, 1000, requires_grad=True) for _ in range(${WEIGHTS})]
for p in ps: p.grad = torch.randn(1000, 1000)
opt = torch.optim.AdamW(ps, ${how})`,
        code: 'opt.step()',
      })),
  });

const group = 'kernels';
const pace = { sample: 0.002, samples: 5, budget: 0.4 };

export const kernels = (threads: number): Case[] => [
  ...forward.map(({ name, shapes, call, torch, into }) =>
    timed({
      group,
      name,
      threads,
      unit: 'ms',
      pace,
      make() {
        const inputs = shapes.map((shape) => randn(shape));
        return () =>
          scope(() => {
            call(...inputs);
          });
      },
      forms: () => {
        const inputs = shapes.map(normal);
        return [
          { inputs, code: torch },
          ...(into ? [{ inputs, label: 'into memory at hand', setup: `y = ${torch}`, code: into }] : []),
        ];
      },
    }),
  ),
  ...trained.map((row) => trainedCase(row, threads)),
  adamw(threads),
];
