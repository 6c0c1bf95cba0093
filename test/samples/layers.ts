/** Rows of matrix products, convolution, pooling, normalisation, losses and random numbers. */
import * as b from '../../lib/index.js';
import type { Tensor } from '../../lib/index.js';
import { fold, get, type Inputs, type Make, map, type Nd, nd, type Sample, sumOf } from './sample.js';

const floats = ['f32', 'f64', 'f16', 'bf16'] as const;

function product(x: Nd, y: Nd): Nd {
  const [m, k] = x.shape.slice(-2) as [number, number];
  const n = y.shape[y.shape.length - 1]!;
  const lead = Math.max(x.shape.length, y.shape.length) - 2;
  const own = (t: Nd, d: number) => t.shape[d - (lead - (t.shape.length - 2))] ?? 1;
  const batch = Array.from({ length: lead }, (_, d) =>
    Math.max(d < lead - (x.shape.length - 2) ? 1 : own(x, d), d < lead - (y.shape.length - 2) ? 1 : own(y, d)),
  );
  const pick = (t: Nd, index: readonly number[]) =>
    t.shape.slice(0, -2).map((s, d) => (s === 1 ? 0 : index[d + lead - (t.shape.length - 2)]!));
  return nd([...batch, m, n], (index) => {
    const [i, j] = index.slice(-2) as [number, number];
    let total = 0;
    for (let p = 0; p < k; p++) total += get(x, [...pick(x, index), i, p]) * get(y, [...pick(y, index), p, j]);
    return total;
  });
}

interface Conv {
  stride?: number;
  padding?: number;
  dilation?: number;
  groups?: number;
}
function convReference(x: Nd, w: Nd, bias: Nd | null, { stride = 1, padding = 0, dilation = 1, groups = 1 }: Conv): Nd {
  const [n, c, h, wd] = x.shape as [number, number, number, number];
  const [o, cg, kh, kw] = w.shape as [number, number, number, number];
  const out = (size: number, k: number) => Math.floor((size + 2 * padding - dilation * (k - 1) - 1) / stride) + 1;
  return nd([n, o, out(h, kh), out(wd, kw)], ([i, f, y, z]) => {
    let total = bias ? bias.data[f!]! : 0;
    const first = Math.floor(f! / (o / groups)) * (c / groups);
    for (let ch = 0; ch < cg; ch++)
      for (let a = 0; a < kh; a++)
        for (let d = 0; d < kw; d++) {
          const [yy, zz] = [y! * stride - padding + a * dilation, z! * stride - padding + d * dilation];
          if (yy >= 0 && yy < h && zz >= 0 && zz < wd)
            total += get(x, [i!, first + ch, yy, zz]) * get(w, [f!, ch, a, d]);
        }
    return total;
  });
}
const convs: readonly (readonly [readonly number[], readonly number[], Conv])[] = [
  [[2, 3, 8, 8], [4, 3, 3, 3], {}],
  [[1, 2, 7, 9], [3, 2, 3, 2], { stride: 2, padding: 1 }],
  [[2, 4, 9, 7], [6, 2, 3, 3], { padding: 2, dilation: 2, groups: 2 }],
  [[1, 4, 6, 6], [4, 1, 3, 3], { padding: 1, groups: 4 }],
  [[2, 5, 4, 4], [3, 5, 1, 1], {}],
  [[1, 1, 12, 12], [17, 1, 5, 5], { padding: 2 }],
];

function pool(x: Nd, k: number, stride: number, padding: number, fn: (values: number[]) => number): Nd {
  const [n, c, h, w] = x.shape as [number, number, number, number];
  const out = (size: number) => Math.floor((size + 2 * padding - k) / stride) + 1;
  return nd([n, c, out(h), out(w)], ([i, ch, y, z]) => {
    const values: number[] = [];
    for (let a = 0; a < k; a++)
      for (let d = 0; d < k; d++) {
        const [yy, zz] = [y! * stride - padding + a, z! * stride - padding + d];
        if (yy >= 0 && yy < h && zz >= 0 && zz < w) values.push(get(x, [i!, ch!, yy, zz]));
      }
    return fn(values);
  });
}

function softmaxReference(x: Nd, dim: number): Nd {
  const d = dim < 0 ? dim + x.shape.length : dim;
  const top = fold(x, [d], true, (v) => Math.max(...v));
  const e = map((v, t) => Math.exp(v - t), x, top);
  return map((v, t) => v / t, e, fold(e, [d], true, sumOf));
}
const moments = (x: Nd, dims: readonly number[]) => {
  const mean = fold(x, dims, true, (v) => sumOf(v) / v.length);
  return {
    mean,
    variance: fold(
      map((v, m) => (v - m) ** 2, x, mean),
      dims,
      true,
      (v) => sumOf(v) / v.length,
    ),
  };
};
const normalise = (x: Nd, dims: readonly number[], w: Nd | number, c: Nd | number): Nd => {
  const { mean, variance } = moments(x, dims);
  return map((v, m, s, a, d) => ((v - m) / Math.sqrt(s + 1e-5)) * a + d, x, mean, variance, w, c);
};
const channels = (t: Nd, ndim: number): Nd => ({
  shape: Array.from({ length: ndim }, (_, d) => (d === 1 ? t.data.length : 1)),
  data: t.data,
});

const loss = (
  name: string,
  call: Sample['call'],
  fn: (x: number, y: number) => number,
  range: readonly [number, number],
  torch: string,
): Sample => ({
  name,
  call,
  cases: (make) => [
    [make.real([7], ...range), make.real([7], ...range)],
    [make.real([2, 3], ...range), make.real([2, 3], ...range)],
  ],
  reference: (x: Nd, y: Nd) => fold(map(fn, x, y), null, false, (v) => sumOf(v) / v.length),
  dtypes: ['f32', 'f64'],
  slack: 4,
  exact: false,
  grad: [0],
  errors: [
    [() => (call as (x: Tensor, y: Tensor) => Tensor)(b.zeros([2]), b.zeros([3])), 'ShapeError', /input and target/],
  ],
  bench: { make: (make) => [make.real([1024, 1024], ...range), make.real([1024, 1024], ...range)], torch },
});

const crossEntropyReference = (x: Nd, target: Nd, weight: Nd | null, smoothing: number, ignore: number): Nd => {
  const p = softmaxReference(x, 1);
  const [n, c] = x.shape as [number, number];
  let total = 0;
  let count = 0;
  for (let i = 0; i < n; i++) {
    const t = target.data[i]!;
    if (t === ignore) continue;
    const w = (j: number) => (weight ? weight.data[j]! : 1);
    const cost = (j: number) => -Math.log(get(p, [i, j])) * w(j);
    total += (1 - smoothing) * cost(t) + (smoothing / c) * sumOf(Array.from({ length: c }, (_, j) => cost(j)));
    count += w(t);
  }
  return { shape: [], data: Float64Array.of(total / count) };
};
const pairs = (make: Make, options: { weighted?: boolean; ignore?: boolean }, wide: number): Inputs[] =>
  [
    [4, 5],
    [33, 3],
    [3, wide],
  ].map((shape) => [
    make.real(shape),
    options.ignore ? b.tensor(new Int32Array(shape[0]!).map((_, i) => i % 3)) : make.index([shape[0]!], 0, shape[1]!),
    ...(options.weighted ? [make.real([shape[1]!], 0.5, 2)] : []),
  ]);
const pairLoss = (
  name: string,
  options: { smoothing?: number; weighted?: boolean; ignore?: boolean },
  torch: string,
): Sample => ({
  name,
  call: (x: Tensor, target: Tensor, weight?: Tensor) =>
    b.crossEntropy(x, target, {
      labelSmoothing: options.smoothing ?? 0,
      ...(weight ? { weight } : {}),
      ignoreIndex: options.ignore ? 0 : -100,
    }),
  cases: (make) => pairs(make, options, 1037),
  gradCases: (make) => pairs(make, options, 67), // one evaluation for each element
  reference: (x: Nd, target: Nd, weight?: Nd) =>
    crossEntropyReference(x, target, weight ?? null, options.smoothing ?? 0, options.ignore ? 0 : -100),
  dtypes: options.weighted ? ['f32', 'f64'] : ['f32', 'f64', 'bf16'],
  fixed: [1],
  slack: 4,
  grad: [0],
  bench: { make: (make) => [make.real([4096, 256]), make.index([4096], 0, 256)], torch },
});

/** Operands of all the numbers that a byte holds. */
const bytes = (make: Make, ...shapes: (readonly number[])[]): Tensor[] => {
  const low = make.dtype === 'i8' ? -128 : 0;
  return shapes.map((shape) => make.real(shape, low, low + 255));
};

export const layers: Sample[] = [
  {
    name: 'matmul',
    call: b.matmul,
    cases: (make) =>
      [
        [
          [2, 3],
          [3, 4],
        ],
        [
          [1, 1],
          [1, 1],
        ],
        [
          [5, 0],
          [0, 3],
        ],
        [
          [17, 33],
          [33, 65],
        ],
        [
          [2, 3, 4],
          [4, 5],
        ],
        [
          [2, 1, 3, 4],
          [5, 4, 2],
        ],
        [
          [64, 100],
          [100, 70],
        ],
        [
          [1, 300],
          [300, 129],
        ],
        [
          [129, 300],
          [300, 1],
        ],
      ].map(([x, y]) => [make.real(x!), make.real(y!)]),
    reference: product,
    dtypes: [...floats, 'i8', 'u8', 'i32', 'i64'],
    slack: 20,
    exact: false,
    grad: [0, 1],
    gradCases: (make) => [
      [make.real([2, 3]), make.real([3, 4])],
      [make.real([2, 2, 3]), make.real([3, 2])],
      [make.real([2, 1, 2, 3]), make.real([2, 3, 2])],
    ],
    errors: [
      [
        () => b.matmul(b.zeros([2, 3]), b.zeros([4, 5])),
        'ShapeError',
        /^\[matmul\] inner sizes differ: \(2,3\) x \(4,5\)$/,
      ],
      [() => b.matmul(b.zeros([2, 2, 3]), b.zeros([3, 3, 5])), 'ShapeError', /batch dims/],
      [() => b.matmul(b.zeros([]), b.zeros([2])), 'ShapeError', /0-d/],
    ],
    bench: { make: (make) => [make.real([1024, 1024]), make.real([1024, 1024])], torch: 'torch.matmul(x0, x1)' },
  },
  {
    name: 'matmulInteger',
    call: b.matmulInteger,
    cases: (make) =>
      [
        [
          [2, 3],
          [3, 4],
        ],
        [
          [5, 0],
          [0, 3],
        ],
        [
          [17, 130],
          [130, 65],
        ],
        [
          [2, 1, 3, 70],
          [4, 70, 2],
        ],
        [
          [3, 300],
          [300, 1],
        ],
      ].map(([x, y]) => bytes(make, x!, y!)),
    reference: product,
    dtypes: ['i8', 'u8'],
    errors: [
      [() => b.matmulInteger(b.zeros([2, 3]), b.zeros([3, 4])), 'DTypeError', /i8 and u8, got f32/],
      [
        () => b.matmulInteger(b.zeros([2, 3], { dtype: 'u8' }), b.zeros([4, 5], { dtype: 'i8' })),
        'ShapeError',
        /^\[matmulInteger\] inner sizes differ: \(2,3\) x \(4,5\)$/,
      ],
    ],
    bench: {
      make: (make) => bytes(make, [1024, 1024], [1024, 1024]),
      torch: 'torch._int_mm(x0, x1)',
    },
  },
  {
    name: 'matmul vectors',
    call: b.matmul,
    cases: (make) => [[make.real([33]), make.real([33])]],
    reference: (x: Nd, y: Nd) => ({
      shape: [],
      data: Float64Array.of(sumOf(Array.from(x.data, (v, i) => v * y.data[i]!))),
    }),
    slack: 20,
    exact: false,
    grad: [0, 1],
  },
  {
    name: 'linear',
    call: b.linear,
    cases: (make) => [
      [make.real([3, 4]), make.real([5, 4]), make.real([5])],
      [make.real([2, 3, 33]), make.real([17, 33]), make.real([17])],
      [make.real([4]), make.real([2, 4]), make.real([2])],
    ],
    reference: (x: Nd, w: Nd, c: Nd) =>
      nd([...x.shape.slice(0, -1), w.shape[0]!], (index) => {
        const j = index[index.length - 1]!;
        let total = c.data[j]!;
        for (let k = 0; k < w.shape[1]!; k++) total += get(x, [...index.slice(0, -1), k]) * get(w, [j, k]);
        return total;
      }),
    dtypes: floats,
    slack: 20,
    exact: false,
    grad: [0, 1, 2],
    gradCases: (make) => [[make.real([3, 4]), make.real([2, 4]), make.real([2])]],
    errors: [
      [() => b.linear(b.zeros([2, 3]), b.zeros([4, 5])), 'ShapeError', /last size/],
      [() => b.linear(b.zeros([2, 3]), b.zeros([4, 3]), b.zeros([3])), 'ShapeError', /bias/],
    ],
    bench: {
      make: (make) => [make.real([1024, 1024]), make.real([1024, 1024]), make.real([1024])],
      torch: 'torch.nn.functional.linear(x0, x1, x2)',
    },
  },
  ...convs.map(
    ([x, w, options], i): Sample => ({
      name: i === 0 ? 'conv2d' : `conv2d ${i}`,
      call: (a: Tensor, k: Tensor, c: Tensor) => b.conv2d(a, k, c, options),
      cases: (make) => [[make.real(x), make.real(w), make.real([w[0]!])]],
      reference: (a: Nd, k: Nd, c: Nd) => convReference(a, k, c, options),
      dtypes: floats,
      slack: 20,
      exact: false,
      grad: [0, 1, 2],
      gradCases: (make) => [
        [
          make.real([1, x[1]!, 5, 4]),
          make.real([w[0]! > 4 ? 2 * (options.groups ?? 1) : w[0]!, w[1]!, Math.min(w[2]!, 3), Math.min(w[3]!, 3)]),
          make.real([w[0]! > 4 ? 2 * (options.groups ?? 1) : w[0]!]),
        ],
      ],
      ...(i === 0
        ? {
            errors: [
              [() => b.conv2d(b.zeros([1, 3, 8, 8]), b.zeros([4, 2, 3, 3])), 'ShapeError', /3 channels in 1 groups/],
              [() => b.conv2d(b.zeros([1, 3, 2, 2]), b.zeros([4, 3, 3, 3])), 'ShapeError', /does not fit/],
              [
                () => b.conv2d(b.zeros([1, 3, 8, 8]), b.zeros([4, 3, 3, 3]), null, { stride: 0 }),
                'ArgumentError',
                /stride/,
              ],
            ] as const,
            bench: {
              make: (make) => [make.real([8, 64, 56, 56]), make.real([64, 64, 3, 3]), make.real([64])],
              torch: 'torch.nn.functional.conv2d(x0, x1, x2)',
            } as Sample['bench'],
          }
        : {}),
    }),
  ),
  {
    name: 'maxPool2d',
    call: (x: Tensor, k: number, stride: number, padding: number) => b.maxPool2d(x, k, { stride, padding }),
    cases: (make) => [
      [make.distinct([2, 3, 8, 8]), 2, 2, 0],
      [make.distinct([1, 2, 7, 9]), 3, 2, 1],
      [make.distinct([1, 1, 33, 40]), 2, 2, 0],
    ],
    reference: (x: Nd, k: number, stride: number, padding: number) =>
      pool(x, k, stride, padding, (v) => Math.max(...v)),
    dtypes: floats,
    grad: [0],
    gradCases: (make) => [[make.distinct([1, 2, 5, 6]), 3, 2, 1]],
    errors: [
      [() => b.maxPool2d(b.zeros([1, 1, 2, 2]), 3), 'ShapeError', /does not fit/],
      [() => b.maxPool2d(b.zeros([1, 1, 4, 4]), 2, { padding: 2 }), 'ArgumentError', /half of the kernel/],
    ],
    bench: { make: (make) => [make.real([8, 32, 64, 64]), 2, 2, 0], torch: 'torch.nn.functional.max_pool2d(x0, 2, 2)' },
  },
  {
    name: 'avgPool2d',
    call: (x: Tensor, k: number, stride: number, padding: number) =>
      b.avgPool2d(x, k, { stride, padding, countIncludePad: false }),
    cases: (make) => [
      [make.real([2, 3, 8, 8]), 2, 2, 0],
      [make.real([1, 2, 7, 9]), 3, 2, 1],
    ],
    reference: (x: Nd, k: number, stride: number, padding: number) =>
      pool(x, k, stride, padding, (v) => sumOf(v) / v.length),
    dtypes: floats,
    slack: 4,
    exact: false,
    grad: [0],
    gradCases: (make) => [[make.real([1, 2, 5, 6]), 3, 2, 1]],
    bench: { make: (make) => [make.real([8, 32, 64, 64]), 2, 2, 0], torch: 'torch.nn.functional.avg_pool2d(x0, 2, 2)' },
  },
  {
    name: 'adaptiveAvgPool2d',
    call: (x: Tensor) => b.adaptiveAvgPool2d(x, [3, 2]),
    cases: (make) => [[make.real([2, 3, 8, 7])]],
    reference: (x: Nd) =>
      nd([x.shape[0]!, x.shape[1]!, 3, 2], ([i, c, y, z]) => {
        const edge = (p: number, n: number, out: number) =>
          [Math.floor((p * n) / out), Math.ceil(((p + 1) * n) / out)] as const;
        const [y0, y1] = edge(y!, x.shape[2]!, 3);
        const [z0, z1] = edge(z!, x.shape[3]!, 2);
        let total = 0;
        for (let a = y0; a < y1; a++) for (let d = z0; d < z1; d++) total += get(x, [i!, c!, a, d]);
        return total / ((y1 - y0) * (z1 - z0));
      }),
    dtypes: ['f32', 'f64'],
    slack: 4,
    exact: false,
    grad: [0],
    gradCases: (make) => [[make.real([1, 2, 5, 4])]],
    bench: {
      make: (make) => [make.real([8, 32, 64, 64])],
      torch: 'torch.nn.functional.adaptive_avg_pool2d(x0, (3, 2))',
    },
  },
  ...(['softmax', 'logSoftmax'] as const).map(
    (name): Sample => ({
      name,
      call: (x: Tensor, dim: number) => b[name](x, dim),
      cases: (make) => [
        [make.real([7]), 0],
        [make.real([3, 5]), -1],
        [make.real([3, 5]), 0],
        [make.real([2, 3, 4]), 1],
        [make.real([3, 1037]), 1],
        [make.real([2, 0]), 0],
      ],
      reference: (x: Nd, dim: number) =>
        name === 'softmax' ? softmaxReference(x, dim) : map(Math.log, softmaxReference(x, dim)),
      dtypes: floats,
      slack: 4,
      exact: false,
      grad: [0],
      gradCases: (make) => [
        [make.real([3, 4]), 1],
        [make.real([3, 4]), 0],
      ],
      errors: [
        [() => b[name](b.zeros([2]), 1), 'IndexError', /dim 1/],
        [() => b[name](b.zeros([2], { dtype: 'i32' })), 'DTypeError', /needs floats/],
      ],
      bench: {
        make: (make) => [make.real([1024, 1024]), 1],
        torch: name === 'softmax' ? 'torch.softmax(x0, 1)' : 'torch.log_softmax(x0, 1)',
      },
    }),
  ),
  {
    name: 'layerNorm',
    call: (x: Tensor, w: Tensor, c: Tensor) => b.layerNorm(x, w.shape, w, c),
    cases: (make) => [
      [make.real([3, 5]), make.real([5]), make.real([5])],
      [make.real([2, 3, 4]), make.real([3, 4]), make.real([3, 4])],
      [make.real([4, 1037]), make.real([1037]), make.real([1037])],
    ],
    reference: (x: Nd, w: Nd, c: Nd) =>
      normalise(x, x.shape.map((_, d) => d).slice(x.shape.length - w.shape.length), w, c),
    dtypes: floats,
    slack: 20,
    exact: false,
    grad: [0, 1, 2],
    gradCases: (make) => [[make.real([3, 4]), make.real([4]), make.real([4])]],
    errors: [[() => b.layerNorm(b.zeros([2, 3]), [4]), 'ShapeError', /last dims/]],
    bench: {
      make: (make) => [make.real([1024, 1024]), make.real([1024]), make.real([1024])],
      torch: 'torch.nn.functional.layer_norm(x0, (1024,), x1, x2)',
    },
  },
  {
    name: 'batchNorm',
    call: (x: Tensor, w: Tensor, c: Tensor) => b.batchNorm(x, null, w, c),
    cases: (make) => [
      [make.real([4, 3]), make.real([3]), make.real([3])],
      [make.real([2, 3, 4, 5]), make.real([3]), make.real([3])],
      [make.real([3, 2, 300]), make.real([2]), make.real([2])],
    ],
    reference: (x: Nd, w: Nd, c: Nd) =>
      normalise(
        x,
        x.shape.map((_, d) => d).filter((d) => d !== 1),
        channels(w, x.shape.length),
        channels(c, x.shape.length),
      ),
    dtypes: ['f32', 'f64'],
    slack: 20,
    exact: false,
    grad: [0, 1, 2],
    gradCases: (make) => [[make.real([4, 2, 3]), make.real([2]), make.real([2])]],
    errors: [[() => b.batchNorm(b.zeros([1, 3]), null), 'ShapeError', /more than one value/]],
    bench: {
      make: (make) => [make.real([8, 32, 64, 64]), make.real([32]), make.real([32])],
      torch: 'torch.nn.functional.batch_norm(x0, None, None, x1, x2, training=True)',
    },
  },
  loss('mseLoss', b.mseLoss, (x, y) => (x - y) ** 2, [-2, 2], 'torch.nn.functional.mse_loss(x0, x1)'),
  loss('l1Loss', b.l1Loss, (x, y) => Math.abs(x - y), [-2, 2], 'torch.nn.functional.l1_loss(x0, x1)'),
  loss(
    'smoothL1Loss',
    b.smoothL1Loss,
    (x, y) => (Math.abs(x - y) < 1 ? 0.5 * (x - y) ** 2 : Math.abs(x - y) - 0.5),
    [-0.4, 0.4],
    'torch.nn.functional.smooth_l1_loss(x0, x1)',
  ),
  loss(
    'huberLoss',
    b.huberLoss,
    (x, y) => (Math.abs(x - y) < 1 ? 0.5 * (x - y) ** 2 : Math.abs(x - y) - 0.5),
    [-0.4, 0.4],
    'torch.nn.functional.huber_loss(x0, x1)',
  ),
  loss(
    'binaryCrossEntropy',
    b.binaryCrossEntropy,
    (x, y) => -(y * Math.log(x) + (1 - y) * Math.log(1 - x)),
    [0.1, 0.9],
    'torch.nn.functional.binary_cross_entropy(x0, x1)',
  ),
  loss(
    'binaryCrossEntropyWithLogits',
    b.binaryCrossEntropyWithLogits,
    (x, y) => Math.max(x, 0) - x * y + Math.log1p(Math.exp(-Math.abs(x))),
    [0.1, 0.9],
    'torch.nn.functional.binary_cross_entropy_with_logits(x0, x1)',
  ),
  loss('klDivLoss', b.klDivLoss, (x, y) => y * (Math.log(y) - x), [0.1, 0.9], 'torch.nn.functional.kl_div(x0, x1)'),
  {
    ...pairLoss('crossEntropy', {}, 'torch.nn.functional.cross_entropy(x0, x1.long())'),
    errors: [
      [() => b.crossEntropy(b.zeros([2, 3]), b.full([2], 3, { dtype: 'i32' })), 'IndexError', /index 3/],
      [() => b.crossEntropy(b.zeros([2, 3]), b.zeros([3], { dtype: 'i32' })), 'ShapeError', /want targets \(2\)/],
      [() => b.crossEntropy(b.zeros([2, 3]), b.zeros([2], { dtype: 'bool' })), 'DTypeError', /class indices/],
    ],
  },
  pairLoss(
    'crossEntropy smoothed',
    { smoothing: 0.1 },
    'torch.nn.functional.cross_entropy(x0, x1.long(), label_smoothing=0.1)',
  ),
  pairLoss(
    'crossEntropy weighted',
    { weighted: true, smoothing: 0.2 },
    'torch.nn.functional.cross_entropy(x0, x1.long(), label_smoothing=0.2)',
  ),
  pairLoss(
    'crossEntropy ignoring',
    { ignore: true },
    'torch.nn.functional.cross_entropy(x0, x1.long(), ignore_index=0)',
  ),
  {
    name: 'nllLoss',
    call: (x: Tensor, target: Tensor) => b.nllLoss(b.logSoftmax(x, 1), target),
    cases: (make) => [[make.real([4, 5]), make.index([4], 0, 5)]],
    reference: (x: Nd, target: Nd) => crossEntropyReference(x, target, null, 0, -100),
    fixed: [1],
    slack: 4,
    grad: [0],
    bench: {
      make: (make) => [make.real([4096, 256]), make.index([4096], 0, 256)],
      torch: 'torch.nn.functional.nll_loss(torch.log_softmax(x0, 1), x1.long())',
    },
  },
];
