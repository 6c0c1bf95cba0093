/** Elementwise ops: each a line of native/ops.def, with its gradient here. Operands broadcast; numbers are weak scalars. */
import { applyInto } from '../core/apply.js';
import {
  asTensor,
  binary,
  checkOperand,
  instruction,
  lookup,
  type Operand,
  op,
  ternary,
  unary,
} from '../core/define.js';
import { type DType, dtypeInfo, isFloat } from '../core/dtype.js';
import { ArgumentError, ShapeError, checkOptions, describe } from '../core/error.js';
import { broadcastTwo, contiguousStrides, sameShape, show } from '../core/layout.js';
import { NO_PARAMS } from '../core/tape.js';
import type { Tensor } from '../core/tensor.js';
import { to } from './to.js';

// ---- arithmetic

/** x + y, elementwise. Integers stay integers; a number takes the tensor's dtype. (torch.add) */
export const add = binary('add', { grad: (g) => [g, g] });
/** x - y, elementwise. (torch.sub) */
export const sub = binary('sub', { grad: (g) => [g, () => neg(g)] });
/** x * y, elementwise. (torch.mul) */
export const mul = binary('mul', { grad: (g, x, y) => [() => mul(g, y), () => mul(g, x)] });
/** x / y, elementwise; integers give f32. (torch.true_divide) */
export const div = binary('div', { grad: (g, _x, y, out) => [() => div(g, y), () => neg(div(mul(g, out), y))] });
/** -x. */
export const neg: (x: Tensor) => Tensor = unary('neg', { grad: (g) => neg(g) });
/** |x|; the gradient at 0 is 0. */
export const abs = unary('abs', { grad: (g, x) => mul(g, sign(x)) });
/** -1, 0 or 1. */
export const sign: (x: Tensor) => Tensor = unary('sign', { grad: (g) => mul(g, 0) });
/** x * x. */
export const square = unary('square', { grad: (g, x) => mul(mul(g, x), 2) });
/** 1 / x. */
export const reciprocal = unary('reciprocal', { grad: (g, _x, y) => neg(mul(g, mul(y, y))) });
/** x to the power y. A negative base with a fractional exponent gives NaN. (torch.pow) */
export const pow: (x: Operand, y: Operand) => Tensor = binary('pow', {
  grad: (g, x, y, out) => [() => powGradBase(g, x as Tensor, y), () => mul(g, powGradExponent(x, y, out))],
});
function powGradExponent(x: Operand, y: Operand, out: Tensor): Tensor {
  if (typeof x === 'number') return x === 0 ? where(ge(y, 0), 0, mul(out, Math.log(x))) : mul(out, Math.log(x));
  return where(logicalAnd(eq(x, 0), ge(y, 0)), 0, mul(out, log(x)));
}
function powGradBase(g: Tensor, x: Tensor, y: Operand): Tensor {
  if (y === 0) return mul(x, 0);
  if (y === 1) return g;
  if (y === 2) return mul(mul(g, x), 2);
  if (typeof y === 'number') return mul(g, mul(pow(x, y - 1), y));
  return mul(g, where(eq(y, 0), 0, mul(y, pow(x, sub(y, 1)))));
}
/** floor(x / y), towards minus infinity; a zero integer divisor gives 0. (torch.floor_divide) */
export const floorDivide = binary('floorDivide', { grad: null });
/** x modulo y with the sign of y, as Python's %. (torch.remainder) */
export const remainder = binary('remainder', { grad: (g, x, y) => [g, () => neg(mul(g, floor(div(x, y))))] });
/** x modulo y with the sign of x, as C's fmod. (torch.fmod) */
export const fmod = binary('fmod', { grad: (g, x, y) => [g, () => neg(mul(g, trunc(div(x, y))))] });
/** The larger of two; NaN wins; the gradient of equals is halved. (torch.maximum) */
export const maximum: (x: Operand, y: Operand) => Tensor = binary('maximum', {
  grad: (g, x, y) => [() => mul(g, share(ge(x, y), eq(x, y), g)), () => mul(g, share(ge(y, x), eq(x, y), g))],
});
/** The smaller of two; NaN wins; the gradient of equals is halved. (torch.minimum) */
export const minimum: (x: Operand, y: Operand) => Tensor = binary('minimum', {
  grad: (g, x, y) => [() => mul(g, share(le(x, y), eq(x, y), g)), () => mul(g, share(le(y, x), eq(x, y), g))],
});
function share(chosen: Tensor, equal: Tensor, g: Tensor): Tensor {
  return sub(cast(chosen, g.dtype), mul(cast(equal, g.dtype), 0.5));
}
/** x + y * z. (torch.addcmul) */
export const addcmul = ternary('addcmul', { grad: (g, _x, y, z) => [g, () => mul(g, z), () => mul(g, y)] });
/** x + weight * (y - x). (torch.lerp) */
export const lerp = ternary('lerp', {
  grad: (g, x, y, weight) => [() => sub(g, mul(g, weight)), () => mul(g, weight), () => mul(g, sub(y, x))],
});
/** x + weight * (y^2 - x): a running mean of squares. */
export const lerpSquare = ternary('lerpSquare', { grad: null });
/** x / (sqrt(y) + z), the root to the last bit or so. */
export const divRoot = ternary('divRoot', { grad: null });

// ---- powers, exponentials, logarithms

/** Square root; NaN below 0. */
export const sqrt = unary('sqrt', { grad: (g, _x, y) => div(g, mul(y, 2)) });
/** 1 / sqrt(x). */
export const rsqrt = unary('rsqrt', { grad: (g, _x, y) => mul(mul(g, -0.5), mul(y, mul(y, y))) });
/** e^x. */
export const exp: (x: Tensor) => Tensor = unary('exp', { grad: (g, _x, y) => mul(g, y) });
/** e^x - 1, accurate near 0. */
export const expm1 = unary('expm1', { grad: (g, _x, y) => mul(g, add(y, 1)) });
/** Natural logarithm. */
export const log: (x: Tensor) => Tensor = unary('log', { grad: (g, x) => div(g, x) });
/** log(1 + x), accurate near 0. */
export const log1p = unary('log1p', { grad: (g, x) => div(g, add(x, 1)) });
/** Logarithm to base 2. */
export const log2 = unary('log2', { grad: (g, x) => div(g, mul(x, Math.LN2)) });
/** Logarithm to base 10. */
export const log10 = unary('log10', { grad: (g, x) => div(g, mul(x, Math.LN10)) });

// ---- trigonometry, radians

/** Sine of radians. */
export const sin: (x: Tensor) => Tensor = unary('sin', { grad: (g, x) => mul(g, cos(x)) });
/** Cosine of radians. */
export const cos: (x: Tensor) => Tensor = unary('cos', { grad: (g, x) => neg(mul(g, sin(x))) });
/** Tangent of radians. */
export const tan = unary('tan', { grad: (g, _x, y) => mul(g, add(mul(y, y), 1)) });
/** Inverse sine, in radians. */
export const asin = unary('asin', { grad: (g, x) => mul(g, rsqrt(sub(1, mul(x, x)))) });
/** Inverse cosine, in radians. */
export const acos = unary('acos', { grad: (g, x) => neg(mul(g, rsqrt(sub(1, mul(x, x))))) });
/** Inverse tangent, in radians. */
export const atan = unary('atan', { grad: (g, x) => div(g, add(mul(x, x), 1)) });
/** The angle of (y, x) in radians, y the first operand. (torch.atan2) */
export const atan2 = binary('atan2', {
  grad: (g, y, x) => {
    // A product of numbers is a number: as a tensor it would be on no device in particular.
    const squared = (v: Operand) => (typeof v === 'number' ? v * v : mul(v, v));
    const scale = () => div(g, add(squared(x), squared(y)));
    return [() => mul(scale(), x), () => neg(mul(scale(), y))];
  },
});
/** Hyperbolic sine. */
export const sinh: (x: Tensor) => Tensor = unary('sinh', { grad: (g, x) => mul(g, cosh(x)) });
/** Hyperbolic cosine. */
export const cosh: (x: Tensor) => Tensor = unary('cosh', { grad: (g, x) => mul(g, sinh(x)) });
/** Hyperbolic tangent. */
export const tanh: (x: Tensor) => Tensor = unary('tanh', { grad: (g, _x, y) => mul(g, sub(1, mul(y, y))) });
/** Inverse hyperbolic sine. */
export const asinh = unary('asinh', { grad: (g, x) => mul(g, rsqrt(add(mul(x, x), 1))) });
/** Inverse hyperbolic cosine. */
export const acosh = unary('acosh', { grad: (g, x) => mul(g, rsqrt(sub(mul(x, x), 1))) });
/** Inverse hyperbolic tangent. */
export const atanh = unary('atanh', { grad: (g, x) => div(g, sub(1, mul(x, x))) });
/** The error function. */
export const erf = unary('erf', { grad: (g, x) => mul(g, mul(exp(neg(mul(x, x))), 2 / Math.sqrt(Math.PI))) });
/** 1 - erf(x), accurate for large x. */
export const erfc = unary('erfc', { grad: (g, x) => mul(g, mul(exp(neg(mul(x, x))), -2 / Math.sqrt(Math.PI))) });

// ---- rounding

/** The largest integer not above x. */
export const floor: (x: Tensor) => Tensor = unary('floor', { grad: (g) => mul(g, 0) });
/** The smallest integer not below x. */
export const ceil = unary('ceil', { grad: (g) => mul(g, 0) });
/** x without its fraction. */
export const trunc: (x: Tensor) => Tensor = unary('trunc', { grad: (g) => mul(g, 0) });
/** The nearest integer, halves to even. (torch.round) */
export const round = unary('round', { grad: (g) => mul(g, 0) });

// ---- activations

/** 1 / (1 + e^-x). */
export const sigmoid: (x: Tensor) => Tensor = unary('sigmoid', { grad: (g, _x, y) => mul(g, mul(y, sub(1, y))) });
/** x * sigmoid(x), also called swish. */
export const silu = unary('silu', {
  grad: (g, x) => {
    const s = sigmoid(x);
    return mul(g, mul(s, add(mul(x, sub(1, s)), 1)));
  },
});
/** max(x, 0); NaN stays. */
export const relu = unary('relu', { grad: (g, _x, y) => reluGrad(g, y) });
/** g where y > 0, else 0: the gradient of relu in one instruction. */
export const reluGrad: (g: Tensor, y: Tensor) => Tensor = binary('reluGrad', {
  grad: (h, _g, y) => [() => reluGrad(h, y as Tensor), null],
}) as never;
const geluExact = unary('gelu', {
  grad: (g, x) => {
    const cdf = add(mul(erf(mul(x, Math.SQRT1_2)), 0.5), 0.5);
    const pdf = mul(exp(mul(mul(x, x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
    return mul(g, add(cdf, mul(x, pdf)));
  },
});
/** tanh(sqrt(2 / pi) * (x + 0.044715 x^3)) */
const geluGate = (x: Tensor): Tensor => tanh(mul(add(x, mul(mul(mul(x, x), x), 0.044715)), Math.sqrt(2 / Math.PI)));
const geluTanh: (x: Tensor) => Tensor = op('geluTanh', {
  args: (x: Tensor) => {
    asTensor(x, 'gelu');
    return { inputs: [x] };
  },
  decompose: ([x]) => mul(mul(x, 0.5), add(geluGate(x), 1)),
  grad: (g, [x]) => [() => geluTanhGrad(g, x)],
});
// One kernel that needs x alone, where the parts of the definition would each be kept.
const geluTanhGrad: (g: Tensor, x: Tensor) => Tensor = op('geluTanhGrad', {
  args: (g: Tensor, x: Tensor) => ({ inputs: [g, x] }),
  decompose: ([g, x]) => {
    const t = geluGate(x);
    const slope = add(mul(mul(x, x), 3 * 0.044715 * Math.sqrt(2 / Math.PI)), Math.sqrt(2 / Math.PI));
    const through = mul(mul(x, sub(1, mul(t, t))), slope);
    return mul(g, mul(add(add(t, 1), through), 0.5));
  },
});
/**
 * x * Phi(x), Phi the normal distribution function. (torch.nn.functional.gelu)
 * @param options.approximate 'tanh' for the approximation of the original paper (arXiv:1606.08415)
 */
export function gelu(x: Tensor, options: { approximate?: 'none' | 'tanh' } = {}): Tensor {
  checkOptions(options, 'gelu');
  const how = options.approximate ?? 'none';
  if (how !== 'none' && how !== 'tanh')
    throw new ArgumentError(`approximate is 'none' or 'tanh', not ${describe(how)}`, { op: 'gelu' });
  return how === 'tanh' ? geluTanh(x) : geluExact(x);
}
const leaky = binary('leakyRelu', {
  grad: (g, x, slope) => [() => where(gt(x, 0), g, mul(g, slope)), () => where(gt(x, 0), 0, mul(g, x))],
});
/** x where x > 0, else slope * x. (torch.nn.functional.leaky_relu) */
export function leakyRelu(x: Tensor, slope: number = 0.01): Tensor {
  asTensor(x, 'leakyRelu');
  return leaky(x, slope);
}
/** x where x > 0, else alpha * (e^x - 1). (torch.nn.functional.elu, arXiv:1511.07289) */
export const elu = op('elu', {
  args: (x: Tensor, alpha: number = 1) => {
    asTensor(x, 'elu');
    return { inputs: [x], params: { alpha } };
  },
  decompose: ([x], { alpha }) => where(gt(x, 0), x, mul(expm1(minimum(x, 0)), alpha)),
});
/** log(1 + e^(beta x)) / beta, linear where beta * x > threshold. (torch.nn.functional.softplus) */
export const softplus = op('softplus', {
  args: (x: Tensor, options: { beta?: number; threshold?: number } = {}) => {
    asTensor(x, 'softplus');
    checkOptions(options, 'softplus');
    return { inputs: [x], params: { beta: options.beta ?? 1, threshold: options.threshold ?? 20 } };
  },
  decompose: ([x], { beta, threshold }) => {
    const z = mul(x, beta);
    return where(gt(z, threshold), x, div(log1p(exp(minimum(z, threshold))), beta));
  },
});
/** log(sigmoid(x)), without overflow. (torch.nn.functional.logsigmoid) */
export const logSigmoid = op('logSigmoid', {
  args: (x: Tensor) => {
    asTensor(x, 'logSigmoid');
    return { inputs: [x] };
  },
  decompose: ([x]) => sub(minimum(x, 0), log1p(exp(neg(abs(x))))),
  grad: (g, [x]) => mul(g, sigmoid(neg(x))),
});
/** min(max(x, 0), 6). */
export function relu6(x: Tensor): Tensor {
  return clamp(x, 0, 6);
}
/** x * relu6(x + 3) / 6. (torch.nn.functional.hardswish, arXiv:1905.02244) */
export const hardswish = unary('hardswish', {
  grad: (g, x) => mul(g, where(ge(x, 3), 1, where(le(x, -3), 0, add(mul(x, 1 / 3), 0.5)))),
});
/** relu6(x + 3) / 6. (torch.nn.functional.hardsigmoid) */
export const hardsigmoid = unary('hardsigmoid', {
  grad: (g, x) => where(lt(abs(x), 3), mul(g, 1 / 6), 0),
});
/** x * tanh(softplus(x)). (torch.nn.functional.mish, arXiv:1908.08681) */
export const mish = op('mish', {
  args: (x: Tensor) => {
    asTensor(x, 'mish');
    return { inputs: [x] };
  },
  decompose: ([x]) => mul(x, tanh(where(gt(x, 20), x, log1p(exp(minimum(x, 20)))))),
});

// ---- comparisons and logic: bool results

/** x == y. */
export const eq: (x: Operand, y: Operand) => Tensor = binary('eq', { grad: null });
/** x != y. */
export const ne = binary('ne', { grad: null });
/** x < y. */
export const lt = binary('lt', { grad: null });
/** x <= y. */
export const le: (x: Operand, y: Operand) => Tensor = binary('le', { grad: null });
/** x > y. */
export const gt: (x: Operand, y: Operand) => Tensor = binary('gt', { grad: null });
/** x >= y. */
export const ge: (x: Operand, y: Operand) => Tensor = binary('ge', { grad: null });
/** Both not 0. */
export const logicalAnd: (x: Operand, y: Operand) => Tensor = binary('logicalAnd', { grad: null });
/** Either not 0. */
export const logicalOr = binary('logicalOr', { grad: null });
/** Exactly one not 0. */
export const logicalXor = binary('logicalXor', { grad: null });
/** x == 0. */
export const logicalNot = unary('logicalNot', { grad: null });
/** Whether x is NaN. */
export const isnan = unary('isnan', { grad: null });
/** Whether x is infinite. */
export const isinf = unary('isinf', { grad: null });
/** Whether x is neither infinite nor NaN. */
export const isfinite = unary('isfinite', { grad: null });
/** Bits of integers or bool. */
export const bitwiseAnd = binary('bitwiseAnd', { grad: null });
/** Bits of integers or bool. */
export const bitwiseOr = binary('bitwiseOr', { grad: null });
/** Bits of integers or bool. */
export const bitwiseXor = binary('bitwiseXor', { grad: null });
/** All bits turned over. */
export const bitwiseNot = unary('bitwiseNot', { grad: null });
/** x * 2^y on integers; 0 beyond the width. */
export const bitwiseLeftShift = binary('bitwiseLeftShift', { grad: null });
/** x / 2^y on integers, the sign kept. */
export const bitwiseRightShift = binary('bitwiseRightShift', { grad: null });

// ---- selection

/** x where the condition holds, else y. The condition is bool, or a number that is 0 or not. (torch.where) */
export const where: (condition: Operand, x: Operand, y: Operand) => Tensor = ternary('where', {
  grad: (g, c) => [null, () => where(c, g, 0), () => where(c, 0, g)],
});
const clampBoth: (x: Operand, low: Operand, high: Operand) => Tensor = ternary('clamp', {
  grad: (g, x, low, high) => [
    () => where(logicalAnd(ge(x, low), le(x, high)), g, 0),
    () => where(logicalAnd(lt(x, low), lt(low, high)), g, 0),
    () => where(logicalOr(gt(x, high), ge(low, high)), g, 0),
  ],
});
/** x held between `low` and `high`, either of which may be null for no bound. (torch.clamp) */
export function clamp(x: Tensor, low: Operand | null, high: Operand | null = null): Tensor {
  asTensor(x, 'clamp');
  if (low == null && high == null)
    throw new ArgumentError('give a lower bound, an upper bound, or both', { op: 'clamp' });
  if (high == null) return clampLow(x, low!);
  if (low == null) return clampHigh(x, high);
  return clampBoth(x, low, high);
}
function clampLow(x: Tensor, low: Operand): Tensor {
  return clampBoth(x, low, isFloat(x.dtype) ? Number.POSITIVE_INFINITY : maximum(x, low));
}
function clampHigh(x: Tensor, high: Operand): Tensor {
  return clampBoth(x, isFloat(x.dtype) ? Number.NEGATIVE_INFINITY : minimum(x, high), high);
}

// ---- types and copies

/** x in another dtype: floats to integers drop the fraction, anything to bool is x != 0. */
export const cast: (x: Tensor, dtype: DType) => Tensor = instruction('cast', 'copy', {
  args: (x: Tensor, dtype: DType) => {
    asTensor(x, 'cast');
    dtypeInfo(dtype);
    return { inputs: [x], params: { dtype } };
  },
  infer: ([x], { dtype }) => ({ shape: (x as Tensor).shape, dtype }),
  grad: (g, [x]) => [isFloat((x as Tensor).dtype) ? cast(g, (x as Tensor).dtype) : null],
});
/** A copy in memory of its own, dense in x's axis order. (torch.clone) */
export const clone: (x: Tensor) => Tensor = instruction('clone', 'copy', {
  args: (x: Tensor) => {
    asTensor(x, 'clone');
    return { inputs: [x], params: NO_PARAMS };
  },
  infer: ([x]) => x as Tensor,
  grad: (g) => [g],
});
const rowMajor = instruction('contiguous', 'copy', {
  args: (x: Tensor) => ({ inputs: [x], params: NO_PARAMS }),
  infer: ([x]) => ({
    shape: (x as Tensor).shape,
    dtype: (x as Tensor).dtype,
    strides: contiguousStrides((x as Tensor).shape),
  }),
  grad: (g) => [g],
});
/** x itself when its elements lie row-major without gaps, else such a copy. (torch.Tensor.contiguous) */
export function contiguous(x: Tensor): Tensor {
  asTensor(x, 'contiguous');
  return x.layout.contiguous ? x : rowMajor(x);
}
// ---- in place: the tensor is changed and answered; the tape is kept right, leaves that require grad are refused

/** Writes y, broadcast, converted and moved to x's device, into x, and answers x. (torch.Tensor.copy_) */
export function copy_(x: Tensor, y: Operand): Tensor {
  asTensor(x, 'copy_');
  checkOperand(y, 'copy_');
  if (typeof y === 'number') return fill_(x, y);
  const common = broadcastTwo(x.shape, y.shape);
  if (!common || !sameShape(common, x.shape)) {
    throw new ShapeError(`${show(y.shape)} does not broadcast to ${show(x.shape)}`, { op: 'copy_' });
  }
  return applyInto(lookup('assign'), [to(y, x.device)], { shape: x.shape }, [x])[0]!;
}
/** Sets every element. */
export function fill_(x: Tensor, value: number): Tensor {
  asTensor(x, 'fill_');
  if (typeof value !== 'number') throw new ArgumentError(`value is a number, got ${describe(value)}`, { op: 'fill_' });
  return applyInto(lookup('full'), [value], { shape: x.shape, dtype: x.dtype, device: x.device }, [x])[0]!;
}
/** Sets every element to 0. */
export function zero_(x: Tensor): Tensor {
  return fill_(x, 0);
}
const write = (name: string, inputs: Operand[]): Tensor => {
  asTensor(inputs[0], `${name}_`);
  for (const y of inputs) checkOperand(y, `${name}_`);
  return applyInto(lookup(name), inputs, NO_PARAMS, [inputs[0] as Tensor])[0]!;
};
/** x += y. */
export const add_ = (x: Tensor, y: Operand): Tensor => write('add', [x, y]);
/** x -= y. */
export const sub_ = (x: Tensor, y: Operand): Tensor => write('sub', [x, y]);
/** x *= y. */
export const mul_ = (x: Tensor, y: Operand): Tensor => write('mul', [x, y]);
/** x /= y. */
export const div_ = (x: Tensor, y: Operand): Tensor => write('div', [x, y]);
/** x to the power y, in place. */
export const pow_ = (x: Tensor, y: Operand): Tensor => write('pow', [x, y]);
/** The larger of x and y, in place. */
export const maximum_ = (x: Tensor, y: Operand): Tensor => write('maximum', [x, y]);
/** The smaller of x and y, in place. */
export const minimum_ = (x: Tensor, y: Operand): Tensor => write('minimum', [x, y]);
/** x += y * z. */
export const addcmul_ = (x: Tensor, y: Operand, z: Operand): Tensor => write('addcmul', [x, y, z]);
/** x += weight * (y - x). */
export const lerp_ = (x: Tensor, y: Operand, weight: Operand): Tensor => write('lerp', [x, y, weight]);
/** x held between two bounds, in place. */
export const clamp_ = (x: Tensor, low: Operand, high: Operand): Tensor => write('clamp', [x, low, high]);
/** -x, in place. */
export const neg_ = (x: Tensor): Tensor => write('neg', [x]);
/** |x|, in place. */
export const abs_ = (x: Tensor): Tensor => write('abs', [x]);
/** e^x, in place. */
export const exp_ = (x: Tensor): Tensor => write('exp', [x]);
/** log x, in place. */
export const log_ = (x: Tensor): Tensor => write('log', [x]);
/** sqrt x, in place. */
export const sqrt_ = (x: Tensor): Tensor => write('sqrt', [x]);
/** max(x, 0), in place. */
export const relu_ = (x: Tensor): Tensor => write('relu', [x]);
/** sigmoid x, in place. */
export const sigmoid_ = (x: Tensor): Tensor => write('sigmoid', [x]);
/** tanh x, in place. */
export const tanh_ = (x: Tensor): Tensor => write('tanh', [x]);
