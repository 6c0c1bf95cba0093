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
  expect(new Set(rows.map((row) => row.group))).toEqual(new Set(['ops', 'overhead']));
  for (const row of rows) expect(row.case).toMatch(/^add\b/);
  expect(stderr).toMatch(/no PyTorch, ours only/);
});

test('an unknown name is an error that lists the groups', () => {
  const { stderr, status } = bench('nosuch');
  expect(status).toBe(2);
  expect(stderr).toMatch(/no case is called nosuch; groups: ops, gemm/);
});
