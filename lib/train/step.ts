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

/** One training step: what the forward pass of the batch answered. */
export type TrainStep<B> = (batch: B) => StepResult & { size: number };

/** Batches of new forms that are recorded before it must have paid. */
const TRIALS = 16;

export function trainStep<B>(forward: Forward<B>, optimizer: Optimizer, clipNorm: number | undefined): TrainStep<B> {
  return (batch) => {
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
}

/**
 * The step compiled, for as long as that works and pays: a step that cannot be recorded, and batches of which hardly two are alike,
 * run line by line, and a warning says why. So do steps while modules have hooks.
 */
export function compiledStep<B>(model: Module, step: TrainStep<B>): TrainStep<B> {
  // Tensors of the batch among the results are named by their place in it.
  type Answer = { result: Record<string, unknown>; given: Record<string, number> };
  const compiled: Compiled<[B], Answer> = compile((batch: B): Answer => {
    const inputs: Tensor[] = [];
    flatten(batch, inputs, 'a batch');
    const result: Record<string, unknown> = {};
    const given: Record<string, number> = {};
    for (const [name, value] of Object.entries(step(batch))) {
      const at = value instanceof Tensor ? inputs.indexOf(value) : -1;
      if (at >= 0) given[name] = at;
      else if (value !== undefined) result[name] = value;
    }
    return { result, given };
  });
  let eager = false;
  let runs = 0;
  const giveUp = (why: string): void => {
    eager = true;
    process.emitWarning(`fit: ${why}; steps run line by line ({ compile: false } says so beforehand)`, 'BrasaWarning');
  };
  return (batch) => {
    const inputs: Tensor[] = [];
    if (!eager) {
      try {
        flatten(batch, inputs, 'a batch');
      } catch {
        giveUp('a batch holds more than tensors, numbers and strings in arrays and objects');
      }
    }
    if (eager || model.modules().some(hasHooks)) return step(batch);
    try {
      const { result, given } = compiled(batch);
      runs++;
      const { traces } = compiled.stats();
      if (traces >= TRIALS && 2 * traces > runs) giveUp(`${traces} of ${runs} batches had a form of their own`);
      const tensors = Object.entries(given).map(([name, at]) => [name, inputs[at]]);
      return { ...result, ...Object.fromEntries(tensors) } as StepResult & { size: number };
    } catch (error) {
      if (!(error instanceof TraceError)) throw error;
      giveUp(`the step cannot be compiled (${error.message})`);
      return step(batch);
    }
  };
}
