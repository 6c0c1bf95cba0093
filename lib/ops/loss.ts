/** Losses. `reduction` is 'mean' (the default), 'sum' or 'none'. */
import { asTensor, opMany, op } from '../core/define.js';
import { isFloat, isInteger, statisticsType } from '../core/dtype.js';
import { checkOptions, ArgumentError, DTypeError, ShapeError, describe } from '../core/error.js';
import { broadcastTwo, sameShape, show, sizeOf } from '../core/layout.js';
import { noGrad } from '../core/scope.js';
import type { Tensor } from '../core/tensor.js';
import {
  abs,
  add,
  addcmul,
  cast,
  clamp,
  div,
  exp,
  log,
  log1p,
  minimum,
  lt,
  mul,
  ne,
  neg,
  square,
  sub,
  where,
  eq,
} from './elementwise.js';
import { arange, ones } from './free.js';
import { gather, indexSelect } from './index.js';
import { logSoftmax, softmax } from './norm.js';
import { amax, mean, sum } from './reduce.js';
import { movedim, reshape, squeeze, unsqueeze } from './view.js';

export type Reduction = 'mean' | 'sum' | 'none';
export interface LossOptions {
  reduction?: Reduction;
}

function reduced(loss: Tensor, reduction: Reduction | undefined, name: string): Tensor {
  if (reduction === undefined || reduction === 'mean') return mean(loss);
  if (reduction === 'sum') return sum(loss);
  if (reduction === 'none') return loss;
  throw new ArgumentError(`reduction is 'mean', 'sum' or 'none', not ${describe(reduction)}`, { op: name });
}

function alike(x: Tensor, y: Tensor, name: string): void {
  asTensor(x, name);
  asTensor(y, name);
  if (!broadcastTwo(x.shape, y.shape))
    throw new ShapeError(`input and target do not fit: ${show(x.shape)} and ${show(y.shape)}`, { op: name });
}

const squaredError = op('squaredError', {
  args: (x: Tensor, y: Tensor) => ({ inputs: [x, y] }),
  decompose: ([x, y]) => square(sub(x, y)),
  grad: (g, [x, y]) => {
    const d = () => mul(g, mul(sub(x, y), 2));
    return [d, () => neg(d())];
  },
});
/** The squared difference. (torch.nn.functional.mse_loss) */
export function mseLoss(input: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  alike(input, target, 'mseLoss');
  checkOptions(options, 'mseLoss');
  return reduced(squaredError(input, target), options.reduction, 'mseLoss');
}

/** The absolute difference. (torch.nn.functional.l1_loss) */
export function l1Loss(input: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  alike(input, target, 'l1Loss');
  checkOptions(options, 'l1Loss');
  return reduced(abs(sub(input, target)), options.reduction, 'l1Loss');
}

const smoothL1 = op('smoothL1', {
  args: (x: Tensor, y: Tensor, beta: number) => ({ inputs: [x, y], params: { beta } }),
  // c (d - c / 2) / beta, c the lesser of d and beta
  decompose: ([x, y], { beta }) => {
    const d = abs(sub(x, y));
    const c = minimum(d, beta);
    return mul(mul(addcmul(d, c, -0.5), c), 1 / beta);
  },
  grad: (g, [x, y], _out, { beta }) => {
    const d = () => mul(g, mul(clamp(sub(x, y), -beta, beta), 1 / beta));
    return [d, () => neg(d())];
  },
});
/** Squared below `beta` (1 unless said), absolute above. (torch.nn.functional.smooth_l1_loss) */
export function smoothL1Loss(input: Tensor, target: Tensor, options: LossOptions & { beta?: number } = {}): Tensor {
  alike(input, target, 'smoothL1Loss');
  checkOptions(options, 'smoothL1Loss');
  const beta = options.beta ?? 1;
  if (!(beta >= 0)) throw new ArgumentError(`beta is not negative, got ${beta}`, { op: 'smoothL1Loss' });
  if (beta === 0) return l1Loss(input, target, options);
  return reduced(smoothL1(input, target, beta), options.reduction, 'smoothL1Loss');
}

/** Huber's loss: smoothL1Loss scaled by delta. (torch.nn.functional.huber_loss) */
export function huberLoss(input: Tensor, target: Tensor, options: LossOptions & { delta?: number } = {}): Tensor {
  checkOptions(options, 'huberLoss');
  const delta = options.delta ?? 1;
  return mul(smoothL1Loss(input, target, { ...options, beta: delta }), delta);
}

const bce = op('binaryCrossEntropy', {
  args: (x: Tensor, y: Tensor) => ({ inputs: [x, y] }),
  // Logarithms are held above -100, as PyTorch does, so that a confident mistake costs much and not infinitely.
  decompose: ([x, y]) => neg(add(mul(y, clamp(log(x), -100)), mul(sub(1, y), clamp(log1p(neg(x)), -100)))),
  grad: (g, [x, y]) => [
    () => div(mul(g, sub(x, y)), clamp(mul(sub(1, x), x), 1e-12)),
    () => mul(g, sub(clamp(log1p(neg(x)), -100), clamp(log(x), -100))),
  ],
});
export interface BinaryOptions extends LossOptions {
  /** Factors of the elements' losses; broadcast. */
  weight?: Tensor;
}
/** Cross-entropy of probabilities in [0, 1] and targets in [0, 1]. (torch.nn.functional.binary_cross_entropy) */
export function binaryCrossEntropy(input: Tensor, target: Tensor, options: BinaryOptions = {}): Tensor {
  const name = 'binaryCrossEntropy';
  asTensor(input, name);
  asTensor(target, name);
  checkOptions(options, name);
  if (!sameShape(input.shape, target.shape))
    throw new ShapeError(`input and target differ: ${show(input.shape)} and ${show(target.shape)}`, { op: name });
  const loss = bce(input, cast(target, input.dtype));
  return reduced(options.weight ? mul(loss, options.weight) : loss, options.reduction, name);
}

const bceLogits = op('binaryCrossEntropyWithLogits', {
  args: (x: Tensor, y: Tensor) => ({ inputs: [x, y] }),
  decompose: ([x, y]) => add(sub(clamp(x, 0), mul(x, y)), log1p(exp(neg(abs(x))))),
  grad: (g, [x, y]) => [() => mul(g, sub(div(1, add(exp(neg(x)), 1)), y)), () => neg(mul(g, x))],
});
const bceLogitsWeighted = op('binaryCrossEntropyWithLogitsWeighted', {
  args: (x: Tensor, y: Tensor, w: Tensor) => ({ inputs: [x, y, w] }),
  decompose: ([x, y, w]) => {
    const soft = add(log1p(exp(neg(abs(x)))), clamp(neg(x), 0));
    return add(mul(sub(1, y), x), mul(add(mul(sub(w, 1), y), 1), soft));
  },
});
/** binaryCrossEntropy of sigmoid(input), without overflow; `posWeight` scales the positive term. (torch.nn.functional.binary_cross_entropy_with_logits) */
export function binaryCrossEntropyWithLogits(
  input: Tensor,
  target: Tensor,
  options: BinaryOptions & { posWeight?: Tensor } = {},
): Tensor {
  const name = 'binaryCrossEntropyWithLogits';
  asTensor(input, name);
  asTensor(target, name);
  checkOptions(options, name);
  if (!sameShape(input.shape, target.shape))
    throw new ShapeError(`input and target differ: ${show(input.shape)} and ${show(target.shape)}`, { op: name });
  const y = target.dtype === input.dtype ? target : cast(target, input.dtype);
  const loss = options.posWeight ? bceLogitsWeighted(input, y, options.posWeight) : bceLogits(input, y);
  return reduced(options.weight ? mul(loss, options.weight) : loss, options.reduction, name);
}

// ---- classes

interface ClassParams {
  ignoreIndex: number;
  labelSmoothing: number;
}
const encodeClass = ({ ignoreIndex, labelSmoothing }: ClassParams) => [ignoreIndex, labelSmoothing];
const crossEntropyKernel = opMany('crossEntropy', {
  args: (logits: Tensor, target: Tensor, weight: Tensor | null, params: ClassParams) => ({
    inputs: (weight ? [logits, target, weight] : [logits, target]) as readonly Tensor[],
    params,
  }),
  infer: ([logits]) => {
    const rows = { shape: [logits!.shape[0]!], dtype: statisticsType(logits!.dtype) };
    return [rows, rows];
  },
  encode: encodeClass,
  decompose: ([logits, target, weight], { ignoreIndex, labelSmoothing }) => {
    const wide = cast(logits!, statisticsType(logits!.dtype));
    const most = amax(wide, 1, { keepDim: true });
    const lse = add(most, log(sum(exp(sub(wide, most)), 1, { keepDim: true })));
    const ignored = eq(target!, ignoreIndex);
    const at = where(ignored, 0, target!);
    const below = sub(lse, wide);
    const own = squeeze(gather(below, 1, unsqueeze(at, 1)), 1);
    const hard = mul(weight ? mul(own, indexSelect(weight, 0, at)) : own, 1 - labelSmoothing);
    const soft = mul(mean(weight ? mul(below, weight) : below, 1), labelSmoothing);
    const loss = labelSmoothing > 0 ? add(hard, soft) : hard;
    return [cast(where(ignored, 0, loss), wide.dtype), squeeze(lse, 1)];
  },
  grad: (g, [logits, target, weight], y, params) => [
    () => crossEntropyGrad(g[0]!, logits!, target!, y[1]!, weight ?? null, params),
    null,
    null,
  ],
});
// A second derivative goes through the decomposition.
const crossEntropyGrad = op('crossEntropyGrad', {
  args: (g: Tensor, logits: Tensor, target: Tensor, lse: Tensor, weight: Tensor | null, params: ClassParams) => ({
    inputs: (weight ? [g, logits, target, lse, weight] : [g, logits, target, lse]) as readonly Tensor[],
    params,
  }),
  infer: ([, logits]) => ({ shape: logits!.shape, dtype: logits!.dtype }),
  encode: encodeClass,
  decompose: ([g, logits, target, , weight], { ignoreIndex, labelSmoothing }) => {
    const classes = logits!.shape[1]!;
    const at = where(eq(target!, ignoreIndex), 0, target!);
    const share = div(weight ?? onesRow(logits!), classes);
    const own = cast(eq(unsqueeze(at, 1), arange(classes, undefined, { device: logits!.device })), logits!.dtype);
    const wanted = add(mul(mul(own, weight ?? 1), 1 - labelSmoothing), mul(share, labelSmoothing));
    const total = sum(wanted, 1, { keepDim: true });
    const scale = unsqueeze(where(eq(target!, ignoreIndex), 0, g!), 1);
    return cast(mul(scale, sub(mul(softmax(logits!, 1), total), wanted)), logits!.dtype);
  },
});
const onesRow = (x: Tensor) => ones([x.shape[1]!], { dtype: x.dtype, device: x.device });

export interface CrossEntropyOptions extends LossOptions {
  /** A factor for each class, (C). */
  weight?: Tensor;
  /** Targets of this value do not count: -100 unless said. */
  ignoreIndex?: number;
  /** Share of the target spread over all classes, in [0, 1]. */
  labelSmoothing?: number;
}

/**
 * Cross-entropy of logits (N,C,…) or (C) and class indices (N,…) or probabilities of the logits' shape. The mean is over the targets
 * that count, by their class weights. Logits and their gradient are the only tensors of that size. (torch.nn.functional.cross_entropy)
 */
export function crossEntropy(input: Tensor, target: Tensor, options: CrossEntropyOptions = {}): Tensor {
  const name = 'crossEntropy';
  asTensor(input, name);
  asTensor(target, name);
  checkOptions(options, name);
  if (!isFloat(input.dtype)) throw new DTypeError(`logits are floats, got ${input.dtype}`, { op: name });
  const { weight, ignoreIndex = -100, labelSmoothing = 0 } = options;
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1))
    throw new ArgumentError(`labelSmoothing lies in [0, 1], got ${labelSmoothing}`, { op: name });
  const dim = input.ndim === 1 ? 0 : 1;
  const classes = input.shape[dim];
  if (classes === undefined) throw new ShapeError('logits have a dim of classes', { op: name });
  checkWeight(weight, classes, name);
  if (isFloat(target.dtype)) return softTargets(input, target, dim, options);
  const rows = classRows(input, target, dim, name);
  const [loss] = crossEntropyKernel(rows.input, rows.target, weight ? detached(weight, input) : null, {
    ignoreIndex,
    labelSmoothing,
  });
  return classMean(loss!, rows.target, weight, ignoreIndex, options.reduction, target, name);
}

function checkWeight(weight: Tensor | undefined, classes: number, name: string): void {
  if (weight !== undefined) asTensor(weight, name);
  if (weight && (weight.ndim !== 1 || weight.size !== classes))
    throw new ShapeError(`${classes} classes need as many weights, got ${show(weight.shape)}`, { op: name });
}
const detached = (w: Tensor, x: Tensor) => noGrad(() => cast(w, x.dtype));

/** Logits as (rows, C), targets as (rows). */
function classRows(input: Tensor, target: Tensor, dim: number, name: string): { input: Tensor; target: Tensor } {
  if (!isInteger(target.dtype))
    throw new DTypeError(`targets are class indices or probabilities, got ${target.dtype}`, { op: name });
  const want = input.shape.filter((_, i) => i !== dim);
  if (!sameShape(want, target.shape))
    throw new ShapeError(`logits ${show(input.shape)} want targets ${show(want)}, got ${show(target.shape)}`, {
      op: name,
    });
  const classes = input.shape[dim]!;
  const last = input.ndim > 2 ? movedim(input, 1, -1) : input;
  return { input: reshape(last, [sizeOf(want), classes]), target: reshape(target, [-1]) };
}

function classMean(
  loss: Tensor,
  target: Tensor,
  weight: Tensor | undefined,
  ignoreIndex: number,
  reduction: Reduction | undefined,
  shaped: Tensor,
  name: string,
): Tensor {
  if (reduction !== undefined && reduction !== 'mean')
    return reduced(reduction === 'none' ? reshape(loss, shaped.shape) : loss, reduction, name);
  const counted = noGrad(() => {
    const valid = ne(target, ignoreIndex);
    if (!weight) return cast(sum(valid), loss.dtype);
    return sum(where(valid, indexSelect(cast(weight, loss.dtype), 0, where(valid, target, 0)), 0));
  });
  return div(sum(loss), counted);
}

function softTargets(input: Tensor, target: Tensor, dim: number, options: CrossEntropyOptions): Tensor {
  const name = 'crossEntropy';
  if (!sameShape(input.shape, target.shape))
    throw new ShapeError(`probabilities have the logits' shape ${show(input.shape)}, got ${show(target.shape)}`, {
      op: name,
    });
  const s = options.labelSmoothing ?? 0;
  const classes = input.shape[dim]!;
  const smooth = s > 0 ? add(mul(target, 1 - s), s / classes) : target;
  const weighted = options.weight
    ? mul(
        smooth,
        reshape(
          options.weight,
          input.shape.map((_, i) => (i === dim ? -1 : 1)),
        ),
      )
    : smooth;
  const loss = neg(sum(mul(logSoftmax(input, dim), weighted), dim));
  const { reduction = 'mean' } = options;
  return reduction === 'mean' ? div(sum(loss), Math.max(1, input.size / classes)) : reduced(loss, reduction, name);
}

/** Minus the log-probability (N,C,…) of the target class (N,…). (torch.nn.functional.nll_loss) */
export function nllLoss(
  input: Tensor,
  target: Tensor,
  options: Omit<CrossEntropyOptions, 'labelSmoothing'> = {},
): Tensor {
  const name = 'nllLoss';
  asTensor(input, name);
  asTensor(target, name);
  checkOptions(options, name);
  const { weight, ignoreIndex = -100 } = options;
  const dim = input.ndim === 1 ? 0 : 1;
  const rows = classRows(input, target, dim, name);
  checkWeight(weight, input.shape[dim]!, name);
  const valid = ne(rows.target, ignoreIndex);
  const at = where(valid, rows.target, 0);
  const chosen = neg(squeeze(gather(rows.input, 1, unsqueeze(at, 1)), 1));
  const weighted = weight ? mul(chosen, indexSelect(detached(weight, input), 0, at)) : chosen;
  return classMean(where(valid, weighted, 0), rows.target, weight, ignoreIndex, options.reduction, target, name);
}

/** Kullback-Leibler divergence of log-probabilities and probabilities; 'batchmean' divides by the first size. (torch.nn.functional.kl_div) */
export function klDivLoss(
  input: Tensor,
  target: Tensor,
  options: { reduction?: Reduction | 'batchmean'; logTarget?: boolean } = {},
): Tensor {
  alike(input, target, 'klDivLoss');
  checkOptions(options, 'klDivLoss');
  const loss = options.logTarget
    ? mul(exp(target), sub(target, input))
    : where(lt(0, target), mul(target, sub(log(where(lt(0, target), target, 1)), input)), 0);
  if (options.reduction === 'batchmean') return div(sum(loss), input.shape[0] ?? 1);
  return reduced(loss, options.reduction, 'klDivLoss');
}
