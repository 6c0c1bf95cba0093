/** What fills and assigns: the ops under full(), fill_() and copy_(). */
import { instruction } from '../core/define.js';
import type { DType } from '../core/dtype.js';
import type { Shape } from '../core/layout.js';
import type { Tensor } from '../core/tensor.js';

/** A tensor of one value everywhere; full() checks the arguments. */
export const fullOp: (value: number, shape: Shape, dtype: DType, device: string) => Tensor = instruction(
  'full',
  'copy',
  {
    args: (value: number, shape: Shape, dtype: DType, device: string) => ({
      inputs: [value],
      params: { shape, dtype, device },
    }),
    infer: (_, { shape, dtype }) => ({ shape, dtype }),
    grad: null,
  },
);
instruction('assign', 'copy', {
  args: (y: Tensor, shape: Shape) => ({ inputs: [y], params: { shape } }),
  infer: ([y], { shape }) => ({ shape, dtype: (y as Tensor).dtype }),
  grad: (g) => [g],
});
