/**
 * Layouts: shape, strides, dtype and device of a tensor, interned, so that equality is `===` and a signature is a few integers.
 */
import { checkHolds } from './device.js';
import { type DType, dtypeInfo } from './dtype.js';
import { ShapeError } from './error.js';

export type Shape = readonly number[];

export interface Layout {
  /** Below 2^17, so that three ids make one exact number. */
  readonly id: number;
  readonly shape: Shape;
  /** In elements; 0 for an expanded dim. */
  readonly strides: readonly number[];
  readonly dtype: DType;
  readonly device: string;
  readonly ndim: number;
  readonly size: number;
  /** Row-major without gaps. */
  readonly contiguous: boolean;
}

export const MAX_DIMS = 16;
const MAX_LAYOUTS = 1 << 17;

let table = new Map<string, Layout>();
let nextId = 1;
/** Called when ids start again: whoever keys by them forgets. */
const resets: (() => void)[] = [];

/** How often ids have started again. */
export let layoutEpoch = 0;

export function onLayoutReset(forget: () => void): void {
  resets.push(forget);
}

export function sizeOf(shape: Shape): number {
  let size = 1;
  for (let i = 0; i < shape.length; i++) size *= shape[i]!;
  return size;
}

export function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= Math.max(shape[i]!, 1);
  }
  return strides;
}

function isContiguous(shape: Shape, strides: readonly number[], size: number): boolean {
  if (size === 0) return true;
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] === 1) continue;
    if (strides[i] !== stride) return false;
    stride *= shape[i]!;
  }
  return true;
}

/** The layout of that description; the same object whenever it is asked for again. */
export function layoutOf(shape: Shape, dtype: DType, device: string, strides?: readonly number[]): Layout {
  const key = strides ? `${device}|${dtype}|${shape.join()}|${strides.join()}` : `${device}|${dtype}|${shape.join()}`;
  const known = table.get(key);
  if (known) return known;
  checkHolds(device, dtype);
  if (shape.length > MAX_DIMS) throw new ShapeError(`at most ${MAX_DIMS} dims, got ${shape.length}`);
  const size = sizeOf(shape);
  if (!Number.isSafeInteger(size * dtypeInfo(dtype).bytes))
    throw new ShapeError(`a tensor of shape ${show(shape)} is too large`);
  if (!strides) {
    const dense = layoutOf(shape, dtype, device, contiguousStrides(shape));
    table.set(key, dense);
    return dense;
  }
  if (nextId >= MAX_LAYOUTS) {
    table = new Map();
    nextId = 1;
    layoutEpoch++;
    for (const forget of resets) forget();
  }
  const layout: Layout = {
    id: nextId++,
    shape: Object.freeze(shape.slice()),
    strides: Object.freeze(strides.slice()),
    dtype,
    device,
    ndim: shape.length,
    size,
    contiguous: isContiguous(shape, strides, size),
  };
  table.set(key, layout);
  return layout;
}

/** A dense layout of `like`'s shape in its axis order, when that is a permutation of a dense one (channels-last); else row-major. */
export function layoutLike(like: Layout, shape: Shape, dtype: DType): Layout {
  if (like.contiguous || like.ndim < 2 || !sameShape(like.shape, shape)) return layoutOf(shape, dtype, like.device);
  const order = Array.from(shape, (_, i) => i).sort((a, b) => like.strides[b]! - like.strides[a]! || a - b);
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (const dim of order.reverse()) {
    if (shape[dim] !== 1 && like.strides[dim] !== stride) return layoutOf(shape, dtype, like.device);
    strides[dim] = stride;
    stride *= shape[dim]!;
  }
  return layoutOf(shape, dtype, like.device, strides);
}

/** Strides that show a layout as `shape` without moving data, or null. */
export function viewStrides(x: Layout, shape: Shape): number[] | null {
  if (x.contiguous) return contiguousStrides(shape);
  if (x.size === 0) return contiguousStrides(shape);
  const strides = new Array<number>(shape.length).fill(1);
  const from = x.shape.map((n, i) => ({ n, stride: x.strides[i]! })).filter(({ n }) => n !== 1);
  let at = shape.length - 1;
  // Chunks of old dims that lie as one run are cut into new dims, from the last to the first.
  for (let i = from.length - 1; i >= 0; ) {
    let run = from[i]!.n;
    const base = from[i]!.stride;
    while (i > 0 && from[i - 1]!.stride === base * run) run *= from[--i]!.n;
    i--;
    let done = 1;
    while (at >= 0 && (done < run || shape[at] === 1)) {
      strides[at] = base * done;
      done *= shape[at]!;
      at--;
    }
    if (done !== run) return null;
  }
  while (at >= 0 && shape[at] === 1) at--;
  return at < 0 ? strides : null;
}

export function sameShape(a: Shape, b: Shape): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** `(2,3)`, as messages write a shape. */
export function show(shape: Shape): string {
  return `(${shape.join(',')})`;
}

/** The shape that both broadcast to (NumPy's rule), or null. */
export function broadcastTwo(a: Shape, b: Shape): Shape | null {
  if (sameShape(a, b)) return a;
  const ndim = Math.max(a.length, b.length);
  const out = new Array<number>(ndim);
  for (let i = 1; i <= ndim; i++) {
    const x = i <= a.length ? a[a.length - i]! : 1;
    const y = i <= b.length ? b[b.length - i]! : 1;
    if (x !== y && x !== 1 && y !== 1) return null;
    out[ndim - i] = x === 1 ? y : x;
  }
  return out;
}

export function broadcastShapes(op: string, shapes: readonly Shape[]): Shape {
  let out: Shape = [];
  for (const shape of shapes) {
    const next = broadcastTwo(out, shape);
    if (!next) throw new ShapeError(`shapes do not broadcast: ${shapes.map(show).join(' and ')}`, { op });
    out = next;
  }
  return out;
}

/** Strides with which a layout is read as the larger `shape`: 0 where it repeats. */
export function expandedStrides(layout: Layout, shape: Shape): number[] {
  const lead = shape.length - layout.ndim;
  return Array.from(shape, (_, i) => (i < lead || layout.shape[i - lead] === 1 ? 0 : layout.strides[i - lead]!));
}
