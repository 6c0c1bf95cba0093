import { ArgumentError } from '../core/error.js';
import { Random } from './random.js';

const op = 'WeightedRandomSampler';

/** The order of one epoch. A pure function of the epoch, so that training can resume anywhere. */
export interface Sampler {
  /** Indices an epoch holds. */
  readonly length: number;
  indices(epoch: number): ArrayLike<number>;
}

/** 0, 1, … n-1. */
export class SequentialSampler implements Sampler {
  readonly length: number;

  constructor(length: number) {
    this.length = length;
  }

  indices(): Int32Array {
    return Int32Array.from({ length: this.length }, (_, i) => i);
  }
}

/** A new permutation each epoch, determined by (seed, epoch). */
export class RandomSampler implements Sampler {
  readonly length: number;
  readonly #seed: number;

  constructor(length: number, { seed = 0 }: { seed?: number } = {}) {
    this.length = length;
    this.#seed = seed;
  }

  indices(epoch: number): Int32Array {
    return new Random(this.#seed, epoch).permutation(this.length);
  }
}

/** `count` draws with replacement, index i with probability proportional to weights[i]: for classes of unequal size. */
export class WeightedRandomSampler implements Sampler {
  readonly length: number;
  readonly #cumulative: Float64Array;
  readonly #seed: number;

  constructor(weights: ArrayLike<number>, count: number, { seed = 0 }: { seed?: number } = {}) {
    let sum = 0;
    this.#cumulative = Float64Array.from(weights, (weight) => {
      if (!(weight >= 0 && weight < Infinity))
        throw new ArgumentError(`weight ${weight} is not a finite number >= 0`, { op });
      sum += weight;
      return sum;
    });
    if (!(sum > 0 && sum < Infinity)) throw new ArgumentError(`weights sum to ${sum}`, { op });
    this.length = count;
    this.#seed = seed;
  }

  indices(epoch: number): Int32Array {
    const random = new Random(this.#seed, epoch);
    const total = this.#cumulative.at(-1)!;
    return Int32Array.from({ length: this.length }, () => this.#find(random.uniform() * total));
  }

  // The first index whose cumulative weight exceeds x; an index of weight 0 is never it.
  #find(x: number): number {
    let low = 0;
    let high = this.#cumulative.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#cumulative[middle]! > x) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
