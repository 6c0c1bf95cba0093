/**
 * Random numbers, counter-based (Philox4x32-10): element i of a call uses counter offset + floor(i/4), lane i mod 4, of the generator's
 * seed, on every device alike. A call moves the offset on by ceil(size/4).
 */
import { asTensor, op } from '../core/define.js';
import { canonicalDevice, defaultDevice } from '../core/device.js';
import { type DType, dtypeInfo, isFloat, isInteger } from '../core/dtype.js';
import { ArgumentError, DTypeError, ShapeError, checkOptions, describe } from '../core/error.js';
import { type Shape, show, sizeOf } from '../core/layout.js';
import { requiresGrad_ } from '../core/leaf.js';
import type { Tensor } from '../core/tensor.js';
import { freshCounters } from '../core/cells.js';
import { cast, mul } from './elementwise.js';
import { type TensorOptions, zerosLike } from './free.js';
import { argsort } from './index.js';
import { checkShape } from './view.js';

/** A stream of random numbers: a seed and how far it has been read. */
export class Generator {
  #seed: number;
  #offset = 0;
  constructor(seed?: number) {
    this.#seed = seed === undefined ? Math.floor(Math.random() * 2 ** 32) : checkSeed(seed);
  }
  get seed(): number {
    return this.#seed;
  }
  /** Starts again from a seed. */
  manualSeed(seed: number): this {
    this.#seed = checkSeed(seed);
    this.#offset = 0;
    return this;
  }
  /** Takes the counters for `size` numbers; answers the first. @internal */
  take(size: number): number {
    const offset = this.#offset;
    this.#offset += Math.ceil(size / 4);
    return offset;
  }
  getState(): { seed: number; offset: number } {
    return { seed: this.#seed, offset: this.#offset };
  }
  setState(state: { seed: number; offset: number }): void {
    this.#seed = checkSeed(state.seed);
    this.#offset = checkSeed(state.offset);
  }
}

function checkSeed(seed: number): number {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new ArgumentError(`a seed is a whole number up to 2^53, got ${describe(seed)}`);
  return seed;
}

/** The generator that is used unless another is given. */
export const defaultGenerator: Generator = new Generator();

function generatorOf(given: Generator | undefined, op: string): Generator {
  if (given === undefined) return defaultGenerator;
  if (given instanceof Generator) return given;
  throw new ArgumentError(`generator is a Generator, got ${describe(given)}`, { op });
}

/** Seeds the default generator. (torch.manual_seed) */
export function manualSeed(seed: number): Generator {
  return defaultGenerator.manualSeed(seed);
}

export interface RandomOptions extends TensorOptions {
  /** The default generator unless given. */
  generator?: Generator;
}

const kinds = { uniform: 0, normal: 1, integers: 2, bernoulli: 3 } as const;
const randomKernel = op('random', {
  args: (
    kind: keyof typeof kinds,
    seed: number,
    offset: number,
    low: number,
    high: number,
    shape: Shape,
    dtype: DType,
    device: string,
  ) => ({
    inputs: [seed, offset, low, high],
    params: { kind, shape, dtype, device },
  }),
  infer: (_, { shape, dtype }) => ({ shape, dtype }),
  encode: ({ kind }) => [kinds[kind]],
  grad: null,
});

function draw(
  kind: keyof typeof kinds,
  shape: Shape,
  low: number,
  high: number,
  options: RandomOptions,
  fallback: DType,
  name: string,
): Tensor {
  checkShape(shape, name);
  if (shape.some((n) => n < 0)) throw new ShapeError(`sizes are not negative, got ${show(shape)}`, { op: name });
  const dtype = options.dtype ?? fallback;
  dtypeInfo(dtype);
  const device = options.device === undefined ? defaultDevice() : canonicalDevice(options.device);
  const generator = generatorOf(options.generator, name);
  for (const n of [low, high]) {
    if (typeof n !== 'number')
      throw new ArgumentError(`bounds and moments are numbers, got ${describe(n)}`, { op: name });
  }
  const [seed, offset] = freshCounters(generator, sizeOf(shape));
  const y = randomKernel(kind, seed, offset, low, high, shape, dtype, device);
  return options.requiresGrad ? requiresGrad_(y) : y;
}

function floats(options: RandomOptions, name: string): void {
  checkOptions(options, name);
  if (options.dtype !== undefined && !isFloat(options.dtype))
    throw new DTypeError(`gives floats, not ${describe(options.dtype)}`, { op: name });
}

/** Uniform numbers in [0, 1), or in [low, high). (torch.rand) */
export function rand(shape: Shape, options: RandomOptions & { low?: number; high?: number } = {}): Tensor {
  floats(options, 'rand');
  return draw('uniform', shape, options.low ?? 0, options.high ?? 1, options, 'f32', 'rand');
}
/** Normal numbers of mean 0 and standard deviation 1 unless said. (torch.randn) */
export function randn(shape: Shape, options: RandomOptions & { mean?: number; std?: number } = {}): Tensor {
  floats(options, 'randn');
  return draw('normal', shape, options.mean ?? 0, options.std ?? 1, options, 'f32', 'randn');
}
/** Integers in [low, high); i32 unless said. (torch.randint) */
export function randint(low: number, high: number, shape: Shape, options: RandomOptions = {}): Tensor {
  checkOptions(options, 'randint');
  if (!Number.isInteger(low) || !Number.isInteger(high) || high <= low || high - low > 2 ** 32) {
    throw new ArgumentError(`needs integers low < high, at most 2^32 apart, got ${describe([low, high])}`, {
      op: 'randint',
    });
  }
  if (options.dtype === 'bool') throw new DTypeError('gives numbers, not bool', { op: 'randint' });
  return draw('integers', shape, low, high, options, 'i32', 'randint');
}
/** 1 with probability p, else 0; f32 unless said. (torch.bernoulli) */
export function bernoulli(p: number, shape: Shape, options: RandomOptions = {}): Tensor {
  if (typeof p !== 'number' || !(p >= 0 && p <= 1))
    throw new ArgumentError(`a probability lies in [0, 1], got ${describe(p)}`, { op: 'bernoulli' });
  return draw('bernoulli', shape, p, 0, options, 'f32', 'bernoulli');
}
/** 0 to n - 1 in random order, i32 unless said. (torch.randperm) */
export function randperm(n: number, options: RandomOptions = {}): Tensor {
  checkOptions(options, 'randperm');
  if (options.dtype !== undefined && !isInteger(options.dtype))
    throw new DTypeError(`gives integers, not ${describe(options.dtype)}`, { op: 'randperm' });
  const keys = draw(
    'integers',
    [n],
    -(2 ** 31),
    2 ** 31,
    { ...options, dtype: 'i32', requiresGrad: false },
    'i32',
    'randperm',
  );
  const order = argsort(keys);
  return options.dtype === undefined || options.dtype === 'i32' ? order : cast(order, options.dtype);
}
/** Uniform numbers of x's shape, dtype and device. (torch.rand_like) */
export function randLike(x: Tensor, options: RandomOptions = {}): Tensor {
  asTensor(x, 'randLike');
  return rand(x.shape, { dtype: x.dtype, device: x.device, ...options });
}
/** Normal numbers of x's shape, dtype and device. (torch.randn_like) */
export function randnLike(x: Tensor, options: RandomOptions = {}): Tensor {
  asTensor(x, 'randnLike');
  return randn(x.shape, { dtype: x.dtype, device: x.device, ...options });
}

// The mask is drawn again in backward from the same seed and offset, so nothing is saved.
const dropoutKernel: (x: Tensor, seed: number, offset: number, p: number) => Tensor = op('dropout', {
  args: (x: Tensor, seed: number, offset: number, p: number) => ({ inputs: [x, seed, offset, p] }),
  infer: ([x]) => ({ shape: x.shape, dtype: x.dtype }),
  grad: (g, [, seed, offset, p]) => [() => dropoutKernel(g, seed, offset, p), null, null, null],
});
/**
 * Zeroes each element with probability p and scales the others by 1 / (1 - p); x itself when not training.
 * (torch.nn.functional.dropout)
 */
export function dropout(x: Tensor, p = 0.5, options: { training?: boolean; generator?: Generator } = {}): Tensor {
  asTensor(x, 'dropout');
  checkOptions(options, 'dropout');
  if (typeof p !== 'number' || !(p >= 0 && p <= 1))
    throw new ArgumentError(`a probability lies in [0, 1], got ${describe(p)}`, { op: 'dropout' });
  if (!isFloat(x.dtype)) throw new DTypeError(`needs floats, got ${x.dtype}`, { op: 'dropout' });
  if (options.training === false || p === 0) return x;
  if (p === 1) return mul(x, zerosLike(x));
  const generator = generatorOf(options.generator, 'dropout');
  return dropoutKernel(x, ...freshCounters(generator, x.size), p);
}
