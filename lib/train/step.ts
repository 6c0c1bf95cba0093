import { backward } from '../autograd/backward.js';
import { TraceError } from '../core/error.js';
import { Tensor } from '../core/tensor.js';
import { type Compiled, compile } from '../graph/compile.js';
import { flatten } from '../graph/tree.js';
import { hasHooks } from '../nn/hooks.js';
import type { Module } from '../nn/module.js';
import { clipGradNorm_ } from '../optim/clip.js';
import type { Optimizer } from '../optim/optimizer.js';
import type { Forward, StepResult } from './evaluate.js';

type Result = StepResult & { size: number };

/** One training step: what the forward pass of the batch answered. */
export interface TrainStep<B> {
  now(batch: B): Result;
  /** Off the event loop, so that timers and requests go on; null where it is to run now. `own`: what is to be disposed afterwards. */
  beside(batch: B): Promise<{ result: Result; own: readonly Tensor[] }> | null;
}

/** Milliseconds of a step from which it is worth handing to another thread. */
const LONG = 2;

/** Batches of new forms that are recorded before it must have paid. */
const TRIALS = 16;

/** The step line by line. */
export function eagerStep<B>(forward: Forward<B>, optimizer: Optimizer, clipNorm: number | undefined): TrainStep<B> {
  const now = (batch: B): Result => {
    optimizer.zeroGrad();
    const result = forward(batch);
    backward(result.loss);
    if (clipNorm !== undefined) {
      const params = optimizer.paramGroups.flatMap((group) => group.params);
      clipGradNorm_(params, clipNorm);
    }
    optimizer.step();
    return result;
  };
  return { now, beside: () => null };
}

/**
 * The step compiled, for as long as that works and pays: a step that cannot be recorded, and batches of which hardly two are alike,
 * run line by line, and a warning says why. So do steps while modules have hooks.
 */
export function compiledStep<B>(model: Module, step: TrainStep<B>): TrainStep<B> {
  // Tensors of the batch among the results are named by their place in it.
  type Answer = { result: Record<string, unknown>; given: Record<string, number> };
  let traces = 0;
  const compiled: Compiled<[B], Answer> = compile((batch: B): Answer => {
    traces++;
    const inputs: Tensor[] = [];
    flatten(batch, inputs, 'a batch');
    const result: Record<string, unknown> = {};
    const given: Record<string, number> = {};
    for (const [name, value] of Object.entries(step.now(batch))) {
      const at = value instanceof Tensor ? inputs.indexOf(value) : -1;
      if (at >= 0) given[name] = at;
      else if (value !== undefined) result[name] = value;
    }
    return { result, given };
  });
  let eager = false;
  let runs = 0;
  let long = false;
  const giveUp = (why: string): void => {
    eager = true;
    process.emitWarning(`fit: ${why}; steps run line by line ({ compile: false } says so beforehand)`, 'BrasaWarning');
  };
  const usable = (batch: B): boolean => {
    if (eager || model.modules().some(hasHooks)) return false;
    try {
      flatten(batch, [], 'a batch');
    } catch {
      giveUp('a batch holds more than tensors, numbers and strings in arrays and objects');
    }
    return !eager;
  };
  const answer = (batch: B, { result, given }: Answer): Result => {
    const inputs: Tensor[] = [];
    flatten(batch, inputs, 'a batch');
    const tensors = Object.entries(given).map(([name, at]) => [name, inputs[at]]);
    return { ...result, ...Object.fromEntries(tensors) } as Result;
  };
  const count = (): void => {
    runs++;
    if (traces >= TRIALS && 2 * traces > runs) giveUp(`${traces} of ${runs} batches had a form of their own`);
  };
  const instead = (error: unknown, batch: B): Result => {
    if (!(error instanceof TraceError)) throw error;
    giveUp(`the step cannot be compiled (${error.message})`);
    return step.now(batch);
  };
  return {
    now(batch) {
      if (!usable(batch)) return step.now(batch);
      const before = traces;
      const start = performance.now();
      try {
        const result = answer(batch, compiled(batch));
        if (traces === before) long = performance.now() - start > LONG;
        count();
        return result;
      } catch (error) {
        return instead(error, batch);
      }
    },
    beside(batch) {
      if (!long || !usable(batch)) return null;
      count();
      return compiled.async(batch).then(
        (given) => ({
          result: answer(batch, given),
          own: Object.values(given.result).filter((x) => x instanceof Tensor),
        }),
        (error) => ({ result: instead(error, batch), own: [] }),
      );
    },
  };
}
