/** Functions that do not begin with a tensor: creation, and joining lists of tensors. They are no methods. */
import { asTensor, op } from '../core/define.js';
import { canonicalDevice, defaultDevice } from '../core/device.js';
import { type DType, dtypeInfo, promoteTypes, type TypedArray } from '../core/dtype.js';
import { ArgumentError, DTypeError, ShapeError, checkOptions, describe } from '../core/error.js';
import { broadcastShapes, type Layout, layoutOf, type Shape, show, sizeOf } from '../core/layout.js';
import { floatToBf16, floatToF16 } from '../core/half.js';
import { requiresGrad_ } from '../core/leaf.js';
import { allocate, statusError, Tensor } from '../core/tensor.js';
import { native } from '../native.js';
import { cast, eq } from './elementwise.js';
import { fullOp } from './fill.js';
import { checkShape, expand, narrow, reshape, unsqueeze, wrapDim } from './view.js';

export interface TensorOptions {
  /** f32 unless said. */
  dtype?: DType;
  /** BRASA_DEVICE, else 'cpu', unless said. */
  device?: string;
  /** Whether gradients are wanted; floats only. */
  requiresGrad?: boolean;
}

export type NestedArray = number | boolean | bigint | readonly NestedArray[];
export type TensorData = NestedArray | TypedArray | readonly TypedArray[];

const typedDtypes: readonly [new (...args: never[]) => TypedArray, DType][] = [
  [Float32Array, 'f32'],
  [Float64Array, 'f64'],
  [Int32Array, 'i32'],
  [BigInt64Array, 'i64'],
  [Int8Array, 'i8'],
  [Uint8Array, 'u8'],
  [Uint8ClampedArray, 'u8'],
];

/** Where a dtype lives in JavaScript: the array that holds its bytes. Half types are raw 16-bit words. */
export function bytesArray(dtype: DType, length: number): TypedArray {
  switch (dtype) {
    case 'f32':
      return new Float32Array(length);
    case 'f64':
      return new Float64Array(length);
    case 'i32':
      return new Int32Array(length);
    case 'i64':
      return new BigInt64Array(length);
    case 'i8':
      return new Int8Array(length);
    case 'f16':
    case 'bf16':
      return new Uint16Array(length);
    default:
      return new Uint8Array(length);
  }
}

function at(options: TensorOptions | undefined, name: string): { device: string; grad: boolean } {
  if (options !== undefined) checkOptions(options, name);
  return {
    device: options?.device === undefined ? defaultDevice() : canonicalDevice(options.device),
    grad: options?.requiresGrad ?? false,
  };
}

function finish(x: Tensor, grad: boolean): Tensor {
  return grad ? requiresGrad_(x) : x;
}

function checkSize(shape: unknown, name: string): asserts shape is Shape {
  checkShape(shape, name);
  if (shape.some((n) => n < 0)) throw new ShapeError(`sizes are not negative, got ${show(shape)}`, { op: name });
}

/**
 * A tensor from numbers, nested arrays, booleans, bigints, or typed arrays; the data is copied. Numbers give f32, booleans bool,
 * bigints i64, typed arrays keep their type (Buffer is u8), unless `dtype` says otherwise. (torch.tensor)
 * @param options.shape read the (flat or nested) data in this shape
 * @throws ShapeError when nested arrays are ragged, or the data does not fill `shape`; DTypeError when a value does not fit the dtype
 */
export function tensor(data: TensorData, options: TensorOptions & { shape?: Shape } = {}): Tensor {
  const { device, grad } = at(options, 'tensor');
  const { shape: found, flat, dtype: own } = flatten(data);
  const dtype = options.dtype ?? own;
  dtypeInfo(dtype);
  let shape = found;
  if (options.shape !== undefined) {
    checkSize(options.shape, 'tensor');
    shape = options.shape;
    if (sizeOf(shape) !== flat.length)
      throw new ShapeError(`${flat.length} values do not fill shape ${show(shape)}`, { op: 'tensor' });
  }
  const x = allocate(layoutOf(shape, dtype, device));
  upload(x, convert(flat, dtype));
  return finish(x, grad);
}

function upload(x: Tensor, values: ArrayBufferView): void {
  if (values.byteLength === 0) return;
  const status = native.write(x.storage.slot, 0, values);
  if (status !== 0) throw statusError(status, 'the memory could not be written', undefined, x.device);
}

type Flat = { readonly length: number; readonly [i: number]: number | boolean | bigint };

function flatten(data: TensorData): { shape: Shape; flat: Flat; dtype: DType } {
  if (ArrayBuffer.isView(data)) {
    if (data instanceof DataView)
      throw new ArgumentError('a DataView has no element type: use a typed array', { op: 'tensor' });
    return { shape: [data.length], flat: data as unknown as Flat, dtype: typedDtype(data as TypedArray) };
  }
  if (!Array.isArray(data)) {
    if (typeof data !== 'number' && typeof data !== 'boolean' && typeof data !== 'bigint') {
      const got =
        data === null ? 'null' : data instanceof Tensor ? 'a tensor (use x.clone() or x.detach())' : typeof data;
      throw new ArgumentError(`expected numbers, booleans, bigints, or arrays of them, got ${got}`, { op: 'tensor' });
    }
    return { shape: [], flat: [data] as unknown as Flat, dtype: kindOf(data) };
  }
  const shape: number[] = [];
  let first: unknown = data;
  while (Array.isArray(first) || ArrayBuffer.isView(first)) {
    shape.push((first as unknown[]).length);
    first = (first as unknown[])[0];
  }
  const flat: (number | boolean | bigint)[] = [];
  let dtype: DType | null = null;
  const walk = (part: unknown, depth: number): void => {
    if (depth === shape.length) {
      if (typeof part !== 'number' && typeof part !== 'boolean' && typeof part !== 'bigint') {
        const got =
          part === undefined ? 'undefined' : part === null ? 'null' : Array.isArray(part) ? 'an array' : typeof part;
        throw Array.isArray(part)
          ? new ShapeError('nested arrays are ragged: some are deeper than others', { op: 'tensor' })
          : new ArgumentError(`element ${flat.length} is ${got}, not a number`, { op: 'tensor' });
      }
      const kind = kindOf(part);
      if (dtype === null) dtype = kind;
      else if (dtype !== kind)
        throw new DTypeError('numbers, booleans and bigints are mixed: give one kind, or a typed array', {
          op: 'tensor',
        });
      flat.push(part);
      return;
    }
    if (!(Array.isArray(part) || ArrayBuffer.isView(part)) || (part as unknown[]).length !== shape[depth]) {
      throw new ShapeError(`nested arrays are ragged: expected ${shape[depth]} elements at depth ${depth}`, {
        op: 'tensor',
      });
    }
    for (let i = 0; i < shape[depth]!; i++) walk((part as unknown[])[i], depth + 1);
  };
  walk(data, 0);
  const typed = data.length > 0 && ArrayBuffer.isView(data[0]) ? typedDtype(data[0] as unknown as TypedArray) : null;
  return { shape, flat: flat as unknown as Flat, dtype: typed ?? dtype ?? 'f32' };
}

function kindOf(value: number | boolean | bigint): DType {
  return typeof value === 'number' ? 'f32' : typeof value === 'boolean' ? 'bool' : 'i64';
}

function typedDtype(data: TypedArray): DType {
  for (const [type, dtype] of typedDtypes) if (data instanceof type) return dtype;
  throw new DTypeError(`${data.constructor.name} has no dtype of its own: use Int32Array, Float32Array, …`, {
    op: 'tensor',
  });
}

const ranges: Partial<Record<DType, readonly [number, number]>> = {
  i8: [-128, 127],
  u8: [0, 255],
  i32: [-(2 ** 31), 2 ** 31 - 1],
};

/** The values as bytes of `dtype`. */
function convert(flat: Flat, dtype: DType): ArrayBufferView {
  if (ArrayBuffer.isView(flat) && typedDtype(flat as unknown as TypedArray) === dtype) return flat;
  const n = flat.length;
  const out = bytesArray(dtype, n);
  const range = ranges[dtype];
  if (dtype === 'i64') {
    for (let i = 0; i < n; i++) {
      const v = flat[i]!;
      if (typeof v === 'number' && !Number.isSafeInteger(v))
        throw new DTypeError(`${v} does not fit i64 exactly: use a bigint`, { op: 'tensor' });
      if (typeof v === 'bigint' && BigInt.asIntN(64, v) !== v)
        throw new DTypeError(`${v} does not fit i64`, { op: 'tensor' });
      (out as BigInt64Array)[i] = BigInt(v);
    }
    return out;
  }
  const words = out as Float64Array;
  for (let i = 0; i < n; i++) {
    const v = Number(flat[i]!);
    if (range !== undefined && !(Number.isInteger(v) && v >= range[0] && v <= range[1])) {
      throw new DTypeError(`${v} does not fit ${dtype}`, { op: 'tensor' });
    }
    if (dtype === 'f16') words[i] = floatToF16(v);
    else if (dtype === 'bf16') words[i] = floatToBf16(v);
    else if (dtype === 'bool') words[i] = v !== 0 ? 1 : 0;
    else words[i] = v;
  }
  return out;
}

/** @internal A tensor over given raw bytes of its dtype, copied. */
export function fromBytes(layout: Layout, bytes: Uint8Array): Tensor {
  const want = layout.size * dtypeInfo(layout.dtype).bytes;
  if (bytes.byteLength !== want)
    throw new ShapeError(`${bytes.byteLength} bytes do not fill ${show(layout.shape)} ${layout.dtype} (${want})`);
  const x = allocate(layout);
  upload(x, bytes);
  return x;
}

/** Every element `value`. (torch.full) */
export function full(shape: Shape, value: number, options: TensorOptions = {}): Tensor {
  checkSize(shape, 'full');
  const { device, grad } = at(options, 'full');
  if (typeof value !== 'number') throw new ArgumentError(`value is a number, got ${typeof value}`, { op: 'full' });
  const dtype = options.dtype ?? 'f32';
  dtypeInfo(dtype);
  return finish(fullOp(value, shape, dtype, device), grad);
}

/** All 0. (torch.zeros) */
export function zeros(shape: Shape, options: TensorOptions = {}): Tensor {
  return full(shape, 0, options);
}

/** All 1. (torch.ones) */
export function ones(shape: Shape, options: TensorOptions = {}): Tensor {
  return full(shape, 1, options);
}

/** Memory as it comes, to be filled. (torch.empty) */
export function empty(shape: Shape, options: TensorOptions = {}): Tensor {
  checkSize(shape, 'empty');
  const { device, grad } = at(options, 'empty');
  return finish(allocate(layoutOf(shape, options.dtype ?? 'f32', device)), grad);
}

const like = (x: Tensor, options: TensorOptions): TensorOptions => ({ dtype: x.dtype, device: x.device, ...options });
/** Zeros of x's shape, dtype and device. (torch.zeros_like) */
export function zerosLike(x: Tensor, options: TensorOptions = {}): Tensor {
  asTensor(x, 'zerosLike');
  return full(x.shape, 0, like(x, options));
}
/** Ones of x's shape, dtype and device. (torch.ones_like) */
export function onesLike(x: Tensor, options: TensorOptions = {}): Tensor {
  asTensor(x, 'onesLike');
  return full(x.shape, 1, like(x, options));
}
/** One value in x's shape, dtype and device. (torch.full_like) */
export function fullLike(x: Tensor, value: number, options: TensorOptions = {}): Tensor {
  asTensor(x, 'fullLike');
  return full(x.shape, value, like(x, options));
}

const arangeKernel = op('arange', {
  args: (start: number, step: number, length: number, dtype: DType, device: string) => ({
    inputs: [start, step],
    params: { length, dtype, device },
  }),
  infer: (_, { length, dtype }) => ({ shape: [length], dtype }),
  grad: null,
});

/**
 * start, start + step, … below `end`; `arange(n)` is 0 to n - 1. i32 unless a bound is a fraction or `dtype` says otherwise:
 * then f32. (torch.arange)
 */
export function arange(start: number, end?: number, options: TensorOptions & { step?: number } = {}): Tensor {
  const { device, grad } = at(options, 'arange');
  const [from, to] = end === undefined ? [0, start] : [start, end];
  const step = options.step ?? 1;
  if (![from, to, step].every(Number.isFinite) || step === 0) {
    throw new ArgumentError(`finite bounds and a step that is not 0 are needed, got ${describe([from, to, step])}`, {
      op: 'arange',
    });
  }
  const dtype = options.dtype ?? ([from, to, step].every(Number.isInteger) ? 'i32' : 'f32');
  return finish(arangeKernel(from, step, Math.max(0, Math.ceil((to - from) / step)), dtype, device), grad);
}

/** `steps` numbers from `start` to `end`, both included. (torch.linspace) */
export function linspace(start: number, end: number, steps: number, options: TensorOptions = {}): Tensor {
  const { device, grad } = at(options, 'linspace');
  if (typeof start !== 'number' || typeof end !== 'number') {
    throw new ArgumentError(`bounds are numbers, got ${describe([start, end])}`, { op: 'linspace' });
  }
  if (!Number.isInteger(steps) || steps < 0)
    throw new ArgumentError(`steps is a whole number, got ${describe(steps)}`, { op: 'linspace' });
  const dtype = options.dtype ?? 'f32';
  const wide = arangeKernel(start, steps > 1 ? (end - start) / (steps - 1) : 0, steps, 'f64', device);
  return finish(dtype === 'f64' ? wide : cast(wide, dtype), grad);
}

/** Ones on the diagonal of an (n, m) matrix, zeros elsewhere; m is n unless given. (torch.eye) */
export function eye(n: number, m: number = n, options: TensorOptions = {}): Tensor {
  checkSize([n, m], 'eye');
  const { device, grad } = at(options, 'eye');
  const row = unsqueeze(arange(n, undefined, { device }), 1);
  return finish(cast(eq(row, unsqueeze(arange(m, undefined, { device }), 0)), options.dtype ?? 'f32'), grad);
}

// ---- joining

const catKernel = op('cat', {
  args: (list: readonly Tensor[], dim: number) => ({ inputs: list, params: { dim } }),
  infer: (list, { dim }) => ({
    shape: list[0]!.shape.map((n, i) => (i === dim ? list.reduce((a, x) => a + x.shape[dim]!, 0) : n)),
    dtype: list[0]!.dtype,
  }),
  encode: ({ dim }) => [dim],
  grad: (g, list, _y, { dim }) => {
    let start = 0;
    return list.map((x) => {
      const from = start;
      start += x.shape[dim]!;
      return () => narrow(g, dim, from, x.shape[dim]!);
    });
  },
});

/** How many tensors one kernel call joins. */
const CAT_WIDTH = 2000;

/**
 * Tensors joined along an existing dim; other sizes agree; dtypes are promoted. (torch.cat)
 * @param dim 0 unless said
 */
export function cat(tensors: readonly Tensor[], dim = 0): Tensor {
  if (!Array.isArray(tensors) || tensors.length === 0)
    throw new ArgumentError('needs an array of at least one tensor', { op: 'cat' });
  for (const x of tensors) asTensor(x, 'cat');
  // Empty 1-d tensors are skipped, as torch.cat does.
  const list: readonly Tensor[] = tensors.filter(
    (x) => !(x.ndim === 1 && x.size === 0 && tensors.some((y) => y.ndim !== 1)),
  );
  const first = list[0]!;
  const d = wrapDim(dim, first, 'cat');
  if (first.ndim === 0) throw new ShapeError('0-d tensors are joined by stack()', { op: 'cat' });
  for (const x of list) {
    if (x.ndim !== first.ndim || x.shape.some((n, i) => i !== d && n !== first.shape[i])) {
      throw new ShapeError(`sizes differ outside dim ${d}: ${show(first.shape)} and ${show(x.shape)}`, { op: 'cat' });
    }
  }
  const dtype = list.reduce((t, x) => promoteTypes(t, x.dtype), first.dtype);
  const same = list.map((x) => (x.dtype === dtype ? x : cast(x, dtype)));
  if (same.length === 1) return same[0]!;
  if (same.length <= CAT_WIDTH) return catKernel(same, d);
  const parts: Tensor[] = [];
  for (let i = 0; i < same.length; i += CAT_WIDTH) parts.push(cat(same.slice(i, i + CAT_WIDTH), d));
  return cat(parts, d);
}

/** Tensors of one shape joined along a new dim. (torch.stack) */
export function stack(tensors: readonly Tensor[], dim = 0): Tensor {
  if (!Array.isArray(tensors) || tensors.length === 0)
    throw new ArgumentError('needs an array of at least one tensor', { op: 'stack' });
  for (const x of tensors) {
    asTensor(x, 'stack');
    if (x.ndim !== tensors[0]!.ndim || (x as Tensor).shape.some((n: number, i: number) => n !== tensors[0]!.shape[i])) {
      throw new ShapeError(`shapes differ: ${show(tensors[0]!.shape)} and ${show(x.shape)}`, { op: 'stack' });
    }
  }
  const d = wrapDim(dim, tensors[0]!, 'stack', 1);
  return cat(
    tensors.map((x) => unsqueeze(x, d)),
    d,
  );
}

/** The tensors expanded to their common shape. (torch.broadcast_tensors) */
export function broadcastTensors(...tensors: Tensor[]): Tensor[] {
  for (const x of tensors) asTensor(x, 'broadcastTensors');
  const shape = broadcastShapes(
    'broadcastTensors',
    tensors.map((x) => x.shape),
  );
  return tensors.map((x) => expand(x, shape));
}

/** Grids of coordinates from 1-d tensors, 'ij' order. (torch.meshgrid) */
export function meshgrid(...axes: Tensor[]): Tensor[] {
  for (const x of axes) asTensor(x, 'meshgrid');
  const shape = axes.map((x) => {
    if (x.ndim !== 1) throw new ShapeError(`axes are 1-d, got ${show(x.shape)}`, { op: 'meshgrid' });
    return x.size;
  });
  return axes.map((x, i) => {
    const column = shape.map((_, j) => (j === i ? x.size : 1));
    return expand(reshape(x, column), shape);
  });
}
