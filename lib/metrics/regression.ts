import { ArgumentError, ShapeError } from '../core/error.js';
import { show } from '../core/layout.js';
import type { Tensor } from '../core/tensor.js';
import { dataSync } from '../ops/read.js';
import { type Metric, ratio, readPair } from './metric.js';

/** The weighted mean of numbers, such as losses weighted by batch size. A tensor counts with each of its elements. */
export class MeanMetric {
  #sum = 0;
  #weight = 0;

  update(value: number | Tensor, weight = 1): void {
    const values = typeof value === 'number' ? [value] : dataSync(value);
    for (let i = 0; i < values.length; i++) this.#sum += values[i] * weight;
    this.#weight += values.length * weight;
  }

  compute(): number {
    return ratio(this.#sum, this.#weight);
  }

  reset(): void {
    this.#sum = 0;
    this.#weight = 0;
  }

  stateDict(): { sum: number; weight: number } {
    return { sum: this.#sum, weight: this.#weight };
  }

  loadStateDict({ sum, weight }: { sum: number; weight: number }): void {
    this.#sum = sum;
    this.#weight = weight;
  }
}

// The mean over all elements of a function of the error prediction - target, both of one shape.
class MeanErrorMetric implements Metric {
  readonly #op: string;
  readonly #cost: (error: number) => number;
  readonly #mean = new MeanMetric();

  constructor(op: string, cost: (error: number) => number) {
    this.#op = op;
    this.#cost = cost;
  }

  update(prediction: Tensor, target: Tensor): void {
    const [p, t] = readPair(prediction, target, this.#op);
    for (let i = 0; i < p.length; i++) this.#mean.update(this.#cost(p[i] - t[i]));
  }

  compute(): number {
    return this.#mean.compute();
  }

  reset(): void {
    this.#mean.reset();
  }

  stateDict(): { sum: number; weight: number } {
    return this.#mean.stateDict();
  }

  loadStateDict(state: { sum: number; weight: number }): void {
    this.#mean.loadStateDict(state);
  }
}

/** The mean of |prediction - target|. */
export class MeanAbsoluteError extends MeanErrorMetric {
  constructor() {
    super('MeanAbsoluteError', Math.abs);
  }
}

/** The mean of (prediction - target)². */
export class MeanSquaredError extends MeanErrorMetric {
  constructor() {
    super('MeanSquaredError', (error) => error * error);
  }
}

/** Count, running mean and squared deviations of a column's targets (Welford), squared errors. */
interface Column {
  n: number;
  mean: number;
  deviation: number;
  error: number;
}

/**
 * The coefficient of determination 1 - Σ(t-p)² / Σ(t-mean)² of (N) or, averaged over columns, (N,D)
 * (sklearn.metrics.r2_score). For a constant target it is 1 if all predictions are right, else 0.
 */
export class R2 implements Metric {
  #columns: Column[] = [];

  update(prediction: Tensor, target: Tensor): void {
    if (target.ndim < 1 || target.ndim > 2)
      throw new ShapeError(`targets are (N) or (N,D), not ${show(target.shape)}`, { op: 'R2' });
    const [p, t] = readPair(prediction, target, 'R2');
    const width = target.ndim === 2 ? target.shape[1] : 1;
    if (this.#columns.length === 0)
      this.#columns = Array.from({ length: width }, () => ({ n: 0, mean: 0, deviation: 0, error: 0 }));
    if (this.#columns.length !== width)
      throw new ArgumentError(`${width} columns after ${this.#columns.length}`, { op: 'R2' });
    for (let i = 0; i < t.length; i++) {
      const column = this.#columns[i % width];
      const delta = t[i] - column.mean;
      column.mean += delta / ++column.n;
      column.deviation += delta * (t[i] - column.mean);
      column.error += (t[i] - p[i]) ** 2;
    }
  }

  compute(): number {
    const scores = this.#columns.map(({ deviation, error }) =>
      deviation > 0 ? 1 - error / deviation : error > 0 ? 0 : 1,
    );
    return ratio(
      scores.reduce((a, b) => a + b, 0),
      scores.length,
    );
  }

  reset(): void {
    this.#columns = [];
  }

  stateDict(): { columns: Column[] } {
    return { columns: this.#columns.map((column) => ({ ...column })) };
  }

  loadStateDict({ columns }: { columns: Column[] }): void {
    this.#columns = columns.map((column) => ({ ...column }));
  }
}
