/** BRASA_DEBUG and BRASA_PROFILE, in a process of their own. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';

const index = pathToFileURL('dist/index.js').href;
const script = `import { add, ones } from '${index}'; const x = ones([2, 3]); add(add(x, x), 1);`;

/** What the script wrote to stderr. */
function run(env: Record<string, string>): string {
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    env: { ...process.env, BRASA_DEBUG: '', BRASA_PROFILE: '', ...env },
  });
  expect(status, stderr).toBe(0);
  return stderr;
}
const count = (text: string, pattern: RegExp) => text.match(pattern)?.length ?? 0;

test('a program is silent unless asked', () => {
  expect(run({})).toBe('');
  expect(run({ BRASA_DEBUG: '1' })).toBe('');
});

test('2 tells plans, 3 also runs', () => {
  const plans = run({ BRASA_DEBUG: '2' });
  expect(count(plans, /^brasa: plan \d+: add f32\(2,3\) f32\(2,3\) -> f32\(2,3\)$/gm)).toBe(1);
  expect(count(plans, /^brasa: plan \d+: add f32\(2,3\) number -> f32\(2,3\)$/gm)).toBe(1);
  expect(count(plans, / us: /g)).toBe(0);
  expect(count(run({ BRASA_DEBUG: '3' }), /^brasa: [\d.]+ us: add /gm)).toBe(2);
});

test('2 also tells whether elementwise programs become machine code', () => {
  expect(run({ BRASA_DEBUG: '2', BRASA_JIT: '0' })).toMatch(/^brasa: machine code: (off \(BRASA_JIT=0\)|none .*)$/m);
  expect(count(run({ BRASA_DEBUG: '2', BRASA_JIT: '' }), /^brasa: machine code: (AVX|none)/gm)).toBe(1);
});

test('BRASA_PROFILE leaves a Chrome trace', () => {
  const folder = mkdtempSync(join(tmpdir(), 'brasa-trace-'));
  try {
    const file = join(folder, 'trace.json');
    expect(run({ BRASA_PROFILE: file })).toBe('');
    const { traceEvents } = JSON.parse(readFileSync(file, 'utf8'));
    const adds = traceEvents.filter(({ name }: { name: string }) => name === 'add');
    expect(adds).toHaveLength(2);
    for (const event of adds) {
      expect(event).toMatchObject({ ph: 'X', pid: expect.any(Number), tid: 0 });
      expect(event.dur).toBeGreaterThan(0);
    }
    expect(adds[1].ts).toBeGreaterThanOrEqual(adds[0].ts + adds[0].dur);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
