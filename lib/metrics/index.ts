import '../methods.js';

export {
  Accuracy,
  type AccuracyOptions,
  type Average,
  F1,
  Precision,
  Recall,
  RocAuc,
  type ScoreOptions,
} from './classification.js';
export { classificationReport, ConfusionMatrix, type ConfusionOptions } from './confusion.js';
export type { LabelOptions, Metric } from './metric.js';
export { MeanAbsoluteError, MeanMetric, MeanSquaredError, R2 } from './regression.js';
