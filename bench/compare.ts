/** `npm run bench -- NAME…`: times ours and, where Python has torch, PyTorch on the same work in the same run, by turns. */
import { writeFileSync, appendFileSync, readdirSync, statSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import type { Bench, Case } from './case.js';
import { allCases, groups, select } from './groups.js';
import { measureLimit } from './limits.js';
import { json, jsonReport, markdown, table } from './report.js';
import { type Json, Worker } from './worker.js';

interface Options {
  json?: boolean;
  markdown?: boolean;
  threads?: number;
  runs: number;
  out?: string;
  python: string;
  peer: boolean;
}

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** One worker of a kind for each number of threads, started when first asked. */
class Workers {
  readonly #started = new Map<number, Promise<[Worker, Json]>>();
  readonly #command: (threads: number) => [string, string[], NodeJS.ProcessEnv];

  constructor(command: (threads: number) => [string, string[], NodeJS.ProcessEnv]) {
    this.#command = command;
  }

  start(threads: number): Promise<[Worker, Json]> {
    const started = this.#started.get(threads) ?? Worker.start(...this.#command(threads));
    this.#started.set(threads, started);
    return started;
  }

  async time(threads: number, request: Json): Promise<number> {
    const [worker] = await this.start(threads);
    return Number((await worker.ask(request)).seconds);
  }

  async clear(threads: number): Promise<void> {
    if (!this.#started.has(threads)) return;
    const [worker] = await this.start(threads);
    await worker.ask({ clear: true });
  }

  async close(): Promise<void> {
    for (const started of await Promise.allSettled(this.#started.values())) {
      if (started.status === 'fulfilled') started.value[0].close();
    }
  }
}

function staleDist(): boolean {
  const newest = (folder: string): number =>
    Math.max(...readdirSync(folder, { recursive: true }).map((name) => statSync(join(folder, String(name))).mtimeMs));
  return newest(here('../lib')) > newest(here('../dist'));
}

async function main(names: readonly string[], options: Options): Promise<void> {
  const counts = options.threads ? [options.threads] : [...new Set([1, Math.min(2, availableParallelism())])];
  const cases = allCases(counts);
  const chosen = new Set<Case>();
  for (const name of names) {
    const found = select(cases, name);
    if (found.length === 0)
      throw new Error(`no case is called ${name}; groups: ${groups.map((g) => g.name).join(', ')}`);
    for (const one of found) chosen.add(one);
  }
  if (staleDist()) process.stderr.write('bench: lib/ is newer than dist/, which is what is timed: npm run prepare\n');

  const ours = new Workers((n) => [
    process.execPath,
    [...process.execArgv, here('ours.ts')],
    { BRASA_THREADS: `${n}` },
  ]);
  const torch = new Workers((n) => [
    options.python,
    [here('peers/torch_peer.py'), `${n}`],
    { OMP_NUM_THREADS: `${n}`, MKL_NUM_THREADS: `${n}` },
  ]);
  try {
    const [, { name, isa }] = await ours.start(counts.at(-1)!);
    let peer: string | null = null;
    if (options.peer) {
      try {
        peer = String((await torch.start(counts.at(-1)!))[1].name);
      } catch (error) {
        process.stderr.write(`bench: no PyTorch, ours only: ${(error as Error).message}\n`);
      }
    }
    const bench: Bench = {
      runs: options.runs,
      python: peer === null ? null : options.python,
      timeOurs: (id, threads, pace) => ours.time(threads, { case: id, ...pace }),
      timeTorch: (id, threads, pace, form) => torch.time(threads, { case: id, ...pace, ...form }),
      limit: measureLimit,
      async clear(threads) {
        await ours.clear(threads);
        if (peer !== null) await torch.clear(threads);
      },
    };
    const report = options.json ? jsonReport : options.markdown ? markdown() : table();
    const machine = [`${name} (${isa})`, peer ?? 'no peer', cpus()[0]!.model, `Node ${process.version}`];
    report.head(`${machine.join(', ')}; ${counts.at(-1)} threads, rounds: ${options.runs}`);
    if (options.out) writeFileSync(options.out, '');
    for (const of of chosen) {
      try {
        const row = { of, result: await of.measure(bench) };
        report.row(row);
        if (options.out) appendFileSync(options.out, `${json(row)}\n`);
      } catch (error) {
        process.exitCode = 1;
        report.failure(of, (error as Error).message);
      }
    }
    report.end();
  } finally {
    await ours.close();
    await torch.close();
  }
}

const count = (text: string): number => {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('a whole number above 0');
  return Number(text);
};
const list = groups.map(({ name, about }) => `  ${name.padEnd(10)}${about}`).join('\n');
const program = new Command('bench')
  .argument('[names...]', 'groups, ops, or regular expressions over group/case')
  .option('--json', 'a line of JSON a case')
  .option('--markdown', 'a Markdown table')
  .option('--threads <n>', 'threads; else 2, and 1 too where a group compares them', count)
  .option('--runs <n>', 'rounds of which the median is taken', count, 5)
  .option('--out <file>', 'write the lines of JSON there too')
  .option('--python <path>', 'the Python that has torch', 'python3')
  .option('--no-peer', 'time ours only')
  .addHelpText('after', `\nGroups:\n${list}`)
  .action(async (names: string[], options: Options) => {
    if (names.length === 0) console.log(`npm run bench -- NAME…\n${list}`);
    else await main(names, options);
  });

program.parseAsync().catch((error: Error) => {
  console.error(`bench: ${error.message}`);
  process.exitCode = 2;
});
