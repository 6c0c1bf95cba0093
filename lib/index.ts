/** brasa: tensors, ops, autograd, errors. Modules, optimizers, data, training and files are in `brasa/nn`, `brasa/optim`, and so on. */
import './autograd/saves.js';
import './graph/fusion.js';
import './methods.js';
import { sealRegistry } from './core/define.js';

export { type BackwardOptions, backward, gradients } from './autograd/backward.js';
export { type Compiled, type CompileOptions, type CompileStats, compile } from './graph/compile.js';
export { cond } from './graph/control/cond.js';
export { type ScanOptions, scan, type WhileOptions, whileLoop } from './graph/control/scan.js';
export { type GradcheckOptions, gradcheck } from './autograd/check.js';
export { type GradOptions, grad, valueAndGrad } from './autograd/functions.js';
export { type InputGrad, type Operand, type OpRule, op, opMany } from './core/define.js';
export {
  closeDevice,
  type DeviceDescription,
  devices,
  emptyCache,
  type MemoryStats,
  memoryStats,
  setThreads,
} from './core/device.js';
export { isDeterministic, setDeterministic } from './core/deterministic.js';
export { type DType, dtypes, type TypedArray } from './core/dtype.js';
export {
  ArgumentError,
  BrasaError,
  type BrasaErrorOptions,
  DeviceError,
  DisposedError,
  DTypeError,
  FormatError,
  GradError,
  IndexError,
  OutOfMemoryError,
  ShapeError,
  TraceError,
} from './core/error.js';
export type { Shape } from './core/layout.js';
export { loadProgram } from './io/program.js';
export { detach, registerHook, requiresGrad_ } from './core/leaf.js';
export { sweep as collectGarbage } from './core/memory.js';
export { enableGrad, isGradEnabled, noGrad, scope } from './core/scope.js';
export { pin as keep, Tensor } from './core/tensor.js';
export * from './ops/at.js';
export * from './ops/attention.js';
export * from './ops/conv.js';
export * from './ops/convolutions.js';
export * from './ops/dynamic.js';
export * from './ops/elementwise.js';
export {
  arange,
  broadcastTensors,
  cat,
  empty,
  eye,
  full,
  fullLike,
  linspace,
  meshgrid,
  type NestedArray,
  ones,
  onesLike,
  stack,
  type TensorData,
  type TensorOptions,
  tensor,
  zeros,
  zerosLike,
} from './ops/free.js';
export * from './ops/index.js';
export * from './ops/loss.js';
export * from './ops/lstm.js';
export * from './ops/matmul.js';
export * from './ops/norm.js';
export * from './ops/norms.js';
export {
  bernoulli,
  defaultGenerator,
  dropout,
  Generator,
  manualSeed,
  type RandomOptions,
  rand,
  randint,
  randLike,
  randn,
  randnLike,
  randperm,
} from './ops/random.js';
export * from './ops/read.js';
export * from './ops/reduce.js';
export { to } from './ops/to.js';
export { hessian, type JacobianOptions, jacobian, jvp, vjp } from './transforms/derivatives.js';
export { recompute } from './transforms/recompute.js';
export { type BatchDims, type VmapOptions, vmap } from './transforms/vmap.js';
export {
  chunk,
  expand,
  flatten,
  movedim,
  narrow,
  permute,
  reshape,
  select,
  slice,
  split,
  squeeze,
  transpose,
  unbind,
  unflatten,
  unsqueeze,
} from './ops/view.js';

sealRegistry();
