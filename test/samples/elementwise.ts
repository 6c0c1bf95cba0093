/** Rows of elementwise ops. References are JavaScript's own Math, or a few lines of it. */
import * as b from '../../lib/index.js';
import type { DType, Tensor } from '../../lib/index.js';
import { type Make, map, type Nd, type Sample } from './sample.js';

const floats: DType[] = ['f32', 'f64', 'f16', 'bf16'];
const numbers: DType[] = [...floats, 'i8', 'u8', 'i32', 'i64'];
const every: DType[] = [...numbers, 'bool'];
const integers: DType[] = ['i8', 'u8', 'i32', 'i64', 'bool'];

const erf = (x: number): number => {
  // Taylor series near 0, continued fraction of erfc elsewhere: both converge to double precision.
  if (Math.abs(x) > 6) return Math.sign(x);
  if (Math.abs(x) < 2.5) {
    let term = x;
    let total = x;
    for (let n = 1; n < 200; n++) {
      term *= (-x * x) / n;
      total += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * total;
  }
  return Math.sign(x) * (1 - erfcTail(Math.abs(x)));
};
const erfcTail = (x: number): number => {
  let f = 0;
  for (let k = 60; k >= 1; k--) f = k / 2 / (x + f);
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + f);
};
const erfc = (x: number): number => (x > 2.5 ? erfcTail(x) : 1 - erf(x));
const roundEven = (x: number): number => {
  const r = Math.round(x);
  return Math.abs(x % 1) === 0.5 && r % 2 !== 0 ? r - 1 : r;
};
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

interface UnaryOptions {
  range?: readonly [number, number];
  dtypes?: readonly DType[];
  grad?: boolean;
  edges?: boolean;
  slack?: number;
  torch?: string;
  firstOrder?: boolean;
}
const shapes = [[], [0], [1], [7], [2, 3], [3, 1, 5], [4, 33], [2, 0, 3], [1037]];

function unary(name: string, fn: (x: number) => number, options: UnaryOptions = {}): Sample {
  const [low, high] = options.range ?? [-3, 3];
  const call = (b as unknown as Record<string, (x: Tensor) => Tensor>)[name]!;
  return {
    name,
    call,
    cases: (make) => [
      ...shapes.map((shape) => [make.real(shape, low, high)]),
      ...((options.edges ?? true) && floats.includes(make.dtype) ? [[make.edges()]] : []),
    ],
    reference: (x: Nd) => map(fn, x),
    dtypes: options.dtypes ?? floats,
    ...(options.grad === false
      ? {}
      : { grad: [0], gradCases: (make: Make) => [[make.real([2, 3], low, high)], [make.real([], low, high)]] }),
    ...(options.slack ? { slack: options.slack } : {}),
    ...(options.firstOrder ? { firstOrder: true } : {}),
    errors: [
      [() => call([1, 2] as never), 'ArgumentError', /wrap it: tensor\(\[\.\.\.\]\)/],
      [() => call(undefined as never), 'ArgumentError', /expected a tensor/],
    ],
    bench: { make: (make) => [make.real([1024, 1024], low, high)], torch: options.torch ?? `torch.${name}(x0)` },
  };
}

type BinaryOptions = Omit<UnaryOptions, 'range'> & {
  range?: readonly [number, number];
  second?: readonly [number, number];
};
const pairs = [
  [
    [2, 3],
    [2, 3],
  ],
  [
    [4, 1, 3],
    [2, 1],
  ],
  [[5], []],
  [[], [5]],
  [[0], [1]],
  [[3, 257], [257]],
  [
    [2, 3, 4, 5],
    [3, 1, 1],
  ],
] as const;

function binary(name: string, fn: (x: number, y: number) => number, options: BinaryOptions = {}): Sample {
  const [low, high] = options.range ?? [-3, 3];
  const [low2, high2] = options.second ?? [low, high];
  const call = (b as unknown as Record<string, (x: Tensor | number, y: Tensor | number) => Tensor>)[name]!;
  return {
    name,
    call,
    cases: (make) => [
      ...pairs.map(([x, y]) => [make.real(x, low, high), make.real(y, low2, high2)]),
      ...(make.dtype === 'bool'
        ? []
        : [
            [make.real([3, 5], low, high), 2],
            [3, make.real([4], low2, high2)],
          ]),
      ...((options.edges ?? true) && floats.includes(make.dtype)
        ? [[b.reshape(make.edges(), [-1, 1]), make.edges()]]
        : []),
    ],
    reference: (x: Nd | number, y: Nd | number) => map(fn, x, y),
    dtypes: options.dtypes ?? numbers,
    ...(options.grad === false
      ? {}
      : { grad: [0, 1], gradCases: (make: Make) => [[make.real([2, 3], low, high), make.real([3], low2, high2)]] }),
    ...(options.slack ? { slack: options.slack } : {}),
    errors: [
      [() => call(b.zeros([2, 3]), b.zeros([4])), 'ShapeError', /do not broadcast: \(2,3\) and \(4\)/],
      [() => call(b.zeros([2]), '1' as never), 'ArgumentError', /a tensor or a number/],
      ...(name.startsWith('bitwise')
        ? ([[() => call(b.zeros([2]), b.zeros([2])), 'DTypeError', /needs integers/]] as const)
        : ([[() => call(b.zeros([2], { dtype: 'i32' }), 0.5), 'DTypeError', /0\.5 does not fit/]] as const).slice(
            options.torch === 'float' ? 1 : 0,
          )),
    ],
    bench: {
      make: (make) => [make.real([1024, 1024], low, high), make.real([1024, 1024], low2, high2)],
      torch: torchName(name, options.torch),
    },
  };
}
const torchName = (name: string, torch?: string): string =>
  torch && torch !== 'float' ? torch : `torch.${name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)}(x0, x1)`;
const bool = (fn: (x: number, y: number) => boolean) => (x: number, y: number) => (fn(x, y) ? 1 : 0);

export const elementwise: Sample[] = [
  unary('neg', (x) => -x, { dtypes: [...floats, 'i8', 'i32', 'i64'] }),
  unary('abs', Math.abs, { dtypes: numbers, range: [0.2, 3] }),
  unary('sign', (x) => (Number.isNaN(x) ? x : Math.sign(x)), { dtypes: numbers, range: [0.2, 3], edges: false }),
  unary('square', (x) => x * x, { dtypes: numbers }),
  unary('reciprocal', (x) => 1 / x, { range: [0.5, 3] }),
  unary('sqrt', Math.sqrt, { range: [0.1, 4] }),
  unary('rsqrt', (x) => 1 / Math.sqrt(x), { range: [0.1, 4], edges: false }),
  unary('exp', Math.exp),
  unary('expm1', Math.expm1),
  unary('log', Math.log, { range: [0.1, 4] }),
  unary('log1p', Math.log1p, { range: [-0.5, 4] }),
  unary('log2', Math.log2, { range: [0.1, 4] }),
  unary('log10', Math.log10, { range: [0.1, 4] }),
  unary('sin', Math.sin),
  unary('cos', Math.cos),
  unary('tan', Math.tan, { range: [-1.2, 1.2], edges: false, slack: 2 }),
  unary('asin', Math.asin, { range: [-0.9, 0.9] }),
  unary('acos', Math.acos, { range: [-0.9, 0.9] }),
  unary('atan', Math.atan),
  unary('sinh', Math.sinh),
  unary('cosh', Math.cosh),
  unary('tanh', Math.tanh),
  unary('asinh', Math.asinh),
  unary('acosh', Math.acosh, { range: [1.2, 4] }),
  unary('atanh', Math.atanh, { range: [-0.9, 0.9] }),
  unary('erf', erf, { edges: false }),
  unary('erfc', erfc, { edges: false, range: [-2, 2] }),
  unary('floor', Math.floor, { grad: false }),
  unary('ceil', Math.ceil, { grad: false }),
  unary('trunc', Math.trunc, { grad: false }),
  unary('round', roundEven, { grad: false, edges: false }),
  unary('sigmoid', sigmoid),
  unary('silu', (x) => x * sigmoid(x), { edges: false, torch: 'torch.nn.functional.silu(x0)' }),
  unary('relu', (x) => (x > 0 || Number.isNaN(x) ? x : 0), { dtypes: numbers, range: [-3, 3] }),
  unary('gelu', (x) => x * 0.5 * (1 + erf(x / Math.SQRT2)), { edges: false, torch: 'torch.nn.functional.gelu(x0)' }),
  {
    ...unary('gelu', (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))), {
      edges: false,
    }),
    name: 'gelu tanh',
    call: (x: Tensor) => b.gelu(x, { approximate: 'tanh' }),
    errors: [[() => b.gelu(b.zeros([1]), { approximate: 'exact' as never }), 'ArgumentError', /'none' or 'tanh'/]],
    bench: { make: (make) => [make.real([1024, 1024])], torch: "torch.nn.functional.gelu(x0, approximate='tanh')" },
  },
  unary('leakyRelu', (x) => (x > 0 ? x : 0.01 * x), { edges: false, torch: 'torch.nn.functional.leaky_relu(x0)' }),
  unary('elu', (x) => (x > 0 ? x : Math.expm1(x)), { edges: false, torch: 'torch.nn.functional.elu(x0)' }),
  unary('softplus', (x) => Math.log1p(Math.exp(x)), { edges: false, torch: 'torch.nn.functional.softplus(x0)' }),
  unary('logSigmoid', (x) => Math.log(sigmoid(x)), { edges: false, torch: 'torch.nn.functional.logsigmoid(x0)' }),
  unary('relu6', (x) => Math.min(Math.max(x, 0), 6), { edges: false, torch: 'torch.nn.functional.relu6(x0)' }),
  unary('hardswish', (x) => (x * Math.min(Math.max(x + 3, 0), 6)) / 6, {
    range: [-2.5, 2.5],
    edges: false,
    torch: 'torch.nn.functional.hardswish(x0)',
  }),
  unary('hardsigmoid', (x) => Math.min(Math.max(x + 3, 0), 6) / 6, {
    range: [-2.5, 2.5],
    edges: false,
    torch: 'torch.nn.functional.hardsigmoid(x0)',
  }),
  unary('mish', (x) => x * Math.tanh(Math.log1p(Math.exp(x))), { edges: false, torch: 'torch.nn.functional.mish(x0)' }),
  unary('isnan', (x) => (Number.isNaN(x) ? 1 : 0), { grad: false }),
  unary('isinf', (x) => (Math.abs(x) === Number.POSITIVE_INFINITY ? 1 : 0), { grad: false }),
  unary('isfinite', (x) => (Number.isFinite(x) ? 1 : 0), { grad: false }),
  unary('logicalNot', (x) => (x === 0 ? 1 : 0), { grad: false, dtypes: every, torch: 'torch.logical_not(x0)' }),
  unary('bitwiseNot', (x) => ~x, {
    grad: false,
    dtypes: ['i8', 'i32', 'i64'],
    edges: false,
    torch: 'torch.bitwise_not(x0)',
  }),
  binary('add', (x, y) => x + y),
  binary('sub', (x, y) => x - y, { range: [2, 5], second: [0, 2] }),
  binary('mul', (x, y) => x * y),
  binary('div', (x, y) => x / y, { second: [0.5, 3], torch: 'float' }),
  binary(
    'pow',
    (x, y) =>
      Number.isNaN(y) || (Math.abs(x) === 1 && !Number.isFinite(y))
        ? x === 1
          ? 1
          : Math.abs(x) === 1 && !Number.isNaN(y)
            ? 1
            : Number.NaN
        : x ** y,
    {
      range: [0.5, 3],
      second: [0.5, 2.5],
      dtypes: floats,
      edges: false,
      slack: 4,
    },
  ),
  {
    ...binary('pow', (x, y) => x ** y, { dtypes: ['i32', 'i64'], grad: false, range: [0, 5], second: [0, 4] }),
    name: 'pow integers',
    errors: [],
  },
  binary('floorDivide', (x, y) => Math.floor(x / y), {
    range: [-9, 9],
    second: [1, 4],
    dtypes: ['f64', 'i8', 'i32', 'i64'],
    grad: false,
    edges: false,
  }),
  binary('remainder', (x, y) => x - Math.floor(x / y) * y, {
    range: [0, 9],
    second: [2, 4],
    dtypes: ['f32', 'f64', 'i32', 'i64'],
    grad: false,
    edges: false,
  }),
  binary('fmod', (x, y) => x % y, {
    range: [-9, 9],
    second: [2, 4],
    dtypes: ['f32', 'f64', 'i32', 'i64'],
    grad: false,
    edges: false,
  }),
  binary('maximum', (x, y) => (Number.isNaN(x) || Number.isNaN(y) ? Number.NaN : Math.max(x, y)), { dtypes: every }),
  binary('minimum', (x, y) => (Number.isNaN(x) || Number.isNaN(y) ? Number.NaN : Math.min(x, y)), { dtypes: every }),
  binary('atan2', Math.atan2, { range: [0.3, 3], dtypes: floats, edges: false, torch: 'float' }),
  binary(
    'eq',
    bool((x, y) => x === y),
    { grad: false, dtypes: every },
  ),
  binary(
    'ne',
    bool((x, y) => x !== y),
    { grad: false, dtypes: every },
  ),
  binary(
    'lt',
    bool((x, y) => x < y),
    { grad: false, dtypes: every },
  ),
  binary(
    'le',
    bool((x, y) => x <= y),
    { grad: false, dtypes: every },
  ),
  binary(
    'gt',
    bool((x, y) => x > y),
    { grad: false, dtypes: every },
  ),
  binary(
    'ge',
    bool((x, y) => x >= y),
    { grad: false, dtypes: every },
  ),
  binary(
    'logicalAnd',
    bool((x, y) => x !== 0 && y !== 0),
    { grad: false, dtypes: every },
  ),
  binary(
    'logicalOr',
    bool((x, y) => x !== 0 || y !== 0),
    { grad: false, dtypes: every },
  ),
  binary(
    'logicalXor',
    bool((x, y) => (x !== 0) !== (y !== 0)),
    { grad: false, dtypes: every },
  ),
  binary('bitwiseAnd', (x, y) => x & y, { grad: false, dtypes: integers, edges: false }),
  binary('bitwiseOr', (x, y) => x | y, { grad: false, dtypes: integers, edges: false }),
  binary('bitwiseXor', (x, y) => x ^ y, { grad: false, dtypes: integers, edges: false }),
  binary('bitwiseLeftShift', (x, y) => x << y, {
    grad: false,
    dtypes: ['i32', 'i64'],
    range: [0, 9],
    second: [0, 4],
    edges: false,
  }),
  binary('bitwiseRightShift', (x, y) => x >> y, {
    grad: false,
    dtypes: ['i32', 'i64'],
    range: [-99, 99],
    second: [0, 4],
    edges: false,
  }),
  {
    name: 'reluGrad',
    call: b.reluGrad,
    cases: (make) => [[make.real([3, 5]), make.real([3, 5])]],
    reference: (g: Nd, y: Nd) => map((a, c) => (c > 0 ? a : 0), g, y),
    grad: [0],
    bench: {
      make: (make) => [make.real([1024, 1024]), make.real([1024, 1024])],
      torch: 'torch.ops.aten.threshold_backward(x0, x1, 0)',
    },
  },
  {
    name: 'where',
    call: b.where,
    cases: (make) => [
      [make.mask([2, 3]), make.real([2, 3]), make.real([3])],
      [make.mask([3, 1]), make.real([1, 4]), 1],
      [make.mask([0]), 1, make.real([0])],
    ],
    reference: (c: Nd, x: Nd | number, y: Nd | number) => map((p, q, r) => (p ? q : r), c, x, y),
    dtypes: [...numbers],
    fixed: [0],
    grad: [1, 2],
    gradCases: (make) => [[make.mask([2, 3]), make.real([2, 3]), make.real([3])]],
    errors: [[() => b.where(b.ones([2]), b.ones([3]), 0), 'ShapeError', /do not broadcast/]],
    bench: {
      make: (make) => [make.mask([1024, 1024]), make.real([1024, 1024]), make.real([1024, 1024])],
      torch: 'torch.where(x0, x1, x2)',
    },
  },
  {
    name: 'clamp',
    call: b.clamp,
    cases: (make) => [
      [make.real([4, 5]), -1, 1],
      [make.real([7]), make.real([7], -2, -1), make.real([7], 1, 2)],
      [make.real([0]), 0, 1],
    ],
    reference: (x: Nd, low: Nd | number, high: Nd | number) =>
      map((v, l, h) => Math.min(Math.max(v, l), h), x, low, high),
    dtypes: [...floats, 'i32', 'i64'],
    grad: [0],
    errors: [[() => b.clamp(b.ones([2]), null), 'ArgumentError', /a lower bound, an upper bound/]],
    bench: { make: (make) => [make.real([1024, 1024]), -1, 1], torch: 'torch.clamp(x0, x1, x2)' },
  },
  {
    name: 'lerp',
    call: b.lerp,
    cases: (make) => [
      [make.real([2, 3]), make.real([3]), 0.3],
      [make.real([5]), make.real([5]), make.real([5], 0, 1)],
    ],
    reference: (x: Nd, y: Nd, w: Nd | number) => map((p, q, r) => p + r * (q - p), x, y, w),
    dtypes: floats,
    slack: 4,
    grad: [0, 1],
    bench: { make: (make) => [make.real([1024, 1024]), make.real([1024, 1024]), 0.3], torch: 'torch.lerp(x0, x1, x2)' },
  },
  {
    name: 'addcmul',
    call: b.addcmul,
    cases: (make) => [[make.real([2, 3]), make.real([3]), make.real([2, 1])]],
    reference: (x: Nd, y: Nd, z: Nd) => map((p, q, r) => p + q * r, x, y, z),
    dtypes: [...floats, 'i32', 'i64'],
    slack: 4,
    grad: [0, 1, 2],
    bench: {
      make: (make) => [make.real([1024, 1024]), make.real([1024, 1024]), make.real([1024, 1024])],
      torch: 'torch.addcmul(x0, x1, x2)',
    },
  },
  {
    name: 'cast',
    call: (x: Tensor) => b.cast(x, 'f64'),
    cases: (make) => [[make.real([2, 3], 0, 100)], [make.real([0])], [make.real([1037], 0, 100)]],
    reference: (x: Nd) => map((v) => v, x),
    dtypes: every,
    grad: [0],
    errors: [[() => b.cast(b.ones([1]), 'float' as never), 'ArgumentError', /unknown dtype float/]],
    bench: { make: (make) => [make.real([1024, 1024])], torch: 'x0.to(torch.float64)' },
  },
  {
    name: 'clone',
    call: b.clone,
    cases: (make) => [[make.real([2, 3])], [make.real([])], [make.real([0])]],
    reference: (x: Nd) => map((v) => v, x),
    dtypes: every,
    grad: [0],
    bench: { make: (make) => [make.real([1024, 1024])], torch: 'x0.clone()' },
  },
];
