/** Vulkan against the CPU: every row of the samples table, and the training programs, with the validation layers listening. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as b from '../lib/index.js';
import { noGrad } from '../lib/index.js';
import { programs } from './programs/index.js';
import { losses } from './programs/program.js';
import { samples } from './samples.js';
import { checked, compare, device, lacking, vulkan } from './vulkan/compare.js';

vulkan('samples on Vulkan give what they give on the CPU', () => {
  let rows = 0;
  let covered = 0;
  test.each(samples)('$name', (sample) => {
    noGrad(() => {
      for (const dtype of sample.dtypes ?? (['f32', 'f64'] as const)) {
        rows++;
        if (compare(sample, dtype)) covered++;
      }
    });
  });

  test('what runs', () => {
    console.log(`${covered} of ${rows} rows and types run on ${checked().name}`);
    for (const [op, types] of lacking)
      console.log(`neither kernel nor decomposition: ${op} (${[...types].join(', ')})`);
    expect([...lacking.keys()]).toEqual([]);
  });
});

vulkan('training on Vulkan', () => {
  const golden: Record<string, { f32: number[] }> = JSON.parse(
    readFileSync(new URL('golden/programs.json', import.meta.url), 'utf8'),
  );
  /** Losses of the first steps, eager or compiled, are PyTorch's. */
  test.each(
    Object.entries(programs).flatMap(([name, program]) => [
      { name, how: 'eager', program },
      { name, how: 'compiled', program },
    ]),
  )('$name, $how', ({ name, how, program }) => {
    const training = program({ dtype: 'f32', device });
    const { f32: expected } = golden[name]!;
    const step = how === 'compiled' ? b.compile(training.step) : training.step;
    losses(training, step, expected.length)
      .slice(0, expected.length)
      .forEach((loss, i) => {
        const wanted = expected[i]!;
        expect(Math.abs(loss - wanted) / Math.abs(wanted), `loss ${i}: ${loss}, PyTorch ${wanted}`).toBeLessThan(1e-5);
      });
  });
});

vulkan('after all of it', () => {
  test('the validation layers have nothing to say', () => {
    expect(checked().messages).toBe(0);
  });
});
