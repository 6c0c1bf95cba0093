import { ArgumentError, IndexError } from '../core/error.js';
import type { Tensor } from '../core/tensor.js';
import { checkChoice, type LabelOptions, type Metric, ratio, readLabels } from './metric.js';

export interface ConfusionOptions extends LabelOptions {
  /** Number of classes. Default: as many as the scores have, or the labels need. */
  classes?: number;
  /** Names for printing, one a class. */
  names?: readonly string[];
  /** 'true': rows add up to 1; 'pred': columns; 'all': everything. */
  normalize?: 'true' | 'pred' | 'all' | 'none';
}

/** Counts of (true class, predicted class): row t, column p. `toString()` prints a table. */
export class ConfusionMatrix implements Metric<number[][]> {
  readonly #options: ConfusionOptions;
  #counts: number[][] = [];

  constructor(options: ConfusionOptions = {}) {
    const { normalize = 'none', classes = options.names?.length } = options;
    checkChoice(normalize, ['true', 'pred', 'all', 'none'], 'normalize', 'ConfusionMatrix');
    this.#options = { ...options, normalize, classes };
    if (options.names && options.names.length !== classes) {
      throw new ArgumentError(`${options.names.length} names for ${classes} classes`, { op: 'ConfusionMatrix' });
    }
    this.reset();
  }

  get names(): readonly string[] {
    return this.#options.names ?? this.#counts.map((_, c) => String(c));
  }

  /** Counts, whatever `normalize` says. */
  get counts(): readonly (readonly number[])[] {
    return this.#counts;
  }

  update(prediction: Tensor, target: Tensor): void {
    const { predicted, actual, classes } = readLabels(prediction, target, this.#options, 'ConfusionMatrix');
    let needed = classes;
    for (let i = 0; i < actual.length; i++) needed = Math.max(needed, actual[i] + 1, predicted[i] + 1);
    const { classes: limit } = this.#options;
    if (limit !== undefined && needed > limit)
      throw new IndexError(`class ${needed - 1} of ${limit}`, { op: 'ConfusionMatrix' });
    this.#grow(needed);
    for (let i = 0; i < actual.length; i++) this.#counts[actual[i]][predicted[i]]++;
  }

  compute(): number[][] {
    const { normalize } = this.#options;
    const total = sum(this.#counts.map(sum));
    const columns = this.#counts.map((_, p) => sum(this.#counts.map((row) => row[p])));
    return this.#counts.map((row) =>
      row.map((n, p) =>
        normalize === 'none'
          ? n
          : ratio(n, normalize === 'true' ? sum(row) : normalize === 'pred' ? columns[p] : total),
      ),
    );
  }

  reset(): void {
    this.#counts = [];
    this.#grow(this.#options.classes ?? 0);
  }

  stateDict(): { counts: number[][] } {
    return { counts: this.#counts.map((row) => [...row]) };
  }

  loadStateDict({ counts }: { counts: number[][] }): void {
    this.#counts = counts.map((row) => [...row]);
  }

  toString(): string {
    const { names } = this;
    const digits = (n: number) => (this.#options.normalize === 'none' ? String(n) : n.toFixed(3));
    const cells = this.compute().map((row) => row.map(digits));
    const width = Math.max(...names.map((name) => name.length), ...cells.flat().map((cell) => cell.length), 0) + 2;
    const head = Math.max(...names.map((name) => name.length), 'true \\ predicted'.length);
    const line = (first: string, rest: readonly string[]) =>
      first.padStart(head) + rest.map((cell) => cell.padStart(width)).join('');
    return [line('true \\ predicted', names), ...cells.map((row, c) => line(names[c], row))].join('\n');
  }

  #grow(classes: number): void {
    const size = Math.max(classes, this.#counts.length);
    for (const row of this.#counts) while (row.length < size) row.push(0);
    while (this.#counts.length < size) this.#counts.push(new Array(size).fill(0));
  }
}

export interface ClassScore {
  precision: number;
  recall: number;
  f1: number;
  /** Samples of this class. */
  support: number;
  /** Samples said to be of this class. */
  predicted: number;
  correct: number;
}

/** The scores of each class; what would be divided by zero is 0. */
export function classScores(counts: readonly (readonly number[])[]): ClassScore[] {
  return counts.map((row, c) => {
    const correct = row[c];
    const support = sum(row);
    const predicted = sum(counts.map((other) => other[c]));
    return {
      precision: ratio(correct, predicted),
      recall: ratio(correct, support),
      f1: ratio(2 * correct, predicted + support),
      support,
      predicted,
      correct,
    };
  });
}

/** Precision, recall, F1 and support of each class as text, with their averages (sklearn.metrics.classification_report). */
export function classificationReport(matrix: ConfusionMatrix, { digits = 2 }: { digits?: number } = {}): string {
  const scores = classScores(matrix.counts);
  const total = sum(scores.map(({ support }) => support));
  const fields = ['precision', 'recall', 'f1'] as const;
  const seen = scores.filter(({ support, predicted }) => support + predicted > 0);
  const macro = fields.map((field) => ratio(sum(seen.map((score) => score[field])), seen.length));
  const weighted = fields.map((field) => ratio(sum(scores.map((score) => score[field] * score.support)), total));
  const accuracy = ratio(sum(scores.map(({ correct }) => correct)), total);
  const head = Math.max(...matrix.names.map((name) => name.length), 'weighted avg'.length);
  const width = Math.max(9, digits + 4, String(total).length) + 1;
  const line = (first: string, cells: string[]) =>
    `${first.padStart(head)} ${cells.map((cell) => cell.padStart(width)).join('')}`;
  const row = (name: string, values: number[], support: number) =>
    line(name, [...values.map((v) => v.toFixed(digits)), String(support)]);
  return [
    line('', ['precision', 'recall', 'f1-score', 'support']),
    '',
    ...scores.map((score, c) =>
      row(
        matrix.names[c],
        fields.map((field) => score[field]),
        score.support,
      ),
    ),
    '',
    line('accuracy', ['', '', accuracy.toFixed(digits), String(total)]),
    row('macro avg', macro, total),
    row('weighted avg', weighted, total),
  ].join('\n');
}

function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
