/** How results are printed: a table for people, Markdown for the README, a line of JSON a case for programs. */
import { styleText } from 'node:util';
import { type Case, higherIsBetter, type Result } from './case.js';

export interface Row {
  readonly of: Case;
  readonly result: Result;
}

export interface Report {
  head(machine: string): void;
  row(row: Row): void;
  failure(of: Case, message: string): void;
  end(): void;
}

/** Below this, a case is named at the end. */
const SLOW = 0.8;

/** Above 1 where ours is faster, or smaller. */
export function ratio({ unit, value, peerValue }: Result): number | null {
  if (peerValue === null) return null;
  return higherIsBetter(unit) ? value / peerValue : peerValue / value;
}

const number = (x: number): string => (Math.abs(x) >= 100 ? x.toFixed(0) : x.toPrecision(3));
const times = (x: number | null): string => (x === null ? '' : `${x.toFixed(2)}x`);
const percent = (x: number | undefined): string => (x === undefined ? '' : `${(100 * x).toFixed(0)}%`);
const columns = ({ of, result }: Row): string[] => [
  of.name,
  number(result.value),
  result.peerValue === null ? '' : number(result.peerValue),
  result.unit,
  times(ratio(result)),
  percent(result.share),
];

export function json({ of, result }: Row): string {
  const { unit, value, peerValue, share, note } = result;
  const peer = peerValue === null ? null : 'torch';
  const line = { group: of.group, case: of.name, ours: 'brasa', peer, value, peerValue, unit, ratio: ratio(result) };
  return JSON.stringify({ ...line, threads: of.threads, ...(share ? { share } : {}), ...(note ? { note } : {}) });
}

export const jsonReport: Report = {
  head() {},
  row: (row) => console.log(json(row)),
  failure: (of, message) => console.error(`bench: ${of.group}, ${of.name}: ${message}`),
  end() {},
};

/** Says which rows were slow. */
function slowRows(rows: readonly Row[]): string {
  const slow = rows.filter(({ result }) => (ratio(result) ?? 1) < SLOW);
  if (slow.length === 0) return '';
  const list = slow.map(({ of, result }) => `${of.group}/${of.name} ${times(ratio(result))}`).join(', ');
  return `Below ${SLOW}x: ${list}`;
}

export function table(): Report {
  const rows: Row[] = [];
  let group = '';
  const style = (format: Parameters<typeof styleText>[0], text: string) =>
    process.stdout.isTTY && !process.env.NO_COLOR ? styleText(format, text) : text;
  const line = ([name, ...rest]: readonly string[]) =>
    `  ${name!.padEnd(46)}${rest.map((cell, i) => (i === 2 ? ` ${cell.padEnd(8)}` : cell.padStart(9))).join('')}`;
  const begin = (of: Case) => {
    if (of.group === group) return;
    group = of.group;
    console.log(`\n${style('bold', group)}\n${line(['case', 'ours', 'theirs', 'unit', 'ratio', 'of peak'])}`);
  };
  return {
    head: (machine) => console.log(machine),
    row(row) {
      begin(row.of);
      rows.push(row);
      const r = ratio(row.result);
      const color = r === null ? 'reset' : r >= 1 ? 'green' : r >= SLOW ? 'yellow' : 'red';
      console.log(style(color, line(columns(row)).trimEnd()) + (row.result.note ? `  ${row.result.note}` : ''));
    },
    failure(of, message) {
      begin(of);
      console.log(`  ${of.name.padEnd(46)} failed: ${message}`);
    },
    end() {
      const slow = slowRows(rows);
      if (slow) console.log(`\n${slow}`);
    },
  };
}

export function markdown(): Report {
  const rows: Row[] = [];
  return {
    head(machine) {
      console.log(`${machine}\n`);
      console.log('| group | case | brasa | PyTorch | unit | ratio | of peak |');
      console.log('|---|---|--:|--:|---|--:|--:|');
    },
    row(row) {
      rows.push(row);
      console.log(`| ${[row.of.group, ...columns(row)].join(' | ')} |`);
    },
    failure: (of, message) => console.log(`| ${of.group} | ${of.name} | failed: ${message} | | | | |`),
    end() {
      const slow = slowRows(rows);
      if (slow) console.log(`\n${slow}`);
    },
  };
}
