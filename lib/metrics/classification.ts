import { ArgumentError, ShapeError } from '../core/error.js';
import { show } from '../core/layout.js';
import type { Tensor } from '../core/tensor.js';
import { topk } from '../ops/index.js';
import { dataSync } from '../ops/read.js';
import { type ClassScore, classScores, ConfusionMatrix, type ConfusionOptions } from './confusion.js';
import { checkChoice, type LabelOptions, type Metric, ratio, readLabels, readPair } from './metric.js';

export interface AccuracyOptions extends LabelOptions {
  /** Right when the target is among the `topK` largest of (N,C) scores; default 1. */
  topK?: number;
}

/** The fraction of samples whose class is right. Prediction and target as `readLabels` says: scores (N,C) and labels (N). */
export class Accuracy implements Metric {
  readonly #options: AccuracyOptions;
  #correct = 0;
  #total = 0;

  constructor(options: AccuracyOptions = {}) {
    const { topK = 1 } = options;
    if (!(Number.isInteger(topK) && topK >= 1))
      throw new ArgumentError(`topK must be an integer >= 1, not ${topK}`, { op: 'Accuracy' });
    this.#options = options;
  }

  update(prediction: Tensor, target: Tensor): void {
    const { topK = 1 } = this.#options;
    if (topK > 1) this.#countTop(prediction, target, topK);
    else this.#count(prediction, target);
  }

  compute(): number {
    return ratio(this.#correct, this.#total);
  }

  reset(): void {
    this.#correct = 0;
    this.#total = 0;
  }

  stateDict(): { correct: number; total: number } {
    return { correct: this.#correct, total: this.#total };
  }

  loadStateDict({ correct, total }: { correct: number; total: number }): void {
    this.#correct = correct;
    this.#total = total;
  }

  #count(prediction: Tensor, target: Tensor): void {
    const { predicted, actual } = readLabels(prediction, target, this.#options, 'Accuracy');
    for (let i = 0; i < actual.length; i++) if (predicted[i] === actual[i]) this.#correct++;
    this.#total += actual.length;
  }

  #countTop(prediction: Tensor, target: Tensor, k: number): void {
    if (prediction.ndim !== 2 || target.ndim !== 1 || prediction.shape[0] !== target.shape[0]) {
      throw new ShapeError(`topK needs (N,C) and (N), not ${show(prediction.shape)} and ${show(target.shape)}`, {
        op: 'Accuracy',
      });
    }
    const width = Math.min(k, prediction.shape[1]);
    const best = dataSync(topk(prediction, width, 1).indices); // (N,width)
    const actual = dataSync(target);
    for (let i = 0; i < actual.length; i++) {
      if (actual[i] === this.#options.ignoreIndex) continue;
      this.#total++;
      for (let j = 0; j < width; j++) if (best[i * width + j] === actual[i]) this.#correct++;
    }
  }
}

/** 'macro': mean over the classes that occur; 'weighted': by support; 'micro': over all samples; 'none': one value a class. */
export type Average = 'macro' | 'micro' | 'weighted' | 'none';

export type ScoreOptions<A extends Average> = Omit<ConfusionOptions, 'normalize' | 'names'> & { average?: A };
type Scored<A extends Average> = A extends 'none' ? number[] : number;

// Precision, recall and F1 differ in the one field they read; for micro averages all three are the accuracy.
class ScoreMetric<A extends Average> implements Metric<Scored<A>> {
  readonly #matrix: ConfusionMatrix;
  readonly #average: Average;
  readonly #field: 'precision' | 'recall' | 'f1';

  constructor(field: 'precision' | 'recall' | 'f1', { average, ...options }: ScoreOptions<A>) {
    this.#matrix = new ConfusionMatrix(options);
    this.#average = checkChoice<Average>(average ?? 'macro', ['macro', 'micro', 'weighted', 'none'], 'average', field);
    this.#field = field;
  }

  update(prediction: Tensor, target: Tensor): void {
    this.#matrix.update(prediction, target);
  }

  compute(): Scored<A> {
    return average(classScores(this.#matrix.counts), this.#field, this.#average) as Scored<A>;
  }

  reset(): void {
    this.#matrix.reset();
  }

  stateDict(): { counts: number[][] } {
    return this.#matrix.stateDict();
  }

  loadStateDict(state: { counts: number[][] }): void {
    this.#matrix.loadStateDict(state);
  }
}

/** Of the samples said to be of a class, the fraction that is (sklearn.metrics.precision_score). */
export class Precision<A extends Average = 'macro'> extends ScoreMetric<A> {
  constructor(options: ScoreOptions<A> = {}) {
    super('precision', options);
  }
}

/** Of the samples of a class, the fraction that was found (sklearn.metrics.recall_score). */
export class Recall<A extends Average = 'macro'> extends ScoreMetric<A> {
  constructor(options: ScoreOptions<A> = {}) {
    super('recall', options);
  }
}

/** The harmonic mean of precision and recall (sklearn.metrics.f1_score). */
export class F1<A extends Average = 'macro'> extends ScoreMetric<A> {
  constructor(options: ScoreOptions<A> = {}) {
    super('f1', options);
  }
}

function average(scores: ClassScore[], field: 'precision' | 'recall' | 'f1', how: Average): number | number[] {
  const mean = (weight: (score: ClassScore) => number, value = (score: ClassScore) => score[field]) => {
    const total = scores.reduce((sum, score) => sum + weight(score), 0);
    return ratio(
      scores.reduce((sum, score) => sum + weight(score) * value(score), 0),
      total,
    );
  };
  switch (how) {
    case 'none':
      return scores.map((score) => score[field]);
    case 'macro':
      return mean(({ support, predicted }) => (support + predicted > 0 ? 1 : 0));
    case 'weighted':
      return mean(({ support }) => support);
    case 'micro':
      return mean(
        ({ support }) => support,
        ({ recall }) => recall,
      );
  }
}

/**
 * Area under the ROC curve of one score a sample (N) against targets 0 and 1 (N): the chance that a positive outranks a
 * negative, ties counting half (sklearn.metrics.roc_auc_score). NaN while one of the two classes is missing. Keeps all scores.
 */
export class RocAuc implements Metric {
  #samples: { score: number; positive: boolean }[] = [];

  update(prediction: Tensor, target: Tensor): void {
    const [scores, labels] = readPair(prediction, target, 'RocAuc');
    const samples = Array.from(scores, (score, i) => ({ score, positive: labels[i] === 1 }));
    const wrong = Array.from(labels).find((label) => label !== 0 && label !== 1);
    if (wrong !== undefined) throw new ArgumentError(`target ${wrong} is neither 0 nor 1`, { op: 'RocAuc' });
    if (samples.some(({ score }) => Number.isNaN(score))) throw new ArgumentError('a score is NaN', { op: 'RocAuc' });
    this.#samples = this.#samples.concat(samples);
  }

  compute(): number {
    const sorted = this.#samples.toSorted((a, b) => a.score - b.score);
    const positives = sorted.filter(({ positive }) => positive).length;
    let rankSum = 0; // of the positives, tied scores sharing their mean rank
    for (let start = 0, end = 0; start < sorted.length; start = end) {
      let found = 0;
      while (end < sorted.length && sorted[end].score === sorted[start].score) if (sorted[end++].positive) found++;
      rankSum += (found * (start + 1 + end)) / 2;
    }
    return (rankSum - (positives * (positives + 1)) / 2) / (positives * (sorted.length - positives));
  }

  reset(): void {
    this.#samples = [];
  }

  stateDict(): { samples: { score: number; positive: boolean }[] } {
    return { samples: [...this.#samples] };
  }

  loadStateDict({ samples }: { samples: { score: number; positive: boolean }[] }): void {
    this.#samples = [...samples];
  }
}
