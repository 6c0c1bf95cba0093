/** Convolutions of sizes at which the CPU has different kernels, beside f64: sums of shifted slices or, for many channels, the kernel of f64. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import {
  abs,
  amax,
  cast,
  compile,
  conv2d,
  convTranspose2d,
  getConvPrecision,
  gradients,
  manualSeed,
  pad,
  randn,
  scope,
  setConvPrecision,
  slice,
  sum,
  type Tensor,
} from '../lib/index.js';
import { generator } from './samples/make.js';

afterEach(() => setConvPrecision('default'));

interface Options {
  stride: [number, number];
  padding: [number, number];
  dilation: [number, number];
  groups: number;
}

/** y = sum over the taps of w[:, :, i, j] times the padded image from (i, j) on; one output channel of a group after the other. */
function reference(x: Tensor, w: Tensor, { stride, padding, dilation, groups }: Options): Tensor {
  const [o, c, kh, kw] = w.shape as [number, number, number, number];
  // Never by Winograd in f64; small ones are compared with the slices.
  if (c >= 32) return conv2d(x, w, null, { stride, padding, dilation, groups });
  const padded = pad(x, [padding[1], padding[1], padding[0], padding[0]]);
  const size = ([0, 1] as const).map(
    (d) => Math.floor((padded.shape[2 + d]! - dilation[d] * (w.shape[2 + d]! - 1) - 1) / stride[d]) + 1,
  ) as [number, number];
  const wide = o / groups;
  let y: Tensor | null = null;
  for (let i = 0; i < kh; i++)
    for (let j = 0; j < kw; j++) {
      const at = [i * dilation[0], j * dilation[1]] as const;
      const part = ([0, 1] as const).reduce(
        (t, d) => slice(t, 2 + d, at[d], at[d] + (size[d] - 1) * stride[d] + 1, stride[d]),
        padded,
      );
      // (N, groups, 1, C, OH, OW) times (groups, O, C, 1, 1)
      const image = part.reshape([x.shape[0]!, groups, 1, c, ...size]);
      const weight = slice(slice(w, 2, i, i + 1), 3, j, j + 1).reshape([groups, wide, c, 1, 1]);
      const term = sum(image.mul(weight), 3).reshape([x.shape[0]!, o, ...size]);
      y = y === null ? term : y.add(term);
    }
  return y!;
}

const off = (got: Tensor, want: Tensor): number => {
  const most = amax(abs(want)).item();
  return amax(abs(cast(got, 'f64').sub(want))).item() / (most || 1);
};

function check(size: number[], kernel: number[], options: Options, last: boolean, allowed = 3e-6): void {
  scope(() => {
    const dense = randn(last ? [size[0]!, size[2]!, size[3]!, size[1]!] : size);
    const x = (last ? dense.permute([0, 3, 1, 2]) : dense).requiresGrad_();
    const w = randn(kernel).requiresGrad_();
    const [x64, w64] = [x, w].map((t) => cast(t.detach(), 'f64').requiresGrad_()) as [Tensor, Tensor];
    const [y, want] = [conv2d(x, w, null, options), reference(x64, w64, options)];
    expect(y.shape).toEqual(want.shape);
    const g = randn(y.shape);
    const found = [y, ...gradients(y, [x, w], { gradient: g })];
    const wanted = [want, ...gradients(want, [x64, w64], { gradient: cast(g, 'f64') })];
    for (const [i, t] of found.entries()) {
      const about = `${['y', 'dx', 'dw'][i]} of ${size} by ${kernel}, ${JSON.stringify(options)}${last ? ', last' : ''}`;
      expect(off(t, wanted[i]!), about).toBeLessThan(allowed);
    }
  });
}

describe('convolutions of any size', () => {
  const random = generator(31);
  const int = (least: number, most: number) => least + Math.floor(random() * (most - least + 1));
  const two = (least: number, most: number): [number, number] => [int(least, most), int(least, most)];
  const kinds: Record<string, () => [number, number, number[], Omit<Options, 'groups'>, number]> = {
    '3x3': () => {
      const groups = int(1, 4) === 4 ? 2 : 1;
      const [c, o] = [int(40, 90), int(40, 90)];
      return [groups * c, groups * o, [c, 3, 3], { stride: [1, 1], padding: two(0, 3), dilation: [1, 1] }, groups];
    },
    depthwise: () => {
      const c = int(4, 40);
      return [c, c, [1, int(1, 5), int(1, 5)], { stride: two(1, 3), padding: two(0, 2), dilation: two(1, 2) }, c];
    },
    'depthwise, wide': () => {
      const c = int(4, 40);
      return [c, c, [1, 3, 3], { stride: [1, 1], padding: two(0, 3), dilation: [1, 1] }, c];
    },
    pointwise: () => {
      const groups = int(1, 3);
      const c = int(8, 30);
      const options = { stride: two(1, 3), padding: [0, 0] as [number, number], dilation: two(1, 2) };
      return [groups * c, groups * int(8, 40), [c, 1, 1], options, groups];
    },
    'few channels': () => [
      ...([int(1, 6), int(1, 40)] as const),
      [0, int(1, 7), int(1, 7)],
      { stride: two(1, 4), padding: two(0, 3), dilation: [1, 1] },
      1,
    ],
  };
  for (const [name, draw] of Object.entries(kinds))
    test(name, () => {
      manualSeed(4);
      for (let i = 0; i < 12; i++) {
        const [c, o, [per, kh, kw], options, groups] = draw() as [
          number,
          number,
          [number, number, number],
          Options,
          number,
        ];
        const [h, w] = per >= 32 ? two(14, 44) : [int(1, 33), name.endsWith('wide') ? int(20, 70) : int(1, 33)];
        const fits = (n: number, k: number, d: 0 | 1) => n + 2 * options.padding[d] > options.dilation[d] * (k - 1);
        if (!fits(h, kh, 0) || !fits(w, kw, 1)) continue;
        check([int(1, 3), c, h, w], [o, per || c, kh, kw], { ...options, groups }, int(0, 1) === 1);
      }
    });
});

describe('setConvPrecision', () => {
  const options: Options = { stride: [1, 1], padding: [1, 1], dilation: [1, 1], groups: 1 };
  const bytes = (t: Tensor) => Buffer.from(t.dataSync().buffer);

  test('is default or fast', () => {
    expect(getConvPrecision()).toBe('default');
    setConvPrecision('fast');
    expect(getConvPrecision()).toBe('fast');
    // biome-ignore lint/suspicious/noExplicitAny: a wrong argument
    expect(() => setConvPrecision('high' as any)).toThrow(/'default' or 'fast', got 'high'/);
    expect(getConvPrecision()).toBe('fast');
  });

  test('fast is within 4e-5 of f64, default within 3e-6', () => {
    for (const last of [false, true]) {
      check([2, 48, 48, 50], [48, 48, 3, 3], options, last);
      setConvPrecision('fast');
      check([2, 48, 48, 50], [48, 48, 3, 3], options, last, 4e-5);
      setConvPrecision('default');
    }
  });

  test('compiled functions follow it, and gradients keep that of the call', () => {
    const [x, w] = [randn([2, 48, 48, 50]), randn([48, 48, 3, 3])];
    const f = compile((x: Tensor, w: Tensor) => conv2d(x, w, null, options));
    const eager = () => conv2d(x, w, null, options);
    const [calm, calmEager] = [f(x, w), eager()];
    setConvPrecision('fast');
    const [quick, quickEager] = [f(x, w), eager()];
    setConvPrecision('default');
    expect(bytes(calm).equals(bytes(calmEager))).toBe(true);
    expect(bytes(quick).equals(bytes(quickEager))).toBe(true);
    expect(bytes(calm).equals(bytes(quick))).toBe(false);
    expect(bytes(f(x, w)).equals(bytes(calm))).toBe(true);
    expect(f.stats().programs).toBe(2);

    const by = x.clone().requiresGrad_();
    setConvPrecision('fast');
    const y = conv2d(by, w, null, options);
    const [at] = gradients(y, [by], { gradient: calm, retainGraph: true });
    setConvPrecision('default');
    const [later] = gradients(y, [by], { gradient: calm });
    expect(bytes(later!).equals(bytes(at!))).toBe(true);
  });

  test('transposed convolutions follow it, compiled too', () => {
    const [x, w] = [randn([2, 48, 48, 50]), randn([48, 48, 3, 3])];
    const turned = (x: Tensor, w: Tensor) => convTranspose2d(x, w, null, { padding: 1 });
    const want = turned(cast(x, 'f64'), cast(w, 'f64'));
    const f = compile(turned);
    const calm = turned(x, w);
    expect(off(calm, want)).toBeLessThan(3e-6);
    expect(bytes(f(x, w)).equals(bytes(calm))).toBe(true);
    setConvPrecision('fast');
    const quick = turned(x, w);
    expect(off(quick, want)).toBeLessThan(4e-5);
    expect(bytes(quick).equals(bytes(calm))).toBe(false);
    expect(bytes(f(x, w)).equals(bytes(quick))).toBe(true);
  });
});

test('the same bytes for 1, 2 and 4 threads', () => {
  const fixture = fileURLToPath(new URL('fixtures/conv.mjs', import.meta.url));
  const run = (threads: number) =>
    execFileSync(process.execPath, [fixture], {
      encoding: 'utf8',
      env: { ...process.env, BRASA_THREADS: String(threads) },
    });
  const one = run(1);
  expect(one).toMatch(/^[0-9a-f]{64}\n$/);
  expect(run(2)).toBe(one);
  expect(run(4)).toBe(one);
});
