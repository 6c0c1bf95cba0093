/** Reading values out of tensors: always copies, as numbers. */
import { asTensor } from '../core/define.js';
import { defaultDevice, deviceIndex } from '../core/device.js';
import type { DType, TypedArray } from '../core/dtype.js';
import { dtypeInfo } from '../core/dtype.js';
import { ArgumentError, ShapeError, describe } from '../core/error.js';
import { bf16ToFloat, f16ToFloat } from '../core/half.js';
import { show } from '../core/layout.js';
import { noGrad } from '../core/scope.js';
import { checkReadable, statusError, type Tensor } from '../core/tensor.js';
import { native } from '../native.js';
import { contiguous } from './elementwise.js';
import { bytesArray } from './free.js';

/** Numbers of a dtype in JavaScript; half types are widened, 64-bit integers become doubles. */
export type DataArray = Float32Array | Float64Array | Int32Array | Int8Array | Uint8Array;

export type NestedNumbers = number | boolean | NestedNumbers[];

function raw(x: Tensor, name: string): TypedArray {
  asTensor(x, name);
  checkReadable(x, name);
  const dense = x.layout.contiguous ? x : noGrad(() => contiguous(x));
  const out = bytesArray(x.dtype, x.size);
  const item = dtypeInfo(x.dtype).bytes;
  if (x.size > 0) {
    const status = native.read(dense.storage.slot, dense.offset * item, out);
    if (status !== 0) throw statusError(status, 'the memory could not be read', name, x.device);
  }
  if (dense !== x) dense.dispose();
  return out;
}

/**
 * Waits until a device has done all that was asked of it, programs in flight included: for timing, since a device may be behind. What
 * reads a value waits by itself. (torch.cuda.synchronize)
 * @throws DeviceError when there is no such device, or it was lost
 */
export function synchronize(device: string = defaultDevice()): void {
  const status = native.waitFor(deviceIndex(device));
  if (status !== 0) throw statusError(status, 'what the device was asked for failed', 'synchronize', device);
}

/** The elements, row-major, as a copy of raw bytes of the dtype. */
export function bytes(x: Tensor): Uint8Array {
  const data = raw(x, 'bytes');
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/**
 * The elements, row-major, copied: Float32Array for f32, f16 and bf16, Float64Array for f64 and i64 (exact to 2^53), the like-named
 * array for i32, i8, u8; 0 and 1 in a Uint8Array for bool. `dataSync('i64')` gives a BigInt64Array.
 */
export function dataSync(x: Tensor): DataArray;
export function dataSync(x: Tensor, as: 'i64'): BigInt64Array;
export function dataSync(x: Tensor, as?: 'i64'): DataArray | BigInt64Array {
  const data = raw(x, 'data');
  if (as !== undefined && as !== 'i64')
    throw new ArgumentError(`data() takes nothing or 'i64', not ${describe(as)}`, { op: 'data' });
  return as === 'i64' ? bigints(data, x.dtype) : numbers(data, x.dtype);
}

function bigints(data: TypedArray, dtype: DType): BigInt64Array {
  if (dtype === 'i64') return data as BigInt64Array;
  return BigInt64Array.from(numbers(data, dtype), (v) => BigInt(Math.trunc(v)));
}

function numbers(data: TypedArray, dtype: DType): DataArray {
  if (dtype === 'f16') return Float32Array.from(data as Uint16Array, f16ToFloat);
  if (dtype === 'bf16') return Float32Array.from(data as Uint16Array, bf16ToFloat);
  if (dtype === 'i64') {
    const out = new Float64Array(data.length);
    for (let i = 0; i < out.length; i++) out[i] = Number(data[i]!);
    return out;
  }
  return data as DataArray;
}

/** dataSync() without holding up the event loop on devices that compute beside it. */
export function data(x: Tensor): Promise<DataArray>;
export function data(x: Tensor, as: 'i64'): Promise<BigInt64Array>;
export async function data(x: Tensor, as?: 'i64'): Promise<DataArray | BigInt64Array> {
  return as === undefined ? dataSync(x) : dataSync(x, as);
}

// The element that native.peek() leaves, read as each dtype.
const { words, numbers: shared } = native;
const PEEK = 44;
const window = <T>(type: new (buffer: ArrayBufferLike, offset: number, length: number) => T): T =>
  new type(shared.buffer, shared.byteOffset + PEEK * 8, 1);
const peeked: Record<DType, () => number> = (() => {
  const [f32, f64, i8, u8, u16, i32, i64] = [
    window(Float32Array),
    window(Float64Array),
    window(Int8Array),
    window(Uint8Array),
    window(Uint16Array),
    window(Int32Array),
    window(BigInt64Array),
  ];
  return {
    f32: () => f32[0]!,
    f64: () => f64[0]!,
    f16: () => f16ToFloat(u16[0]!),
    bf16: () => bf16ToFloat(u16[0]!),
    i8: () => i8[0]!,
    u8: () => u8[0]!,
    i32: () => i32[0]!,
    i64: () => Number(i64[0]!),
    bool: () => u8[0]!,
  };
})();

/** The one element, as a number (bool: 0 or 1). (torch.Tensor.item) */
export function item(x: Tensor): number {
  asTensor(x, 'item');
  if (x.size !== 1) throw new ShapeError(`${show(x.shape)} has ${x.size} elements: item() reads one`, { op: 'item' });
  checkReadable(x, 'item');
  const size = dtypeInfo(x.dtype).bytes;
  words[8] = x.storage.slot;
  words[2] = size;
  shared[48] = x.offset * size;
  native.peek();
  if (words[1] !== 0) throw statusError(words[1]!, 'the memory could not be read', 'item', x.device);
  return peeked[x.dtype]();
}

/** Nested arrays of numbers (booleans for bool); a number for a 0-d tensor. (torch.Tensor.tolist) */
export function toArray(x: Tensor): NestedNumbers {
  const values = dataSync(x);
  const isBool = x.dtype === 'bool';
  let at = 0;
  const build = (dim: number): NestedNumbers => {
    if (dim === x.ndim) return isBool ? values[at++] !== 0 : values[at++]!;
    return Array.from({ length: x.shape[dim]! }, () => build(dim + 1));
  };
  return build(0);
}
