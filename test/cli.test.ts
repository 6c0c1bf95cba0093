// The command line as its users run it: child processes over dist/.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { load } from 'brasa/io';
import { afterAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const main = join(root, 'dist', 'cli', 'main.js');
const folder = mkdtempSync(join(tmpdir(), 'brasa-cli-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Result {
  code: number | null;
  out: string;
  error: string;
}

/** Runs `brasa …args`; sends SIGINT when its output first matches `interruptAt`. */
async function brasa(
  args: string[],
  {
    env = {},
    script = main,
    interruptAt,
  }: { env?: Record<string, string>; script?: string; interruptAt?: RegExp } = {},
): Promise<Result> {
  const { BRASA_DEBUG: _, ...rest } = process.env;
  const child = spawn(process.execPath, [script, ...args], { cwd: root, env: { ...rest, ...env } });
  let [out, error, interrupted] = ['', '', false];
  child.stdout.on('data', (chunk) => {
    out += chunk;
    if (interrupted || !interruptAt?.test(out)) return;
    interrupted = true;
    child.kill('SIGINT');
  });
  child.stderr.on('data', (chunk) => {
    error += chunk;
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, out, error };
}

describe('brasa', () => {
  it('tells its version', async () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    expect(await brasa(['--version'])).toEqual({ code: 0, out: `${version}\n`, error: '' });
  });

  it('info --ops tells how each op runs, and says what is missing where there is no Vulkan', async () => {
    const env = { VK_ICD_FILENAMES: '/none' };
    const { out } = await brasa(['info', '--ops', '--json'], { env });
    expect(JSON.parse(out)).toContainEqual({ op: 'matmul', types: '', on: { cpu: 'kernel' } });
    expect(JSON.parse(out)).toContainEqual({ op: 'sin', types: 'floats', on: { cpu: 'elementwise' } });
    expect((await brasa(['info', '--ops'], { env })).out).toMatch(/^\| op +\| types +\| cpu +\|\n/);
    expect((await brasa(['info'], { env })).out).toMatch(
      /^without vulkan: (no Vulkan driver|libvulkan|not in this build)/m,
    );
  });

  it('info describes the machine, as text and as JSON', async () => {
    const { code, out } = await brasa(['info', '--json'], { env: { BRASA_THREADS: '1' } });
    expect(code).toBe(0);
    const facts = JSON.parse(out);
    expect(facts).toMatchObject({
      node: process.versions.node,
      defaultDevice: 'cpu',
      environment: { BRASA_THREADS: '1' },
    });
    expect(facts.devices[0]).toMatchObject({
      id: 'cpu',
      threads: 1,
      isa: expect.stringMatching(/^(v2|avx2|v4|neon)$/),
    });
    expect(facts.devices[0].memoryTotal).toBeGreaterThan(facts.devices[0].memoryFree);
    expect(facts.missing.map(({ name }: { name: string }) => name)).toEqual(
      ['cuda', 'vulkan'].filter((backend) => !facts.devices.some(({ id }: { id: string }) => id.startsWith(backend))),
    );
    const text = (await brasa(['info'])).out;
    expect(text).toContain(`Node ${process.versions.node}`);
    expect(text).toMatch(
      /^cpu \(default\): .*kernels .* \d+ threads; [0-9.]+ GiB of [0-9.]+ GiB free; elements f32, .*$/m,
    );
  });

  it.each([
    [['nope'], "brasa: unknown command 'nope'\n"],
    [['train', 'nope'], "brasa: unknown command 'nope'\n"],
    [['info', '--nothing'], "brasa: unknown option '--nothing'\n"],
    [
      ['train', 'mnist', '--epochs', '1.5'],
      "brasa: option '--epochs <n>' argument '1.5' is invalid. It must be a whole number >= 1.\n",
    ],
    [
      ['train', 'mnist', '--lr', '-1'],
      "brasa: option '--lr <rate>' argument '-1' is invalid. It must be a number > 0.\n",
    ],
  ])('answers wrong usage (%j) with a line and code 2', async (args, error) => {
    expect(await brasa(args)).toEqual({ code: 2, out: '', error });
  });

  it('answers errors with a line and code 1, with the stack under BRASA_DEBUG', async () => {
    const env = { BRASA_DEVICE: 'cuda' };
    const line = "device 'cuda' is not available: not in this build; there is: cpu[^\n]*";
    const { code, out, error } = await brasa(['info'], { env });
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(error).toMatch(new RegExp(`^brasa: ${line}\n$`));
    const debugged = await brasa(['info'], { env: { ...env, BRASA_DEBUG: '1' } });
    expect(debugged.error).toMatch(new RegExp(`^DeviceError: ${line}\n +at `));
  });
});

describe('brasa train mnist', () => {
  const options = ['--limit', '320', '--batch-size', '16', '--epochs', '2', '--seed', '7'];
  const file = (dir: string, name: string) => readFileSync(join(dir, name), 'latin1');

  it('trains, tests and saves; interrupted and resumed, it ends with the same bytes', async () => {
    const [whole, parts] = [join(folder, 'whole'), join(folder, 'parts')];
    const { code, out, error } = await brasa(['train', 'mnist', ...options, '--out', whole]);
    expect([code, error]).toEqual([0, '']);
    expect(out).not.toContain('\x1b');
    expect(out.match(/^epoch \d\/2 {2}train loss .* accuracy .* validation loss .* accuracy .*$/gm)).toHaveLength(2);
    expect(out).toMatch(/^true \\ predicted( +\d){10}$/m);
    expect(out).toMatch(/precision +recall +f1-score +support/);
    expect(out).toMatch(/^training loss, logarithmic [▁-█]+\ntraining accuracy {10}[▁-█]+$/m);
    expect(Number(out.match(/test accuracy ([0-9.]+)%/)![1])).toBeGreaterThan(50); // chance is 10
    expect(file(whole, 'curves.svg')).toMatch(/^<svg/);
    expect((await load(join(whole, 'mnist.safetensors')))['11.weight']!.shape).toEqual([10, 64]);

    const interrupted = await brasa(['train', 'mnist', ...options, '--out', parts], { interruptAt: /digits, on cpu/ });
    expect(interrupted.code).toBe(130);
    expect(interrupted.out).toMatch(
      /stopped: aborted, after step \d+\nsaved in .*parts; --resume goes on from there\n$/,
    );
    expect(existsSync(join(parts, 'mnist.safetensors'))).toBe(false);
    const resumed = await brasa(['train', 'mnist', ...options, '--out', parts, '--resume']);
    expect([resumed.code, resumed.error]).toEqual([0, '']);
    for (const name of ['mnist.safetensors', 'checkpoint.safetensors', 'curves.svg']) {
      expect(file(parts, name) === file(whole, name)).toBe(true);
    }
  }, 180_000);

  it('is the example, which runs by itself', async () => {
    const script = join(root, 'dist', 'examples', 'mnist.js');
    const { code, error } = await brasa(['--nothing'], { script });
    expect(code).toBe(1);
    expect(error).toContain("Unknown option '--nothing'");
  });
});
