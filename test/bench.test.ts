/** The benchmark command: what it prints for programs, and what it says when it cannot. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const cwd = fileURLToPath(new URL('..', import.meta.url));
const bench = (...args: string[]) => spawnSync('npm', ['run', '-s', 'bench', '--', ...args], { cwd, encoding: 'utf8' });

test('--json prints a line a case', () => {
  const { stdout, status } = bench('overhead', '--json', '--runs', '1', '--python', '/nonexistent');
  expect(status).toBe(0);
  const rows = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(rows.length).toBeGreaterThan(5);
  for (const row of rows) {
    expect(row).toMatchObject({
      group: 'overhead',
      ours: 'brasa',
      peer: null,
      peerValue: null,
      unit: 'ns',
      ratio: null,
    });
    expect(row.value).toBeGreaterThan(1);
  }
});

test('a name selects an op in every group; without PyTorch it says so', () => {
  const { stdout, stderr, status } = bench('add', '--json', '--runs', '1', '--python', '/nonexistent');
  expect(status).toBe(0);
  const rows = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { group: string; case: string });
  expect(new Set(rows.map((row) => row.group))).toEqual(new Set(['ops', 'kernels', 'overhead']));
  for (const row of rows) expect(row.case).toMatch(/^add\b/);
  expect(stderr).toMatch(/no PyTorch, ours only/);
});

test('a peer that is not installed is left out with a line; steps have rates', () => {
  const { stdout, stderr, status } = bench('compile/MLP 4-', '--json', '--runs', '1', '--python', '/nonexistent');
  expect(status).toBe(0);
  for (const peer of ['PyTorch', 'JAX', 'TensorFlow'])
    expect(stderr).toMatch(`no ${peer}, left out: spawn /nonexistent`);
  const row = JSON.parse(stdout) as { unit: string; value: number; rate: number };
  expect(row).toMatchObject({ group: 'compile', peer: null, unit: 'us', ratio: null });
  expect(row.rate * row.value).toBeCloseTo(16e6, -1);
});

test('--markdown prints a row a case, with what the figure leaves out', () => {
  const { stdout, status } = bench('compile/dispatch', '--markdown', '--runs', '1', '--no-peer');
  expect(status).toBe(0);
  expect(stdout).toMatch(
    /^\| compile \| dispatch of a kernel in a program \| [\d.]+ ns \(a kernel adds -?[\d.]+, of which its work is -?[\d.]+\) \| {2}\| {2}\| {2}\|$/m,
  );
});

test('an unknown name is an error that lists the groups', () => {
  const { stderr, status } = bench('nosuch');
  expect(status).toBe(2);
  expect(stderr).toMatch(/no case is called nosuch; groups: ops, gemm/);
});
