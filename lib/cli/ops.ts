/** `brasa info --ops`: how each op runs on each device. docs/ops.md is this table; test/coverage.test.ts compares them. */
import { lookup, opNames } from '../core/define.js';
import { devices } from '../core/device.js';
import { native, type OpRow } from '../native.js';
import '../methods.js'; // these define the ops
import '../ops/attention.js';
import '../ops/loss.js';
import '../ops/lstm.js';

/** How an op runs: 'refused' where the device has no kernel and the op no decomposition. */
export type How = 'elementwise' | 'kernel' | 'decomposed' | 'view' | 'refused';

export interface Coverage {
  readonly op: string;
  /** What its elements may be, where its row of native/ops.def says so. */
  readonly types: string;
  /** By the device's id. */
  readonly on: Readonly<Record<string, How>>;
}

const rows = new Map(native.table.ops.map((row) => [row.name, row]));
const typesOf = ({ arity, types }: OpRow) =>
  arity === 0 ? '' : ({ FLOAT: 'floats', INT: 'integers, bool' }[types] ?? 'all');

/** Every op by name, and what compile() makes of several, on the devices that are here. */
export function coverage(): Coverage[] {
  const kernels = devices().map(({ id }, index) => [id, new Set(native.kernels(index))] as const);
  const ops = new Set([...opNames(), ...rows.keys()]);
  return [...ops].sort().map((op) => {
    const known = opNames().includes(op) ? lookup(op) : null;
    const row = known?.row ?? rows.get(op);
    const how = (has: ReadonlySet<number>): How => {
      if (known?.kind === 'view') return 'view';
      if (row !== undefined && row.arity > 0) return 'elementwise';
      if (row !== undefined && has.has(row.id)) return 'kernel';
      return known?.decompose || known?.kind === 'composite' || isOfPrograms(op) ? 'decomposed' : 'refused';
    };
    return {
      op,
      types: row === undefined ? '' : typesOf(row),
      on: Object.fromEntries(kernels.map(([id, has]) => [id, how(has)])),
    };
  });
}

/** Made by passes of compile(), which leave the ops as they were where a device has no kernel. */
const isOfPrograms = (op: string) => /Then$|^elementwise/.test(op);

/** The table as lines of Markdown, a column a device. */
export function table(list: readonly Coverage[], columns: Readonly<Record<string, string>>): string {
  const ids = Object.keys(columns);
  const cells = [
    ['op', 'types', ...Object.values(columns)],
    ...list.map(({ op, types, on }) => [`\`${op}\``, types, ...ids.map((id) => on[id]!)]),
  ];
  const widths = cells[0]!.map((_, i) => Math.max(...cells.map((row) => row[i]!.length)));
  const line = (row: readonly string[]) => `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`;
  const [head, ...rest] = cells;
  return [line(head!), `| ${widths.map((n) => '-'.repeat(n)).join(' | ')} |`, ...rest.map(line)].join('\n');
}
