/** Moving tensors between dtypes and devices. */
import { asTensor } from '../core/define.js';
import { canonicalDevice, isDevice } from '../core/device.js';
import { type DType, isDType } from '../core/dtype.js';
import { ArgumentError, describe } from '../core/error.js';
import { layoutOf } from '../core/layout.js';
import type { Tensor } from '../core/tensor.js';
import { cast } from './elementwise.js';
import { fromBytes } from './free.js';
import { bytes } from './read.js';

/** x as another dtype or on another device; x itself when it is so already. `x.to('bf16')`, `x.to('cuda')`. (torch.Tensor.to) */
export function to(x: Tensor, target: DType | string | { dtype?: DType; device?: string }): Tensor {
  asTensor(x, 'to');
  let dtype: DType | undefined;
  let device: string | undefined;
  if (typeof target === 'object' && target !== null) ({ dtype, device } = target);
  else if (isDType(target)) dtype = target;
  else if (isDevice(target)) device = target;
  else throw new ArgumentError(`neither a dtype nor a device: ${describe(target)}`, { op: 'to' });
  const moved =
    device === undefined || canonicalDevice(device) === x.device
      ? x
      : fromBytes(layoutOf(x.shape, x.dtype, canonicalDevice(device)), bytes(x));
  return dtype === undefined || dtype === moved.dtype ? moved : cast(moved, dtype);
}
