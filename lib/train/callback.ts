// What fit tells its callbacks, and what it answers.
import { ArgumentError } from '../core/error.js';
import type { Metric } from '../metrics/metric.js';
import type { Module } from '../nn/module.js';
import type { Optimizer } from '../optim/optimizer.js';
import type { Schedule } from '../optim/schedule.js';

/** Metrics by the name they have in the results. */
export type Metrics = Record<string, Metric<unknown>>;

/** The mean loss over samples, and each metric's value. */
export type Results<M extends Metrics = Metrics> = { loss: number } & {
  [K in keyof M]: M[K] extends Metric<infer R> ? R : never;
};

export interface EpochRecord<M extends Metrics = Metrics> {
  /** From 1. */
  epoch: number;
  /** Optimizer steps since the start of the training. */
  step: number;
  /** The learning rate at the epoch's end, before the schedule moved it. */
  lr: number;
  train: Results<M>;
  validation?: Results<M>;
}

/** Why a training ended: all epochs done, the signal, or what a callback said ('earlyStopping', 'nan'). */
export type Stopped = 'completed' | 'aborted' | (string & {});

/** Holds no times, so that a resumed training's equals that of one never interrupted. */
export interface History<M extends Metrics = Metrics> {
  epochs: EpochRecord<M>[];
  stopped: Stopped;
}

/** Where a training is: plain data, part of a checkpoint. `fit(model, { resume })` goes on from it. */
export interface FitState {
  /** Epochs done. */
  epoch: number;
  /** Batches of the next epoch already done. */
  batch: number;
  step: number;
  /** Of the default generator, again: what is made between loading and fit may draw from it (a loader's seed). */
  random: { seed: number; offset: number };
  /** Losses and metrics of the epoch under way. */
  totals: unknown;
  epochs: EpochRecord[];
  /** What each callback keeps, in their order. */
  callbacks: unknown[];
}

/** A training under way, as callbacks see it. */
export interface Run {
  readonly model: Module;
  readonly optimizer: Optimizer;
  readonly schedules: readonly Schedule[];
  readonly train: object;
  /** Epochs to do in all. */
  readonly epochs: number;
  /** The epoch under way, from 1. */
  readonly epoch: number;
  /** Batches of this epoch done. */
  readonly batch: number;
  /** Batches of an epoch, where the data has a `length`. */
  readonly batches: number | undefined;
  /** Samples of this epoch done. */
  readonly samples: number;
  /** Optimizer steps since the start of the training. */
  readonly step: number;
  /** Of the last batch. */
  readonly loss: number;
  /** Epochs done. */
  readonly history: readonly EpochRecord[];
  /** Why it ends; undefined while it goes on. */
  readonly stopped: Stopped | undefined;
  /** Of this epoch so far; computes the metrics. */
  results(): Results;
  /** Ends the training after the present callbacks. */
  stop(reason: string): void;
  /** For a checkpoint. */
  state(): FitState;
}

/**
 * Each hook is awaited, in the order of the callbacks; what one throws ends fit and no further hook runs.
 * `onTrainEnd` runs after the last epoch, `stop()` and an abort, not after an error.
 */
export interface Callback {
  onTrainStart?(run: Run): void | Promise<void>;
  onEpochStart?(run: Run): void | Promise<void>;
  onBatchEnd?(run: Run): void | Promise<void>;
  /** After validation; the record is also the last of `run.history`. */
  onEpochEnd?(run: Run, record: EpochRecord): void | Promise<void>;
  onTrainEnd?(run: Run): void | Promise<void>;
  /** What a checkpoint keeps of this callback: plain data and tensors. */
  stateDict?(): unknown;
  loadStateDict?(state: unknown): void;
  /** Runs after the callbacks without it: a checkpoint then holds what they decided. */
  readonly last?: boolean;
}

/** A result to watch: `'validation.loss'`, or what `mode` says is better. */
export interface Monitor {
  /** A path into the epoch's record: 'train.accuracy', 'validation.loss'. */
  monitor: string;
  /** Whether smaller is better. Default 'min' for names that end in 'loss'; others must say. */
  mode?: 'min' | 'max';
}

/** Answers whether a value is better than another by more than `minDelta`, and reads it from a record. */
export function watch({ monitor, mode }: Monitor, op: string) {
  const direction = mode ?? (/loss$/i.test(monitor) ? 'min' : undefined);
  if (direction !== 'min' && direction !== 'max') {
    throw new ArgumentError(`say whether more of '${monitor}' is better: mode 'max' or 'min'`, { op });
  }
  return {
    value(record: EpochRecord): number {
      let value: unknown = record;
      for (const key of monitor.split('.')) {
        value = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
      }
      if (typeof value === 'number') return value;
      const has = (['train', 'validation'] as const).flatMap((part) =>
        Object.keys(record[part] ?? {}).map((name) => `${part}.${name}`),
      );
      throw new ArgumentError(`no number '${monitor}' in an epoch's record; there is: ${has.join(', ')}`, { op });
    },
    /** NaN is never better. */
    better(value: number, best: number | undefined, minDelta = 0): boolean {
      if (Number.isNaN(value)) return false;
      if (best === undefined) return true;
      return direction === 'min' ? value < best - minDelta : value > best + minDelta;
    },
  };
}
