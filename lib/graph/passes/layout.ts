/**
 * Layouts: kernels over images make channels-first ones, and mostly read those faster than channels-last ones. Where that is worth what
 * it costs, images are brought into that order at the border: by the elementwise steps that make them, or by one copy for all readers.
 */
import { lookup } from '../../core/define.js';
import { contiguousStrides, type Layout, layoutOf, sizeOf } from '../../core/layout.js';
import { planFor } from '../../core/plan.js';
import { abstract, type Storage, Tensor } from '../../core/tensor.js';
import type { Step } from '../recorder.js';
import { isTile, ownPlan } from '../tile.js';
import { countWrites, reads } from './flow.js';
import type { Context } from './index.js';
import { isSum, sameStrides } from './join.js';

/**
 * Operands (N,C,...), by kernel, and what it saves where one is channels-first, in thirds of the time that a copy takes: measured on the
 * CPU. Convolutions pack what they read; the others walk from pixel to pixel.
 */
const kernels: Readonly<Record<string, { images: readonly number[]; saves: number }>> = {
  conv2d: { images: [0], saves: 1 },
  conv2dGradInput: { images: [0], saves: 1 },
  conv2dGradWeight: { images: [0, 1], saves: 1 },
  maxPool2d: { images: [0], saves: 2 },
  maxPool2dGrad: { images: [0], saves: 2 },
  avgPool2d: { images: [0], saves: 2 },
  avgPool2dGrad: { images: [0], saves: 2 },
  adaptiveAvgPool2d: { images: [0], saves: 2 },
  adaptiveAvgPool2dGrad: { images: [0], saves: 2 },
  batchNorm: { images: [0], saves: 3 },
  batchNormGrad: { images: [0, 1], saves: 3 },
};
/** What an image costs, in the same unit: a copy of it, or that an elementwise step writes another order than it reads. */
const COPY = 3;
const BORDER = 2;

const kernelOf = ({ plan: { op } }: Step) => (op.kind === 'kernel' ? kernels[op.name] : undefined);
const imagesOf = (step: Step): readonly number[] => kernelOf(step)?.images ?? [];
const saves = (step: Step): number => kernelOf(step)?.saves ?? 0;

export function chooseLayouts(steps: readonly Step[], context: Context): readonly Step[] {
  const seen = steps.some((step) => imagesOf(step).some((k) => channelsLast(step.inputs[k] as Tensor)));
  return seen ? copyOnce(makeChannelsFirst(steps, context)) : steps;
}

/** Whether channels lie closer together than pixels. */
function channelsLast({ shape, strides, size }: Tensor): boolean {
  const channel = strides[1]!;
  if (size === 0 || shape[1] === 1 || channel <= 0) return false;
  const pixels = strides.filter((_, d) => d > 1 && shape[d]! > 1);
  return pixels.length > 0 && pixels.every((stride) => stride > channel);
}

// ---- values that elementwise steps make

/** Memory (N,pixels,channels), which becomes (N,channels,pixels). */
interface Order {
  readonly pixels: number;
  readonly channels: number;
}
type Orders = ReadonlyMap<Storage, Order>;

/** Of channels-last images without gaps. */
function orderOf(x: Tensor): Order | null {
  if (!channelsLast(x) || x.offset !== 0) return null;
  const [n, channels, ...size] = x.shape as [number, number, ...number[]];
  const [first, ...strides] = contiguousStrides([n, ...size, channels]);
  const last = [first, strides.pop(), ...strides];
  const dense = x.shape.every((length, d) => length === 1 || x.strides[d] === last[d]);
  return dense ? { pixels: sizeOf(size), channels } : null;
}

/** Whether a tensor is images of that order and nothing else, without gaps: the memory of it then only changes places. */
function whole({ shape, strides, size, offset }: Tensor, { pixels, channels }: Order): boolean {
  const last = shape.reduce((at, length, d) => at + (length - 1) * strides[d]!, 0);
  return offset === 0 && last === size - 1 && size % (pixels * channels) === 0;
}

/** Where a view's elements lie in the other order; null where one of its dims runs over more than one of the old. */
function turned(
  { shape, strides, dtype, device }: Layout,
  offset: number,
  { pixels, channels }: Order,
): { layout: Layout; offset: number } | null {
  const image = pixels * channels;
  let channel = offset % channels;
  let pixel = Math.floor(offset / channels) % pixels;
  const at = offset - (offset % image) + channel * pixels + pixel;
  const now: number[] = [];
  for (const [d, stride] of strides.entries()) {
    const far = stride * (shape[d]! - 1);
    if (far === 0 || stride % image === 0) now.push(stride);
    else if (stride > 0 && stride < channels) {
      now.push(stride * pixels);
      channel += far;
    } else if (stride > 0 && stride % channels === 0) {
      now.push(stride / channels);
      pixel += far / channels;
    } else return null;
  }
  // The farthest element is still in its row of channels, and of pixels.
  if (channel >= channels || pixel >= pixels) return null;
  const layout = layoutOf(shape, dtype, device, now);
  return { layout: layout.contiguous ? layoutOf(shape, dtype, device) : layout, offset: at };
}

function turn(x: Tensor, orders: Orders): Tensor {
  const order = orders.get(x.storage);
  if (order === undefined) return x;
  const { layout, offset } = turned(x.layout, x.offset, order)!;
  return new Tensor(x.storage, layout, offset);
}

/** What a tile program walks: its operands, expanded, and its results. */
function walkedBy(step: Step): { x: Tensor; layout: Layout }[] {
  const inputs = reads(step).map((x, k) => ({ x, layout: step.plan.call!.inputs[k]! }));
  return [...inputs, ...step.outputs.map((x) => ({ x, layout: x.layout }))];
}

/** The same step of values that lie otherwise. */
function withOrders(step: Step, orders: Orders): Step {
  const { plan } = step;
  const inputs = step.inputs.map((x) => (typeof x === 'number' ? x : turn(x, orders)));
  const outputs = step.outputs.map((y) => turn(y, orders));
  if (!isTile(plan)) return { ...step, plan: planFor(plan.op, inputs, plan.params, outputs), inputs, outputs };
  const walked = walkedBy(step).map(({ x, layout }) => turn(new Tensor(x.storage, layout, x.offset), orders).layout);
  const call = { ...plan.call!, inputs: walked.slice(0, plan.call!.inputs.length) };
  const layouts = outputs.map((y) => y.layout);
  return { ...step, plan: ownPlan(plan.op.name, call, layouts), inputs, outputs };
}

/** How many tensors a tile program takes in another order than it writes. */
function borders(step: Step): number {
  const own = step.outputs[0]!.layout;
  return walkedBy(step).filter(({ x, layout }) => x.size === own.size && !sameStrides(layout, own)).length;
}

/** Has the values that kernels over images read made channels-first, with all that elementwise steps make beside them. */
function makeChannelsFirst(steps: readonly Step[], { lasts }: Context): readonly Step[] {
  const writes = countWrites(steps);
  const touching = new Map<Storage, Set<Step>>();
  for (const step of steps)
    for (const { storage } of [...reads(step), ...step.outputs])
      touching.set(storage, (touching.get(storage) ?? new Set()).add(step));
  /** Whether nothing depends on the order but steps that can be told another. */
  const movable = (storage: Storage, order: Order): boolean =>
    writes.get(storage) === 1 &&
    !lasts(storage) &&
    [...touching.get(storage)!].every((step) => {
      const its = (x: Step['inputs'][number]) => typeof x !== 'number' && x.storage === storage;
      const takesAny = step.inputs.every((x, k) => !its(x) || isSum(step.plan) || imagesOf(step).includes(k));
      if (!isTile(step.plan) && (!takesAny || step.outputs.some(its))) return false;
      if (!step.outputs.every((y) => !its(y) || whole(y, order))) return false;
      const views = [...reads(step), ...step.outputs].filter(its);
      return views.every((x) => turned(x.layout, x.offset, order) !== null);
    });
  /** With what else is made in that order by steps that could become one program. */
  const together = (seed: Storage, order: Order): Orders => {
    const orders = new Map<Storage, Order>();
    // A set goes on to what is added while it is walked.
    const met = new Set([seed]);
    for (const storage of met) {
      if (!movable(storage, order)) continue;
      orders.set(storage, order);
      for (const step of touching.get(storage)!) {
        if (!isTile(step.plan)) continue;
        const walked = walkedBy(step);
        const own = walked.find(({ x }) => x.storage === storage)!.layout;
        for (const { x, layout } of walked)
          if (x.offset === 0 && x.size === own.size && sameStrides(layout, own)) met.add(x.storage);
      }
    }
    return orders;
  };

  const orders = new Map<Storage, Order>();
  const considered = new Set<Storage>();
  for (const { inputs, k } of steps.flatMap((step) => imagesOf(step).map((k) => ({ inputs: step.inputs, k })))) {
    const seed = inputs[k] as Tensor;
    const order = orderOf(seed);
    if (order === null || considered.has(seed.storage)) continue;
    const group = together(seed.storage, order);
    const touched = new Set([...group.keys()].flatMap((storage) => [...touching.get(storage)!]));
    let gain = 0;
    for (const step of touched) {
      if (isTile(step.plan)) gain += BORDER * (borders(step) - borders(withOrders(step, group)));
      for (const k of imagesOf(step)) if (group.has((step.inputs[k] as Tensor).storage)) gain += saves(step);
    }
    for (const storage of [seed.storage, ...group.keys()]) considered.add(storage);
    if (gain >= 0) for (const [storage, one] of group) orders.set(storage, one);
  }
  if (orders.size === 0) return steps;
  const moves = (step: Step) => [...reads(step), ...step.outputs].some((x) => orders.has(x.storage));
  return steps.map((step) => (moves(step) ? withOrders(step, orders) : step));
}

// ---- values from elsewhere

/** Copies other channels-last images before the first of the kernels that read them, where those save as much. */
function copyOnce(steps: readonly Step[]): readonly Step[] {
  const versions = new Map<Storage, number>();
  const seen = new Map<Storage, { version: number; era: number | undefined; x: Tensor; readers: Step[] }[]>();
  for (const step of steps) {
    for (const k of imagesOf(step)) {
      const x = step.inputs[k] as Tensor;
      if (!channelsLast(x)) continue;
      const { era } = step;
      const version = versions.get(x.storage) ?? 0;
      const images = seen.get(x.storage) ?? [];
      seen.set(x.storage, images);
      const same = images.find((one) => one.version === version && one.era === era && sees(one.x, x));
      if (same === undefined) images.push({ version, era, x, readers: [step] });
      else same.readers.push(step);
    }
    for (const { storage } of step.outputs) versions.set(storage, (versions.get(storage) ?? 0) + 1);
  }
  const before = new Map<Step, Step[]>();
  const instead = new Map<Step, { x: Tensor; y: Tensor }[]>();
  for (const { x, readers } of [...seen.values()].flat()) {
    if (readers.reduce((sum, step) => sum + saves(step), 0) < COPY) continue;
    const first = readers[0]!;
    const plan = planFor(lookup('contiguous'), [x], null, null);
    const y = abstract(plan.layouts[0]!);
    before.set(first, [...(before.get(first) ?? []), { ...first, plan, inputs: [x], outputs: [y] }]);
    for (const step of readers) instead.set(step, [...(instead.get(step) ?? []), { x, y }]);
  }
  return steps.flatMap((step) => {
    const copies = instead.get(step);
    if (copies === undefined) return [step];
    const images = imagesOf(step);
    const inputs = step.inputs.map((x, k) =>
      images.includes(k) ? (copies.find((one) => sees(one.x, x as Tensor))?.y ?? x) : x,
    );
    const plan = planFor(step.plan.op, inputs, step.plan.params, step.outputs);
    return [...(before.get(step) ?? []), { ...step, plan, inputs }];
  });
}

/** Whether both are the same part of the same memory. */
const sees = (a: Tensor, b: Tensor): boolean =>
  a.storage === b.storage && a.layout === b.layout && a.offset === b.offset;
