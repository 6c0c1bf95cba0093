/**
 * A recorded function as a list of instructions, and where their operands lie. Regions become jumps and loops; what lies within a loop
 * moves with its index. A value of a body that a backward reads is stacked, an element an iteration, with the loop's own stride: the
 * loop writes it where it stays, and the backward reads it there.
 */
import { dtypeInfo } from '../core/dtype.js';
import { TraceError } from '../core/error.js';
import type { Layout } from '../core/layout.js';
import { Storage, type Tensor } from '../core/tensor.js';
import { bytesOf, type Life, place, reuseInPlace } from './memory.js';
import type { Step } from './recorder.js';
import type { Loop, Region } from './region.js';
import { isTile } from './tile.js';

/** An instruction's number, once it is known. */
export interface Label {
  at: number;
}

export type Instruction =
  | { readonly code: 'run'; readonly step: Step }
  | { readonly code: 'jump'; readonly to: Label }
  | { readonly code: 'unless'; readonly to: Label; readonly test: Tensor }
  | { readonly code: 'begin'; readonly to: Label; readonly region: Region }
  | { readonly code: 'next'; readonly region: Region }
  | { readonly code: 'count'; readonly region: Region };

/** Where a storage lies: 0 the arena, then what is bound, then outputs; the offset in bytes. */
export interface Home {
  readonly buffer: number;
  readonly offset: number;
}

/** Bytes that an offset moves by for each index of a loop. */
export interface Move {
  readonly loop: Loop;
  readonly stride: number;
}

/** A body of a region in the list: from its first to its last instruction, and of a loop, all of it. */
interface Frame {
  readonly region: Region;
  readonly body: number;
  readonly outer: Frame | null;
  readonly depth: number;
  from: number;
  to: number;
}

interface Access {
  readonly x: Tensor;
  readonly at: number;
  readonly frame: Frame | null;
  readonly written: boolean;
}

/** A storage that is part of another: `offset` bytes behind its beginning. */
interface Part {
  readonly of: Storage;
  readonly offset: number;
  readonly moves: readonly Move[];
}

const ALIGN = 64;

/** Ops whose kernel writes in place when the output is the first input. */
const inPlace = new Set(['scatter', 'scatterAdd', 'indexAdd', 'dynamicUpdateSlice']);

function refuseForeign(): never {
  throw new TraceError(
    'a value made in another traced function, or in the body of cond, scan or whileLoop, was used outside: answer it from the body',
    { op: 'compile' },
  );
}

export class Lowering {
  readonly code: Instruction[] = [];
  readonly arenaBytes: number;
  readonly #frames: (Frame | null)[] = [];
  readonly #accesses: Access[] = [];
  readonly #parts = new Map<Storage, Part>();
  /** The body that makes a storage; null: the steps outside of all. */
  readonly #owner = new Map<Storage, Frame | null>();
  readonly #bytes = new Map<Storage, number>();
  readonly #homes: Map<Storage, Home>;

  /** `homes`: of what lies outside of the arena. `inPlace`: results may take the place of operands. */
  constructor(steps: readonly Step[], homes: ReadonlyMap<Storage, Home>, inPlace: boolean) {
    this.#homes = new Map(homes);
    this.#list(steps, null);
    const kept = this.#stackKept();
    this.#joinCopies(kept);
    this.arenaBytes = this.#place(inPlace);
  }

  /** Where x lies, in bytes. */
  find({ storage }: Tensor): Home & { moves: readonly Move[] } {
    const { root, offset, moves } = this.#resolve(storage);
    const home = this.#homes.get(root) ?? refuseForeign();
    return { buffer: home.buffer, offset: home.offset + offset, moves };
  }

  // ---- the list

  #add(instruction: Instruction, frame: Frame | null, reads: readonly Tensor[], writes: readonly Tensor[]): void {
    const at = this.code.push(instruction) - 1;
    this.#frames.push(frame);
    for (const x of reads) this.#accesses.push({ x, at, frame, written: false });
    for (const x of writes) {
      this.#own(x, frame);
      this.#accesses.push({ x, at, frame, written: true });
    }
  }

  #own({ storage, layout }: Tensor, frame: Frame | null): void {
    if (this.#parts.has(storage) || this.#homes.has(storage)) return;
    if (!this.#owner.has(storage)) this.#owner.set(storage, frame);
    this.#bytes.set(storage, Math.max(this.#bytes.get(storage) ?? 0, bytesOf(layout)));
  }

  #list(steps: readonly Step[], frame: Frame | null): void {
    for (const step of steps) {
      const { region, inputs, outputs } = step;
      if (region === undefined) {
        const reads = inputs.filter((x) => typeof x !== 'number') as Tensor[];
        this.#add({ code: 'run', step }, frame, reads, outputs);
        continue;
      }
      for (const y of region.results) this.#own(y, frame);
      for (const { inside, outside, stride } of region.slices) {
        const item = dtypeInfo(inside.dtype).bytes;
        const moves = stride === 0 ? [] : [{ loop: region.loop, stride: stride * item }];
        this.#parts.set(inside.storage, { of: outside.storage, offset: outside.offset * item, moves });
      }
      if (region.kind === 'cond') this.#listCond(region, frame);
      else this.#listLoop(region, frame);
    }
  }

  #body(region: Region, body: number, outer: Frame | null, from: number): Frame {
    const frame = { region, body, outer, depth: (outer?.depth ?? 0) + 1, from, to: from };
    this.#list(region.bodies[body]!, frame);
    return frame;
  }

  #listCond(region: Region, frame: Frame | null): void {
    const otherwise = { at: 0 };
    const end = { at: 0 };
    this.#add({ code: 'unless', test: region.test!, to: otherwise }, frame, [region.test!], []);
    this.#body(region, 0, frame, this.code.length);
    this.#add({ code: 'jump', to: end }, frame, [], []);
    otherwise.at = this.code.length;
    this.#body(region, 1, frame, this.code.length);
    end.at = this.code.length;
  }

  #listLoop(region: Region, frame: Frame | null): void {
    const end = { at: 0 };
    const from = this.code.length;
    const { test, trips, count } = region;
    this.#add({ code: 'begin', region, to: end }, frame, trips === null ? [] : [trips], []);
    const bodies: Frame[] = [];
    if (test !== null) {
      const asking = this.#body(region, 1, frame, from);
      this.#add({ code: 'unless', test, to: end }, asking, [test], []);
      bodies.push(asking);
    }
    bodies.push(this.#body(region, 0, frame, from));
    this.#add({ code: 'next', region }, frame, [], []);
    end.at = this.code.length;
    for (const body of bodies) body.to = end.at - 1;
    if (count !== null) this.#add({ code: 'count', region }, frame, [], [count]);
  }

  // ---- storages that are part of others

  #resolve(storage: Storage): { root: Storage; offset: number; moves: Move[] } {
    const moves: Move[] = [];
    let root = storage;
    let offset = 0;
    for (let part = this.#parts.get(root); part !== undefined; part = this.#parts.get(root)) {
      moves.push(...part.moves);
      offset += part.offset;
      root = part.of;
    }
    return { root, offset, moves };
  }

  /** Gives what a backward reads of a body memory outside of the loops around it; answers those storages. */
  #stackKept(): Set<Storage> {
    const levels = new Map<Storage, number>();
    for (const { x, frame } of this.#accesses) {
      const { root } = this.#resolve(x.storage);
      if (this.#homes.has(root)) continue;
      if (!this.#owner.has(root)) refuseForeign();
      const made = chain(this.#owner.get(root)!);
      const used = chain(frame);
      const apart = made.findIndex((one, k) => one !== used[k]);
      if (apart < 0) continue;
      // From here on the one goes back through the other.
      for (let k = apart; k < made.length; k++) {
        const back = used[k];
        if (back === undefined || !goesBack(back, made[k]!)) refuseForeign();
      }
      levels.set(root, Math.min(levels.get(root) ?? Number.POSITIVE_INFINITY, apart));
    }
    for (const [storage, level] of levels) {
      const frames = chain(this.#owner.get(storage)!);
      let bytes = Math.max(Math.ceil(this.#bytes.get(storage)! / ALIGN), 1) * ALIGN;
      const moves: Move[] = [];
      for (const { region } of frames.slice(level).reverse()) {
        if (region.kind !== 'loop') continue;
        moves.push({ loop: region.loop, stride: bytes });
        bytes *= Math.max(region.length, 1);
      }
      const stack = new Storage();
      this.#owner.set(stack, frames[level - 1] ?? null);
      this.#bytes.set(stack, bytes);
      this.#parts.set(storage, { of: stack, offset: 0, moves });
    }
    return new Set(levels.keys());
  }

  /**
   * A body's result is made where it is to be, and a loop's first carry too, where nothing of what lies there is needed any more: no copy
   * then.
   */
  #joinCopies(kept: ReadonlySet<Storage>): void {
    const dropped = new Set<number>();
    const carried = new Set(Array.from(this.#parts.values(), ({ of }) => of));
    this.code.forEach((instruction, at) => {
      if (instruction.code !== 'run' || instruction.step.plan.op.name !== 'assign') return;
      const [value] = instruction.step.inputs;
      const [slot] = instruction.step.outputs;
      if (typeof value === 'number' || kept.has(value!.storage)) return;
      if (!this.#parts.has(slot!.storage) && !carried.has(slot!.storage)) return;
      if (!this.#joins(value!, slot!, at)) return;
      this.#parts.set(value!.storage, { of: slot!.storage, offset: 0, moves: [] });
      dropped.add(at);
    });
    this.#drop(dropped);
  }

  /** Whether the value may lie in the slot that the instruction `at` copies it to. */
  #joins({ storage, layout, offset }: Tensor, slot: Tensor, at: number): boolean {
    const frame = this.#frames[at]!;
    if (this.#owner.get(storage) !== frame || this.#parts.has(storage)) return false;
    const whole = layout.contiguous && offset === 0 && bytesOf(layout) === this.#bytes.get(storage);
    if (!whole || layout !== slot.layout || slot.offset !== 0) return false;
    const { root } = this.#resolve(slot.storage);
    const depth = frame?.depth ?? 0;
    const used = this.#accesses.filter(({ x }) => this.#resolve(x.storage).root === storage);
    const made = Math.min(...used.map((access) => access.at));
    const later = used.some((access) => span(access, depth).to > at);
    for (const access of this.#accesses) {
      if (access.at === at || this.#resolve(access.x.storage).root !== root) continue;
      if (frame !== null && !chain(access.frame).includes(frame)) continue;
      const { from, to } = span(access, depth);
      if (to < made) continue;
      if (from > at) {
        // The copy is written over while the value is still read.
        if (access.written && later) return false;
      } else if (access.at !== made || !this.#replaces(access.x, slot, made, storage)) return false;
    }
    return true;
  }

  /** Whether the instruction may write over the operand x, which lies in the slot. */
  #replaces(x: Tensor, slot: Tensor, at: number, into: Storage): boolean {
    const instruction = this.code[at]!;
    if (instruction.code !== 'run' || x.storage !== slot.storage || x.offset !== 0) return false;
    const { plan, inputs, outputs } = instruction.step;
    if (x.layout !== slot.layout || !outputs.some((y) => y.storage === into && y.layout === slot.layout)) return false;
    const places = [...inputs.keys()].filter((i) => inputs[i] === x);
    if (isTile(plan)) return places.every((i) => sameLayout(plan.call!.inputs, inputs, i, slot.layout));
    return inPlace.has(plan.op.name) && places.every((i) => i === 0);
  }

  /** Leaves instructions out; labels, frames and accesses then speak of those that are left. */
  #drop(dropped: ReadonlySet<number>): void {
    if (dropped.size === 0) return;
    const now: number[] = [];
    let count = 0;
    for (let i = 0; i <= this.code.length; i++) {
      now.push(count);
      if (!dropped.has(i)) count++;
    }
    const labels = new Set(this.code.flatMap((one) => ('to' in one ? [one.to] : [])));
    for (const label of labels) label.at = now[label.at]!;
    for (const frame of new Set(this.#accesses.flatMap((access) => chain(access.frame)))) {
      frame.from = now[frame.from]!;
      frame.to = now[frame.to]!;
    }
    const left = this.#accesses.filter(({ at }) => !dropped.has(at)).map((one) => ({ ...one, at: now[one.at]! }));
    this.#accesses.splice(0, this.#accesses.length, ...left);
    const code = this.code.filter((_, i) => !dropped.has(i));
    this.code.splice(0, this.code.length, ...code);
    this.#frames.splice(0, this.#frames.length, ...this.#frames.filter((_, i) => !dropped.has(i)));
  }

  // ---- the arena

  /** A value lives from its first to its last use; what a loop uses of the steps around it, as long as the loop. */
  #place(inPlace: boolean): number {
    const lives = new Map<Storage, Life>();
    for (const access of this.#accesses) {
      const { root } = this.#resolve(access.x.storage);
      if (this.#homes.has(root)) continue;
      const { from, to } = span(access, this.#owner.get(root)?.depth ?? 0);
      const life = lives.get(root);
      if (life === undefined) lives.set(root, { bytes: this.#bytes.get(root)!, from, to });
      else {
        life.from = Math.min(life.from, from);
        life.to = Math.max(life.to, to);
      }
    }
    const steps = this.code.map((one) => (one.code === 'run' ? one.step : null));
    if (inPlace) reuseInPlace(steps, lives, (storage) => this.#resolve(storage).root);
    const distinct = [...new Set(lives.values())];
    const { offsets, bytes } = place(distinct);
    const offsetOf = new Map(distinct.map((life, i) => [life, offsets[i]!]));
    for (const [storage, life] of lives) this.#homes.set(storage, { buffer: 0, offset: offsetOf.get(life)! });
    return bytes;
  }
}

/** The bodies around, outermost first. */
function chain(frame: Frame | null): Frame[] {
  const list: Frame[] = [];
  for (let one = frame; one !== null; one = one.outer) list.unshift(one);
  return list;
}

/** Whether `back` is the body of a backward that goes through the body `made`. */
const goesBack = (back: Frame, made: Frame): boolean => back.region.of === made.region.loop && back.body === made.body;

/** When an access happens, for a storage whose owner is so deep: in the loops below that, all the time. */
function span({ at, frame }: Access, depth: number): { from: number; to: number } {
  const loop = chain(frame).find((one) => one.depth > depth && one.region.kind === 'loop');
  return loop === undefined ? { from: at, to: at } : { from: loop.from, to: loop.to };
}

/** Whether a tile program reads its i-th operand element by element. */
function sameLayout(layouts: readonly Layout[], inputs: Step['inputs'], i: number, layout: Layout): boolean {
  const k = inputs.slice(0, i).filter((x) => typeof x !== 'number').length;
  return layouts[k] === layout;
}
