/** How results are printed: a table for people, Markdown for the README, a line of JSON a case for programs. */
import { styleText } from 'node:util';
import { type Case, higherIsBetter, type Result, titleOf } from './case.js';

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
export function ratio({ unit, value, rivals: [best] }: Result): number | null {
  if (best === undefined) return null;
  return higherIsBetter(unit) ? value / best.value : best.value / value;
}

const number = (x: number): string => (Math.abs(x) >= 100 ? x.toFixed(0) : x.toPrecision(3));
const times = (x: number | null): string => (x === null ? '' : `${x.toFixed(2)}x`);
const percent = (x: number | undefined): string => (x === undefined ? '' : `${(100 * x).toFixed(0)}%`);

/** Samples in a second, of a time in the result's unit. */
function rate({ unit, samples }: Result, value: number): number | null {
  const perSecond = { ns: 1e9, us: 1e6, ms: 1e3 } as Partial<Record<string, number>>;
  return samples === undefined ? null : (samples * perSecond[unit]!) / value;
}
const rateText = (result: Result, value: number): string => {
  const r = rate(result, value);
  return r === null ? '' : `${Number(r.toPrecision(3)).toLocaleString('en')} samples/s`;
};
const onlyTorch = ({ rivals }: Result): boolean => rivals.every(({ peer }) => peer === 'torch');
/** The best peer and its form; PyTorch alone goes without its name. */
function bestTitle(result: Result): string {
  const [best] = result.rivals;
  if (best === undefined) return '';
  return onlyTorch(result) ? (best.form ?? '') : titleOf(best.peer, best.form);
}

/** Which form of the peer was best, the other peers' best, rates, and what else is to be said. */
function remarks(result: Result): string {
  const [best, ...others] = result.rivals;
  const parts = [
    bestTitle(result),
    ...others.map(({ peer, form, value }) => `${titleOf(peer, form)} ${number(value)}`),
  ];
  if (result.samples) {
    const both = best ? `${rateText(result, result.value)} : ${rateText(result, best.value)}` : '';
    parts.push(both || rateText(result, result.value));
  }
  parts.push(result.note ?? '');
  return parts.filter(Boolean).join('; ');
}

export function json({ of, result }: Row): string {
  const { unit, value, rivals, forms, share, samples, note } = result;
  const [best] = rivals;
  const line = {
    group: of.group,
    case: of.name,
    ours: 'brasa',
    peer: best?.peer ?? null,
    value,
    peerValue: best?.value ?? null,
    unit,
    ratio: ratio(result),
    threads: of.threads,
    ...(best ? { rivals, forms } : {}),
    ...(samples ? { rate: rate(result, value), peerRate: best ? rate(result, best.value) : null } : {}),
    ...(share ? { share } : {}),
    ...(note ? { note } : {}),
  };
  return JSON.stringify(line);
}

export const jsonReport: Report = {
  head() {},
  row: (row) => console.log(json(row)),
  failure: (of, message) => console.error(`bench: ${of.group}, ${of.name}: ${message}`),
  end() {},
};

/** Which forms of the peers took part, where any has a name. */
function formsOf(rows: readonly Row[]): string {
  const forms = new Set(rows.flatMap(({ result }) => result.forms ?? []));
  return [...forms].some((form) => form.includes(', ')) ? `Timed beside it: ${[...forms].join('; ')}` : '';
}

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
      const { unit, value, rivals, share } = row.result;
      const theirs = rivals[0] ? number(rivals[0].value) : '';
      const cells = [row.of.name, number(value), theirs, unit, times(r), percent(share)];
      const more = remarks(row.result);
      console.log(style(color, line(cells).trimEnd()) + (more ? `  ${more}` : ''));
    },
    failure(of, message) {
      begin(of);
      console.log(`  ${of.name.padEnd(46)} failed: ${message}`);
    },
    end() {
      for (const text of [formsOf(rows), slowRows(rows)]) if (text) console.log(`\n${text}`);
    },
  };
}

export function markdown(): Report {
  const rows: Row[] = [];
  const line = (cells: readonly string[]) => console.log(`| ${cells.join(' | ')} |`);
  const side = (result: Result, value: number, also: string): string => {
    const notes = [rateText(result, value), also].filter(Boolean).join('; ');
    return `${number(value)} ${result.unit}${notes ? ` (${notes})` : ''}`;
  };
  return {
    head(machine) {
      console.log(`${machine}\n`);
      line(['group', 'case', 'brasa', 'best peer', 'ratio', 'of peak']);
      console.log('| --- | --- | --- | --- | --- | --- |');
    },
    row(row) {
      rows.push(row);
      const { of, result } = row;
      const [best] = result.rivals;
      const theirs = best ? side(result, best.value, bestTitle(result)) : '';
      const ours = side(result, result.value, result.note ?? '');
      line([of.group, of.name, ours, theirs, ratio(result)?.toFixed(2) ?? '', percent(result.share)]);
    },
    failure: (of, message) => line([of.group, of.name, `failed: ${message}`, '', '', '']),
    end() {
      for (const text of [formsOf(rows), slowRows(rows)]) if (text) console.log(`\n${text}`);
    },
  };
}
