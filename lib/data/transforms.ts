import { ArgumentError, ShapeError } from '../core/error.js';
import { show } from '../core/layout.js';
import type { Tensor } from '../core/tensor.js';
import { copy_, div, sub } from '../ops/elementwise.js';
import { tensor, zeros } from '../ops/free.js';
import { indexSelect } from '../ops/index.js';
import { narrow } from '../ops/view.js';
import type { Random } from './random.js';

/** A function of one image (…,H,W). Compose them in a MapDataset: `([x, y], random) => [flip(crop(x, random), random), y]`. */
export type Transform = (x: Tensor, random: Random) => Tensor;

/** (x - mean) / std, one value for all or one a channel of (…,C,H,W). (torchvision Normalize) */
export function normalize(mean: number | readonly number[], std: number | readonly number[]): (x: Tensor) => Tensor {
  return (x) => div(sub(x, perChannel(mean, x)), perChannel(std, x));
}

function perChannel(values: number | readonly number[], x: Tensor): Tensor | number {
  if (typeof values === 'number') return values;
  return tensor(values, { shape: [values.length, 1, 1], dtype: x.dtype, device: x.device });
}

/** Mirrors left and right with probability `p`. (torchvision RandomHorizontalFlip) */
export function randomHorizontalFlip(p = 0.5): Transform {
  return (x, random) => {
    if (random.uniform() >= p) return x;
    const width = x.shape[x.ndim - 1];
    return indexSelect(
      x,
      x.ndim - 1,
      tensor(
        Int32Array.from({ length: width }, (_, i) => width - 1 - i),
        { device: x.device },
      ),
    );
  };
}

/** A window of [height, width] anywhere in the image, after `padding` zeros on each side. (torchvision RandomCrop) */
export function randomCrop(
  [height, width]: readonly [number, number],
  { padding = 0 }: { padding?: number } = {},
): Transform {
  if (!(Number.isInteger(padding) && padding >= 0))
    throw new ArgumentError(`padding must be an integer >= 0, not ${padding}`, { op: 'randomCrop' });
  return (x, random) => {
    const [h, w] = [x.ndim - 2, x.ndim - 1];
    if (h < 0 || x.shape[h] + 2 * padding < height || x.shape[w] + 2 * padding < width) {
      throw new ShapeError(`no window (${height},${width}) in ${show(x.shape)} padded by ${padding}`, {
        op: 'randomCrop',
      });
    }
    const padded = padding > 0 ? pad(x, padding) : x;
    const top = random.integer(padded.shape[h] - height + 1);
    const left = random.integer(padded.shape[w] - width + 1);
    return narrow(narrow(padded, h, top, height), w, left, width);
  };
}

// (…,H,W) -> (…,H+2n,W+2n), zeros around.
function pad(x: Tensor, n: number): Tensor {
  const [h, w] = [x.ndim - 2, x.ndim - 1];
  const shape = x.shape.map((size, d) => (d >= h ? size + 2 * n : size));
  const out = zeros(shape, { dtype: x.dtype, device: x.device });
  copy_(narrow(narrow(out, h, n, x.shape[h]), w, n, x.shape[w]), x);
  return out;
}
