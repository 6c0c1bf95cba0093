/** Moving tensors between dtypes and devices. */
import { asTensor, type Op } from '../core/define.js';
import { canonicalDevice, isDevice } from '../core/device.js';
import { type DType, isDType } from '../core/dtype.js';
import { ArgumentError, describe } from '../core/error.js';
import { layoutOf } from '../core/layout.js';
import { nextSeq, recording } from '../core/tape.js';
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
  const moved = device === undefined || canonicalDevice(device) === x.device ? x : move(x, canonicalDevice(device));
  return dtype === undefined || dtype === moved.dtype ? moved : cast(moved, dtype);
}

// Bytes pass through JavaScript, so that no kernel or decomposition says what happens: its records are made by hand.
const toDevice: Op = {
  name: 'toDevice',
  kind: 'composite',
  row: null,
  many: false,
  infer: (inputs) => inputs[0] as Tensor,
  decompose: null,
  grad: ((g: Tensor, _inputs: unknown, _y: unknown, { from }: { from: string }) => [to(g, { device: from })]) as never,
  encode: null,
  byUser: false,
  plans: new Map(),
};

/** x on another device; a gradient goes the same way back. */
function move(x: Tensor, device: string): Tensor {
  const layout = layoutOf(x.shape, x.dtype, device);
  const y = fromBytes(layout, bytes(x));
  if (x.node === null || !recording.enabled) return y;
  y.node = {
    op: toDevice,
    seq: nextSeq(),
    edges: [x.node],
    edgeIndex: [x.index],
    inputs: [x.layout],
    outputs: [layout],
    versions: [],
    params: { from: x.device },
    layouts: [layout],
    leaf: null,
    hooks: null,
    pending: null,
    freed: false,
  };
  y.index = 0;
  y.stamp = y.storage.recorded;
  return y;
}
