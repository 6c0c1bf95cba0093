/** Sums by index of which many go to one place, on any device: of few and many lines, short and long, turned, in place, of nothing. */
import * as b from '../../lib/index.js';
import { type DType, isFloat } from '../../lib/core/dtype.js';
import type { Tensor } from '../../lib/index.js';

/** The same inputs at each call. Integers overflow. */
export function sums(on: string, dtype: DType): Tensor[] {
  b.manualSeed(3);
  const values = (...shape: number[]) => {
    if (isFloat(dtype)) return b.randn(shape).to(dtype).to(on);
    return b
      .mul(b.randint(-(2 ** 30), 2 ** 30, shape).to(dtype), 2 ** 31 + 12_345)
      .to(dtype)
      .to(on);
  };
  const index = (low: number, high: number, ...shape: number[]) => b.randint(low, high, shape).to(on);
  const turned = (x: Tensor) => b.permute(x, [1, 0]);
  const inPlace = values(4, 100);
  b.indexAdd_(b.slice(inPlace, 1, 2, 90, 3), 0, index(-4, 4, 600), values(600, 30));
  return [
    b.indexAdd(values(5, 37), 0, index(-5, 5, 3000), values(3000, 37)),
    b.indexAdd(turned(values(7, 20)), 0, index(0, 20, 400), turned(values(7, 400))),
    b.indexAdd(values(6, 20), 1, index(-20, 20, 50), values(6, 50)),
    b.scatterAdd(values(3, 70), 1, index(-70, 0, 2, 900), values(3, 901)),
    b.scatterAdd(turned(values(6, 40)), 0, turned(index(0, 3, 5, 33)), turned(values(5, 33))),
    b.scatterAdd(values(20_000, 3), 1, index(0, 3, 20_000, 5), values(20_000, 5)),
    b.scatterAdd(values(4, 3), 1, index(0, 3, 4, 0), values(4, 0)),
    inPlace,
  ];
}
