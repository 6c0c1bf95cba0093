/** What a benchmark is: a named case that measures ours and the peers in alternation. */
import type { Limit } from './limits.js';

export type Unit = 'ns' | 'us' | 'ms' | 'MB' | 'GFLOP/s' | 'GB/s';
export const higherIsBetter = (unit: Unit): boolean => unit.endsWith('/s');

export interface Result {
  readonly unit: Unit;
  readonly value: number;
  /** Null without a peer. */
  readonly peerValue: number | null;
  /** Part of what the machine can do (limits.cpp). */
  readonly share?: number;
  /** Which form of the peer was the best, or why there is none. */
  readonly note?: string;
}

/** How long to measure in a round; seconds. */
export interface Pace {
  /** A sample repeats the work for at least so long. */
  readonly sample: number;
  /** At least so many samples, and more until `budget` is used; the round's value is their median. */
  readonly samples: number;
  readonly budget: number;
}

/** An input of a peer's case: a number, or a tensor by its distribution. */
export type Spec =
  | number
  | {
      readonly kind: 'real' | 'index' | 'mask' | 'distinct';
      readonly shape: readonly number[];
      readonly dtype: string;
      readonly low: number;
      readonly high: number;
    };

/** PyTorch's side of a case: inputs x0, x1, …, statements run once, and the timed statement. */
export interface TorchForm {
  readonly label?: string;
  readonly inputs?: readonly Spec[];
  readonly setup?: string;
  readonly code: string;
  /** Whether autograd records; else it runs under no_grad. */
  readonly grad?: boolean;
}

/** Where cases run. Each answers a time in seconds, or a rate. */
export interface Bench {
  readonly runs: number;
  readonly python: string | null;
  timeOurs(id: string, threads: number, pace: Pace): Promise<number>;
  /** Throws where PyTorch refuses the form. */
  timeTorch(id: string, threads: number, pace: Pace, form: TorchForm): Promise<number>;
  limit(name: Limit, threads: number): number | null;
  /** Drops what the workers keep of a case. */
  clear(threads: number): Promise<void>;
}

export interface Case {
  readonly group: string;
  readonly name: string;
  readonly threads: number;
  measure(bench: Bench): Promise<Result>;
  /** Makes the work that the worker times. */
  readonly make?: () => () => unknown;
}

export const caseId = ({ group, name }: Case): string => `${group}/${name}`;

export interface TimedCase {
  readonly group: string;
  readonly name: string;
  readonly threads: number;
  readonly unit: Unit;
  /** Operations (for a rate: flop) of one call. */
  readonly work?: number;
  readonly pace?: Pace;
  make(): () => unknown;
  /** The best of these forms is the peer. */
  torch(): readonly TorchForm[];
  readonly limit?: Limit;
}

const short: Pace = { sample: 0.002, samples: 5, budget: 0.1 };

/** A case timed in the workers. */
export function timed({ unit, work = 1, pace = short, torch, limit, ...rest }: TimedCase): Case {
  const convert: Record<Unit, (seconds: number) => number> = {
    ns: (s) => (s * 1e9) / work,
    us: (s) => (s * 1e6) / work,
    ms: (s) => (s * 1e3) / work,
    'GFLOP/s': (s) => work / s / 1e9,
    'GB/s': (s) => work / s / 1e9,
    MB: () => Number.NaN,
  };
  return {
    ...rest,
    async measure(bench) {
      const { threads } = rest;
      const id = `${rest.group}/${rest.name}`;
      const refused: string[] = [];
      const forms = bench.python === null ? [] : torch();
      const [ours, peak, ...theirs] = await interleave(bench.runs, [
        () => bench.timeOurs(id, threads, pace),
        () => (limit ? bench.limit(limit, threads) : null),
        ...forms.map((form, i) => async () => {
          try {
            return await bench.timeTorch(`${id}#${i}`, threads, pace, form);
          } catch (error) {
            refused.push((error as Error).message);
            return null;
          }
        }),
      ]);
      await bench.clear(threads);
      const [best] = theirs
        .flatMap((seconds, i) => (seconds === null ? [] : { seconds, label: forms[i]!.label }))
        .toSorted((a, b) => a.seconds - b.seconds);
      const value = convert[unit](ours!);
      const note = best ? best.label : refused[0];
      return {
        unit,
        value,
        peerValue: best ? convert[unit](best.seconds) : null,
        ...(peak ? { share: value / peak } : {}),
        ...(note ? { note } : {}),
      };
    },
  };
}

/** Runs the sides by turns, never two at once, forwards and backwards; the median of each, null where a side had no value. */
export async function interleave(
  rounds: number,
  sides: readonly (() => number | null | Promise<number | null>)[],
): Promise<(number | null)[]> {
  const values = sides.map(() => [] as number[]);
  const order = sides.map((_, i) => i);
  for (let round = 0; round < rounds; round++) {
    for (const i of round % 2 === 0 ? order : order.toReversed()) {
      const value = await sides[i]!();
      if (value !== null) values[i]!.push(value);
      // The other side's threads spin for a few milliseconds before they park.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  return values.map((list) => (list.length === 0 ? null : median(list)));
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}
