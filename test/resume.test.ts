// A training that is killed at any moment and resumed ends with the same bytes as one never killed.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'brasa-resume-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const script = fileURLToPath(new URL('fixtures/train-tiny.mjs', import.meta.url));

/** Runs the training into `dir`; kills it `delay` ms after it has begun, if it still runs. True when it came to its end. */
async function train(dir: string, delay = Number.POSITIVE_INFINITY): Promise<boolean> {
  const child = spawn(process.execPath, [script, dir], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  const ready = new Promise((resolve) => child.stdout.once('data', resolve));
  await Promise.race([ready, exited]);
  const timer = delay < Number.POSITIVE_INFINITY ? setTimeout(() => child.kill('SIGKILL'), delay) : undefined;
  const { code, signal } = await exited;
  clearTimeout(timer);
  expect(signal === 'SIGKILL' || code === 0).toBe(true);
  return code === 0;
}

/** Every file below `dir`, by its hash. */
function contents(dir: string): Record<string, string> {
  const paths = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const hash = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
  return Object.fromEntries(
    paths.map(({ parentPath, name }) => join(parentPath, name)).map((path) => [path.slice(dir.length), hash(path)]),
  );
}

test('killed at random moments and resumed, it ends with the same bytes', async () => {
  const whole = join(folder, 'whole');
  const start = performance.now();
  expect(await train(whole)).toBe(true);
  const length = performance.now() - start;
  const killed = join(folder, 'killed');
  let kills = 0;
  // The moments fall anywhere in a run: in a step, while a checkpoint is written, between two; the later ones are rarer.
  for (let delay = Math.random() * 10; !(await train(killed, kills < 8 ? delay : undefined)); kills++) {
    delay = (Math.random() * length) / 4;
  }
  expect(kills).toBeGreaterThan(1);
  const expected = contents(whole);
  expect(Object.keys(expected).sort()).toEqual(
    ['best/checkpoint', 'checkpoint', 'epoch-5/checkpoint', 'epoch-6/checkpoint', 'model'].map(
      (name) => `/${name}.safetensors`,
    ),
  );
  expect(contents(killed)).toEqual(expected);
}, 180_000);
