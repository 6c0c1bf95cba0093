/** `npm run bench -- NAME…`: times ours and the peers that are installed on the same work in the same run, by turns. */
import { writeFileSync, appendFileSync, readdirSync, statSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import { type Bench, type Case, type Pace, type Peer, type PeerForm, peerTitles } from './case.js';
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
  jax?: string;
  tensorflow?: string;
  onnxruntime?: string;
  torchCompile?: boolean;
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

  /** In a worker of its own: how much longer the first call takes than the later ones. */
  async firstCall(threads: number, request: Json): Promise<number> {
    const [worker] = await Worker.start(...this.#command(threads));
    try {
      const first = Number((await worker.ask({ ...request, first: true })).seconds);
      return first - Number((await worker.ask(request)).seconds);
    } finally {
      worker.close();
    }
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
  const script = (path: string, name: string) =>
    new Workers((n) => [
      path,
      [here(`peers/${name}_peer.py`), `${n}`],
      { OMP_NUM_THREADS: `${n}`, MKL_NUM_THREADS: `${n}` },
    ]);
  const peers: Record<Peer, Workers> = {
    torch: script(options.python, 'torch'),
    jax: script(options.jax ?? options.python, 'jax'),
    tensorflow: script(options.tensorflow ?? options.python, 'tensorflow'),
    onnxruntime: script(options.onnxruntime ?? options.python, 'onnxruntime'),
  };
  try {
    const [, { name, isa }] = await ours.start(counts.at(-1)!);
    const wanted = new Set<Peer>(options.peer ? [...chosen].flatMap((one) => one.peers ?? ['torch']) : []);
    const versions = new Map<Peer, string>();
    for (const peer of wanted) {
      try {
        versions.set(peer, String((await peers[peer].start(counts.at(-1)!))[1].name));
      } catch (error) {
        const rest = wanted.size > 1 ? 'left out' : 'ours only';
        process.stderr.write(`bench: no ${peerTitles[peer]}, ${rest}: ${(error as Error).message}\n`);
      }
    }
    const request = (id: string, pace: Pace, form: Partial<PeerForm> = {}): Json => ({ case: id, ...pace, ...form });
    const bench: Bench = {
      runs: options.runs,
      python: versions.has('torch') ? options.python : null,
      ready: new Set(versions.keys()),
      slow: options.torchCompile === true,
      timeOurs: (id, threads, pace) => ours.time(threads, request(id, pace)),
      timePeer: (id, threads, pace, form) => peers[form.peer ?? 'torch'].time(threads, request(id, pace, form)),
      firstCall: (id, threads, pace, form) =>
        (form ? peers[form.peer ?? 'torch'] : ours).firstCall(threads, request(id, pace, form)),
      limit: measureLimit,
      async clear(threads) {
        await ours.clear(threads);
        for (const peer of bench.ready) await peers[peer].clear(threads);
      },
    };
    const report = options.json ? jsonReport : options.markdown ? markdown() : table();
    const sides = versions.size > 0 ? [...versions.values()] : ['no peer'];
    const machine = [`${name} (${isa})`, ...sides, cpus()[0]!.model, `Node ${process.version}`];
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
    for (const side of [ours, ...Object.values(peers)]) await side.close();
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
  .option('--jax <path>', 'the Python that has jax; else that of --python')
  .option('--tensorflow <path>', 'the Python that has tensorflow; else that of --python')
  .option('--onnxruntime <path>', 'the Python that has onnxruntime and onnx; else that of --python')
  .option('--torch-compile', 'time torch.compile too, which takes minutes to warm up')
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
