/** The instruction set chosen at run time is the best of this machine, and every one that it has gives the same results. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { devices } from '../lib/index.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const fixture = fileURLToPath(new URL('fixtures/isa.mjs', import.meta.url));
const run = (isa: string) => JSON.parse(execFileSync(process.execPath, [fixture, root, isa], { encoding: 'utf8' }));

test('the widest set that the machine has is chosen', () => {
  const { isa, features } = devices()[0]!;
  console.log(`instruction set: ${isa}${features.length > 0 ? ` with ${features.join(', ')}` : ''}`);
  if (process.arch === 'arm64') return expect(isa).toBe('neon');
  const flags = new Set(/^flags\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))![1]!.split(' '));
  const has = (...names: string[]) => names.every((name) => flags.has(name));
  const avx2 = has('avx2', 'fma', 'bmi2', 'f16c');
  const v4 = avx2 && has('avx512f', 'avx512bw', 'avx512cd', 'avx512dq', 'avx512vl');
  expect(isa).toBe(v4 ? 'v4' : avx2 ? 'avx2' : 'v2');
  expect(features.includes('vnni')).toBe(flags.has('avx512_vnni'));
  expect(features.includes('bf16')).toBe(flags.has('avx512_bf16'));
});

test('all sets agree', () => {
  const sets = process.arch === 'arm64' ? ['neon'] : ['v2', 'avx2', 'v4'];
  const results = sets.map(run).filter((result) => !result.absent);
  expect(results.length).toBeGreaterThan(0);
  for (const { isa, losses } of results) {
    expect(sets).toContain(isa);
    for (const [i, loss] of losses.entries()) expect(loss, `${isa}, step ${i}`).toBeCloseTo(results[0].losses[i], 4);
  }
});
