/** What whole processes take: an import's time and memory, and the memory of a long loop. Ours is dist/, as installed. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type Bench, type Case, interleave, type Result } from './case.js';

const root = fileURLToPath(new URL('..', import.meta.url));

// Each process prints its peak of resident memory in kB. getrusage's would count the parent's memory, from before exec.
const nodePeak = `import { existsSync, readFileSync } from 'node:fs';
const status = '/proc/self/status';
console.log(existsSync(status) ? /VmHWM:\\s+(\\d+)/.exec(readFileSync(status, 'utf8'))[1] : process.resourceUsage().maxRSS);`;
const pythonPeak = `
try: kb = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))
except OSError:
  import resource
  kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(kb)`;

interface Usage {
  ms: number;
  mb: number;
}

function run(command: string, args: readonly string[], threads: number): Promise<Usage> {
  const env = { ...process.env, BRASA_THREADS: String(threads), OMP_NUM_THREADS: String(threads) };
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, err] = ['', ''];
    child.stdout.on('data', (text) => (out += text));
    child.stderr.on('data', (text) => (err += text));
    child.on('error', reject);
    child.on('close', (code) => {
      const ms = performance.now() - start;
      if (code === 0) resolve({ ms, mb: (Number(out) * 1024) / 1e6 });
      else reject(new Error(err.trim().split('\n').at(-1) || `${command} ended with ${code}`));
    });
  });
}
const node = (code: string, threads: number) =>
  run(process.execPath, ['--input-type=module', '-e', `${code}\n${nodePeak}`], threads);
const python = (path: string, code: string, threads: number) => run(path, ['-c', `${code}\n${pythonPeak}`], threads);

type Sides = Record<'ours' | 'ourBase' | 'theirs' | 'theirBase', number | null>;

/** Medians of one figure of alternating processes. */
async function alternate(
  { python: path }: Bench,
  { ours, theirs, threads, rounds, field, bare }: Loop & { rounds: number; field: keyof Usage; bare: boolean },
): Promise<Sides> {
  const none = () => null;
  const [a, b, c, d] = await interleave(rounds, [
    async () => (await node(ours, threads))[field],
    bare ? async () => (await node('', threads))[field] : none,
    path === null ? none : async () => (await python(path, theirs, threads))[field],
    path === null || !bare ? none : async () => (await python(path, '', threads))[field],
  ]);
  return { ours: a!, ourBase: b!, theirs: c!, theirBase: d! };
}

interface Loop {
  readonly ours: string;
  readonly theirs: string;
  readonly threads: number;
}

/** What an import adds to a bare interpreter: two figures, each over alternating processes, twice as many as other rounds. */
export const startup = (threads: number): Case[] =>
  (['ms', 'mb'] as const).map((field) => ({
    group: 'startup',
    name: field === 'ms' ? 'import, time' : 'import, peak memory',
    threads,
    async measure(bench): Promise<Result> {
      const loop = { ours: "import 'brasa';", theirs: 'import torch', threads };
      const sides = await alternate(bench, { ...loop, rounds: 2 * bench.runs, field, bare: true });
      return {
        unit: field === 'ms' ? 'ms' : 'MB',
        value: sides.ours! - sides.ourBase!,
        rivals: sides.theirs === null ? [] : [{ peer: 'torch', value: sides.theirs - sides.theirBase! }],
      };
    },
  }));

const ADDS = 5_000_000;

/** A synchronous loop with no scope and no await: peak memory of the whole process. */
export const memory = (threads: number): Case[] =>
  [1, 1000].map((n) => ({
    group: 'memory',
    name: `5 million adds [${n}]`,
    threads,
    async measure(bench): Promise<Result> {
      const sides = await alternate(bench, {
        ours: `import { add, ones } from 'brasa';
const x = ones([${n}]);
let y = x;
for (let i = 0; i < ${ADDS}; i++) y = add(x, 1);`,
        theirs: `import torch
x = torch.ones(${n})
with torch.no_grad():
  for _ in range(${ADDS}): y = x + 1`,
        threads,
        rounds: 1, // memory hardly varies, and a loop takes seconds
        field: 'mb',
        bare: false,
      });
      const rivals = sides.theirs === null ? [] : [{ peer: 'torch', value: sides.theirs } as const];
      return { unit: 'MB', value: sides.ours!, rivals };
    },
  }));
