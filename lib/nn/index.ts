// brasa/nn: modules, layers, initialisation.
import '../methods.js';

export * from './activation.js';
export { MultiheadAttention, type MultiheadAttentionOptions } from './attention.js';
export { BatchNorm1d, BatchNorm2d, type BatchNormOptions } from './batchNorm.js';
export { Conv2d, type Conv2dOptions } from './conv.js';
export {
  Conv1d,
  type Conv1dOptions,
  Conv3d,
  type Conv3dOptions,
  ConvTranspose1d,
  type ConvTranspose1dOptions,
  ConvTranspose2d,
  type ConvTranspose2dOptions,
} from './convolutions.js';
export { Dropout } from './dropout.js';
export { Embedding } from './embedding.js';
export { Flatten } from './flatten.js';
export type { ForwardHook, ForwardPreHook } from './hooks.js';
export { Identity } from './identity.js';
export * as init from './init.js';
export { LayerNorm, type LayerNormOptions } from './layerNorm.js';
export { Linear } from './linear.js';
export { buffer, type LoadReport, Module, parameter, type StateDict } from './module.js';
export {
  GroupNorm,
  type GroupNormOptions,
  InstanceNorm1d,
  InstanceNorm2d,
  type InstanceNormOptions,
  RMSNorm,
  type RMSNormOptions,
} from './norms.js';
export type { Pair } from '../ops/conv.js';
export type { Triple } from '../ops/convolutions.js';
export type { LayerOptions } from './options.js';
export { AdaptiveAvgPool2d, AvgPool2d, type AvgPool2dOptions, MaxPool2d, type MaxPool2dOptions } from './pool.js';
export { GRU, LSTM, type RecurrentOptions, RNN, type RNNOptions } from './recurrent.js';
export { Sequential, type Stage } from './sequential.js';
export { TransformerEncoder, TransformerEncoderLayer, type TransformerEncoderLayerOptions } from './transformer.js';
