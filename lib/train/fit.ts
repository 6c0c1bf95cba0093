import { ArgumentError } from '../core/error.js';
import { noGrad, scope } from '../core/scope.js';
import { DataLoader } from '../data/loader.js';
import type { Module } from '../nn/module.js';
import type { Optimizer } from '../optim/optimizer.js';
import type { Schedule } from '../optim/schedule.js';
import { defaultGenerator } from '../ops/random.js';
import { item } from '../ops/read.js';
import { eachBatch } from './batches.js';
import type { Callback, EpochRecord, FitState, History, Metrics, Results, Run, Stopped } from './callback.js';
import {
  type Batches,
  type Forward,
  forwardOf,
  keepModes,
  type LossOptions,
  measure,
  type StepResult,
  Totals,
} from './evaluate.js';
import { compiledStep, eagerStep, type TrainStep } from './step.js';

export interface FitOptions<B, M extends Metrics = Metrics> extends LossOptions<B> {
  /** Iterated once an epoch. Batches are `[inputs…, target]`, or anything with `step`. */
  train: Batches<B>;
  /** Measured after each epoch, in evaluation mode and without gradients; a DataLoader always from its epoch 0. */
  validation?: Batches<B>;
  optimizer: Optimizer;
  schedule?: Schedule | readonly Schedule[];
  /** When schedules step; default 'epoch'. */
  scheduleEvery?: 'epoch' | 'batch';
  /** In all, those of a resumed training counted. */
  epochs: number;
  /** By their name in the results; reset by each epoch, used for training and validation alike. */
  metrics?: M;
  callbacks?: readonly Callback[];
  /** When it fires the step under way is finished, `onTrainEnd` runs, and fit resolves with `stopped: 'aborted'`. */
  signal?: AbortSignal;
  /** Scales the gradients so that their norm is at most this (clipGradNorm_). */
  clipNorm?: number;
  /**
   * Steps are compiled (see compile()): what `forward` and `loss` (or `step`) do in JavaScript beside tensors then happens only while
   * a step is recorded. Default: true with `loss`, false with `step`, which is the place for JavaScript of one's own. What cannot be
   * compiled runs line by line, with a warning.
   */
  compile?: boolean;
  /**
   * Goes on from where a checkpoint was saved: `(await loadCheckpoint(…)).fit`, the same model, optimizer, schedule and train
   * loader having been loaded. Data that keep no position are read up to it again.
   */
  resume?: FitState;
}

/**
 * Trains a model: each step is zeroGrad, forward, loss, backward, clipping, optimizer.step. Losses in the history are means
 * weighted by samples. What a step makes is freed at its end, but for parameters, their gradients and optimizer state: a
 * model must not keep activations. Every module's `training` flag is put back afterwards. Errors of the model, the data and
 * the callbacks propagate.
 */
export async function fit<B, M extends Metrics = Record<never, never>>(
  model: Module,
  options: FitOptions<B, M>,
): Promise<History<M>> {
  const training = new Training(model, options as FitOptions<B>);
  const restore = keepModes(model);
  try {
    return (await training.run()) as History<M>;
  } finally {
    restore();
  }
}

/** A training under way; callbacks see it as a Run. */
class Training<B> implements Run {
  readonly model: Module;
  readonly optimizer: Optimizer;
  readonly schedules: readonly Schedule[];
  readonly train: Batches<B>;
  readonly epochs: number;
  readonly history: EpochRecord[] = [];
  epoch = 0;
  batch = 0;
  step = 0;
  loss = Number.NaN;
  stopped: Stopped | undefined;

  readonly #options: FitOptions<B>;
  readonly #forward: Forward<B>;
  readonly #trainStep: TrainStep<B>;
  readonly #totals: Totals;
  readonly #callbacks: readonly Callback[];
  /** Epochs done. */
  #done = 0;
  /** The epoch's training totals while validation uses the metrics. */
  #trained: { state: unknown; results: Results } | undefined;
  #samples = 0;

  constructor(model: Module, options: FitOptions<B>) {
    const { optimizer, schedule = [], train, epochs, metrics = {}, callbacks = [], scheduleEvery = 'epoch' } = options;
    if (!(Number.isInteger(epochs) && epochs >= 0)) {
      throw new ArgumentError(`epochs must be an integer >= 0, not ${epochs}`, { op: 'fit' });
    }
    if (scheduleEvery !== 'epoch' && scheduleEvery !== 'batch') {
      throw new ArgumentError(`scheduleEvery must be 'epoch' or 'batch', not ${scheduleEvery}`, { op: 'fit' });
    }
    this.model = model;
    this.optimizer = optimizer;
    this.schedules = [schedule].flat();
    this.train = train;
    this.epochs = epochs;
    this.#options = options;
    this.#forward = forwardOf(model, options, 'fit');
    const step = eagerStep(this.#forward, optimizer, options.clipNorm);
    this.#trainStep = (options.compile ?? options.step === undefined) ? compiledStep(model, step) : step;
    this.#totals = new Totals(metrics, 'fit');
    this.#callbacks = callbacks;
    if (options.resume) this.#resume(options.resume);
  }

  get batches(): number | undefined {
    const { length } = this.train as { length?: unknown };
    return typeof length === 'number' ? length : undefined;
  }

  get samples(): number {
    return this.#samples;
  }

  results(): Results {
    return this.#trained?.results ?? this.#totals.compute();
  }

  stop(reason: string): void {
    this.stopped ??= reason;
  }

  state(): FitState {
    return {
      epoch: this.#done,
      batch: this.batch,
      step: this.step,
      random: defaultGenerator.getState(),
      totals: this.#trained?.state ?? this.#totals.stateDict(),
      epochs: [...this.history],
      callbacks: this.#callbacks.map((callback) => callback.stateDict?.() ?? null),
    };
  }

  async run(): Promise<History> {
    await this.#call('onTrainStart');
    while (!this.#ending() && this.#done < this.epochs) {
      this.epoch = this.#done + 1;
      await this.#call('onEpochStart');
      if (!this.#ending() && (await this.#trainEpoch())) await this.#endEpoch();
    }
    this.stopped ??= 'completed';
    await this.#call('onTrainEnd');
    return { epochs: this.history, stopped: this.stopped };
  }

  /** Whether the epoch is complete. */
  async #trainEpoch(): Promise<boolean> {
    // Resumed within an epoch, a loader that was loaded begins at the next batch; other data begin anew.
    let skip = 'loadStateDict' in this.train ? 0 : this.batch;
    for await (const batch of eachBatch(this.train)) {
      if (skip-- > 0) continue;
      this.model.train();
      await this.#step(batch);
      if (this.#options.scheduleEvery === 'batch') this.#moveSchedules();
      await this.#call('onBatchEnd');
      if (this.#ending()) return false;
    }
    return !this.#ending();
  }

  async #step(batch: B): Promise<void> {
    const later = this.#trainStep.beside(batch);
    if (later === null) scope(() => this.#count(this.#trainStep.now(batch)));
    else {
      const { result, own } = await later;
      scope(() => this.#count(result));
      for (const x of own) x.dispose();
    }
    this.#samples = this.#totals.samples;
    this.batch++;
    this.step++;
  }

  #count(result: StepResult & { size: number }): void {
    noGrad(() => {
      this.loss = item(result.loss);
      this.#totals.update(this.loss, result);
    });
  }

  async #endEpoch(): Promise<void> {
    const { validation, scheduleEvery, signal } = this.#options;
    const record: EpochRecord = {
      epoch: this.#done + 1,
      step: this.step,
      lr: this.optimizer.lr,
      train: this.#totals.compute(),
    };
    if (validation) {
      this.#trained = { state: this.#totals.stateDict(), results: record.train };
      this.#totals.reset();
      // The same order and augmentations each time: losses compare, also with those of a resumed training.
      if (validation instanceof DataLoader) validation.setEpoch(0);
      if (!(await measure(this.model, validation, this.#forward, this.#totals, signal))) return this.stop('aborted');
      record.validation = this.#totals.compute();
      this.#trained = undefined;
    }
    if (scheduleEvery !== 'batch') this.#moveSchedules();
    this.history.push(record);
    this.#done++;
    this.batch = 0;
    this.#samples = 0;
    this.#totals.reset();
    await this.#call('onEpochEnd', record);
  }

  #moveSchedules(): void {
    for (const schedule of this.schedules) schedule.step();
  }

  #ending(): boolean {
    if (this.#options.signal?.aborted) this.stop('aborted');
    return this.stopped !== undefined;
  }

  async #call(hook: 'onTrainStart' | 'onEpochStart' | 'onBatchEnd' | 'onTrainEnd'): Promise<void>;
  async #call(hook: 'onEpochEnd', record: EpochRecord): Promise<void>;
  async #call(hook: keyof Callback, record?: EpochRecord): Promise<void> {
    for (const late of [false, true]) {
      for (const callback of this.#callbacks) {
        if ((callback.last ?? false) !== late) continue;
        const result = (callback[hook] as ((run: Run, record?: EpochRecord) => unknown) | undefined)?.call(
          callback,
          this,
          record,
        );
        if (result !== undefined) await result;
      }
    }
  }

  #resume({ epoch, batch, step, random, totals, epochs, callbacks }: FitState): void {
    defaultGenerator.setState(random);
    this.#done = epoch;
    this.batch = batch;
    this.step = step;
    this.history.push(...epochs);
    this.#totals.loadStateDict(totals);
    this.#samples = this.#totals.samples;
    this.#callbacks.forEach((callback, i) => {
      const kept = callbacks[i] ?? null;
      if (kept !== null) callback.loadStateDict?.(kept);
    });
  }
}
