/** Convolutions of ResNet and MobileNetV2 and their gradients: rates, and their share of the peak of fused multiply-adds. */
import { conv2d, gradients, randn, scope } from '../lib/index.js';
import { type Case, type PeerForm, type Spec, timed } from './case.js';

interface Shape {
  readonly name: string;
  readonly channels: number;
  readonly out: number;
  readonly kernel: number;
  readonly stride: number;
  readonly size: number;
  readonly groups: number;
}
const shape = (name: string, channels: number, out: number, kernel: number, stride: number, size: number, groups = 1) =>
  ({ name, channels, out, kernel, stride, size, groups }) as Shape;

const shapes: readonly Shape[] = [
  shape('7x7 s2 3-64 224', 3, 64, 7, 2, 224),
  shape('3x3 64 56', 64, 64, 3, 1, 56),
  shape('1x1 64-256 56', 64, 256, 1, 1, 56),
  shape('3x3 128 28', 128, 128, 3, 1, 28),
  shape('3x3 256 14', 256, 256, 3, 1, 14),
  shape('3x3 512 7', 512, 512, 3, 1, 7),
  shape('3x3 s2 128-256 28', 128, 256, 3, 2, 28),
  shape('1x1 s2 256-512 56', 256, 512, 1, 2, 56),
  shape('3x3 s2 3-32 224', 3, 32, 3, 2, 224),
  shape('depthwise 144 56', 144, 144, 3, 1, 56, 144),
  shape('depthwise s2 144 56', 144, 144, 3, 2, 56, 144),
  shape('depthwise 960 7', 960, 960, 3, 1, 7, 960),
  shape('1x1 96-24 56', 96, 24, 1, 1, 56),
  shape('3x3 128 28, 32 groups', 128, 128, 3, 1, 28, 32),
];

const work = ['forward', 'input gradient', 'weight gradient'] as const;
type Work = (typeof work)[number];

function one(s: Shape, batch: number, what: Work, threads: number): Case {
  const padding = s.kernel >> 1;
  const out = Math.floor((s.size + 2 * padding - s.kernel) / s.stride) + 1;
  const x = [batch, s.channels, s.size, s.size];
  const w = [s.out, s.channels / s.groups, s.kernel, s.kernel];
  const y = [batch, s.out, out, out];
  const flop = 2 * batch * s.out * out ** 2 * (s.channels / s.groups) * s.kernel ** 2;
  const group = 'conv';
  const name = `${what} ${s.name} b${batch}`;
  return timed({
    group,
    name,
    threads,
    unit: 'GFLOP/s',
    work: flop,
    limit: 'fma',
    make() {
      const options = { stride: s.stride, padding, groups: s.groups };
      if (what === 'forward') {
        const [image, weight] = [randn(x), randn(w)];
        return () =>
          scope(() => {
            conv2d(image, weight, null, options);
          });
      }
      const operands = [randn(x), randn(w)] as const;
      const by = operands[what === 'input gradient' ? 0 : 1].requiresGrad_();
      const [result, gradient] = [conv2d(...operands, null, options), randn(y)];
      return () =>
        scope(() => {
          gradients(result, [by], { gradient, retainGraph: true });
        });
    },
    forms: () => [false, true].map((last) => torch(s, [x, w, y], padding, what, last)),
  });
}

function torch(s: Shape, shapes: readonly number[][], padding: number, what: Work, last: boolean): PeerForm {
  const inputs: Spec[] = shapes.map((shape) => ({ kind: 'real', shape, dtype: 'f32', low: -1, high: 1 }));
  const by = what === 'input gradient' ? 'x0' : 'x1';
  const format = [0, 1, 2].map((i) => `x${i} = x${i}.to(memory_format=torch.channels_last)`).join('; ');
  const call = `F.conv2d(x0, x1, None, ${s.stride}, ${padding}, 1, ${s.groups})`;
  const setup = [last ? format : '', what === 'forward' ? '' : `${by}.requires_grad_(); y = ${call}`];
  return {
    label: last ? 'channels last' : 'contiguous',
    inputs,
    setup: setup.filter(Boolean).join('; '),
    grad: what !== 'forward',
    code: what === 'forward' ? call : `torch.autograd.grad(y, [${by}], x2, retain_graph=True)`,
  };
}

/** Forward of one image and of eight, gradients of eight; the first layer's input needs none. */
export const convolutions = (threads: number): Case[] =>
  shapes.flatMap((s) =>
    work
      .filter((what) => s.channels > 3 || what !== 'input gradient')
      .flatMap((what) => (what === 'forward' ? [1, 8] : [8]).map((batch) => one(s, batch, what, threads))),
  );
