/**
 * What runs, for whoever asks: BRASA_DEBUG=2 and 3 write to stderr, BRASA_PROFILE=out.json leaves a Chrome trace of every native run
 * (chrome://tracing, ui.perfetto.dev) when the process ends; a worker's has its number in the name. Costs nothing when not asked.
 */
import { writeFileSync } from 'node:fs';
import { isMainThread, threadId } from 'node:worker_threads';
import { native } from '../native.js';
import { debugLevel } from './debug.js';
import type { Layout } from './layout.js';
import type { Plan } from './plan.js';

const trace = process.env.BRASA_PROFILE ?? '';
/** Whether each run is asked for its time. */
export const runs: boolean = debugLevel >= 3 || trace !== '';
const MAX_EVENTS = 1_000_000;
const BESIDE = 1_000_000;

/** What a plan does, by its native number. */
const known = new Map<number, { name: string; call: string }>();
const show = (layout: Layout | null) => (layout === null ? 'number' : `${layout.dtype}(${layout.shape.join()})`);

/** Called when a plan has been resolved. */
export function watchPlan(plan: Plan): void {
  if (debugLevel < 2 && !runs) return;
  const { name, call } = describePlan(plan);
  if (plan.mode === 'native') known.set(plan.id, { name, call });
  const how = plan.mode === 'native' ? `plan ${plan.id}` : 'decomposed';
  if (debugLevel >= 2) tellCode();
  if (debugLevel >= 2) process.stderr.write(`brasa: ${how}: ${call}\n`);
}

let code = '';
/** What elementwise programs are compiled to, or why they are not: first of all, and when it changes. */
function tellCode(): void {
  const now = native.devices()[0]!.code;
  if (now !== code) process.stderr.write(`brasa: machine code: ${now}\n`);
  code = now;
}

interface Event {
  readonly name: string;
  readonly ph: 'X';
  readonly pid: number;
  readonly tid: number;
  /** Microseconds. */
  readonly ts: number;
  readonly dur: number;
  readonly args: { readonly call: string };
}
const events: Event[] = [];

function describePlan(plan: Plan): { name: string; call: string } {
  const call = `${plan.op.name} ${plan.inputs.map(show).join(' ')} -> ${plan.layouts.map(show).join(' ')}`;
  return { name: plan.op.name, call };
}

/**
 * The kernels of a program: when it began, then when each ended, in microseconds from `start` (ms). What runs beside JavaScript has a
 * row of its own. Null is control flow; what is in a loop is shown once: the first kernel is as long as all earlier iterations.
 */
export function watchProgram(
  plans: readonly (Plan | null)[],
  start: number,
  times: Float64Array,
  beside: boolean,
): void {
  const row = beside ? BESIDE + threadId : threadId;
  plans.forEach((plan, i) => {
    if (plan === null) return;
    watchCall(describePlan(plan), start + times[i]! / 1000, start + times[i + 1]! / 1000, row);
  });
}

function watchCall({ name, call }: { name: string; call: string }, start: number, end: number, row = threadId): void {
  if (debugLevel >= 3) process.stderr.write(`brasa: ${((end - start) * 1000).toFixed(1)} us: ${call}\n`);
  if (trace === '' || events.length === MAX_EVENTS) return;
  events.push({
    name,
    ph: 'X',
    pid: process.pid,
    tid: row,
    ts: start * 1000,
    dur: (end - start) * 1000,
    args: { call },
  });
}

if (runs) {
  const { run, words } = native;
  (native as { run: typeof run }).run = (...objects) => {
    const id = words[0]!;
    const start = performance.now();
    run(...objects);
    watchCall(known.get(id) ?? { name: `plan ${id}`, call: '' }, start, performance.now());
  };
}
if (trace !== '') {
  const path = isMainThread ? trace : trace.replace(/(\.\w+)?$/, (end) => `.${threadId}${end}`);
  process.on('exit', () => writeFileSync(path, JSON.stringify({ traceEvents: events, displayTimeUnit: 'ns' })));
}
