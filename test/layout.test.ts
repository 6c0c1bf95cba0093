import { beforeEach, describe, expect, test } from 'vitest';
import type { PassOptions } from '../lib/graph/passes/index.js';
import type { Step } from '../lib/graph/recorder.js';
import { recordFunction } from '../lib/graph/recording.js';
import {
  avgPool2d,
  batchNorm,
  compile,
  cond,
  conv2d,
  conv3d,
  convTranspose2d,
  crossEntropy,
  gradients,
  manualSeed,
  maxPool2d,
  noGrad,
  randint,
  randn,
  scan,
  type Tensor,
  tensor,
  zeros,
} from '../lib/index.js';
import { BatchNorm2d, Conv2d, Flatten, Linear, ReLU, Sequential } from '../lib/nn/index.js';
import { SGD } from '../lib/optim/index.js';

type Function = (...xs: Tensor[]) => readonly Tensor[];

beforeEach(() => {
  manualSeed(3);
});

/** (N,H,W,C), shown as (N,C,H,W). */
const show = (x: Tensor): Tensor => x.permute([0, 3, 1, 2]);
const W3 = randn([5, 4, 3, 3]);
const W1 = randn([5, 4, 1, 1]);
const conv = (x: Tensor, w = W3): Tensor => conv2d(x, w, null, { padding: w.shape[2] === 3 ? 1 : 0 });
const SCALE = randn([4]);
const norm = (x: Tensor): Tensor => batchNorm(x, null, SCALE, SCALE);
/** A convolution's result and both gradients. */
function withGradients(x: Tensor, w: Tensor): Tensor[] {
  const [image, filter] = [x.detach().requiresGrad_(), w.detach().requiresGrad_()];
  const y = conv(image, filter);
  return [y, ...gradients(y.square().sum(), [image, filter])];
}

const IMAGES = [
  'conv2d',
  'conv2dGradInput',
  'conv2dGradWeight',
  'maxPool2d',
  'avgPool2d',
  'batchNorm',
  'batchNormGrad',
];

interface Seen {
  /** Kernels over images, and whether each image that they read is channels-first. */
  readonly reads: readonly string[];
  /** How many copies there are, bodies included. */
  readonly copies: number;
  readonly steps: number;
}

function seen(f: Function, given: readonly Tensor[], passes: PassOptions): Seen {
  const all = (steps: readonly Step[]): Step[] =>
    steps.flatMap((step) => [step, ...(step.region?.bodies ?? []).flatMap(all)]);
  const steps = all(recordFunction((xs) => f(...(xs as Tensor[])), given, given, passes).steps);
  // What is made as a whole fits into the memory that it is given.
  for (const { outputs } of steps) {
    for (const { shape, strides, size, offset } of outputs)
      if (offset === 0) expect(shape.reduce((at, n, d) => at + (n - 1) * strides[d]!, 0)).toBe(size - 1);
  }
  const kernels = steps.filter(({ plan }) => IMAGES.includes(plan.op.name.split('+')[0]!));
  return {
    reads: kernels.map(({ plan, inputs }) => {
      const name = plan.op.name.split('+')[0]!;
      const images = inputs.slice(0, /GradWeight|NormGrad/.test(name) ? 2 : 1) as Tensor[];
      return `${name} ${images.map((x) => (x.layout.contiguous ? 'first' : 'last')).join()}`;
    }),
    copies: steps.flatMap(({ plan }) => plan.op.name.split('+')).filter((name) => name === 'contiguous').length,
    steps: steps.length,
  };
}

/** With the pass and without, all agree with eager, run twice on new arguments, whose new values are compared too. */
function agree(f: Function, inputs: () => Tensor[]): { on: Seen; off: Seen } {
  const fns = [f, compile(f), compile(f, { passes: { layout: false } }), compile(f, { passes: false })];
  for (let run = 0; run < 2; run++) {
    const given = inputs();
    const [eager, on, off, plain] = fns.map((fn) => {
      const own = given.map((x) => x.clone());
      return [...fn(...own), ...own];
    });
    for (const [i, want] of eager!.entries()) {
      for (const got of [on![i]!, off![i]!, plain![i]!]) {
        expect([got.dtype, got.shape, got.strides]).toEqual([want.dtype, want.shape, want.strides]);
        const scale = Math.max(1, want.abs().amax().item());
        expect(got.sub(want).abs().amax().item()).toBeLessThanOrEqual(1e-5 * scale);
      }
      expect(plain![i]!.dataSync()).toEqual(want.dataSync());
    }
  }
  const given = inputs();
  return { on: seen(f, given, {}), off: seen(f, given, { layout: false }) };
}
const images = (): Tensor[] => [randn([2, 6, 7, 4])];

describe('images that are made channels-last', () => {
  test('a training step of NHWC bytes makes them channels-first where it casts and scales them', () => {
    const train = (passes: PassOptions) => {
      manualSeed(5);
      const model = new Sequential(
        ...[new Conv2d(3, 6, 3, { padding: 1 }), new BatchNorm2d(6), new ReLU()],
        ...[new Conv2d(6, 8, 3, { stride: 2 }), new ReLU(), new Flatten(), new Linear(8 * 9, 10)],
      );
      const optimizer = new SGD(model.parameters(), { lr: 0.05 });
      const f = (x: Tensor, target: Tensor) => {
        optimizer.zeroGrad();
        const loss = crossEntropy(model.forward(show(x).to('f32').div(255).sub(0.5)), target);
        loss.backward();
        optimizer.step();
        return [loss];
      };
      const x = randint(0, 256, [4, 8, 8, 3], { dtype: 'u8' });
      const target = tensor([1, 9, 0, 4], { dtype: 'i32' });
      const step = compile(f, { passes });
      const losses = Array.from({ length: 4 }, () => step(x, target)[0]!.item());
      return { losses, text: step.explain(), seen: seen(f, [x, target], passes) };
    };
    const eager = train(false);
    const on = train({});
    const off = train({ layout: false });
    for (const [i, loss] of eager.losses.entries()) {
      expect(on.losses[i]).toBeCloseTo(loss, 5);
      expect(off.losses[i]).toBeCloseTo(loss, 5);
    }
    // One program still makes them, and no step was added.
    expect(on.text).toBe(off.text);
    expect(on.text).toMatch(/= cast\+div\+sub\(/);
    expect(off.seen.reads.filter((line) => line.includes('last'))).toEqual([
      'conv2d last',
      'conv2dGradWeight first,last',
    ]);
    expect(on.seen.reads.filter((line) => line.includes('last'))).toEqual([]);
  });

  test('what else reads them follows, whatever view it has', () => {
    const f = (x: Tensor) => {
      const image = show(x).mul(2).sub(0.5);
      return [
        norm(image),
        image.sum([0, 2, 3]),
        image.slice(1, 1, 3).mul(3).sum(),
        image.select(1, 2).exp(),
        image.flatten(2).neg().sum(1),
        image.slice(2, 1, 5, 2).sin().sum(3),
        image.permute([0, 2, 3, 1]).square().sum(3),
      ];
    };
    const { on, off } = agree(f, images);
    expect(off.reads).toEqual(['batchNorm last']);
    expect(on.reads).toEqual(['batchNorm first']);
    expect(on.steps).toBeLessThanOrEqual(off.steps);
  });

  test('made as (N,H,W,C) and shown to the kernel', () => {
    const { on, off } = agree((x) => [norm(show(x.exp().add(1)))], images);
    expect([off.reads, on.reads]).toEqual([['batchNorm last'], ['batchNorm first']]);
    expect(on.steps).toBe(off.steps);
  });

  test('what is made of one of several images beside them keeps its order', () => {
    const f = (x: Tensor) => {
      const image = x.exp();
      const rows = image.slice(1, 0, 3).add(image.slice(1, 3, 6));
      return [norm(show(image)), rows.reshape([21, 4]).sin().sum(1)];
    };
    const { on } = agree(f, () => [randn([1, 6, 7, 4])]);
    expect(on.reads).toEqual(['batchNorm first']);
  });

  test('a view that runs over channels and pixels alike keeps the order: one copy then', () => {
    const f = (x: Tensor) => {
      const image = show(x).mul(2);
      return [norm(image), image.permute([0, 2, 3, 1]).reshape([2, 168]).exp()];
    };
    const { on, off } = agree(f, images);
    expect(on.reads).toEqual(['batchNorm first']);
    expect(on.copies).toBe(1);
    expect(off.copies).toBe(0);
  });

  test('a result keeps the strides that eager gives it', () => {
    const f = (x: Tensor) => {
      const image = show(x).mul(2);
      return [image, norm(image)];
    };
    const { on } = agree(f, images);
    expect(on.reads).toEqual(['batchNorm first']);
    expect(on.copies).toBe(1);
  });

  test('one convolution that reads them once leaves them', () => {
    const { on, off } = agree((x) => [conv(show(x).mul(2))], images);
    expect(on).toEqual(off);
    expect(on.reads).toEqual(['conv2d last']);
  });

  test('written again, they stay', () => {
    const f = (x: Tensor) => {
      const image = show(x).mul(2);
      const before = norm(image);
      noGrad(() => image.add_(1));
      return [before, norm(image)];
    };
    const { on } = agree(f, images);
    expect(on.reads).toEqual(['batchNorm first', 'batchNorm first']);
    expect(on.copies).toBe(2);
  });
});

describe('images from outside', () => {
  test('are copied once for kernels enough', () => {
    const f = (x: Tensor) => [...withGradients(show(x), W3), ...withGradients(show(x), W1)];
    const { on, off } = agree(f, images);
    expect(off.reads.filter((line) => line.includes('last'))).toHaveLength(4);
    expect(on.reads.filter((line) => line.includes('last'))).toEqual([]);
    expect(on.steps).toBe(off.steps + 1);
    expect(on.copies).toBe(1);
  });

  test('one convolution and its gradient read them as they are', () => {
    const { on, off } = agree((x) => withGradients(show(x), W3), images);
    expect(on).toEqual(off);
    expect(on.reads).toContain('conv2d last');
  });

  test('parts of them too, each by itself', () => {
    const f = (x: Tensor) =>
      [show(x).slice(1, 0, 2), show(x).slice(1, 2, 4)].flatMap((y) => [maxPool2d(y, 2), avgPool2d(y, 3)]);
    const { on } = agree(f, images);
    expect(on.copies).toBe(2);
    expect(on.reads.filter((line) => line.includes('last'))).toEqual([]);
  });

  test('not across a write', () => {
    const f = (x: Tensor) => {
      const before = norm(show(x));
      x.mul_(-1);
      return [before, maxPool2d(show(x), 2), avgPool2d(show(x), 2)];
    };
    const { on } = agree(f, images);
    expect(on.copies).toBe(2);
    const few = (x: Tensor) => {
      const before = [conv(show(x)), conv(show(x), W1)];
      x.mul_(-1);
      return [...before, conv(show(x)), conv(show(x), W1)];
    };
    expect(agree(few, images).on.copies).toBe(0);
  });

  test('in the bodies of control flow, and by what is captured', () => {
    const state = randn([2, 6, 7, 4]);
    const looped = (xs: Tensor) => {
      const [sum, ys] = scan(
        (carry, x) => [carry.add(norm(show(state))), norm(show(x.mul(2)))],
        zeros([2, 4, 6, 7]),
        xs,
      );
      return [sum as Tensor, ys as Tensor];
    };
    const loop = agree(looped, () => [randn([3, 2, 6, 7, 4])]);
    expect(loop.on.reads).toEqual(['batchNorm first', 'batchNorm first']);
    expect(loop.on.copies).toBe(1);
    const chosen = (x: Tensor) => [
      cond(
        x.sum().gt(0),
        (y) => norm(show(y)),
        (y) => norm(show(y).exp()),
        x,
      ),
    ];
    const choice = agree(chosen, images);
    expect(choice.off.reads).toEqual(['batchNorm last', 'batchNorm last']);
    expect(choice.on.reads).toEqual(['batchNorm first', 'batchNorm first']);
  });
});

test('what a loop keeps for its gradient', () => {
  const f = (xs: Tensor) => {
    const filter = W3.detach().requiresGrad_();
    const [sum] = scan(
      (carry, x) => [carry.add(maxPool2d(conv(show(x.mul(2)), filter), 2)), null],
      zeros([2, 5, 3, 3]),
      xs,
    );
    return [sum as Tensor, ...gradients((sum as Tensor).square().sum(), [filter])];
  };
  const { on, off } = agree(f, () => [randn([3, 2, 6, 7, 4])]);
  // Its places were given when it was recorded.
  expect(on).toEqual(off);
  expect(on.reads).toContain('conv2dGradWeight first,last');
});

test('the other convolutions', () => {
  const volume = randn([3, 4, 2, 3, 3]);
  const up = randn([4, 3, 2, 2]);
  const f = (x: Tensor) => [
    convTranspose2d(show(x).mul(2), up, null, { stride: 2 }),
    conv3d(x.mul(3).permute([0, 3, 1, 2]).unsqueeze(2).expand([2, 4, 3, 6, 7]), volume),
  ];
  agree(f, images);
});

test('channels-first images change nothing', () => {
  const f = (x: Tensor) => [...withGradients(x.mul(2), W3), maxPool2d(x, 2)];
  const { on, off } = agree(f, () => [randn([2, 4, 6, 7])]);
  expect(on).toEqual(off);
  const given = randn([2, 4, 6, 7]);
  const [a, b] = [compile(f), compile(f, { passes: { layout: false } })];
  expect(a(given).map((y) => y.dataSync())).toEqual(b(given).map((y) => y.dataSync()));
  expect(a.explain()).toBe(b.explain());
});

test('grey images shown with several channels are none of them', () => {
  const grey = (x: Tensor) => [norm(x.expand([2, 4, 6, 7])), norm(x.mul(2).expand([2, 4, 6, 7]))];
  const { on, off } = agree(grey, () => [randn([2, 1, 6, 7])]);
  expect(on).toEqual(off);
});
