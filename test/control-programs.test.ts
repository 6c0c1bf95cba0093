import { describe, expect, test } from 'vitest';
import {
  ArgumentError,
  BrasaError,
  arange,
  compile,
  cond,
  dropout,
  DTypeError,
  dynamicUpdateSlice,
  GradError,
  manualSeed,
  randn,
  scan,
  ShapeError,
  softmax,
  type Tensor,
  tensor,
  TraceError,
  whileLoop,
  zeros,
} from '../lib/index.js';
import { native as loaded } from '../lib/native.js';
import { int } from './control/check.js';

const native = loaded as { -readonly [K in keyof typeof loaded]: (typeof loaded)[K] };

describe('one program', () => {
  test('decoding with a cache: positions and tokens change, nothing is recorded again', () => {
    const [L, D] = [8, 4];
    manualSeed(1);
    const [wq, wk, wv] = [randn([D, D]), randn([D, D]), randn([D, D])];
    const decoder = () => {
      const keys = zeros([L, D]);
      const values = zeros([L, D]);
      return (x: Tensor, position: Tensor): Tensor => {
        keys.dynamicUpdateSlice_(x.matmul(wk), [position, 0]);
        values.copy_(dynamicUpdateSlice(values, x.matmul(wv), [position, 0]));
        const scores = x.matmul(wq).matmul(keys.transpose(0, 1));
        const seen = arange(L).le(position);
        return softmax(scores.maskedFill(seen.logicalNot(), Number.NEGATIVE_INFINITY), -1).matmul(values);
      };
    };
    const eager = decoder();
    const compiled = compile(decoder(), { passes: false });
    for (let t = 0; t < L; t++) {
      const x = randn([1, D]);
      expect(compiled(x, int(t)).toArray()).toEqual(eager(x, int(t)).toArray());
    }
    expect(compiled.stats().programs).toBe(1);
  });

  test('a loop writes a cache that it carries in place', () => {
    const fill = (n: Tensor) =>
      whileLoop(
        ({ t }) => t.lt(n),
        ({ t, cache }) => ({ t: t.add(1), cache: dynamicUpdateSlice(cache, t.mul(t).reshape([1]), [t]) }),
        { t: int(0), cache: zeros([1000], { dtype: 'i32' }) },
      ).cache;
    const compiled = compile(fill);
    const plain = compile(fill, { passes: false });
    for (const f of [compiled, plain]) {
      expect(f(int(4)).slice(0, 0, 6).toArray()).toEqual([0, 1, 4, 9, 0, 0]);
      expect(f(int(2)).slice(0, 0, 6).toArray()).toEqual([0, 1, 0, 0, 0, 0]);
    }
    // The cache is the result's memory from the start: the arena holds nothing of its size.
    expect(compiled.stats().arenaBytes).toBeLessThan(1000);
    expect(plain.stats().arenaBytes).toBeLessThan(1000);
  });

  test('explain() shows bodies below what runs them', () => {
    const f = compile((p: Tensor, xs: Tensor) =>
      scan(
        (c: Tensor, x: Tensor) =>
          [
            cond(
              p,
              () => c.add(x),
              () => c.matmul(x),
            ),
            null,
          ] as const,
        zeros([2, 2]),
        xs,
      ),
    );
    f(tensor(true), zeros([3, 2, 2]));
    const text = f.explain();
    expect(text).toMatch(/ = scan\(.*\n {2}each:\n(.*\n)* {4}.* = cond\(.*\n {6}if:\n {8}.*\n(.*\n)* {6}else:/);
    // The first carry, the branches' kernels and the next carry: what a branch answers is made where it is to be.
    expect(f.stats().kernels).toBe(4);
  });
});

describe('the native list of instructions', () => {
  test('a number that is wrong is refused, or does no harm', () => {
    const { program } = native;
    const f = (p: Tensor, xs: Tensor) => {
      const [last] = scan(
        (c: Tensor, x: Tensor) =>
          [
            cond(
              p,
              () => dropout(c.add(x), 0.5),
              () => c.mul(x),
            ),
            null,
          ] as const,
        zeros([2]),
        xs,
      );
      return whileLoop(
        (c: Tensor) => c.sum().lt(4),
        (c: Tensor) => c.add(1),
        last,
        { maxSteps: 3 },
      );
    };
    const run = (change: (text: Float64Array) => Float64Array) => {
      native.program = (device, text, scalars) => program(device, change(text), scalars);
      try {
        return compile(f)(tensor(true), zeros([3, 2])).shape;
      } finally {
        native.program = program;
      }
    };
    let length = 0;
    const measure = (text: Float64Array) => {
      length = text.length;
      return text;
    };
    expect(run(measure)).toEqual([2]);
    let refused = 0;
    for (let i = 0; i < length; i++)
      for (const value of [-1, 1, 3, 1000, 2 ** 60, Number.NaN]) {
        try {
          run((text) => text.with(i, value));
        } catch (error) {
          expect(error).toBeInstanceOf(BrasaError);
          refused++;
        }
      }
    expect(refused).toBeGreaterThan(2 * length);
    for (const cut of [1, 5, length - 1]) expect(() => run((text) => text.slice(0, cut))).toThrow(BrasaError);
  });
});

describe('errors', () => {
  const xs = zeros([3, 2]);
  const c = zeros([2]);
  const both = (f: () => unknown): (() => unknown)[] => [f, () => compile(() => void f())()];
  for (const [what, f, error, message] of [
    [
      'a carry of another shape',
      () => scan((h: { a: Tensor[] }) => [{ a: [h.a[0]!.sum()] }, null], { a: [c] }, xs),
      ShapeError,
      /the next carry\.a\[0\] has shape \(\), init\.a\[0\] \(2\)/,
    ],
    [
      'a carry of another dtype',
      () => scan((h: Tensor) => [h.gt(0), null], c, xs),
      DTypeError,
      /the next carry is bool, init f32/,
    ],
    [
      'another form',
      () =>
        whileLoop(
          (h: Tensor | Tensor[]) => (h as Tensor).sum().lt(1),
          () => [c],
          c,
        ),
      ArgumentError,
      /not put together as init/,
    ],
    ['no pair', () => scan((h: Tensor) => h as never, c, xs), ArgumentError, /fn answers \[carry, y\]/],
    [
      'slices that differ',
      () => scan((h: Tensor) => [h, null], c, [xs, zeros([4])]),
      ShapeError,
      /xs\[1\] \(4\) has 4 slices, the scan 3 steps/,
    ],
    ['no length', () => scan((h: Tensor) => [h, null], c, null), ArgumentError, /a length is needed/],
    [
      'a predicate that is a number',
      () =>
        cond(
          c.sum(),
          () => c,
          () => c,
        ),
      DTypeError,
      /0-d bool tensor, got f32/,
    ],
    [
      'a condition of many',
      () =>
        whileLoop(
          (h: Tensor) => h.lt(1),
          (h: Tensor) => h,
          c,
        ),
      ShapeError,
      /0-d bool tensor, got \(2\)/,
    ],
    [
      'a carry written in place',
      () => scan((h: Tensor) => [h.add_(1), null], zeros([2]), xs),
      ArgumentError,
      /writes in place to what it was given/,
    ],
    ['no function', () => cond(c.sum().lt(1), c as never, () => c), ArgumentError, /onTrue is a function/],
  ] as const)
    test(what, () => {
      for (const run of both(f)) {
        expect(run).toThrow(error as typeof ShapeError);
        expect(run).toThrow(message);
      }
    });

  test('in compiled functions alone', () => {
    const p = c.sum().lt(1);
    const compiled = (f: () => unknown) => () => compile(() => void f())();
    expect(
      compiled(() =>
        cond(
          p,
          () => ({ y: c }),
          () => ({ y: xs }),
        ),
      ),
    ).toThrow(/onFalse\(\)\.y has shape \(3,2\), onTrue\(\)\.y \(2\)/);
    const w = tensor([1, 2]).requiresGrad_();
    const train = () =>
      scan(
        (h: Tensor, x: Tensor) => {
          h.mul(w).mul(x).sum().backward();
          return [h, null];
        },
        c,
        xs,
      );
    expect(compiled(train)).toThrow(/changed the \.grad of a tensor from outside/);
    expect(w.grad).toBe(null);
    expect(() =>
      compile(() => {
        let leaked = c;
        scan(
          (h: Tensor) => {
            leaked = h.add(1);
            return [h, null];
          },
          c,
          xs,
        );
        return leaked;
      })(),
    ).toThrow(TraceError);
    const changed = () => {
      const sum = w.mul(1);
      return scan(
        (h: Tensor, x: Tensor) => {
          sum.add_(x.mul(w));
          return [h, null];
        },
        c,
        xs,
      );
    };
    expect(compiled(changed)).toThrow(GradError);
  });
});
