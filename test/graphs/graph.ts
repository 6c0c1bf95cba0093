/**
 * Random programs over tensors. A graph is only numbers; what they mean is decided while it runs, by the shapes and dtypes that are
 * there, which are the same whether the values are computed or traced. So every list of numbers is a valid graph, and shrinks.
 */
import { BrasaError, type DType, isGradEnabled, noGrad, tensor, type Tensor } from 'brasa';
import { ops } from './ops.js';

export type Role = 'input' | 'argument' | 'state' | 'parameter';

/** A tensor that is there before the graph: an argument that is read or also written, a captured tensor, or one that is trained. */
export interface Leaf {
  readonly role: Role;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly layout: 'plain' | 'transposed' | 'strided';
}

export interface Instruction {
  readonly op: keyof typeof ops;
  readonly picks: readonly number[];
}

export interface Graph {
  /** The float types that casts may choose. */
  readonly floats: readonly DType[];
  readonly leaves: readonly Leaf[];
  readonly instructions: readonly Instruction[];
  /** What follows: nothing, backward into `.grad`, or that and an update of the parameters. */
  readonly finish: 'none' | 'backward' | 'step';
}

/** Unit roundoff of the float types, 0 of the others. */
const ROUNDOFF: Partial<Record<DType, number>> = { f64: 2 ** -53, f32: 2 ** -24, bf16: 2 ** -9 };
export const roundoff = (dtype: DType): number => ROUNDOFF[dtype] ?? 0;
export const isFloat = (dtype: DType): boolean => roundoff(dtype) > 0;

export interface Value {
  readonly x: Tensor;
  readonly name: string;
  /** The largest roundoff of the arithmetic behind it; 0: exact, so that what depends on it in jumps (comparisons, indices) may. */
  readonly error: number;
  /** No element is larger in magnitude. */
  readonly bound: number;
  /** The writable leaf whose memory it may share. */
  readonly root: Value | null;
}

/** What an op makes of a value, before it has a name. */
export interface Made {
  readonly x: Tensor;
  readonly text: string;
  readonly from: readonly Value[];
  readonly bound: number;
  /** Elements are chosen or moved, not computed. */
  readonly exact?: boolean;
  /** It is a view of the first of `from`. */
  readonly view?: boolean;
}

/** Floats beyond this go through tanh, integers through remainder: nothing overflows, and no error is amplified much. */
const LARGEST = { float: 8, integer: 100 };
/** Elements of a value: larger ones are not made. */
const MOST_ELEMENTS = 400;

export class Run {
  readonly values: Value[] = [];
  readonly lines: string[] = [];
  readonly floats: readonly DType[];

  constructor(graph: Graph, leaves: readonly Tensor[]) {
    this.floats = graph.floats;
    // An update brings into a parameter what is behind its gradient.
    const coarsest = Math.max(...graph.floats.map(roundoff));
    for (const [i, { role, dtype, layout }] of graph.leaves.entries()) {
      const updated = role === 'parameter' && graph.finish === 'step';
      const error = role === 'input' ? 0 : updated ? coarsest : roundoff(dtype);
      const name = `${role}${i}`;
      const leaf: Value = { x: leaves[i]!, name, error, bound: 2, root: null };
      this.values.push({ ...leaf, root: role === 'argument' || role === 'state' ? leaf : null });
      this.lines.push(`${name}: ${dtype}(${leaves[i]!.shape})${layout === 'plain' ? '' : ` ${layout}`}`);
    }
  }

  /** The n-th of the values that fit, latest first; null if none does. */
  pick(n: number, fits: (value: Value) => boolean = () => true): Value | null {
    const found = this.values.filter(fits);
    return found.length === 0 ? null : found[found.length - 1 - (n % found.length)]!;
  }

  note(line: string): void {
    this.lines.push(line);
  }

  add({ x, text, from, bound, exact = false, view = false }: Made): void {
    if (x.size > MOST_ELEMENTS) return;
    let error = Math.max(0, ...from.map((value) => value.error));
    if (!isFloat(x.dtype)) error = 0;
    else if (!exact) error = Math.max(error, roundoff(x.dtype), ...from.map((value) => roundoff(value.x.dtype)));
    const made = { x, text, bound, error };
    if (isFloat(x.dtype) && bound > LARGEST.float)
      Object.assign(made, { x: x.tanh(), text: `${text}.tanh()`, bound: 1, error: Math.max(error, roundoff(x.dtype)) });
    if (!isFloat(x.dtype) && bound > LARGEST.integer)
      Object.assign(made, { x: x.remainder(11), text: `${text}.remainder(11)`, bound: 11 });
    const name = `v${this.values.length}`;
    this.values.push({ x: made.x, name, error: made.error, bound: made.bound, root: view ? from[0]!.root : null });
    this.note(`${name}: ${x.dtype}(${x.shape}) = ${made.text}`);
  }
}

/** Runs the graph: its last values, and what it did, a line an instruction. */
export function execute(graph: Graph, leaves: readonly Tensor[]): { results: Value[]; lines: string[] } {
  const run = new Run(graph, leaves);
  const parameters = leaves.filter((_, i) => graph.leaves[i]!.role === 'parameter');
  if (graph.finish === 'step') for (const p of parameters) p.grad = null;
  const attempt = (what: string, fn: () => void) => {
    try {
      fn();
    } catch (error) {
      // Eager refuses some writes and gradients; compiled must refuse the same.
      if (!(error instanceof BrasaError)) throw error;
      run.note(`${what}: ${error.code}`);
    }
  };
  for (const { op, picks } of graph.instructions) attempt(op, () => ops[op](run, picks));
  const results = run.values.slice(-5);
  attempt(graph.finish, () => {
    const ends = results.filter(({ x }) => x.requiresGrad);
    if (graph.finish === 'none' || ends.length === 0) return;
    run.note(`${graph.finish} from ${ends.map(({ name }) => name).join()}`);
    const total = ends.map(({ x }) => x.sum()).reduce((a, b) => a.add(b));
    total.backward();
    if (graph.finish !== 'step') return;
    noGrad(() => {
      for (const p of parameters) if (p.grad) p.lerp_(p.grad.tanh(), 0.25);
    });
  });
  if (!isGradEnabled()) throw new Error('gradients stayed off');
  return { results, lines: run.lines };
}

/** The leaves' values in run number `run`: multiples of 1/8 within 2, which bf16 holds exactly; small integers; bools. */
export function makeLeaf({ role, dtype, shape, layout }: Leaf, seed: number): Tensor {
  const dims = shape.map((n, d) => (layout === 'strided' && d === shape.length - 1 ? 2 * n : n));
  if (layout === 'transposed') dims.reverse();
  const size = dims.reduce((a, b) => a * b, 1);
  const values = Float64Array.from({ length: size }, (_, i) => {
    const step = (Math.imul(seed * 7919 + i + 1, 0x9e3779b1) >>> 16) % 33; // 0 to 32
    return isFloat(dtype) ? step / 8 - 2 : dtype === 'bool' ? step % 2 : (step % 5) - 2;
  });
  let x = tensor(values, { shape: dims, dtype });
  if (layout === 'transposed') x = x.permute(dims.map((_, d) => dims.length - 1 - d));
  if (layout === 'strided' && dims.length > 0) x = x.at('...', [0, dims.at(-1)!, 2]);
  return role === 'parameter' ? x.requiresGrad_() : x;
}
