/**
 * A memory budget: values that are cheap to make are made again right before a late use, instead of being kept across the moment at
 * which most memory is in use. (Rematerialization; arXiv:1604.06174)
 */
import { type Storage, Tensor, abstract } from '../../core/tensor.js';
import { arenaOf, bytesOf, type Life, livesOf, reuseInPlace } from '../memory.js';
import type { Step } from '../recorder.js';
import { isTile } from '../tile.js';
import { countWrites, reads } from './flow.js';
import { join } from './join.js';

/** Kernels that take about as long as reading and writing does, besides elementwise programs. */
const cheap = new Set(['dropout', 'random', 'gather', 'indexSelect', 'cat', 'softmax', 'logSoftmax']);
/** How many values may be made again for one. */
const DEPTH = 8;
/** How many changes in a row may bring no less memory, at the peak or at as many steps. */
const PATIENCE = 8;

/** A value that is made again before step `before`, from values that are there then and some that must be kept for it. */
interface Part {
  readonly storage: Storage;
  readonly before: number;
  /** What is made, first first; the value itself is the last. */
  readonly again: readonly { storage: Storage; step: Step }[];
  readonly kept: ReadonlySet<Storage>;
  /** Bytes read and written. */
  readonly work: number;
}

/** Steps whose arena fits into `budget` bytes, or comes as near to it as these means allow. */
export function rematerialize(
  steps: readonly Step[],
  outside: ReadonlySet<Storage>,
  inPlace: boolean,
  budget: number,
): readonly Step[] {
  let now = steps;
  let best = { steps, bytes: arenaOf(steps, outside, inPlace).bytes };
  let lowest: Peak | null = null;
  let left = PATIENCE;
  while (best.bytes > budget && left > 0) {
    const peak = peakOf(now, outside, inPlace);
    const lower = lowest === null || peak.bytes < lowest.bytes;
    // Values live at once are a lower bound of the arena.
    if (lower && peak.bytes < best.bytes) {
      const { bytes } = arenaOf(now, outside, inPlace);
      if (bytes < best.bytes) best = { steps: now, bytes };
    }
    const parts = choose(now, outside, peak.at);
    if (parts.length === 0) break;
    const better: boolean = lower || (peak.bytes === lowest!.bytes && peak.count < lowest!.count);
    left = better ? PATIENCE : left - 1;
    if (better) lowest = peak;
    now = withoutUnread([...parts].sort((a, b) => b.before - a.before).reduce(insert, now), outside);
  }
  return best.steps;
}

interface Peak {
  readonly at: number;
  readonly bytes: number;
  readonly count: number;
}

/** The first step at which most bytes are live, and how many such steps there are. */
function peakOf(steps: readonly Step[], outside: ReadonlySet<Storage>, inPlace: boolean): Peak {
  const lives = livesOf(steps, outside);
  if (inPlace) reuseInPlace(steps, lives);
  const change = new Float64Array(steps.length + 1);
  for (const { bytes, from, to } of new Set(lives.values())) {
    change[from]! += bytes;
    change[to + 1]! -= bytes;
  }
  let [at, most, live, count] = [0, 0, 0, 0];
  for (let i = 0; i < steps.length; i++) {
    live += change[i]!;
    if (live > most) [at, most, count] = [i, live, 1];
    else if (live === most) count++;
  }
  return { at, bytes: most, count };
}

/** What saves most at step `at` for its work; empty where nothing saves. What keeps the same values for it is taken together. */
function choose(steps: readonly Step[], outside: ReadonlySet<Storage>, at: number): readonly Part[] {
  const values = new Values(steps, outside);
  const parts: Part[] = [];
  for (const [storage, life] of values.lives) {
    if (life.from >= at || life.to <= at) continue;
    const before = values.nextUse(storage, at);
    const part = before === null ? null : values.again(storage, before);
    if (part !== null) parts.push(part);
  }
  const size = (storage: Storage): number => values.lives.get(storage)!.bytes;
  let best: readonly Part[] = [];
  let most = 0;
  for (const first of parts) {
    const group =
      first.kept.size === 0 ? [first] : parts.filter(({ kept }) => [...kept].every((one) => first.kept.has(one)));
    const saved = group.reduce((sum, { storage }) => sum + size(storage), 0);
    const added = [...first.kept].reduce((sum, one) => sum + (values.lives.get(one)!.to < at ? size(one) : 0), 0);
    const gain = (saved - added) / group.reduce((sum, { work }) => sum + work, 1);
    if (gain > most) [best, most] = [group, gain];
  }
  return best;
}

/** Who makes, reads and overwrites each value. */
class Values {
  readonly lives: Map<Storage, Life>;
  readonly #steps: readonly Step[];
  readonly #makers = new Map<Storage, number>();
  readonly #uses = new Map<Storage, number[]>();
  readonly #writes = new Map<Storage, number[]>();

  constructor(steps: readonly Step[], outside: ReadonlySet<Storage>) {
    this.#steps = steps;
    this.lives = livesOf(steps, outside);
    const counts = countWrites(steps);
    const note = (map: Map<Storage, number[]>, storage: Storage, i: number): void => {
      const list = map.get(storage);
      if (list === undefined) map.set(storage, [i]);
      else if (list.at(-1) !== i) list.push(i);
    };
    steps.forEach((step, i) => {
      for (const { storage } of reads(step)) note(this.#uses, storage, i);
      for (const { storage } of step.outputs) {
        note(this.#writes, storage, i);
        if (counts.get(storage) === 1) this.#makers.set(storage, i);
      }
    });
  }

  /** The first step after `at` that reads the value; null when `at` itself touches it. */
  nextUse(storage: Storage, at: number): number | null {
    const uses = this.#uses.get(storage) ?? [];
    return uses.includes(at) ? null : (uses.find((i) => i > at) ?? null);
  }

  /** The value made again before step `before`, by cheap steps from what is there then, and from values to be kept where there is none. */
  again(storage: Storage, before: number): Part | null {
    const made: { storage: Storage; step: Step }[] = [];
    const kept = new Set<Storage>();
    let work = 0;
    const make = (wanted: Storage, depth: number): boolean => {
      if (made.some((one) => one.storage === wanted)) return true;
      const from = this.#makers.get(wanted);
      if (from === undefined || depth === 0) return false;
      const step = onlyMaking(this.#steps[from]!, wanted);
      if (step === null || reads(step).some((x) => this.#overwritten(x.storage, from, before))) return false;
      for (const x of reads(step)) {
        const life = this.lives.get(x.storage);
        if (life === undefined || life.to >= before || make(x.storage, depth - 1)) continue;
        kept.add(x.storage);
      }
      work += [...reads(step), ...step.outputs].reduce((sum, x) => sum + bytesOf(x.layout), 0);
      made.push({ storage: wanted, step });
      return true;
    };
    return make(storage, DEPTH) ? { storage, before, again: made, kept, work } : null;
  }

  #overwritten(storage: Storage, from: number, before: number): boolean {
    return (this.#writes.get(storage) ?? []).some((i) => i >= from && i < before);
  }
}

/** A step that makes that value alone, as the given one does; null where that costs more than reading and writing. */
function onlyMaking(step: Step, storage: Storage): Step | null {
  const y = step.outputs.find((one) => one.storage === storage)!;
  if (y.offset !== 0 || reads(step).some((x) => x.storage === storage)) return null;
  if (isTile(step.plan)) return step.outputs.length === 1 ? step : join([step], (one) => one === storage);
  return step.outputs.length === 1 && cheap.has(step.plan.op.name) ? step : null;
}

function insert(steps: readonly Step[], { before, again }: Part): readonly Step[] {
  const instead = new Map<Storage, Storage>();
  const renamed = (x: Tensor | number): Tensor | number => {
    const storage = typeof x === 'number' ? undefined : instead.get(x.storage);
    return storage === undefined ? x : new Tensor(storage, (x as Tensor).layout, (x as Tensor).offset);
  };
  const repeated = again.map(({ storage, step }) => {
    const inputs = step.inputs.map(renamed);
    const y = abstract(step.outputs[0]!.layout);
    instead.set(storage, y.storage);
    return { ...step, inputs, outputs: [y] };
  });
  const later = steps.slice(before).map((step) => ({ ...step, inputs: step.inputs.map(renamed) }));
  return [...steps.slice(0, before), ...repeated, ...later];
}

/** Values whose every use was given another are made no more. */
function withoutUnread(steps: readonly Step[], outside: ReadonlySet<Storage>): readonly Step[] {
  const read = new Set<Storage>(outside);
  const kept: Step[] = [];
  for (const step of steps.toReversed()) {
    const wanted = ({ storage }: Tensor) => read.has(storage);
    if (!step.outputs.some(wanted)) continue;
    const less = !step.outputs.every(wanted) && isTile(step.plan) ? join([step], (storage) => read.has(storage)) : null;
    kept.push(less ?? step);
    for (const x of [...reads(step), ...step.outputs]) read.add(x.storage);
  }
  return kept.reverse();
}
