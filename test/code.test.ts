/** Elementwise programs as machine code give what the interpreter gives, to the bit. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import * as b from '../lib/index.js';
import { compile, type DType, devices, randn, scope, type Tensor, tensor } from '../lib/index.js';
import { AdamW } from '../lib/optim/index.js';
import { native } from '../lib/native.js';
import { describe as inWords, info } from '../lib/cli/info.js';
import { elementwise as samples } from './samples/elementwise.js';
import { makeInputs } from './samples/make.js';
import type { Inputs } from './samples/sample.js';

const modes = { interpreted: 0, compiled: 1, refused: 2 } as const;
const state = () => devices()[0]!.code;
/** What f makes of programs that are all interpreted, or all compiled as far as they can be. */
function under(mode: keyof typeof modes, f: () => unknown[]): unknown[] {
  native.machineCode(modes[mode]);
  return scope(() => f());
}
afterEach(() => {
  native.machineCode(modes.compiled);
});
const values = (y: Tensor | readonly Tensor[]) => [y].flat().map((one) => (one as Tensor).toArray());

test('it is generated where it can be, and told', () => {
  native.machineCode(modes.compiled);
  const sanitized = process.env.LD_PRELOAD?.includes('asan') ?? false; // such a build interprets (CMakeLists.txt)
  const built = process.arch === 'x64' && existsSync('/usr/include/xbyak/xbyak.h') && !sanitized;
  if (built)
    expect(state()).toBe({ v4: 'AVX-512', avx2: 'AVX2' }[devices()[0]!.isa] ?? 'none (neither AVX2 nor AVX-512)');
  else expect(state()).toMatch(/^(AVX|none)/);
  expect(inWords(info('0'))).toContain(`machine code ${state()}`);
});

test('where the system gives no executable memory, programs are interpreted, and it is told', () => {
  if (!state().startsWith('AVX')) return expect(native.machineCode(modes.compiled)).toBe(0);
  const x = tensor([1, 2, 3]);
  const f = () => values(compile((x: Tensor) => x.mul(2).add(1))(x)).flat();
  expect(under('refused', f)).toEqual([3, 5, 7]);
  expect(state()).toBe('none (the system gives no executable memory)');
  expect(native.machineCode()).toBe(0);
  expect(under('compiled', f)).toEqual([3, 5, 7]);
  expect(native.machineCode()).toBe(1);
  expect(under('interpreted', f)).toEqual([3, 5, 7]);
  expect(state()).toBe('off (BRASA_JIT=0)');
});

describe('each instruction set', () => {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const fixture = fileURLToPath(new URL('fixtures/code.mjs', import.meta.url));
  const sets = process.arch === 'arm64' ? ['neon'] : ['v2', 'avx2', 'v4'];
  for (const isa of sets)
    test(isa, () => {
      const result = JSON.parse(execFileSync(process.execPath, [fixture, root, isa], { encoding: 'utf8' }));
      if (result.absent) return expect(devices()[0]!.isa).not.toBe(isa);
      const code = state().startsWith('AVX') ? { v4: 'AVX-512', avx2: 'AVX2' }[isa] : undefined;
      expect(result).toMatchObject({ code: code ?? expect.stringMatching(/^none/), differ: [] });
      expect(result.kernels > 0).toBe(code !== undefined);
    });
});

/** The results of compile(f), whose plans are its own. */
function compiled(mode: keyof typeof modes, f: (...xs: Tensor[]) => Tensor[], xs: Tensor[]): unknown[] {
  return under(mode, () => values(compile(f)(...xs)));
}

describe('every sample, in a program with what follows it', () => {
  let programs = 0;
  for (const sample of samples) {
    test(sample.name, () => {
      for (const dtype of (sample.dtypes ?? (['f32', 'f64'] as DType[])).filter((_, i) => i % 3 === 0)) {
        scope(() => {
          const cases = sample.cases(makeInputs(dtype, 5));
          for (const inputs of cases.slice(-2)) {
            const xs = inputs.filter((x): x is Tensor => typeof x !== 'number');
            const f = (...given: Tensor[]): Tensor[] => {
              let next = 0;
              const all = inputs.map((x) => (typeof x === 'number' ? x : given[next++]!)) as Inputs;
              const y = sample.call(...(all as never[])) as Tensor;
              return [y, y.dtype === 'f32' ? y.neg() : y.to('f32')];
            };
            const want = compiled('interpreted', f, xs);
            expect(compiled('compiled', f, xs), `${dtype} ${xs.map((x) => `(${x.shape})`).join(' ')}`).toEqual(want);
            programs += native.machineCode();
          }
        });
      }
    });
  }
  test('most of them had code', () => {
    if (state().startsWith('AVX')) expect(programs).toBeGreaterThan(samples.length * 2);
  });
});

describe('random programs', () => {
  const unary = [b.abs, b.exp, b.tanh, b.sigmoid, b.relu, b.gelu, b.sqrt, b.floor, b.neg, b.log1p, b.erf, b.sin];
  const binary = [b.add, b.sub, b.mul, b.div, b.maximum, b.minimum, b.atan2, b.pow];
  const step = fc.record({
    op: fc.nat(unary.length + binary.length),
    x: fc.nat(),
    y: fc.nat(),
    to: fc.constantFrom<DType>('f32', 'f32', 'f32', 'f64', 'bf16', 'f16'),
  });
  const shapes = [[5], [2, 3], [1, 1037], [70, 33], [4, 1, 19]];
  const program = fc.record({
    shape: fc.constantFrom(...shapes),
    steps: fc.array(step, { minLength: 2, maxLength: 12 }),
    wide: fc.boolean(), // operands that are broadcast and transposed
    summed: fc.boolean(),
  });
  test('over tensors of all kinds', () => {
    fc.assert(
      fc.property(program, ({ shape, steps, wide, summed }) => {
        scope(() => {
          b.manualSeed(7);
          const xs = [randn(shape), wide ? randn(shape.toReversed()).permute(shape.map((_, d) => shape.length - 1 - d)) : randn(shape), randn([shape.at(-1)!]).to('bf16')]; // biome-ignore format: rows
          const f = (...given: Tensor[]): Tensor[] => {
            const known = [...given];
            for (const { op, x, y, to } of steps) {
              const one = known[x % known.length]!;
              const two = known[y % known.length]!;
              const made =
                op < unary.length
                  ? unary[op]!(one)
                  : op === unary.length + binary.length
                    ? b.where(one.gt(two), one, 0.5)
                    : binary[op - unary.length]!(one, two);
              known.push(made.to(to));
            }
            const last = known.at(-1)!;
            return summed ? [last, last.to('f32').sum(-1), known.at(-2)!.mul(0.5)] : [last, known.at(-2)!.mul(0.5)];
          };
          expect(compiled('compiled', f, xs)).toEqual(compiled('interpreted', f, xs));
        });
      }),
      { numRuns: 50, seed: 3 },
    );
  });
  test('of an optimizer, over many tensors at once', () => {
    const train = () => {
      b.manualSeed(1);
      const weights = [[3, 5], [700], [40, 41]].map((shape) => randn(shape).requiresGrad_());
      const optimizer = new AdamW(weights, { lr: 0.01 });
      const step = compile((x: Tensor) => {
        optimizer.zeroGrad();
        for (const w of weights) w.mul(x).square().sum().backward();
        optimizer.step();
      });
      for (let i = 0; i < 3; i++) step(tensor(0.5 + i));
      return values(weights);
    };
    const want = under('interpreted', train);
    expect(under('compiled', train)).toEqual(want);
    if (state().startsWith('AVX')) expect(native.machineCode()).toBeGreaterThan(0);
  });
});
