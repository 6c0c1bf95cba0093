/** Rows of what is composed over other ops: convolutions of one and three dims, transposed ones, norms of groups and of the mean square. */
import * as b from '../../lib/index.js';
import type { Tensor } from '../../lib/index.js';
import { fold, get, map, type Nd, nd, type Sample, sumOf } from './sample.js';

const floats = ['f32', 'f64', 'f16', 'bf16'] as const;

interface Conv {
  stride?: number;
  padding?: number;
  dilation?: number;
  groups?: number;
}

/** Every index below `sizes`. */
function* indices(sizes: readonly number[]): Generator<number[]> {
  if (sizes.length === 0) yield [];
  else for (let i = 0; i < sizes[0]!; i++) for (const rest of indices(sizes.slice(1))) yield [i, ...rest];
}

/** Cross-correlation over any number of dims: x (N,C,…), w (O,C/groups,…), bias (O). */
function convolved(x: Nd, w: Nd, bias: Nd, { stride = 1, padding = 0, dilation = 1, groups = 1 }: Conv): Nd {
  const kernel = w.shape.slice(2);
  const out = kernel.map((k, d) => Math.floor((x.shape[2 + d]! + 2 * padding - dilation * (k - 1) - 1) / stride + 1));
  return nd([x.shape[0]!, w.shape[0]!, ...out], ([n, o, ...at]) => {
    const first = Math.floor(o! / (w.shape[0]! / groups)) * w.shape[1]!;
    let total = bias.data[o!]!;
    for (const [c, ...k] of indices([w.shape[1]!, ...kernel])) {
      const from = at.map((p, d) => p * stride - padding + k[d]! * dilation);
      if (from.every((p, d) => p >= 0 && p < x.shape[2 + d]!))
        total += get(x, [n!, first + c!, ...from]) * get(w, [o!, c!, ...k]);
    }
    return total;
  });
}

/** What each input adds to the outputs below its kernel: x (N,C,…), w (C,O/groups,…), bias (O). */
function transposed(
  x: Nd,
  w: Nd,
  bias: Nd,
  { stride = 1, padding = 0, dilation = 1, groups = 1 }: Conv,
  extra: number,
) {
  const kernel = w.shape.slice(2);
  const out = kernel.map((k, d) => (x.shape[2 + d]! - 1) * stride - 2 * padding + dilation * (k - 1) + extra + 1);
  const y = nd([x.shape[0]!, w.shape[1]! * groups, ...out], ([, o]) => bias.data[o!]!);
  const flat = (index: readonly number[]) => index.reduce((at, i, d) => at * y.shape[d]! + i, 0);
  for (const [n, c, ...at] of indices(x.shape))
    for (const [o, ...k] of indices(w.shape.slice(1))) {
      const into = at.map((p, d) => p * stride - padding + k[d]! * dilation);
      const channel = Math.floor(c! / (x.shape[1]! / groups)) * w.shape[1]! + o!;
      if (into.every((p, d) => p >= 0 && p < out[d]!))
        y.data[flat([n!, channel, ...into])]! += get(x, [n!, c!, ...at]) * get(w, [c!, o!, ...k]);
    }
  return y;
}

const convolution = (
  name: string,
  call: (x: Tensor, w: Tensor, c: Tensor) => Tensor,
  reference: (x: Nd, w: Nd, c: Nd) => Nd,
  [x, w, outputs]: readonly [readonly number[], readonly number[], number],
  more: Partial<Sample> = {},
): Sample => ({
  name,
  call,
  cases: (make) => [[make.real(x), make.real(w), make.real([outputs])]],
  reference,
  dtypes: floats,
  slack: 20,
  exact: false,
  grad: [0, 1, 2],
  ...more,
});

const one = { stride: 2, padding: 2, dilation: 2, groups: 2 };
const three = { stride: 2, padding: 1, groups: 2 };
const back = { stride: 2, padding: 1, groups: 2 };

/** Over groups of channels: statistics of (groups, everything else of an example). */
function grouped(x: Nd, groups: number, w: Nd, c: Nd): Nd {
  const [n, channels, ...rest] = x.shape as [number, number, ...number[]];
  const parts: Nd = { shape: [n, groups, x.data.length / (n * groups)], data: x.data };
  const mean = fold(parts, [2], true, (v) => sumOf(v) / v.length);
  const centred = map((v, m) => v - m, parts, mean);
  const spread = fold(centred, [2], true, (v) => Math.sqrt(sumOf(v.map((e) => e * e)) / v.length + 1e-5));
  const y = map((v, s) => v / s, centred, spread);
  const onChannels = (t: Nd): Nd => ({ shape: [channels, ...rest.map(() => 1)], data: t.data });
  return map((v, a, d) => v * a + d, { shape: x.shape, data: y.data }, onChannels(w), onChannels(c));
}

export const compositions: Sample[] = [
  convolution(
    'conv1d',
    (x, w, c) => b.conv1d(x, w, c, one),
    (x, w, c) => convolved(x, w, c, one),
    [[2, 4, 9], [6, 2, 3], 6],
    {
      gradCases: (make) => [[make.real([1, 2, 5]), make.real([2, 1, 2]), make.real([2])]],
      errors: [
        [() => b.conv1d(b.zeros([2, 3, 4, 5]), b.zeros([3, 3, 2])), 'ShapeError', /\(N,C,L\)/],
        [() => b.conv1d(b.zeros([2, 3, 4]), b.zeros([3, 3, 2], { dtype: 'f64' })), 'DTypeError', /same float type/],
        [() => b.conv1d(b.zeros([2, 3, 4]), b.zeros([3, 3, 2]), null, { stride: 0 }), 'ArgumentError', /stride/],
        [() => b.conv1d(b.zeros([2, 3, 4]), b.zeros([3, 2, 2])), 'ShapeError', /\[conv1d\] 3 channels .* \(3,2,2\)/],
        [() => b.conv1d(b.zeros([2, 3, 4]), b.zeros([3, 3, 2]), b.zeros([2])), 'ShapeError', /\[conv1d\] the bias/],
      ],
      bench: {
        make: (make) => [make.real([8, 64, 2048]), make.real([64, 64, 3]), make.real([64])],
        torch: 'torch.nn.functional.conv1d(x0, x1, x2, 2, 2, 2)',
      },
    },
  ),
  convolution(
    'conv3d',
    (x, w, c) => b.conv3d(x, w, c, three),
    (x, w, c) => convolved(x, w, c, three),
    [[2, 4, 5, 4, 6], [6, 2, 3, 2, 3], 6],
    {
      gradCases: (make) => [[make.real([1, 2, 3, 2, 2]), make.real([2, 1, 2, 2, 1]), make.real([2])]],
      errors: [
        [() => b.conv3d(b.zeros([2, 3, 4, 5]), b.zeros([3, 3, 2])), 'ShapeError', /\(N,C,D,H,W\)/],
        [() => b.conv3d(b.zeros([1, 1, 2, 5, 5]), b.zeros([1, 1, 3, 2, 2])), 'ShapeError', /kernel of 3 does not fit/],
        [
          () =>
            b.conv3d(b.zeros([1, 1, 4, 5, 5]), b.zeros([1, 1, 3, 2, 2]), null, { padding: 'same', stride: [1, 2, 1] }),
          'ArgumentError',
          /\[conv3d\] padding 'same' needs stride 1/,
        ],
      ],
    },
  ),
  convolution(
    'convTranspose1d',
    (x, w, c) => b.convTranspose1d(x, w, c, { ...back, outputPadding: 1 }),
    (x, w, c) => transposed(x, w, c, back, 1),
    [[2, 4, 5], [4, 3, 3], 6],
    // Rounded before the bias is added, and after.
    {
      dtypes: ['f32', 'f64'],
      gradCases: (make) => [[make.real([1, 2, 3]), make.real([2, 1, 3]), make.real([2])]],
      errors: [
        [
          () => b.convTranspose1d(b.zeros([1, 2, 4]), b.zeros([2, 1, 3]), null, { stride: 0 }),
          'ArgumentError',
          /stride is an integer of at least 1, got 0/,
        ],
      ],
    },
  ),
  convolution(
    'convTranspose2d',
    (x, w, c) => b.convTranspose2d(x, w, c, { ...back, outputPadding: 1 }),
    (x, w, c) => transposed(x, w, c, back, 1),
    [[2, 4, 4, 5], [4, 3, 3, 3], 6],
    {
      dtypes: ['f32', 'f64'],
      gradCases: (make) => [[make.real([1, 2, 2, 3]), make.real([2, 1, 3, 2]), make.real([2])]],
      errors: [
        [() => b.convTranspose2d(b.zeros([1, 3, 4, 4]), b.zeros([4, 2, 3, 3])), 'ShapeError', /3 channels in 1 groups/],
        [
          () => b.convTranspose2d(b.zeros([1, 4, 1, 1]), b.zeros([4, 2, 1, 1]), null, { padding: 1 }),
          'ShapeError',
          /nothing/,
        ],
        [() => b.convTranspose2d(b.zeros([1, 4, 4, 4]), b.zeros([4, 2, 3, 3]), b.zeros([3])), 'ShapeError', /bias/],
        [
          () => b.convTranspose2d(b.zeros([1, 4, 4, 4]), b.zeros([4, 2, 3, 3]), null, { outputPadding: 1 }),
          'ArgumentError',
          /not below the stride/,
        ],
      ],
      bench: {
        make: (make) => [make.real([8, 64, 28, 28]), make.real([64, 16, 3, 3]), make.real([32])],
        torch: 'torch.nn.functional.conv_transpose2d(x0, x1, x2, 2, 1, 1, 2)',
      },
    },
  ),
  {
    name: 'groupNorm',
    call: (x: Tensor, w: Tensor, c: Tensor) => b.groupNorm(x, 2, w, c),
    cases: (make) => [
      // Of two values a group keeps their signs alone.
      [make.real([3, 8]), make.real([8]), make.real([8])],
      [make.real([2, 6, 3, 5]), make.real([6]), make.real([6])],
      [make.real([2, 2, 257]), make.real([2]), make.real([2])],
    ],
    reference: (x: Nd, w: Nd, c: Nd) => grouped(x, 2, w, c),
    dtypes: ['f32', 'f64'],
    slack: 20,
    exact: false,
    grad: [0, 1, 2],
    gradCases: (make) => [[make.real([2, 4, 3]), make.real([4]), make.real([4])]],
    errors: [
      [() => b.groupNorm(b.zeros([2, 5]), 2), 'ShapeError', /5 channels do not divide into 2 groups/],
      [() => b.groupNorm(b.zeros([2, 4]), 2, b.zeros([3])), 'ShapeError', /4 channels need/],
      [() => b.groupNorm(b.zeros([2, 4]), 0), 'ArgumentError', /at least 1/],
    ],
    bench: {
      make: (make) => [make.real([8, 64, 32, 64]), make.real([64]), make.real([64])],
      torch: 'torch.nn.functional.group_norm(x0, 2, x1, x2)',
    },
  },
  {
    name: 'instanceNorm',
    call: (x: Tensor, w: Tensor, c: Tensor) => b.instanceNorm(x, w, c),
    cases: (make) => [[make.real([2, 3, 7]), make.real([3]), make.real([3])]],
    reference: (x: Nd, w: Nd, c: Nd) => grouped(x, x.shape[1]!, w, c),
    dtypes: ['f32', 'f64'],
    slack: 20,
    exact: false,
    grad: [0, 1, 2],
    errors: [
      [() => b.instanceNorm(b.zeros([2, 3])), 'ShapeError', /\(N,C,L,…\)/],
      [() => b.instanceNorm(b.zeros([2, 3, 1])), 'ShapeError', /more than one value/],
    ],
  },
  {
    name: 'rmsNorm',
    call: (x: Tensor, w: Tensor) => b.rmsNorm(x, w.shape, w, { eps: 1e-5 }),
    cases: (make) => [
      [make.real([3, 5]), make.real([5])],
      [make.real([2, 3, 4]), make.real([3, 4])],
      [make.real([4, 1037]), make.real([1037])],
    ],
    reference: (x: Nd, w: Nd) => {
      const dims = x.shape.map((_, d) => d).slice(x.shape.length - w.shape.length);
      const square = fold(x, dims, true, (v) => sumOf(v.map((e) => e * e)) / v.length);
      return map((v, s, a) => (v / Math.sqrt(s + 1e-5)) * a, x, square, w);
    },
    dtypes: floats,
    slack: 4,
    exact: false,
    grad: [0, 1],
    gradCases: (make) => [[make.real([3, 4]), make.real([4])]],
    errors: [
      [() => b.rmsNorm(b.zeros([2, 3]), [4]), 'ShapeError', /last dims/],
      [() => b.rmsNorm(b.zeros([2, 3]), [3], b.zeros([2])), 'ShapeError', /weight has shape/],
      [() => b.rmsNorm(b.zeros([2, 3], { dtype: 'i32' }), [3]), 'DTypeError', /needs floats/],
    ],
    bench: {
      make: (make) => [make.real([1024, 1024]), make.real([1024])],
      torch: 'torch.nn.functional.rms_norm(x0, (1024,), x1, 1e-5)',
    },
  },
];
