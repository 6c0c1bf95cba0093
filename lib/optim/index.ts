// brasa/optim: optimizers, schedules of the learning rate, gradient clipping.
import '../methods.js';

export { Adam, type AdamOptions, AdamW } from './adam.js';
export { clipGradNorm_, clipGradValue_ } from './clip.js';
export {
  type GroupOptions,
  Optimizer,
  type OptimizerOptions,
  type OptimizerState,
  type ParamGroup,
  type Params,
  type ParamState,
  type Rule,
} from './optimizer.js';
export { type Fused, fused } from './fused.js';
export { RMSprop, type RMSpropOptions } from './rmsprop.js';
export {
  CosineAnnealingLR,
  ExponentialLR,
  LambdaLR,
  LinearLR,
  MultiStepLR,
  OneCycleLR,
  type OneCycleOptions,
  Schedule,
  type ScheduleRule,
  type ScheduleState,
  StepLR,
} from './schedule.js';
export { SGD, type SGDOptions } from './sgd.js';
