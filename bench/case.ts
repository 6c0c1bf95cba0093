/** What a benchmark is: a named case that measures ours and the peers in alternation. */
import type { Limit } from './limits.js';

export type Unit = 'ns' | 'us' | 'ms' | 'MB' | 'GFLOP/s' | 'GOP/s' | 'GB/s' | 'passes';
export const higherIsBetter = (unit: Unit): boolean => unit.endsWith('/s');

/** What ours is compared with: the processes of bench/peers. */
export const peerTitles = { torch: 'PyTorch', jax: 'JAX', tensorflow: 'TensorFlow', onnxruntime: 'ONNX Runtime' };
export type Peer = keyof typeof peerTitles;
/** `JAX, jit` */
export const titleOf = (peer: Peer, form?: string): string => [peerTitles[peer], form].filter(Boolean).join(', ');

/** The best form of one peer. */
export interface Rival {
  readonly peer: Peer;
  readonly form?: string;
  readonly value: number;
}

export interface Result {
  readonly unit: Unit;
  readonly value: number;
  /** The best form of each peer, the best peer first; empty without peers. */
  readonly rivals: readonly Rival[];
  /** Every form that was timed: `PyTorch, fused`. */
  readonly forms?: readonly string[];
  /** Part of what the machine can do (limits.cpp). */
  readonly share?: number;
  /** How many samples a call takes: rates are printed too. */
  readonly samples?: number;
  /** What else the reader must know: which forms refused, what was subtracted. */
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

/** A peer's side of a case: inputs x0, x1, … (PyTorch alone), statements run once, and the timed statement. */
export interface PeerForm {
  /** PyTorch unless said. */
  readonly peer?: Peer;
  readonly label?: string;
  readonly inputs?: readonly Spec[];
  readonly setup?: string;
  readonly code: string;
  /** Whether PyTorch's autograd records; else it runs under no_grad. */
  readonly grad?: boolean;
  /** Takes minutes to warm up: run only with --torch-compile. */
  readonly slow?: boolean;
}

/** Where cases run. Each answers a time in seconds, or a rate. */
export interface Bench {
  readonly runs: number;
  /** The interpreter with PyTorch, where it is installed. */
  readonly python: string | null;
  readonly ready: ReadonlySet<Peer>;
  /** Whether slow forms run too. */
  readonly slow: boolean;
  timeOurs(id: string, threads: number, pace: Pace): Promise<number>;
  /** Throws where the peer refuses the form. */
  timePeer(id: string, threads: number, pace: Pace, form: PeerForm): Promise<number>;
  /** In a fresh process, how much longer the first call takes than later ones. `form`: the peer's instead of ours. */
  firstCall(id: string, threads: number, pace: Pace, form?: PeerForm): Promise<number>;
  limit(name: Limit, threads: number): number | null;
  /** Drops what the workers keep of a case. */
  clear(threads: number): Promise<void>;
}

export interface Case {
  readonly group: string;
  readonly name: string;
  readonly threads: number;
  /** Whose forms it has; PyTorch's unless said. */
  readonly peers?: readonly Peer[];
  measure(bench: Bench): Promise<Result>;
  /** Makes the work that the worker times: one for each id `group/name#part`, where a case has parts. */
  readonly make?: (part: string) => () => unknown;
}

export const caseId = ({ group, name }: Case): string => `${group}/${name}`;

export interface TimedCase {
  readonly group: string;
  readonly name: string;
  readonly threads: number;
  readonly peers?: readonly Peer[];
  readonly unit: Unit;
  /** Operations (for a rate: flop) of one call. */
  readonly work?: number;
  readonly samples?: number;
  readonly pace?: Pace;
  make(): () => unknown;
  /** The best of these forms is the peer. */
  forms(): readonly PeerForm[];
  readonly limit?: Limit;
  /** Times how much longer the first call of a process takes than later ones, instead of the later ones. */
  readonly first?: boolean;
}

const short: Pace = { sample: 0.002, samples: 5, budget: 0.1 };
/** A form that takes so many times its peer's best, or the best of all, in the first round is not run in further ones. */
const HOPELESS = { ofPeer: 1.5, ofAll: 3 };

/** A case timed in the workers. */
export function timed({ unit, work = 1, samples, pace = short, forms, limit, first, ...rest }: TimedCase): Case {
  const convert: Record<Unit, (seconds: number) => number> = {
    ns: (s) => (s * 1e9) / work,
    us: (s) => (s * 1e6) / work,
    ms: (s) => (s * 1e3) / work,
    'GFLOP/s': (s) => work / s / 1e9,
    'GOP/s': (s) => work / s / 1e9,
    'GB/s': (s) => work / s / 1e9,
    passes: () => Number.NaN,
    MB: () => Number.NaN,
  };
  return {
    ...rest,
    async measure(bench) {
      const { threads } = rest;
      const id = `${rest.group}/${rest.name}`;
      const refused = new Map<PeerForm, string>();
      const seen = new Map<PeerForm, number>();
      // Making forms may make tensors: only where a peer is there.
      const peers = (rest.peers ?? ['torch']).filter((peer) => bench.ready.has(peer));
      const taken = (peers.length === 0 ? [] : forms()).filter(
        ({ peer = 'torch', slow }) => peers.includes(peer) && (!slow || bench.slow),
      );
      const bestOf = (some: readonly PeerForm[]) => Math.min(...some.flatMap((form) => seen.get(form) ?? []));
      const hopeless = (form: PeerForm): boolean => {
        const seconds = seen.get(form) ?? 0;
        const rivals = taken.filter(({ peer }) => peer === form.peer);
        return seconds > HOPELESS.ofPeer * bestOf(rivals) || seconds > HOPELESS.ofAll * bestOf(taken);
      };
      const [ours, peak, ...theirs] = await interleave(bench.runs, [
        () => (first ? bench.firstCall(id, threads, pace) : bench.timeOurs(id, threads, pace)),
        () => (limit ? bench.limit(limit, threads) : null),
        ...taken.map((form, i) => async () => {
          // What takes seconds to minutes a process is told once.
          if (refused.has(form) || hopeless(form) || (first && seen.has(form))) return null;
          try {
            const at = `${id}#${i}`;
            const seconds = await (first
              ? bench.firstCall(at, threads, pace, form)
              : bench.timePeer(at, threads, pace, form));
            if (!seen.has(form)) seen.set(form, seconds);
            return seconds;
          } catch (error) {
            refused.set(form, (error as Error).message);
            return null;
          }
        }),
      ]);
      await bench.clear(threads);
      const best = new Map<Peer, Rival & { seconds: number }>();
      taken.forEach(({ peer = 'torch', label }, i) => {
        const seconds = theirs[i]!;
        if (seconds === null || seconds >= (best.get(peer)?.seconds ?? Number.POSITIVE_INFINITY)) return;
        best.set(peer, { peer, ...(label ? { form: label } : {}), value: convert[unit](seconds), seconds });
      });
      const value = convert[unit](ours!);
      const note = [...refused].map(([{ peer = 'torch', label }, why]) => `${titleOf(peer, label)} refused: ${why}`);
      return {
        unit,
        value,
        rivals: [...best.values()].toSorted((a, b) => a.seconds - b.seconds).map(({ seconds: _, ...rival }) => rival),
        forms: taken.filter((form) => seen.has(form)).map(({ peer = 'torch', label }) => titleOf(peer, label)),
        ...(peak ? { share: value / peak } : {}),
        ...(samples ? { samples } : {}),
        ...(note.length > 0 ? { note: note.join('; ') } : {}),
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
