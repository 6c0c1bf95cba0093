/** Inputs for the rows: from a seeded generator, so that a failure repeats. */
import { type DType, type Tensor, tensor } from '../../lib/index.js';
import type { Make } from './sample.js';
import { size } from './sample.js';

/** mulberry32 */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const isFloat = (dtype: DType) => dtype === 'f32' || dtype === 'f64' || dtype === 'f16' || dtype === 'bf16';

/** A value that every float dtype holds exactly (8 significant bits), so that references see what the kernel sees. */
const coarse = (value: number): number => {
  const scale = 2 ** (7 - Math.floor(Math.log2(Math.max(Math.abs(value), 1e-3))));
  return Math.round(value * scale) / scale;
};

export function makeInputs(dtype: DType, seed: number): Make {
  const random = generator(seed);
  const from = (shape: readonly number[], value: (i: number) => number, as: DType): Tensor =>
    tensor(
      Float64Array.from({ length: size(shape) }, (_, i) => value(i)),
      { shape, dtype: as },
    );
  return {
    dtype,
    real(shape, low = -2, high = 2) {
      if (isFloat(dtype)) return from(shape, () => coarse(low + random() * (high - low)), dtype);
      if (dtype === 'bool') return from(shape, () => (random() < 0.5 ? 0 : 1), dtype);
      const least = Math.ceil(dtype === 'u8' ? Math.max(low, 0) : low);
      const most = Math.max(least, Math.floor(high));
      return from(shape, () => least + Math.floor(random() * (most - least + 1)), dtype);
    },
    distinct(shape) {
      const n = size(shape);
      const order = Array.from({ length: n }, (_, i) => i);
      for (let i = n - 1; i > 0; i--) {
        const j = Math.floor(random() * (i + 1));
        [order[i], order[j]] = [order[j]!, order[i]!];
      }
      // Steps of 1/16 and below 16 in magnitude are exact in every float dtype up to 256 elements.
      const step = n <= 256 ? 1 / 16 : 1;
      return from(shape, (i) => (isFloat(dtype) ? (order[i]! - n / 2) * step : order[i]!), dtype);
    },
    index: (shape, low, high) => from(shape, () => low + Math.floor(random() * (high - low)), 'i32'),
    mask: (shape) => from(shape, () => (random() < 0.5 ? 0 : 1), 'bool'),
    edges() {
      const values = [
        Number.NaN,
        Number.POSITIVE_INFINITY,
        Number.NEGATIVE_INFINITY,
        0,
        -0,
        1,
        -1,
        0.5,
        -0.5,
        2 ** -10,
        -(2 ** -10),
        64,
        -64,
      ];
      return from([values.length], (i) => values[i]!, dtype);
    },
  };
}
