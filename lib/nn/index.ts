// brasa/nn: modules, layers, initialisation.
import '../methods.js';

export * from './activation.js';
export { MultiheadAttention, type MultiheadAttentionOptions } from './attention.js';
export { BatchNorm1d, BatchNorm2d, type BatchNormOptions } from './batchNorm.js';
export { Conv2d, type Conv2dOptions } from './conv.js';
export { Dropout } from './dropout.js';
export { Embedding } from './embedding.js';
export { Flatten } from './flatten.js';
export type { ForwardHook, ForwardPreHook } from './hooks.js';
export { Identity } from './identity.js';
export * as init from './init.js';
export { LayerNorm, type LayerNormOptions } from './layerNorm.js';
export { Linear } from './linear.js';
export { buffer, type LoadReport, Module, parameter, type StateDict } from './module.js';
export type { Pair } from '../ops/conv.js';
export type { LayerOptions } from './options.js';
export { AdaptiveAvgPool2d, AvgPool2d, type AvgPool2dOptions, MaxPool2d, type MaxPool2dOptions } from './pool.js';
export { Sequential, type Stage } from './sequential.js';
