/**
 * The training programs of test/programs give the same losses eager, compiled and in PyTorch (golden/programs.py), and compile to
 * the kernels that programs/pinned says. After a change that is meant to alter those: `npx vitest run test/programs.test.ts -u`.
 */
import { readFileSync } from 'node:fs';
import { type CompileOptions, compile } from 'brasa';
import { describe, expect, test } from 'vitest';
import { programs } from './programs/index.js';
import { losses } from './programs/program.js';

const COUNT = 20;
const dtypes = ['f64', 'f32'] as const;
const tolerance = { f64: 1e-9, f32: 1e-5 };
const golden: Record<string, Record<(typeof dtypes)[number], number[]>> = JSON.parse(
  readFileSync(new URL('golden/programs.json', import.meta.url), 'utf8'),
);

/** The first of `found` are those of `expected`, to a relative error. */
function expectLosses(found: readonly number[], expected: readonly number[], relative: number): void {
  const errors = expected.map((loss, i) => Math.abs(found[i]! - loss) / Math.abs(loss));
  expect(
    errors.filter((error) => !(error <= relative)),
    `relative errors ${errors.map((error) => error.toExponential(1)).join(' ')}`,
  ).toEqual([]);
}

for (const [name, program] of Object.entries(programs)) {
  describe(name, () => {
    for (const dtype of dtypes) {
      const eager = () => {
        const training = program({ dtype, device: 'cpu' });
        return losses(training, training.step, COUNT);
      };
      const compiled = (options?: CompileOptions) => {
        const training = program({ dtype, device: 'cpu' });
        const step = compile(training.step, options);
        return { found: losses(training, step, COUNT), step };
      };

      test(`eager is PyTorch, ${dtype}`, () => {
        expectLosses(eager(), golden[name]![dtype], tolerance[dtype]);
      });

      test(`compiled without passes is bitwise eager, ${dtype}`, () => {
        const { found, step } = compiled({ passes: false });
        expect(found).toEqual(eager());
        expect(step.stats().programs).toBe(1);
      });

      test(`compiled is eager and PyTorch, ${dtype}`, () => {
        const { found, step } = compiled();
        expectLosses(found, golden[name]![dtype], tolerance[dtype]);
        expectLosses(found, eager().slice(0, golden[name]![dtype].length), tolerance[dtype]);
        expect(step.stats().programs).toBe(1);
      });
    }

    test('its program is the pinned one', async () => {
      const training = program({ dtype: 'f32', device: 'cpu' });
      const step = compile(training.step);
      losses(training, step, 1);
      await expect(`${step.explain()}\n`).toMatchFileSnapshot(`programs/pinned/${name}.txt`);
    });
  });
}
