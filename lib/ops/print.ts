/** How tensors look in a terminal: as PyTorch prints them. */
import type { Tensor } from '../core/tensor.js';
import { isAbstract } from '../core/tensor.js';
import { dtypeInfo, isFloat } from '../core/dtype.js';
import { cat } from './free.js';
import { dataSync } from './read.js';
import { noGrad } from '../core/scope.js';
import { slice } from './view.js';

const EDGE = 3;
const THRESHOLD = 1000;
const WIDTH = 80;

/** The tensor's values, summarised beyond 1000 elements, with its dtype, device and gradient. */
// biome-ignore lint/suspicious/noShadowRestrictedNames: the method that JavaScript calls by this name
export function toString(x: Tensor): string {
  const notes = [];
  if (x.disposed || x.storage.slot === -1) return `tensor(disposed, shape=(${x.shape.join(', ')}), dtype=${x.dtype})`;
  if (isAbstract(x)) return `tensor(traced, shape=(${x.shape.join(', ')}), dtype=${x.dtype})`;
  if (x.size === 0 && x.ndim !== 1) notes.push(`shape=(${x.shape.join(', ')})`);
  if (!(x.dtype === 'f32' || x.dtype === 'bool')) notes.push(`dtype=${x.dtype}`);
  if (x.device !== 'cpu') notes.push(`device=${x.device}`);
  if (x.node !== null) notes.push(x.node.leaf ? 'requiresGrad' : `grad=${x.node.op!.name}`);
  const short = x.size > THRESHOLD;
  const shown = short ? noGrad(() => x.shape.reduce(edges, x)) : x;
  const cells = format(Array.from(dataSync(shown)), x);
  const body = x.size === 0 ? '[]' : render(cells, x, shown, 'tensor('.length);
  return `tensor(${[body, ...notes].join(', ')})`;
}

function edges(x: Tensor, n: number, dim: number): Tensor {
  return n > 2 * EDGE ? cat([slice(x, dim, 0, EDGE), slice(x, dim, n - EDGE, n)], dim) : x;
}

function format(values: number[], x: Tensor): string[] {
  if (x.dtype === 'bool') return pad(values.map((v) => (v !== 0 ? 'true' : 'false')));
  if (!isFloat(x.dtype)) return pad(values.map(String));
  const finite = values.filter((v) => Number.isFinite(v) && v !== 0).map(Math.abs);
  const top = finite.reduce((a, b) => Math.max(a, b), 0);
  const low = finite.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const whole = values.every((v) => !Number.isFinite(v) || Number.isInteger(v));
  const scientific = finite.length > 0 && (top / low > 1000 || top > 1e8 || low < 1e-4);
  const one = (v: number): string => {
    if (Number.isNaN(v)) return 'nan';
    if (!Number.isFinite(v)) return v > 0 ? 'inf' : '-inf';
    if (whole && !(top > 1e8)) return `${Object.is(v, -0) ? '-0' : v}.`;
    if (!(whole ? top > 1e8 : scientific)) return v.toFixed(4);
    return v.toExponential(4).replace(/e([+-])(\d)$/, 'e$10$2');
  };
  return pad(values.map(one));
}

function pad(cells: string[]): string[] {
  const width = cells.reduce((w, c) => Math.max(w, c.length), 0);
  return cells.map((c) => c.padStart(width));
}

function render(cells: readonly string[], x: Tensor, shown: Tensor, indent: number): string {
  if (x.ndim === 0) return cells[0]!.trim();
  let at = 0;
  const short = shown !== x;
  const build = (dim: number, column: number): string => {
    const n = shown.shape[dim]!;
    const cut = short && x.shape[dim]! > 2 * EDGE ? EDGE : -1;
    const parts: string[] = [];
    for (let i = 0; i < n; i++) {
      if (i === cut) parts.push('...');
      parts.push(dim === shown.ndim - 1 ? cells[at++]! : build(dim + 1, column + 1));
    }
    if (dim === shown.ndim - 1) return `[${wrap(parts, column + 1)}]`;
    const gap = '\n'.repeat(shown.ndim - 1 - dim) + ' '.repeat(column + 1);
    return `[${parts.join(`,${gap}`)}]`;
  };
  return build(0, indent);
}

/** A row of numbers, broken at the terminal's usual width. */
function wrap(parts: readonly string[], column: number): string {
  const width = (parts[0]?.length ?? 1) + 2;
  const perLine = Math.max(1, Math.floor((WIDTH - column) / width));
  const lines: string[] = [];
  for (let i = 0; i < parts.length; i += perLine) lines.push(parts.slice(i, i + perLine).join(', '));
  return lines.join(`,\n${' '.repeat(column)}`);
}

/** Plain data for JSON.stringify: nested arrays are in `data`. */
export function toJSON(x: Tensor): { dtype: string; shape: readonly number[]; data: number[] } {
  return { dtype: dtypeInfo(x.dtype).name, shape: x.shape, data: Array.from(dataSync(x)) };
}
