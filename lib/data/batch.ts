import { type Collated, collate } from './collate.js';
import type { Dataset } from './dataset.js';
import { Random } from './random.js';

/** What makes a batch what it is, in whatever thread. */
export interface Task {
  seed: number;
  epoch: number;
  indices: Int32Array;
}

export function makeBatch<T, B = Collated<T>>(
  dataset: Dataset<T>,
  { seed, epoch, indices }: Task,
  join?: (samples: T[]) => B,
): B | Promise<B> {
  if (dataset.getBatch && !join) return dataset.getBatch(indices) as B | Promise<B>;
  const merge = join ?? (collate as unknown as (samples: T[]) => B);
  const samples = Array.from(indices, (i) => dataset.get(i, new Random(seed, epoch, i)));
  return samples.some((sample) => sample instanceof Promise) ? Promise.all(samples).then(merge) : merge(samples as T[]);
}
