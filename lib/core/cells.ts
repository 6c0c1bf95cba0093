/**
 * What a function reads besides its arguments, told to whoever compiles it: gradients and flags are cells that may hold something
 * else at the next run, and some numbers are new each time.
 */
import type { Tensor } from './tensor.js';

/** A stream of random numbers. */
export interface CounterSource {
  readonly seed: number;
  /** Takes the counters for `size` numbers; answers the first. */
  take(size: number): number;
}

export interface Cells {
  /** The gradient of x is about to be read, or replaced whatever it is. */
  gradient(x: Tensor, replaced: boolean): void;
  /** The program holds only while `holds()`. */
  guard(holds: () => boolean): void;
  /** Stand-ins for the numbers that `compute` gives anew at each run; they may be passed on, not computed with. */
  numbers(compute: () => readonly number[]): readonly number[];
  /** As numbers(): seed and first counter for `size` random numbers; in a loop, others in each iteration. */
  draw(source: CounterSource, size: number): readonly number[];
  /** Done after each run. */
  after(effect: () => void): void;
  /** Runs `fn`, which computes anew what was computed before, so as not to keep it: that must not be undone. */
  again<R>(fn: () => R): R;
}

export const compiling: { recorder: Cells | null } = { recorder: null };

/** Numbers that differ from run to run: a learning rate, a step count. */
export function freshNumbers(compute: () => readonly number[]): readonly number[] {
  return compiling.recorder === null ? compute() : compiling.recorder.numbers(compute);
}

/** Seed and first counter for `size` random numbers, anew at each run. */
export function freshCounters(source: CounterSource, size: number): readonly [number, number] {
  if (compiling.recorder === null) return [source.seed, source.take(size)];
  return compiling.recorder.draw(source, size) as readonly [number, number];
}

/** What a call leaves behind in JavaScript. */
export function afterwards(effect: () => void): void {
  if (compiling.recorder === null) effect();
  else compiling.recorder.after(effect);
}

/** A flag that decides what is computed. */
export function flag<T, K extends keyof T>(of: T, key: K, value: T[K]): T[K] {
  if (compiling.recorder !== null) compiling.recorder.guard(() => of[key] === value);
  return value;
}
