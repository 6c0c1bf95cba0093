import { isFloat } from '../core/dtype.js';
import { ArgumentError, IndexError, ShapeError } from '../core/error.js';
import { show } from '../core/layout.js';
import type { Tensor } from '../core/tensor.js';
import { dataSync } from '../ops/read.js';
import { argmax } from '../ops/reduce.js';

/** What `fit` asks of a metric: batches go in, one value comes out, over all samples since the last reset. */
export interface Metric<R = number> {
  update(prediction: Tensor, target: Tensor): void;
  compute(): R;
  reset(): void;
  /** What was counted since the last reset, as plain data: a checkpoint within an epoch keeps it. */
  stateDict?(): unknown;
  loadStateDict?(state: unknown): void;
}

export interface LabelOptions {
  /** For a prediction that is one probability (or logit) a sample: class 1 from this value on. Default 0.5; 0 suits logits. */
  threshold?: number;
  /** Targets with this value are left out. */
  ignoreIndex?: number;
}

/** The labels of a batch; `classes` where the prediction's shape tells them. */
export interface Labels {
  predicted: ArrayLike<number>;
  actual: ArrayLike<number>;
  classes: number;
}

/**
 * Class labels of a batch. Prediction: scores (N,C,…) of which the largest counts, labels of target's shape in an integer
 * type, or one probability a sample, of target's shape in a float type. Target: labels (N,…).
 */
export function readLabels(
  prediction: Tensor,
  target: Tensor,
  { threshold = 0.5, ignoreIndex }: LabelOptions,
  op: string,
): Labels {
  const all = pairLabels(prediction, target, threshold, op);
  const kept = ignoreIndex === undefined ? all : without(all, ignoreIndex);
  for (const labels of [kept.actual, kept.predicted]) {
    for (let i = 0; i < labels.length; i++) {
      if (!(Number.isInteger(labels[i]) && labels[i] >= 0))
        throw new IndexError(`label ${labels[i]} is no class`, { op });
    }
  }
  return kept;
}

function pairLabels(prediction: Tensor, target: Tensor, threshold: number, op: string): Labels {
  const actual = dataSync(target);
  if (prediction.ndim === target.ndim + 1 && prediction.ndim >= 2) {
    const [n, classes, ...rest] = prediction.shape;
    checkShapes([n, ...rest], target.shape, prediction, op);
    if (classes < 2)
      throw new ShapeError(`scores ${show(prediction.shape)} have one class: give (${n}) instead`, { op });
    return { predicted: dataSync(argmax(prediction, 1)), actual, classes };
  }
  checkShapes(prediction.shape, target.shape, prediction, op);
  const values = dataSync(prediction);
  if (!isFloat(prediction.dtype)) return { predicted: values, actual, classes: 0 };
  return { predicted: Uint8Array.from(values, (p) => (p >= threshold ? 1 : 0)), actual, classes: 2 };
}

function without({ predicted, actual, classes }: Labels, ignoreIndex: number): Labels {
  const keep = Array.from(actual, (_, i) => i).filter((i) => actual[i] !== ignoreIndex);
  return { predicted: keep.map((i) => predicted[i]), actual: keep.map((i) => actual[i]), classes };
}

/** Numbers of a prediction and a target of equal shape: (N,1) against (N) would pair each with each. */
export function readPair(prediction: Tensor, target: Tensor, op: string): [ArrayLike<number>, ArrayLike<number>] {
  checkShapes(prediction.shape, target.shape, prediction, op);
  return [dataSync(prediction), dataSync(target)];
}

function checkShapes(expected: readonly number[], shape: readonly number[], prediction: Tensor, op: string): void {
  if (expected.length === shape.length && expected.every((n, d) => n === shape[d])) return;
  throw new ShapeError(`prediction ${show(prediction.shape)} does not fit target ${show(shape)}`, { op });
}

/** a / b, and 0 where there is nothing to divide by: what metrics of an absent class are. */
export function ratio(a: number, b: number): number {
  return b === 0 ? 0 : a / b;
}

export function checkChoice<T extends string>(value: T, choices: readonly T[], name: string, op: string): T {
  if (!choices.includes(value))
    throw new ArgumentError(`${name} must be one of ${choices.join(', ')}, not ${value}`, { op });
  return value;
}
