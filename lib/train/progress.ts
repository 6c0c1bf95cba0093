import type { WriteStream } from 'node:tty';
import type { Callback, Results, Run } from './callback.js';

export interface ProgressOptions {
  /** Default: standard output. */
  stream?: NodeJS.WritableStream & Partial<Pick<WriteStream, 'isTTY' | 'columns'>>;
}

const REDRAW = 100; // ms
const PLAIN = 10_000; // ms between lines where there is no terminal
const BAR = 24; // cells

/**
 * Prints the course of a training: on a terminal one line that is redrawn (bar, loss, metrics, samples/s, time left), elsewhere
 * a plain line now and then; after each epoch its losses and metrics. A renderer of our own, since list and task libraries
 * (listr2) redraw tasks on a timer of theirs: a step that keeps the event loop busy would show nothing.
 */
export function progress({ stream = process.stdout }: ProgressOptions = {}): Callback {
  const terminal = stream.isTTY === true;
  let begun = 0; // when the epoch began, or this part of it
  let samplesBefore = 0;
  let batchesBefore = 0;
  let printed = 0;
  const line = (text: string) => stream.write(terminal ? `\r\x1b[K${text}\n` : `${text}\n`);

  const status = (run: Run, now: number) => {
    const seconds = (now - begun) / 1000;
    const left = run.batches ? (seconds / (run.batch - batchesBefore)) * (run.batches - run.batch) : undefined;
    return [
      `epoch ${run.epoch}/${run.epochs}`,
      ...(run.batches ? [...(terminal ? [bar(run.batch / run.batches)] : []), `${run.batch}/${run.batches}`] : []),
      format(run.results()),
      `${Math.round((run.samples - samplesBefore) / seconds)} samples/s`,
      ...(left === undefined ? [] : [`ETA ${duration(left)}`]),
    ].join('  ');
  };

  return {
    onEpochStart(run) {
      begun = printed = performance.now();
      samplesBefore = run.samples;
      batchesBefore = run.batch;
    },
    onBatchEnd(run) {
      const now = performance.now();
      if (now - printed < (terminal ? REDRAW : PLAIN)) return;
      printed = now;
      const text = status(run, now);
      if (terminal) stream.write(`\r\x1b[K${text.slice(0, (stream.columns ?? 80) - 1)}`);
      else line(text);
    },
    onEpochEnd(run, { epoch, train, validation }) {
      const parts = [`epoch ${epoch}/${run.epochs}`, `train ${format(train)}`];
      if (validation) parts.push(`validation ${format(validation)}`);
      line([...parts, duration((performance.now() - begun) / 1000)].join('  '));
    },
    onTrainEnd(run) {
      if (run.stopped !== 'completed') line(`stopped: ${run.stopped}, after step ${run.step}`);
    },
  };
}

/** Numbers of a record, with 4 digits: `loss 0.03215  accuracy 0.9912`. Metrics that are no numbers have no place on a line. */
function format(results: Results): string {
  return Object.entries(results)
    .filter((entry): entry is [string, number] => typeof entry[1] === 'number')
    .map(([name, value]) => `${name} ${value.toPrecision(4)}`)
    .join('  ');
}

function bar(part: number): string {
  const full = Math.round(Math.min(part, 1) * BAR);
  return '━'.repeat(full) + '─'.repeat(BAR - full);
}

function duration(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
