/** What the instructions of random graphs do. Each takes its operands from what is there, or does nothing where none fits. */
import { cat, conv2d, type DType, gradients, layerNorm, linear, noGrad, type Tensor, where, zeros } from 'brasa';
import { isFloat, type Made, type Run, roundoff, type Value } from './graph.js';

type Operation = (run: Run, picks: readonly number[]) => void;

const float = ({ x }: Value): boolean => isFloat(x.dtype);
const integer = ({ x }: Value): boolean => x.dtype === 'i32' || x.dtype === 'i64';
const bool = ({ x }: Value): boolean => x.dtype === 'bool';
const numeric = (v: Value): boolean => !bool(v);
const exact = ({ error }: Value): boolean => error === 0;
const atLeast =
  (ndim: number) =>
  ({ x }: Value): boolean =>
    x.ndim >= ndim;
const all =
  (...tests: ((v: Value) => boolean)[]) =>
  (v: Value): boolean =>
    tests.every((test) => test(v));

/** The shape of both, broadcast. */
function fits(a: readonly number[], b: readonly number[]): boolean {
  const ndim = Math.min(a.length, b.length);
  return Array.from({ length: ndim }, (_, i) => [a.at(-1 - i)!, b.at(-1 - i)!]).every(
    ([m, n]) => m === n || m === 1 || n === 1,
  );
}
const broadcastsTo = (a: readonly number[], b: readonly number[]): boolean =>
  a.length <= b.length && a.every((n, i) => n === 1 || n === b[i + b.length - a.length]);
const same = (a: readonly number[], b: readonly number[]): boolean => `${a}` === `${b}`;

const NUMBERS = [2, -1, 0.5, 3, 0.25, 0];

/**
 * A value as operand of a function whose slope jumps at 0. Where it is 0 but for rounding, the gradient would be a matter of luck:
 * so something is added to computed values, and none is asked for in bf16, which rounds far.
 */
function offKink(v: Value, by: number): [string, Tensor] {
  if (!float(v) || exact(v)) return [v.name, v.x];
  const x = v.x.add(by);
  return v.error < roundoff('bf16') ? [`${v.name} + ${by}`, x] : [`(${v.name} + ${by}).detach()`, x.detach()];
}

/** Rounded so far that which of two values is greater may be a matter of luck. */
const coarse = (v: Value): boolean => float(v) && !exact(v) && v.error >= roundoff('bf16');

/** An op of one value. */
const unary =
  (ok: (v: Value) => boolean, fn: (v: Value, picks: readonly number[]) => Omit<Made, 'from'> | null): Operation =>
  (run, [at, ...picks]) => {
    const v = run.pick(at!, ok);
    const made = v && fn(v, picks);
    if (made) run.add({ ...made, from: [v] });
  };

const FUNCTIONS: readonly [string, (x: Tensor) => Tensor, (bound: number) => number][] = [
  ['tanh', (x) => x.tanh(), () => 1],
  ['sigmoid', (x) => x.sigmoid(), () => 1],
  ['square', (x) => x.square(), (b) => b * b],
  ['sin', (x) => x.sin(), () => 1],
  ['exp', (x) => x.tanh().exp(), () => Math.E],
  ['sqrt', (x) => x.square().add(0.5).sqrt(), (b) => b + 0.5],
  ['log', (x) => x.square().add(0.5).log(), (b) => 2 * b],
  ['rsqrt', (x) => x.square().add(0.5).rsqrt(), () => 1.5],
  ['gelu', (x) => x.gelu(), (b) => b],
  ['silu', (x) => x.silu(), (b) => b],
  ['softplus', (x) => x.softplus(), (b) => b + 1],
  ['elu', (x) => x.elu(), (b) => Math.max(1, b)],
];

/** Functions with kinks, and what is added to their operands. */
const KINKED: readonly [string, (x: Tensor) => Tensor, number][] = [
  ['abs', (x) => x.abs(), 0.0371],
  ['relu', (x) => x.maximum(0), 0.0523],
  ['clamp(-1, 1)', (x) => x.clamp(-1, 1), 0.0719],
];

const ARITHMETIC: readonly [string, (x: Tensor, y: Tensor | number) => Tensor, (a: number, b: number) => number][] = [
  ['add', (x, y) => x.add(y), (a, b) => a + b],
  ['sub', (x, y) => x.sub(y), (a, b) => a + b],
  ['mul', (x, y) => x.mul(y), (a, b) => a * b],
  ['maximum', (x, y) => x.maximum(y), Math.max],
  ['minimum', (x, y) => x.minimum(y), Math.max],
];

/** A dim, or all of them. */
function someDims(x: Tensor, n: number): number[] | undefined {
  const d = n % (x.ndim + 1);
  return d === x.ndim ? undefined : [d];
}
const count = (x: Tensor, dims: readonly number[] | undefined): number => (dims ? x.shape[dims[0]!]! : x.size);

const REDUCTIONS: readonly [
  string,
  (x: Tensor, dims: number[] | undefined, keepDim: boolean) => Tensor,
  (b: number, n: number) => number,
][] = [
  ['sum', (x, d, keepDim) => x.sum(d, { keepDim }), (b, n) => b * n],
  ['mean', (x, d, keepDim) => x.mean(d, { keepDim }), (b) => b],
  ['amax', (x, d, keepDim) => x.amax(d, { keepDim }), (b) => b],
  ['amin', (x, d, keepDim) => x.amin(d, { keepDim }), (b) => b],
  ['variance', (x, d, keepDim) => x.variance(d, { keepDim, correction: 0 }), (b) => b * b],
  ['logsumexp', (x, d, keepDim) => x.logsumexp(d, { keepDim }), (b, n) => b + Math.log(n)],
  ['norm', (x, d, keepDim) => x.square().add(0.25).sum(d, { keepDim }).sqrt(), (b, n) => Math.sqrt((b * b + 0.25) * n)],
];

/** A view: [text, tensor], or null where there is none. */
const VIEWS: readonly ((x: Tensor, a: number, b: number) => [string, Tensor] | null)[] = [
  (x) => (x.ndim < 2 ? null : ['transpose()', x.transpose()]),
  (x, a) => {
    if (x.ndim === 0) return null;
    const dims = x.shape.map((_, d) => (d + a) % x.ndim);
    return [`permute([${dims}])`, x.permute(dims)];
  },
  (x, a, b) => {
    if (x.ndim === 0) return null;
    const d = a % x.ndim;
    const n = x.shape[d]!;
    const start = b % n;
    const step = 1 + (b % 2);
    return [`slice(${d}, ${start}, ${n}, ${step})`, x.slice(d, start, n, step)];
  },
  (x, a, b) => {
    if (x.ndim === 0) return null;
    const d = a % x.ndim;
    return [`select(${d}, ${b % x.shape[d]!})`, x.select(d, b % x.shape[d]!)];
  },
  (x, a) => (x.ndim > 3 ? null : [`unsqueeze(${a % (x.ndim + 1)})`, x.unsqueeze(a % (x.ndim + 1))]),
  (x) => ['reshape([-1])', x.reshape([-1])],
  (x, a) => {
    const half = x.shape.findIndex((n) => n > 2 && n % 2 === 0);
    if (half < 0 || a % 2) return ['reshape([1, -1])', x.reshape([1, -1])];
    return [`unflatten(${half}, [2, -1])`, x.unflatten(half, [2, -1])];
  },
  (x, a) => {
    const shape = [2 + (a % 2), ...x.shape].map((n, d) => (d > 0 && n === 1 ? 3 : n));
    return shape.length > 4 ? null : [`expand([${shape}])`, x.expand(shape)];
  },
];

const view: Operation = (run, [at, which, a, b]) => {
  const v = run.pick(at!)!;
  const made = VIEWS[which! % VIEWS.length]!(v.x, a!, b!);
  if (made) run.add({ x: made[1], text: `${v.name}.${made[0]}`, from: [v], bound: v.bound, exact: true, view: true });
};

const elementwise = unary(float, ({ x, name, bound }, [which]) => {
  const [fn, apply, boundOf] = FUNCTIONS[which! % FUNCTIONS.length]!;
  return { x: apply(x), text: `${fn}(${name})`, bound: boundOf(bound) };
});

const arithmetic: Operation = (run, [at, other, which]) => {
  const v = run.pick(at!, numeric);
  if (!v) return;
  const [fn, apply, boundOf] = ARITHMETIC[which! % ARITHMETIC.length]!;
  const chooses = fn === 'maximum' || fn === 'minimum';
  const w = run.pick(other!, (value) => numeric(value) && fits(v.x.shape, value.x.shape));
  const number = NUMBERS.filter((n) => float(v) || Number.isInteger(n))[other! % 4]!;
  const byNumber = which! % 4 === 3 || !w;
  const [name, x] = chooses ? offKink(v, 0.0297) : [v.name, v.x];
  const lucky = chooses && !byNumber && (coarse(v) || coarse(w));
  run.add({
    x: lucky ? apply(x.detach(), w.x.detach()) : apply(x, byNumber ? number : w.x),
    text: `${fn}(${name}, ${byNumber ? number : w.name})${lucky ? ', both detached' : ''}`,
    from: byNumber ? [v] : [v, w],
    bound: boundOf(v.bound, byNumber ? Math.abs(number) : w.bound) + (chooses ? 1 : 0),
    exact: chooses,
  });
};

const divide: Operation = (run, [at, other]) => {
  const v = run.pick(at!, numeric);
  const w = v && run.pick(other!, (value) => float(value) && fits(v.x.shape, value.x.shape));
  if (!w) return;
  const x = v.x.div(w.x.square().add(0.5));
  run.add({ x, text: `div(${v.name}, square(${w.name}) + 0.5)`, from: [v, w], bound: 2 * v.bound });
};

const compare: Operation = (run, [at, other, which]) => {
  const comparisons = ['gt', 'le', 'eq', 'ne'] as const;
  const fn = comparisons[which! % 4]!;
  // A computed f64 is compared with a number that it all but surely never is.
  const v = run.pick(at!, (value) => exact(value) || value.error === roundoff('f64'));
  if (!v) return;
  const w = run.pick(other!, (value) => exact(value) && fits(v.x.shape, value.x.shape));
  if (!exact(v)) run.add({ x: v.x[fn](0.1234567), text: `${fn}(${v.name}, 0.1234567)`, from: [v], bound: 1 });
  else if (w) run.add({ x: v.x[fn](w.x), text: `${fn}(${v.name}, ${w.name})`, from: [v, w], bound: 1 });
};

const logical: Operation = (run, [at, other, which]) => {
  const v = run.pick(at!, bool);
  const w = v && run.pick(other!, (value) => bool(value) && fits(v.x.shape, value.x.shape));
  if (!w) return;
  const fn = (['logicalAnd', 'logicalOr', 'logicalXor'] as const)[which! % 3]!;
  run.add({ x: v.x[fn](w.x), text: `${fn}(${v.name}, ${w.name})`, from: [v, w], bound: 1 });
};

const select: Operation = (run, [at, first, second]) => {
  const c = run.pick(at!, bool);
  const v = c && run.pick(first!, (value) => fits(c.x.shape, value.x.shape));
  if (!v) return;
  const made = (x: Tensor, other: string, from: Value[], bound: number) =>
    run.add({ x, text: `where(${c.name}, ${v.name}, ${other})`, from, bound: Math.max(v.bound, bound), exact: true });
  const w = run.pick(second!, ({ x }) => x.dtype === v.x.dtype && same(x.shape, v.x.shape));
  if (second! % 3 === 0 && numeric(v)) made(where(c.x, v.x, -1), '-1', [v], 1);
  else if (w) made(where(c.x, v.x, w.x), w.name, [v, w], w.bound);
};

const cast: Operation = (run, [at, to]) => {
  const targets: readonly DType[] = [...run.floats, 'i32', 'bool'];
  const dtype = targets[to! % targets.length]!;
  const v = run.pick(at!, (value) => isFloat(dtype) || exact(value));
  if (v) run.add({ x: v.x.to(dtype), text: `${v.name}.to(${dtype})`, from: [v], bound: v.bound, exact: exact(v) });
};

const reduce = unary(float, (v, [which, over, keep]) => {
  const [fn, apply, boundOf] = REDUCTIONS[which! % REDUCTIONS.length]!;
  const chooses = fn === 'amax' || fn === 'amin';
  const [name, x] = chooses ? offKink(v, 0.0137) : [v.name, v.x];
  const dims = someDims(x, over!);
  const n = count(x, dims);
  const text = `${fn}(${name}, ${dims ? `[${dims}]` : 'all'}${keep! % 2 ? ', keepDim' : ''})`;
  const bound = boundOf(v.bound, n) + (chooses ? 1 : 0);
  return { x: apply(x, dims, keep! % 2 === 1), text, bound, exact: chooses };
});

const reduceExact = unary(exact, ({ x, name, bound }, [which, over]) => {
  const dims = someDims(x, over!);
  const text = (fn: string) => `${fn}(${name}, ${dims ?? 'all'})`;
  if (which! % 2 && x.ndim > 0) return { x: x.argmax(dims?.[0]), text: text('argmax'), bound: x.size };
  if (x.dtype === 'bool') return { x: x.any(dims), text: text('any'), bound: 1 };
  return isFloat(x.dtype) ? null : { x: x.sum(dims), text: text('sum'), bound: bound * count(x, dims) };
});

const scan = unary(all(float, atLeast(1)), ({ x, name, bound }, [over]) => {
  const d = over! % x.ndim;
  return { x: x.cumsum(d), text: `cumsum(${name}, ${d})`, bound: bound * x.shape[d]! };
});

const softmax = unary(all(float, atLeast(1)), ({ x, name, bound }, [over, log]) => {
  const d = over! % x.ndim;
  if (log! % 2 === 0) return { x: x.softmax(d), text: `softmax(${name}, ${d})`, bound: 1 };
  return { x: x.logSoftmax(d), text: `logSoftmax(${name}, ${d})`, bound: 2 * bound + Math.log(x.shape[d]!) };
});

const normalise = unary(all(float, atLeast(1)), ({ x, name }) => {
  const n = x.shape.at(-1)!;
  // A large eps: the slope stays small where all elements are alike.
  return { x: layerNorm(x, [n], null, null, { eps: 0.5 }), text: `layerNorm(${name})`, bound: Math.sqrt(n) };
});

const matmul: Operation = (run, [at, other, activation]) => {
  const v = run.pick(at!, all(float, atLeast(2)));
  if (!v) return;
  const inner = v.x.shape.at(-1)!;
  const batch = v.x.shape.slice(0, -2);
  const fitting = (turned: boolean) => (value: Value) =>
    float(value) &&
    value.x.ndim >= 2 &&
    value.x.shape.at(turned ? -1 : -2) === inner &&
    fits(batch, value.x.shape.slice(0, -2));
  const turned = run.pick(other!, fitting(false)) === null;
  const w = run.pick(other!, fitting(turned));
  if (!w) return;
  const y = v.x.matmul(turned ? w.x.transpose() : w.x);
  const bound = v.bound * w.bound * inner;
  const text = `matmul(${v.name}, ${w.name}${turned ? '.transpose()' : ''})`;
  if (activation! % 3 === 0) run.add({ x: y.tanh(), text: `tanh(${text})`, from: [v, w], bound: 1 });
  else run.add({ x: y, text, from: [v, w], bound });
};

const dense: Operation = (run, [at, other, third, activation]) => {
  const v = run.pick(at!, all(float, atLeast(1)));
  if (!v) return;
  const { dtype } = v.x;
  const w = run.pick(other!, ({ x }) => x.dtype === dtype && x.ndim === 2 && x.shape[1] === v.x.shape.at(-1));
  const b = w && run.pick(third!, ({ x }) => x.dtype === dtype && same(x.shape, [w.x.shape[0]!]));
  if (!w) return;
  const from = b ? [v, w, b] : [v, w];
  const y = linear(v.x, w.x, b?.x ?? null);
  const bound = v.bound * w.bound * v.x.shape.at(-1)! + (b?.bound ?? 0);
  const text = `linear(${[v, w, b].map((value) => value?.name ?? 'null').join(', ')})`;
  const coarse = from.some(({ error, x }) => Math.max(error, roundoff(x.dtype)) >= roundoff('bf16'));
  if (activation! % 2 === 0) run.add({ x: y.sigmoid(), text: `sigmoid(${text})`, from, bound: 1 });
  else if (coarse) run.add({ x: y.gelu(), text: `gelu(${text})`, from, bound });
  else run.add({ x: y.add(0.0611).relu(), text: `relu(${text} + 0.0611)`, from, bound: bound + 1 });
};

/** Rows of pixels shown as channels-last images, or what is made of them, to convolutions with the rows of a matrix as filters. */
const convolve: Operation = (run, [at, other, count, scale]) => {
  const v = run.pick(at!, ({ x }) => isFloat(x.dtype) && x.ndim === 3);
  const w = v && run.pick(other!, ({ x }) => x.dtype === v.x.dtype && x.ndim === 2 && x.shape[1] === v.x.shape[2]);
  if (!w) return;
  const filters = w.x.reshape([...w.x.shape, 1, 1]);
  const [pixels, text] = scale! % 2 ? [v.x.mul(0.5), `${v.name} * 0.5`] : [v.x, v.name];
  const image = pixels.permute([2, 0, 1]);
  const times = 1 + (count! % 3);
  let y = conv2d(image, filters);
  for (let i = 1; i < times; i++)
    y = y.add(conv2d(image, filters.neg(), null, { padding: i }).slice(1, i, -i).slice(2, i, -i));
  const bound = times * v.bound * w.bound * w.x.shape[1]!;
  run.add({ x: y, text: `${times} conv2d(${text}, ${w.name})`, from: [v, w], bound });
};

const index: Operation = (run, [at, other, over, which]) => {
  const v = run.pick(at!, atLeast(1));
  if (!v) return;
  const d = over! % v.x.ndim;
  const n = v.x.shape[d]!;
  const i = run.pick(other!, (value) => integer(value) && (which! % 2 === 0 || same(value.x.shape, v.x.shape)));
  if (!i) return;
  const where = i.x.remainder(n);
  const made = (text: string, x: Tensor) =>
    run.add({ x, text: `${text} by ${i.name}.remainder(${n})`, from: [v], bound: v.bound, exact: true });
  if (which! % 2) made(`gather(${v.name}, ${d})`, v.x.gather(d, where));
  else made(`indexSelect(${v.name}, ${d})`, v.x.indexSelect(d, where.reshape([-1]).slice(0, 0, 5)));
};

const join: Operation = (run, [at, other, over]) => {
  const v = run.pick(at!, atLeast(1));
  if (!v) return;
  const d = over! % v.x.ndim;
  const w = run.pick(other!, ({ x }) => x.dtype === v.x.dtype && same(x.shape, v.x.shape))!;
  const text = `cat([${v.name}, ${w.name}], ${d})`;
  run.add({ x: cat([v.x, w.x], d), text, from: [v, w], bound: Math.max(v.bound, w.bound), exact: true });
};

/** Writes into `place`, so that elements stay within 2, as leaves are: what was done, as text. */
function write(place: Tensor, v: Value, n: number): string {
  if (place.dtype === 'bool') {
    place.copy_(v.x.logicalNot());
    return `copy_(not ${v.name})`;
  }
  const [name, y] = v.bound <= 2 ? [v.name, v.x] : [`${v.name}.tanh()`, v.x.tanh()];
  const writes: readonly [string, () => Tensor][] = [
    [`copy_(${name})`, () => place.copy_(y)],
    place.dtype === 'bf16' || coarse(v)
      ? [`copy_(${name})`, () => place.copy_(y)]
      : [`maximum_(${name})`, () => place.maximum_(y)],
    ['neg_()', () => place.neg_()],
    ['fill_(1)', () => place.fill_(1)],
    [`lerp_(${name}, 0.25)`, () => place.lerp_(y, 0.25)],
    [`mul_(0.5).add_(${name} / 2)`, () => place.mul_(0.5).add_(y.mul(0.5))],
  ];
  const [text, run] = writes[n % (isFloat(place.dtype) ? 6 : 4)]!;
  run();
  return text;
}

const category = (dtype: DType): string => (isFloat(dtype) ? 'float' : dtype === 'bool' ? 'bool' : 'integer');

/** In place into a state or argument, through whatever view of it is at hand. */
const update: Operation = (run, [at, other, which, seen]) => {
  const place = run.pick(at!, ({ root, x }) => root !== null && !x.requiresGrad);
  const v =
    place &&
    run.pick(
      other!,
      ({ x, error, bound }) =>
        category(x.dtype) === category(place.x.dtype) &&
        broadcastsTo(x.shape, place.x.shape) &&
        // What is larger goes through tanh, which rounds.
        (bound <= 2 ? error : Math.max(error, roundoff(x.dtype))) <= place.root!.error &&
        (bound <= 2 || isFloat(x.dtype)),
    );
  if (!v) return;
  const made = seen! % 2 ? VIEWS[which! % VIEWS.length]!(place.x, which!, seen!) : null;
  const target = made && broadcastsTo(v.x.shape, made[1].shape) ? made : null;
  noGrad(() => run.note(`${place.name}${target ? `.${target[0]}` : ''}.${write(target?.[1] ?? place.x, v, which!)}`));
};

/** In place into a copy of a value, through a view, with gradients recorded. */
const overwrite: Operation = (run, [at, other, which, over]) => {
  const v = run.pick(at!, all(float, atLeast(1)));
  const w = v && run.pick(other!, (value) => float(value) && value.x.ndim === 0);
  if (!v) return;
  const y = v.x.clone().contiguous();
  const d = over! % v.x.ndim;
  const place = y.slice(d, which! % v.x.shape[d]!, v.x.shape[d]!);
  const number = NUMBERS[which! % 4]!;
  place.mul_(w?.x ?? number);
  const text = `copy of ${v.name} with slice(${d}, ${which! % v.x.shape[d]!}) times ${w?.name ?? number}`;
  run.add({ x: y, text, from: w ? [v, w] : [v], bound: v.bound * Math.max(1, w?.bound ?? Math.abs(number)) });
};

/** scatter_ of bounded values into a fresh tensor. */
const scatter: Operation = (run, [at, other, over]) => {
  const v = run.pick(at!, all(float, atLeast(1)));
  const i = v && run.pick(other!, (value) => integer(value) && same(value.x.shape, v.x.shape));
  if (!i) return;
  const d = over! % v.x.ndim;
  const n = v.x.shape[d]!;
  const x = zeros(v.x.shape, { dtype: v.x.dtype }).scatterAdd(d, i.x.remainder(n), v.x);
  run.add({ x, text: `scatterAdd(0, ${d}, ${i.name}.remainder(${n}), ${v.name})`, from: [v], bound: v.bound * n });
};

/** Gradients in the middle of the graph, by a leaf. */
const differentiate: Operation = (run, [at, by, create]) => {
  const v = run.pick(at!, ({ x }) => x.requiresGrad);
  const leaf = run.pick(by!, ({ name }) => name.startsWith('parameter'));
  if (!v || !leaf) return;
  const createGraph = create! % 3 === 0;
  const [g] = gradients(v.x.sum(), [leaf.x], { retainGraph: true, createGraph, allowUnused: true });
  const text = `tanh(gradient of ${v.name} by ${leaf.name}${createGraph ? ', recorded' : ''})`;
  // Everything so far may be behind it.
  run.add({ x: g!.tanh(), text, from: run.values.filter(float), bound: 1 });
};

export const ops = {
  arithmetic,
  elementwise,
  view,
  reduce,
  matmul,
  dense,
  convolve,
  softmax,
  normalise,
  cast,
  compare,
  select,
  index,
  join,
  update,
  overwrite,
  differentiate,
  divide,
  logical,
  reduceExact,
  scan,
  scatter,
  kinked: unary(numeric, (v, [which]) => {
    const [fn, apply, by] = KINKED[which! % KINKED.length]!;
    const [name, x] = offKink(v, by);
    return { x: apply(x), text: `${fn}(${name})`, bound: v.bound + 1, exact: true };
  }),
  neg: unary(numeric, ({ x, name, bound }) => ({ x: x.neg(), text: `neg(${name})`, bound, exact: true })),
  detach: unary(
    ({ x }) => x.requiresGrad,
    ({ x, name, bound }) => ({ x: x.detach(), text: `${name}.detach()`, bound, exact: true, view: true }),
  ),
} satisfies Record<string, Operation>;
