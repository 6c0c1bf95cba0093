import { ArgumentError } from '../core/error.js';
import { type Dataset, Subset } from './dataset.js';
import { Random } from './random.js';

/**
 * Random disjoint parts of a dataset, by lengths that add up to its length or by fractions that add up to 1
 * (what rounding leaves over goes to the first parts, one each, as in PyTorch). The same seed gives the same parts.
 */
export function randomSplit<T>(
  dataset: Dataset<T>,
  sizes: readonly number[],
  { seed = 0 }: { seed?: number } = {},
): Subset<T>[] {
  const lengths = toLengths(sizes, dataset.length, 'randomSplit');
  return cut(dataset, new Random(seed).permutation(dataset.length), lengths);
}

export interface SplitOptions {
  /** Fraction for validation, in [0, 1). */
  validation?: number;
  /** Fraction for test, in [0, 1). */
  test?: number;
  seed?: number;
  /** The class of each sample: every part then holds each class in the dataset's proportion, to within one sample. */
  stratify?: ArrayLike<number | string>;
}

/** Train, validation and test parts; train is what the two fractions leave. */
export function trainTestSplit<T>(
  dataset: Dataset<T>,
  { validation = 0, test = 0.2, seed = 0, stratify }: SplitOptions = {},
): { train: Subset<T>; validation: Subset<T>; test: Subset<T> } {
  const n = dataset.length;
  if (stratify && stratify.length !== n) {
    throw new ArgumentError(`stratify has ${stratify.length} classes for ${n} samples`, { op: 'trainTestSplit' });
  }
  const lengths = toLengths([1 - validation - test, validation, test], n, 'trainTestSplit');
  const random = new Random(seed);
  const order = random.permutation(n);
  const parts = cut(dataset, stratify ? spread(order, stratify) : order, lengths);
  const [trainPart, validationPart, testPart] = parts as [Subset<T>, Subset<T>, Subset<T>];
  return { train: trainPart, validation: validationPart, test: testPart };
}

// Orders samples by their rank within their class divided by the class's size: any run of this order then holds each
// class in proportion.
function spread(order: Int32Array, classes: ArrayLike<number | string>): Int32Array {
  const counts = new Map<number | string, number>();
  const ranks = Array.from(order, (i) => {
    const rank = counts.get(classes[i]!) ?? 0;
    counts.set(classes[i]!, rank + 1);
    return rank;
  });
  const keyed = Array.from(order, (i, k) => ({ i, key: (ranks[k]! + 0.5) / counts.get(classes[i]!)! }));
  return Int32Array.from(
    keyed.sort((a, b) => a.key - b.key),
    ({ i }) => i,
  );
}

function toLengths(sizes: readonly number[], n: number, op: string): number[] {
  const sum = sizes.reduce((a, b) => a + b, 0);
  const valid = sizes.every((size) => size >= -1e-9);
  if (valid && sum === n && sizes.every(Number.isInteger)) return [...sizes];
  if (!valid || Math.abs(sum - 1) > 1e-9) {
    throw new ArgumentError(`sizes [${sizes}] are neither lengths that add up to ${n} nor fractions that add up to 1`, {
      op,
    });
  }
  const lengths = sizes.map((fraction) => Math.max(0, Math.floor(fraction * n + 1e-6)));
  let rest = n - lengths.reduce((a, b) => a + b, 0);
  for (let i = 0; rest > 0; i = (i + 1) % sizes.length) {
    if (sizes[i]! <= 0) continue;
    lengths[i]!++;
    rest--;
  }
  return lengths;
}

function cut<T>(dataset: Dataset<T>, order: Int32Array, lengths: readonly number[]): Subset<T>[] {
  let start = 0;
  return lengths.map((length) => {
    start += length;
    return new Subset(dataset, order.subarray(start - length, start));
  });
}
