import { join } from 'node:path';
import { rm } from 'node:fs/promises';
import { ArgumentError } from '../core/error.js';
import { noGrad } from '../core/scope.js';
import { pin } from '../core/tensor.js';
import type { Module, StateDict } from '../nn/module.js';
import { clone } from '../ops/elementwise.js';
import { type Callback, type EpochRecord, type Monitor, type Run, watch } from './callback.js';
import { saveCheckpoint } from './checkpoint.js';

export interface EarlyStoppingOptions extends Monitor {
  /** Epochs without improvement before it stops; default 0. */
  patience?: number;
  /** A smaller difference is no improvement; default 0. */
  minDelta?: number;
  /** At the end gives the model the values it had after its best epoch (not after an abort). */
  restoreBest?: boolean;
}

/** Ends the training (`stopped: 'earlyStopping'`) when a result no longer improves. */
export function earlyStopping({
  patience = 0,
  minDelta = 0,
  restoreBest = false,
  ...monitor
}: EarlyStoppingOptions): Callback {
  const watched = watch(monitor, 'earlyStopping');
  let state: { best?: number; waited: number; values?: StateDict } = { waited: 0 };
  return {
    onEpochEnd(run, record) {
      const value = watched.value(record);
      if (watched.better(value, state.best, minDelta)) {
        state = { best: value, waited: 0, ...(restoreBest && { values: copyOf(run.model) }) };
      } else if (++state.waited > patience) {
        run.stop('earlyStopping');
      }
    },
    onTrainEnd(run) {
      if (state.values && run.stopped !== 'aborted') run.model.loadStateDict(state.values);
    },
    stateDict: () => ({ ...state }),
    loadStateDict(saved) {
      state = saved as typeof state;
      for (const x of Object.values(state.values ?? {})) pin(x);
    },
  };
}

function copyOf(model: Module): StateDict {
  return noGrad(() => {
    const entries = Object.entries(model.stateDict()).map(([name, x]) => [name, pin(clone(x))]);
    return Object.fromEntries(entries) as StateDict;
  });
}

/** Ends the training (`stopped: 'nan'`) at the first loss that is NaN or infinite. */
export function terminateOnNaN(): Callback {
  return {
    onBatchEnd(run) {
      if (!Number.isFinite(run.loss)) run.stop('nan');
    },
  };
}

/** The course of a training within its epochs: one entry every `every` steps. */
export interface Curve {
  /** Steps since the start of the training. */
  steps: number[];
  /** The mean loss of the batches since the entry before. */
  loss: number[];
  /** The metrics that are numbers, over the epoch so far. */
  metrics: Record<string, number[]>;
}

/** Records training loss and metrics every `every` steps (default 1), for curves. What fit answers has one record an epoch. */
export function history({ every = 1 }: { every?: number } = {}): Callback & Readonly<Curve> {
  let state: Curve & { sum: number; count: number } = { steps: [], loss: [], metrics: {}, sum: 0, count: 0 };
  return {
    get steps() {
      return state.steps;
    },
    get loss() {
      return state.loss;
    },
    get metrics() {
      return state.metrics;
    },
    onBatchEnd(run) {
      state.sum += run.loss;
      if (++state.count < every) return;
      state.steps.push(run.step);
      state.loss.push(state.sum / state.count);
      const { loss: _, ...metrics } = run.results();
      for (const [name, value] of Object.entries(metrics)) {
        if (typeof value !== 'number') continue;
        state.metrics[name] ??= [];
        state.metrics[name].push(value);
      }
      state.sum = 0;
      state.count = 0;
    },
    stateDict: () => structuredClone(state),
    loadStateDict(saved) {
      state = saved as typeof state;
    },
  };
}

export interface CheckpointOptions {
  /** Saves after every so many epochs, and after the last; default 1. */
  every?: number;
  /** Saves after every so many steps too. */
  everySteps?: number;
  /** Keeps the checkpoints of the last `keep` saved epochs besides, in `dir/epoch-3`, …; default 0. */
  keep?: number;
  /** Keeps the best epoch besides, in `dir/best`, by what is watched here. */
  best?: string | Monitor;
}

/** Saves the whole training into the folder `dir`, also when it is aborted: loadCheckpoint and `fit({ resume })` go on from there. */
export function checkpoint(dir: string, { every = 1, everySteps, keep = 0, best }: CheckpointOptions = {}): Callback {
  for (const [name, value] of Object.entries({ every, everySteps: everySteps ?? 1 })) {
    if (!(Number.isInteger(value) && value >= 1))
      throw new ArgumentError(`${name} must be an integer >= 1, not ${value}`, { op: 'checkpoint' });
  }
  const watched = best === undefined ? null : watch(typeof best === 'string' ? { monitor: best } : best, 'checkpoint');
  let state: { best?: number; kept: number[] } = { kept: [] };
  let saved = -1; // the step of the last save
  const save = async (run: Run, folder: string) => {
    const { model, optimizer, schedules, train } = run;
    const position = 'stateDict' in train ? { train: train as never } : {};
    await saveCheckpoint(folder, { model, optimizer, schedule: schedules, ...position, fit: run.state() });
    saved = run.step;
  };
  const keepEpoch = async (run: Run, { epoch }: EpochRecord) => {
    state.kept.push(epoch);
    const old = state.kept.splice(0, state.kept.length - keep);
    await save(run, join(dir, `epoch-${epoch}`));
    for (const name of old) await rm(join(dir, `epoch-${name}`), { recursive: true, force: true });
  };
  return {
    last: true,
    async onBatchEnd(run) {
      if (everySteps !== undefined && run.step % everySteps === 0) await save(run, dir);
    },
    async onEpochEnd(run, record) {
      const value = watched?.value(record);
      const improved = value !== undefined && watched!.better(value, state.best);
      if (improved) state.best = value;
      if (improved) await save(run, join(dir, 'best'));
      if (record.epoch % every !== 0 && record.epoch !== run.epochs && run.stopped === undefined) return;
      if (keep > 0) await keepEpoch(run, record);
      await save(run, dir);
    },
    async onTrainEnd(run) {
      if (run.stopped === 'aborted' && saved !== run.step) await save(run, dir);
    },
    stateDict: () => ({ ...state, kept: [...state.kept] }),
    loadStateDict(kept) {
      state = kept as typeof state;
    },
  };
}
