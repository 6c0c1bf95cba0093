/** Tensor and the storage under it: an interned layout over a slot of the native library. Ops are attached in lib/methods.ts. */
import { native } from '../native.js';
import { deviceIndex } from './device.js';
import type { DType } from './dtype.js';
import { dtypeInfo } from './dtype.js';
import {
  ArgumentError,
  BrasaError,
  DeviceError,
  DisposedError,
  IndexError,
  OutOfMemoryError,
  TraceError,
  describe,
} from './error.js';
import type { Layout, Shape } from './layout.js';
import type { Node } from './tape.js';
import { compiling } from './cells.js';

/** `slot` of a storage that was freed, and of one that only exists while tracing. */
export const FREED = -1;
export const ABSTRACT = -2;

/** `holders` of a storage that user code was given: only the collector knows when it is done with. */
export const SEEN = 2 ** 30;

let nextStorage = 1;

/** Memory shared by a tensor and its views. The native library watches it weakly and frees its slot when it is gone. */
export class Storage {
  slot = FREED;
  /** Counts writes in place: a value saved for backward must still be the one that was saved. */
  version = 0;
  /** The version of the last write in place that the tape recorded. */
  recorded = 0;
  /** Outlives the scope() in which it was made: gradients of leaves, parameters, optimizer state. */
  pinned = false;
  /** How many gradients of a running backward lie here: none, and it is free for the next one. SEEN: the user has it too. */
  holders = 0;
  readonly id: number = nextStorage++;
  /** What a small storage shares with its neighbours: the native library watches that object for all of them. */
  group: object | null = null;
}

/** Storages of at most so many bytes are watched in groups, of at most so many (native/addon.cc's kGroup). */
export const SMALL_BYTES = 512;
const GROUP = 8;
let group: object | null = null;
let room = 0;

/** Puts a small storage into the current group; answers the group's object when it is new and the native library must be told. */
export function joinGroup(storage: Storage): object | null {
  const fresh = room === 0;
  if (fresh) {
    group = {};
    room = GROUP;
  }
  room--;
  storage.group = group;
  return fresh ? group : null;
}

/** The next small storage starts a group: before a sweep, after another kind of storage, after a failed call. */
export function closeGroup(): void {
  group = null;
  room = 0;
}

/** Storages with a larger id were made after this call. */
export function storageMark(): number {
  return nextStorage;
}

export class Tensor {
  /** @internal */
  storage: Storage;
  /** @internal */
  layout: Layout;
  /** @internal In elements. */
  offset: number;
  /** @internal The tape record that made it; for a leaf that requires grad, the one that collects its gradient. */
  node: Node | null = null;
  /** @internal Which output of `node`. */
  index = 0;
  /** @internal `storage.recorded` when `node` was set: behind it, `node` no longer tells how the values came about. */
  stamp = 0;
  /** @internal For a view, the tensor that owns the memory. */
  base: Tensor | null = null;
  /** @internal Whether dispose() frees the memory: true for what an op made, false for views. */
  owns: boolean;
  /** @internal */
  disposed = false;
  /** @internal Read it by gradientOf(). */
  gradient: Tensor | null = null;

  /** @internal Use tensor(), zeros() and the like. */
  constructor(storage: Storage, layout: Layout, offset: number, owns = true) {
    this.owns = owns;
    this.storage = storage;
    this.layout = layout;
    this.offset = offset;
  }

  get shape(): Shape {
    return this.layout.shape;
  }
  /** Elements to step over for each dim. */
  get strides(): readonly number[] {
    return this.layout.strides;
  }
  get dtype(): DType {
    return this.layout.dtype;
  }
  get device(): string {
    return this.layout.device;
  }
  get ndim(): number {
    return this.layout.ndim;
  }
  /** Number of elements. */
  get size(): number {
    return this.layout.size;
  }
  /** Whether the elements lie row-major without gaps. */
  get isContiguous(): boolean {
    return this.layout.contiguous;
  }

  /** The gradient that `backward()` accumulated, of this tensor's shape and dtype; null before. */
  get grad(): Tensor | null {
    const g = gradientOf(this);
    return g && seen(g);
  }
  set grad(value: Tensor | null) {
    compiling.recorder?.gradient(this, true);
    this.gradient = value && seen(value);
  }

  /** Whether gradients flow to this tensor; requiresGrad_() sets it. */
  get requiresGrad(): boolean {
    return this.node !== null;
  }

  /**
   * Frees the memory now instead of at a later collection; views of it go with it. Disposing a view frees nothing. Using a
   * tensor whose memory is gone is a DisposedError.
   */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    if (this.owns) freeStorage(this.storage);
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
  /** `${x}` prints x; `a + b` would silently be a string, so it throws. */
  [Symbol.toPrimitive](hint: string): string {
    if (hint === 'string') return (this as { toString(): string }).toString();
    throw new ArgumentError(
      'JavaScript operators do not work on tensors: use a.add(b), a.mul(b), a.lt(b), or x.item() for the number',
    );
  }
}

export function freeStorage(storage: Storage): void {
  if (storage.slot >= 0) native.release(storage.slot);
  storage.slot = FREED;
}

/** Refuses a tensor whose memory is gone, with the reason. */
export function checkUsable(x: Tensor, op?: string): void {
  if (!(x instanceof Tensor)) throw new ArgumentError(`expected a tensor, got ${describe(x)}`, op ? { op } : {});
  if (x.disposed || x.storage.slot === FREED) {
    throw new DisposedError(
      'this tensor was disposed: by dispose(), the end of its `using` block, or its scope()',
      op ? { op } : {},
    );
  }
}

/** User code has x now. */
export function seen(x: Tensor): Tensor {
  if (x instanceof Tensor) x.storage.holders = SEEN;
  return x;
}

/** `x.grad`, for whoever does not keep it. */
export function gradientOf(x: Tensor): Tensor | null {
  compiling.recorder?.gradient(x, false);
  return x.gradient;
}

/** Forgets the gradient of x; its memory goes at once, unless the user, a graph or a program has it. */
export function forgetGradient(x: Tensor): void {
  compiling.recorder?.gradient(x, true);
  const g = x.gradient;
  x.gradient = null;
  if (g !== null && g.node === null && g.storage.holders < SEEN && compiling.recorder === null) g.dispose();
}

/** A view of the same memory. */
export function alias(x: Tensor, layout: Layout, offset: number): Tensor {
  return new Tensor(x.storage, layout, offset, false);
}

/** Lets a tensor outlive the scope() in which it was made; answers it. */
export function pin(x: Tensor): Tensor {
  checkUsable(x, 'keep');
  x.storage.pinned = true;
  return x;
}

/** x takes over the memory, dtype and device of y, which is not used again: a module moves without losing its parameters. */
export function become(x: Tensor, y: Tensor): void {
  if (x === y) return;
  // A graph that saved x must see that its values changed.
  y.storage.version = x.storage.version + 1;
  y.storage.pinned ||= x.storage.pinned;
  x.owns = y.owns;
  x.storage = y.storage;
  x.layout = y.layout;
  x.offset = y.offset;
  x.stamp = y.storage.recorded;
}

/** `made` is ours and only `view` of it goes out: disposing the view then frees the memory. Answers the view. */
export function handOver(made: Tensor, view: Tensor): Tensor {
  if (made.owns && made.storage === view.storage) view.owns = true;
  return view;
}

let scoped: Storage[] | null = null;

/** @internal The list that new storages go to, for scope(). */
export function swapScope(list: Storage[] | null): Storage[] | null {
  const before = scoped;
  scoped = list;
  return before;
}

/** @internal */
export function intoScope(storage: Storage): void {
  if (scoped !== null) scoped.push(storage);
}

/** A new tensor with uninitialised memory. */
export function allocate(layout: Layout): Tensor {
  closeGroup();
  const storage = new Storage();
  const bytes = layout.size * dtypeInfo(layout.dtype).bytes;
  const slot = native.create(storage, deviceIndex(layout.device), bytes);
  if (slot < 0)
    throw statusError(-slot, `could not allocate ${bytes} bytes on ${layout.device}`, undefined, layout.device);
  storage.slot = slot;
  intoScope(storage);
  if (compiling.recorder !== null) tracing.set(storage, layout);
  return new Tensor(storage, layout, 0);
}

const tracing = new WeakMap<Storage, Layout>();

/** The layout of memory of data that was made while a function was traced. */
export function madeTracing(storage: Storage): Layout | undefined {
  return tracing.get(storage);
}

const FAULT = 40; // numbers[40..43]

/** The error for a native status of a device: what it was doing, unless the status says it better. */
export function statusError(status: number, what: string, op?: string, device?: string): BrasaError {
  const options = op ? { op } : {};
  const { numbers } = native;
  if (status === 4)
    return new IndexError(`index ${numbers[FAULT]} is out of range for a dim of size ${numbers[FAULT + 1]}`, options);
  if (status === 1) return new OutOfMemoryError(what, options);
  if (status === 5) {
    const why = device === undefined ? '' : native.explain(deviceIndex(device));
    return new DeviceError(
      `${what}: ${device ?? 'the device'} is lost${why && ` (${why})`}; others, as 'cpu', go on`,
      options,
    );
  }
  return new BrasaError(`${what} (native status ${status})`, 'ERR_BRASA_INTERNAL', options);
}

/** A tensor that stands for a value while a function is traced; it has a layout and no memory. */
export function abstract(layout: Layout): Tensor {
  const storage = new Storage();
  storage.slot = ABSTRACT;
  return new Tensor(storage, layout, 0);
}

export function isAbstract(x: Tensor): boolean {
  return x.storage.slot === ABSTRACT;
}

export function checkReadable(x: Tensor, what: string): void {
  checkUsable(x, what);
  if (isAbstract(x)) {
    throw new TraceError('a value cannot be read while a function is traced: return the tensor and read it outside', {
      op: what,
    });
  }
}
