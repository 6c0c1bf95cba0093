import { ArgumentError, IndexError, ShapeError } from '../core/error.js';
import type { Tensor } from '../core/tensor.js';
import { tensor } from '../ops/free.js';
import { indexSelect } from '../ops/index.js';
import { select } from '../ops/view.js';
import type { Collated } from './collate.js';
import { Random } from './random.js';

/**
 * Anything with a length and a get(i). `random` is the sample's own generator, the same for the same (seed, epoch, i):
 * augmentations draw from it. `getBatch`, where a dataset has a faster way, must give what collating the samples gives.
 */
export interface Dataset<T = unknown> {
  readonly length: number;
  get(index: number, random?: Random): T | Promise<T>;
  getBatch?(indices: ArrayLike<number>): Collated<T> | Promise<Collated<T>>;
}

/**
 * Tensors of equal first size: sample i is their i-th rows, and a batch is one indexSelect a tensor.
 * Throws ShapeError when the first sizes differ.
 */
export class TensorDataset<T extends readonly Tensor[]> implements Dataset<T> {
  readonly tensors: T;
  readonly length: number;

  constructor(...tensors: T) {
    const [first] = tensors;
    if (!first) throw new ArgumentError('needs at least one tensor', { op: 'TensorDataset' });
    for (const { shape } of tensors) {
      if (shape.length === 0 || shape[0] !== first.shape[0]) {
        throw new ShapeError(`first sizes differ: ${tensors.map((t) => `(${t.shape})`).join(', ')}`, {
          op: 'TensorDataset',
        });
      }
    }
    this.tensors = tensors;
    this.length = first.shape[0]!;
  }

  get(index: number): T {
    checkIndex(index, this.length, 'TensorDataset');
    return this.tensors.map((x) => select(x, 0, index)) as unknown as T;
  }

  getBatch(indices: ArrayLike<number>): Collated<T> {
    const rows = Int32Array.from(indices);
    return this.tensors.map((x) => indexSelect(x, 0, tensor(rows, { device: x.device }))) as Collated<T>;
  }
}

/** The samples of `dataset` at `indices`, in that order. */
export class Subset<T> implements Dataset<T> {
  readonly dataset: Dataset<T>;
  readonly indices: ArrayLike<number>;
  readonly getBatch?: (indices: ArrayLike<number>) => Collated<T> | Promise<Collated<T>>;

  constructor(dataset: Dataset<T>, indices: ArrayLike<number>) {
    for (let i = 0; i < indices.length; i++) checkIndex(indices[i]!, dataset.length, 'Subset');
    this.dataset = dataset;
    this.indices = indices;
    if (dataset.getBatch) {
      this.getBatch = (batch) => dataset.getBatch!(Int32Array.from(batch, (i) => indices[i]!));
    }
  }

  get length(): number {
    return this.indices.length;
  }

  get(index: number, random?: Random): T | Promise<T> {
    checkIndex(index, this.length, 'Subset');
    return this.dataset.get(this.indices[index]!, random);
  }
}

/** Datasets end to end. */
export class ConcatDataset<T> implements Dataset<T> {
  readonly datasets: readonly Dataset<T>[];
  readonly length: number;

  constructor(datasets: readonly Dataset<T>[]) {
    this.datasets = datasets;
    this.length = datasets.reduce((sum, dataset) => sum + dataset.length, 0);
  }

  get(index: number, random?: Random): T | Promise<T> {
    checkIndex(index, this.length, 'ConcatDataset');
    let rest = index;
    for (const dataset of this.datasets) {
      if (rest < dataset.length) return dataset.get(rest, random);
      rest -= dataset.length;
    }
    throw new IndexError(`index ${index}: a dataset has shrunk`, { op: 'ConcatDataset' });
  }
}

/** Each sample through `fn(sample, random)`; draw augmentations from `random` and they repeat with the loader's seed. */
export class MapDataset<T, U> implements Dataset<U> {
  readonly dataset: Dataset<T>;
  readonly fn: (sample: T, random: Random) => U | Promise<U>;

  constructor(dataset: Dataset<T>, fn: (sample: T, random: Random) => U | Promise<U>) {
    this.dataset = dataset;
    this.fn = fn;
  }

  get length(): number {
    return this.dataset.length;
  }

  get(index: number, random: Random = new Random(index)): U | Promise<U> {
    const sample = this.dataset.get(index, random);
    return sample instanceof Promise ? sample.then((value) => this.fn(value, random)) : this.fn(sample, random);
  }
}

function checkIndex(index: number, length: number, op: string): void {
  if (!(Number.isInteger(index) && index >= 0 && index < length)) {
    throw new IndexError(`index ${index} is outside 0 … ${length - 1}`, { op });
  }
}
