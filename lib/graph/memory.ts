/** Where the intermediate values of a program lie: each as long as it is used, in one arena. */
import { dtypeInfo } from '../core/dtype.js';
import { TraceError } from '../core/error.js';
import type { Layout } from '../core/layout.js';
import type { Storage, Tensor } from '../core/tensor.js';
import type { Step } from './recorder.js';
import { walksOnce } from './tile.js';

const ALIGN = 64;

export const bytesOf = (layout: Layout): number => layout.size * dtypeInfo(layout.dtype).bytes;

export interface Life {
  readonly bytes: number;
  /** First and last step that touch it. */
  from: number;
  to: number;
}

/** How long each storage lives that a step makes and nothing from outside holds. */
export function livesOf(steps: readonly Step[], outside: ReadonlySet<Storage>): Map<Storage, Life> {
  const lives = new Map<Storage, Life>();
  steps.forEach((step, i) => {
    for (const { storage, layout } of step.outputs)
      if (!outside.has(storage) && !lives.has(storage)) lives.set(storage, { bytes: bytesOf(layout), from: i, to: i });
    for (const x of [...step.inputs, ...step.outputs]) {
      if (typeof x === 'number') continue;
      const life = lives.get(x.storage);
      if (life) life.to = i;
      else if (!outside.has(x.storage))
        throw new TraceError('a value of another traced function was used', { op: 'compile' });
    }
  });
  return lives;
}

/** An elementwise result lies over an operand of its layout that nobody needs any more: they become one life. */
export function reuseInPlace(
  steps: readonly (Step | null)[],
  lives: Map<Storage, Life>,
  /** The storage that another is part of. */
  wholeOf: (storage: Storage) => Storage = (storage) => storage,
): void {
  steps.forEach((step, i) => {
    if (step === null || !walksOnce(step.plan)) return;
    const { plan, inputs, outputs } = step;
    const tensors = inputs.filter((x) => typeof x !== 'number') as Tensor[];
    for (const y of outputs) {
      const own = lives.get(y.storage);
      // A result that nobody reads takes no place: two would take the same.
      if (own === undefined || own.from !== i || own.to === i || y.offset !== 0) continue;
      const k = tensors.findIndex((x, j) => {
        const life = lives.get(x.storage);
        if (life === undefined || life.to !== i || life.from === i || life.bytes !== own.bytes) return false;
        return x.offset === 0 && x.dtype === y.dtype && plan.call!.inputs[j] === y.layout;
      });
      // Read in two ways, the second would see what was written.
      if (k < 0 || tensors.some((x, j) => j !== k && wholeOf(x.storage) === tensors[k]!.storage)) continue;
      const life = lives.get(tensors[k]!.storage)!;
      life.to = own.to;
      lives.set(y.storage, life);
    }
  });
}

/** Offsets, largest value first, each at the lowest place that is free for as long as it lives. */
export function place(lives: readonly Life[]): { offsets: number[]; bytes: number } {
  const offsets = new Array<number>(lives.length).fill(0);
  const placed: { start: number; end: number; life: Life }[] = [];
  let bytes = 0;
  const order = lives.map((_, i) => i).sort((a, b) => lives[b]!.bytes - lives[a]!.bytes || a - b);
  for (const i of order) {
    const life = lives[i]!;
    // Also what has no elements lies somewhere.
    const size = Math.max(Math.ceil(life.bytes / ALIGN), 1) * ALIGN;
    let start = 0;
    for (const other of placed) {
      if (other.life.to < life.from || other.life.from > life.to) continue;
      if (other.end <= start) continue;
      if (other.start >= start + size) break;
      start = other.end;
    }
    offsets[i] = start;
    let at = placed.length;
    while (at > 0 && placed[at - 1]!.start > start) at--;
    placed.splice(at, 0, { start, end: start + size, life });
    bytes = Math.max(bytes, start + size);
  }
  return { offsets, bytes };
}

/** Where each value lies that nothing from outside holds, and how large the arena is. */
export function arenaOf(
  steps: readonly Step[],
  outside: ReadonlySet<Storage>,
  inPlace: boolean,
): { offsets: Map<Storage, number>; bytes: number } {
  const lives = livesOf(steps, outside);
  if (inPlace) reuseInPlace(steps, lives);
  const distinct = [...new Set(lives.values())];
  const { offsets, bytes } = place(distinct);
  const offsetOf = new Map(distinct.map((life, i) => [life, offsets[i]!]));
  return { offsets: new Map([...lives].map(([storage, life]) => [storage, offsetOf.get(life)!])), bytes };
}
