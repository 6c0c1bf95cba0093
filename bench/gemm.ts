/** Square f32 matrix products: rates, and their share of the peak of fused multiply-adds. */
import { matmul, rand, scope } from '../lib/index.js';
import { type Case, timed } from './case.js';

const sizes = [64, 128, 256, 512, 1024, 2048];

export const gemm = (threads: readonly number[]): Case[] =>
  threads.flatMap((count) =>
    sizes.map((n) =>
      timed({
        group: 'gemm',
        name: `matmul ${n} (${count} thread${count > 1 ? 's' : ''})`,
        threads: count,
        unit: 'GFLOP/s',
        work: 2 * n ** 3,
        limit: 'fma',
        make() {
          const [x, y] = [rand([n, n]), rand([n, n])];
          return () =>
            scope(() => {
              matmul(x, y);
            });
        },
        forms: () => {
          const spec = { kind: 'real', shape: [n, n], dtype: 'f32', low: 0, high: 1 } as const;
          return [{ inputs: [spec, spec], code: 'torch.mm(x0, x1)' }];
        },
      }),
    ),
  );
