import { ArgumentError } from '../core/error.js';
import { noGrad, scope } from '../core/scope.js';
import { Tensor } from '../core/tensor.js';
import { cat } from '../ops/free.js';
import { item } from '../ops/read.js';
import { to } from '../ops/to.js';
import type { Module } from '../nn/module.js';
import type { Metrics, Results } from './callback.js';
import { eachBatch } from './batches.js';

/** Batches: a DataLoader, an array of batches, anything that is iterated once an epoch. */
export type Batches<B> = AsyncIterable<B> | Iterable<B>;

/** A batch as a loader of samples (x, y) gives it: inputs of `forward`, then the target. */
export type Batch = readonly Tensor[];

/** What a step function answers: the mean loss of the batch (0-d), and for metrics what they compare. */
export interface StepResult {
  loss: Tensor;
  prediction?: Tensor;
  target?: Tensor;
  /** Samples in the batch, the weight of its loss; default: the first size of target or prediction. */
  size?: number;
}

/** How the loss of a batch comes about: `loss(model.forward(...inputs), target)`, or `step(batch)`. */
export interface LossOptions<B> {
  loss?: (prediction: Tensor, target: Tensor) => Tensor;
  step?: (batch: B) => Tensor | StepResult;
}

/** One batch through the model. */
export type Forward<B> = (batch: B) => StepResult & { size: number };

export function forwardOf<B>(model: Module, { loss, step }: LossOptions<B>, op: string): Forward<B> {
  if ((loss === undefined) === (step === undefined)) throw new ArgumentError('give either loss or step', { op });
  const device = deviceOf(model);
  return (batch) => {
    const result = step ? ofStep(step(batch)) : ofLoss(model, loss!, batch as Batch, device, op);
    const { target, prediction } = result;
    const size = result.size ?? (target ?? prediction)?.shape[0] ?? firstSize(batch) ?? 1;
    return { ...result, size };
  };
}

function ofStep(result: Tensor | StepResult): StepResult {
  return result instanceof Tensor ? { loss: result } : result;
}

function ofLoss(
  model: Module,
  loss: (prediction: Tensor, target: Tensor) => Tensor,
  batch: Batch,
  device: string | undefined,
  op: string,
): StepResult {
  const tensors = moved(batch, device);
  if (tensors === null || tensors.length < 2) {
    throw new ArgumentError('a batch is [inputs…, target]; for other batches give `step`', { op });
  }
  const target = tensors.at(-1)!;
  const prediction = output(model, tensors.slice(0, -1), op);
  return { loss: loss(prediction, target), prediction, target };
}

function output(model: Module, inputs: readonly Tensor[], op: string): Tensor {
  const y = model.forward(...inputs);
  if (!(y instanceof Tensor)) throw new ArgumentError('forward must answer a tensor', { op });
  return y;
}

/** Where the model is; batches follow it. */
function deviceOf(model: Module): string | undefined {
  return model.parameters()[0]?.device;
}

/** The tensors of a batch on a device; null when it is no list of tensors. */
function moved(batch: unknown, device: string | undefined): Tensor[] | null {
  if (!Array.isArray(batch) || !batch.every((x) => x instanceof Tensor)) return null;
  return batch.map((x: Tensor) => (device === undefined || x.device === device ? x : to(x, device)));
}

/** The first size of the first tensor in a batch of any form. */
function firstSize(batch: unknown): number | undefined {
  if (batch instanceof Tensor) return batch.shape[0];
  if (typeof batch !== 'object' || batch === null) return undefined;
  for (const item of Object.values(batch)) {
    const size = firstSize(item);
    if (size !== undefined) return size;
  }
  return undefined;
}

/** Losses weighted by samples, and metrics, over the batches of an epoch. */
export class Totals {
  readonly #metrics: Metrics;
  #loss = 0;
  #samples = 0;

  constructor(metrics: Metrics, op: string) {
    if (Object.hasOwn(metrics, 'loss')) throw new ArgumentError("a metric cannot be named 'loss'", { op });
    this.#metrics = metrics;
    this.reset();
  }

  get samples(): number {
    return this.#samples;
  }

  update(loss: number, { prediction, target, size }: StepResult & { size: number }): void {
    this.#loss += loss * size;
    this.#samples += size;
    for (const [name, metric] of Object.entries(this.#metrics)) {
      if (!prediction || !target) {
        throw new ArgumentError(`the metric '${name}' needs { loss, prediction, target } from step`, { op: 'fit' });
      }
      metric.update(prediction, target);
    }
  }

  compute(): Results {
    const results: Record<string, unknown> = { loss: this.#samples === 0 ? 0 : this.#loss / this.#samples };
    for (const [name, metric] of Object.entries(this.#metrics)) results[name] = metric.compute();
    return results as Results;
  }

  reset(): void {
    this.#loss = 0;
    this.#samples = 0;
    for (const metric of Object.values(this.#metrics)) metric.reset();
  }

  /** Plain data. A metric without `stateDict` counts from zero in a training resumed within an epoch. */
  stateDict(): unknown {
    const metrics = Object.entries(this.#metrics).map(([name, metric]) => [name, metric.stateDict?.() ?? null]);
    return { loss: this.#loss, samples: this.#samples, metrics: Object.fromEntries(metrics) };
  }

  loadStateDict(state: unknown): void {
    const { loss, samples, metrics } = state as { loss: number; samples: number; metrics: Record<string, unknown> };
    this.reset();
    this.#loss = loss;
    this.#samples = samples;
    for (const [name, metric] of Object.entries(this.#metrics)) {
      const kept = Object.hasOwn(metrics, name) ? metrics[name] : null;
      if (kept !== null) metric.loadStateDict?.(kept);
    }
  }
}

/** All batches once, without gradients, the model in evaluation mode meanwhile. False when the signal ended it early. */
export async function measure<B>(
  model: Module,
  data: Batches<B>,
  forward: Forward<B>,
  totals: Totals,
  signal?: AbortSignal,
): Promise<boolean> {
  const restore = keepModes(model);
  try {
    for await (const batch of eachBatch(data)) {
      if (signal?.aborted) return false;
      model.eval();
      scope(() =>
        noGrad(() => {
          const result = forward(batch);
          totals.update(item(result.loss), result);
        }),
      );
    }
    return !signal?.aborted;
  } finally {
    restore();
  }
}

/** Puts the training flag of every module back as it is now. */
export function keepModes(model: Module): () => void {
  const modes = model.modules().map((module) => [module, module.training] as const);
  return () => {
    for (const [module, training] of modes) module.training = training;
  };
}

/**
 * The mean loss and the metrics of a model over all batches: evaluation mode, no gradients. The metrics are reset first.
 * Batches are `[inputs…, target]`, or anything with `step`.
 */
export async function evaluate<B, M extends Metrics = Record<never, never>>(
  model: Module,
  data: Batches<B>,
  { metrics, signal, ...how }: LossOptions<B> & { metrics?: M; signal?: AbortSignal },
): Promise<Results<M>> {
  const totals = new Totals(metrics ?? {}, 'evaluate');
  const whole = await measure(model, data, forwardOf(model, how, 'evaluate'), totals, signal);
  if (!whole) signal!.throwIfAborted();
  return totals.compute() as Results<M>;
}

/**
 * The outputs (N,…) of a model for all batches, evaluation mode, no gradients. A batch is a tensor, or a list of the inputs
 * of `forward`; where lists end with a target, `dropTarget` leaves it out.
 */
export async function predict(
  model: Module,
  data: Batches<Tensor | Batch>,
  { dropTarget = false, signal }: { dropTarget?: boolean; signal?: AbortSignal } = {},
): Promise<Tensor> {
  const restore = keepModes(model);
  const device = deviceOf(model);
  const outputs: Tensor[] = [];
  try {
    for await (const batch of eachBatch(data)) {
      signal?.throwIfAborted();
      const inputs = moved(batch instanceof Tensor ? [batch] : batch, device);
      if (inputs === null) throw new ArgumentError('a batch is a tensor or a list of tensors', { op: 'predict' });
      model.eval();
      outputs.push(scope(() => noGrad(() => output(model, dropTarget ? inputs.slice(0, -1) : inputs, 'predict'))));
    }
  } finally {
    restore();
  }
  if (outputs.length === 0) throw new ArgumentError('there are no batches', { op: 'predict' });
  return noGrad(() => cat(outputs, 0));
}
