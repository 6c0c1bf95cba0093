// brasa/train: fit, evaluation, callbacks, checkpoints, charts.
import '../methods.js';

export type {
  Callback,
  EpochRecord,
  FitState,
  History,
  Metrics,
  Monitor,
  Results,
  Run,
  Stopped,
} from './callback.js';
export {
  type CheckpointOptions,
  type Curve,
  checkpoint,
  type EarlyStoppingOptions,
  earlyStopping,
  history,
  terminateOnNaN,
} from './callbacks.js';
export {
  type CheckpointData,
  type CheckpointParts,
  loadCheckpoint,
  type Resumable,
  saveCheckpoint,
} from './checkpoint.js';
export {
  type Batch,
  type Batches,
  evaluate,
  type LossOptions,
  predict,
  type StepResult,
} from './evaluate.js';
export { type FitOptions, fit } from './fit.js';
export { lineCharts, type Panel, type Series, sparkline } from './plot.js';
export { type ProgressOptions, progress } from './progress.js';
