/**
 * Random numbers of a recorded function. A call in a loop goes on by what one iteration draws, so that a compiled loop gives what the
 * same loop gives in eager.
 */
import type { CounterSource } from '../core/cells.js';
import type { Loop } from './region.js';

/** A body being recorded: the counters that it takes each time it runs. */
export interface Frame {
  readonly loop: Loop | null;
  readonly length: number;
  readonly reverse: boolean;
  readonly totals: Map<CounterSource, number>;
}

/** Iterations for which a loop of unknown length takes numbers of its own; after them they meet those of later calls. */
const UNKNOWN = 2 ** 24;

export function frame(loop: Loop | null = null, length = 1, reverse = false): Frame {
  return { loop, length: Math.min(length, UNKNOWN), reverse, totals: new Map() };
}

/** What a body drew, and its loops, in order: for those who run it again. */
export interface Log {
  readonly given: (readonly number[])[];
  readonly loops: Loop[];
}

type Numbers = (compute: () => readonly number[], count: number) => readonly number[];

export class Draws {
  /** By the number that stands for the first counter: what it moves on by for each index of loops around it. */
  readonly moves = new Map<number, readonly { loop: Loop; stride: () => number }[]>();
  #frames: Frame[] = [];
  /** Where the numbers of the outermost region begin. */
  #starts = new Map<CounterSource, { at: number }>();
  /** Of the bodies that are being recorded. */
  #logs: Log[] = [];
  /** What is run again, and how far. */
  #replayed: { log: Log; given: number; loops: number } | null = null;

  /** Runs `record` and notes what it draws. */
  noted<R>(log: Log, record: () => R): R {
    this.#logs.push(log);
    try {
      return record();
    } finally {
      this.#logs.pop();
    }
  }

  /** Runs what was noted again: it draws the same numbers, in loops of the same indices. */
  replay<R>(log: Log, record: () => R): R {
    const logs = this.#logs;
    const replayed = this.#replayed;
    this.#logs = [];
    this.#replayed = { log, given: 0, loops: 0 };
    try {
      return record();
    } finally {
      this.#logs = logs;
      this.#replayed = replayed;
    }
  }

  /** What counts the iterations of a loop that begins now. */
  loop(name: string): Loop {
    const one = this.#replayed?.log.loops[this.#replayed.loops++] ?? { name };
    for (const { loops } of this.#logs) loops.push(one);
    return one;
  }

  /** Runs `record`, which records a region; its frames are closed by then. */
  region<R>(record: () => R): R {
    if (this.#frames.length > 0) return record();
    this.#frames = [frame()];
    this.#starts = new Map();
    try {
      return record();
    } finally {
      this.#frames = [];
    }
  }

  /** Records a body. */
  within<R>(one: Frame, record: () => R): R {
    this.#frames.push(one);
    try {
      return record();
    } finally {
      this.#frames.pop();
    }
  }

  /** The bodies are recorded; one of them runs, as often as it says. */
  close(bodies: readonly Frame[]): void {
    const { totals } = this.#frames.at(-1)!;
    for (const source of new Set(bodies.flatMap((one) => [...one.totals.keys()]))) {
      const most = Math.max(...bodies.map((one) => (one.totals.get(source) ?? 0) * one.length));
      totals.set(source, (totals.get(source) ?? 0) + most);
    }
  }

  /** A function that forgets what was drawn since. */
  mark(): () => void {
    const starts = new Map(this.#starts);
    const around = this.#frames.at(-1)?.totals;
    const totals = [...(around ?? [])];
    const logs = this.#logs.map((log) => ({ log, given: log.given.length, loops: log.loops.length }));
    const replayed = { ...this.#replayed };
    return () => {
      for (const { log, given, loops } of logs) {
        log.given.length = given;
        log.loops.length = loops;
      }
      if (this.#replayed !== null) Object.assign(this.#replayed, replayed);
      this.#starts = new Map(starts);
      around?.clear();
      for (const [source, total] of totals) around?.set(source, total);
    };
  }

  take(numbers: Numbers, source: CounterSource, size: number): readonly number[] {
    const known = this.#replayed?.log.given[this.#replayed.given++];
    const given = known ?? this.#takeNew(numbers, source, size);
    for (const log of this.#logs) log.given.push(given);
    return given;
  }

  #takeNew(numbers: Numbers, source: CounterSource, size: number): readonly number[] {
    const around = this.#frames.slice();
    if (around.length === 0) return numbers(() => [source.seed, source.take(size)], 2);
    const each = (one: Frame): number => one.totals.get(source) ?? 0;
    const before = around.reduce((n, one) => n + each(one), 0);
    const { totals } = around.at(-1)!;
    totals.set(source, (totals.get(source) ?? 0) + Math.ceil(size / 4));
    const start = this.#starts.get(source) ?? { at: 0 };
    const first = !this.#starts.has(source);
    this.#starts.set(source, start);
    const given = numbers(() => {
      if (first) start.at = source.take(4 * each(around[0]!));
      // The first iteration of a loop that runs downward has the largest index.
      const down = around.reduce((n, one) => (one.reverse ? n + each(one) * (one.length - 1) : n), 0);
      return [source.seed, start.at + before + down];
    }, 2);
    const loops = around.filter(({ loop }) => loop !== null);
    this.moves.set(
      given[1]!,
      loops.map((one) => ({ loop: one.loop!, stride: () => (one.reverse ? -each(one) : each(one)) })),
    );
    return given;
  }
}
