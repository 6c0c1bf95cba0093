/** What a row of the samples table says of an op; tests and benchmarks are made from it. */
import type { DType, Tensor } from '../../lib/index.js';

/** A plain array for references: row-major float64. */
export interface Nd {
  shape: readonly number[];
  data: Float64Array;
}

/** Makes inputs of the dtype under test, from a seeded generator. */
export interface Make {
  readonly dtype: DType;
  /** Numbers in [low, high), -2 to 2 unless said; integers for integer dtypes. */
  real(shape: readonly number[], low?: number, high?: number): Tensor;
  /** Distinct numbers, at least 0.05 apart: for ops with kinks and ties. */
  distinct(shape: readonly number[]): Tensor;
  /** i32 in [low, high). */
  index(shape: readonly number[], low: number, high: number): Tensor;
  /** bool. */
  mask(shape: readonly number[]): Tensor;
  /** NaN, infinities, zeros of both signs, tiny and huge numbers, and ordinary ones. */
  edges(): Tensor;
}

export type Inputs = readonly (Tensor | number)[];

export interface Sample {
  /** The op's name; a variant follows after a space. */
  readonly name: string;
  call(...inputs: never[]): Tensor | readonly Tensor[];
  /** Lists of operands; shapes include 0, 1, odd and larger sizes. */
  cases(make: Make): Inputs[];
  /** Float64, written plainly; absent where the op's decomposition is the oracle. */
  reference?(...inputs: never[]): Nd | readonly Nd[];
  /** What the op takes; f32 and f64 unless said. */
  readonly dtypes?: readonly DType[];
  /** Operands (by position) to differentiate by, checked numerically to the second order; absent: the op has no gradient. */
  readonly grad?: readonly number[];
  /** Cases for the gradient check, where those of `cases` are too large or not differentiable. */
  gradCases?(make: Make): Inputs[];
  /** Only the first order is checked. */
  readonly firstOrder?: boolean;
  /** Operands (by position) whose dtype is fixed: indices, masks. */
  readonly fixed?: readonly number[];
  /** Error of f32 against f64, in units of PyTorch's tolerance for the dtype: 1 unless said. */
  readonly slack?: number;
  /** What must be refused: the call, the error's class and words of its message. */
  readonly errors?: readonly (readonly [() => unknown, string, RegExp])[];
  /** Whether strided views of the operands must give the very same bits: true unless said. */
  readonly exact?: boolean;
  /** Timed at about a million elements beside PyTorch: shapes of the operands and the expression over x0, x1, …. */
  readonly bench?: { readonly make: (make: Make) => Inputs; readonly torch: string };
}

// ---- helpers for references

export const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export function nd(shape: readonly number[], value: (index: readonly number[], flat: number) => number): Nd {
  const data = new Float64Array(size(shape));
  const index = new Array<number>(shape.length).fill(0);
  for (let i = 0; i < data.length; i++) {
    data[i] = value(index, i);
    for (let d = shape.length - 1; d >= 0; d--) {
      if (++index[d]! < shape[d]!) break;
      index[d] = 0;
    }
  }
  return { shape, data };
}

/** The element at an index. */
export function get(x: Nd, index: readonly number[]): number {
  let at = 0;
  for (let d = 0; d < x.shape.length; d++) at = at * x.shape[d]! + index[d]!;
  return x.data[at]!;
}

/** Applies a function of numbers elementwise, broadcasting. */
export function map(fn: (...values: number[]) => number, ...inputs: (Nd | number)[]): Nd {
  const ndim = Math.max(0, ...inputs.map((x) => (typeof x === 'number' ? 0 : x.shape.length)));
  const shape = Array.from({ length: ndim }, (_, d) =>
    inputs.reduce<number>((n, x) => {
      if (typeof x === 'number') return n;
      const own = x.shape[d - (ndim - x.shape.length)] ?? 1;
      return own === 1 ? n : own;
    }, 1),
  );
  return nd(shape, (index) =>
    fn(
      ...inputs.map((x) =>
        typeof x === 'number'
          ? x
          : get(
              x,
              x.shape.map((n, d) => (n === 1 ? 0 : index[d + ndim - x.shape.length]!)),
            ),
      ),
    ),
  );
}

/** Folds dims (all of them when absent) with a function of the list of values. */
export function fold(x: Nd, dims: readonly number[] | null, keepDim: boolean, fn: (values: number[]) => number): Nd {
  const over = dims ?? x.shape.map((_, d) => d);
  const kept = x.shape.map((n, d) => (over.includes(d) ? 1 : n));
  const groups = Array.from({ length: size(kept) }, () => [] as number[]);
  nd(x.shape, (index, flat) => {
    let at = 0;
    for (let d = 0; d < kept.length; d++) at = at * kept[d]! + (kept[d] === 1 ? 0 : index[d]!);
    groups[at]!.push(x.data[flat]!);
    return 0;
  });
  return { shape: keepDim ? kept : x.shape.filter((_, d) => !over.includes(d)), data: Float64Array.from(groups, fn) };
}

export const sumOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
