/** A loop in a function that is being compiled: its body is recorded once, and once more backward when gradients are asked for. */
import type { InputGrad } from '../../core/define.js';
import { GradError } from '../../core/error.js';
import { type Layout, layoutOf } from '../../core/layout.js';
import { noGrad } from '../../core/scope.js';
import { nextSeq, recording } from '../../core/tape.js';
import { abstract, type Tensor } from '../../core/tensor.js';
import { clone } from '../../ops/elementwise.js';
import { frame } from '../draws.js';
import type { Recorder, Step } from '../recorder.js';
import type { Loop, Region } from '../region.js';
import { Inside, keepFor, owned, put, refuseSecondOrder, refuseWrites, regionStep, room, zerosOf } from './body.js';
import { attach, captured, partBackward, type Source, variable } from './tape.js';

export interface LoopSpec {
  readonly name: string;
  /** Iterations at most. */
  readonly length: number;
  readonly reverse: boolean;
  readonly init: readonly Tensor[];
  /** Iteration i is given x[i] of each. */
  readonly xs: readonly Tensor[];
  /** Carries and outputs: as many carries as `init`, of the same shapes and dtypes. */
  readonly body: (carry: Tensor[], x: Tensor[]) => { carry: readonly Tensor[]; ys: readonly Tensor[] };
  /** Asked before each iteration; a 0-d bool. */
  readonly test: ((carry: Tensor[]) => Tensor) | null;
  /** The loop that this one goes back through, and how often that ran where only a run knows. */
  readonly of?: { loop: Loop; trips: Tensor | null };
}

type Given = Source & { layout: Layout };

interface Recorded {
  readonly step: Step & { outputs: Tensor[] };
  readonly inside: Inside;
  readonly floor: number;
  /** What the body was given, where gradients are asked for; and what it gave: carries, then x or y. */
  readonly given: readonly (Given | null)[];
  readonly results: readonly Tensor[];
  /** The results outside: last carries, and all y. */
  readonly outside: readonly Tensor[];
  readonly region: Region;
}

/** The last carries, then y of all iterations, each stacked on a new dim 0. */
export function recordLoop(recorder: Recorder, spec: LoopSpec): { outside: readonly Tensor[]; step: Step } {
  const taping = recording.enabled;
  // Which carries gradients go through is known when none becomes so by an iteration.
  let active = spec.init.map((x) => taping && x.node !== null);
  for (;;) {
    const forget = recorder.attempt();
    const made = recorder.draws.region(() => record(recorder, spec, active, taping));
    const now = active.map((on, i) => on || made.results[i]!.node !== null);
    if (now.some((on, i) => on !== active[i])) {
      active = now;
      forget();
      continue;
    }
    if (taping && made.results.every(({ node }) => node === null)) {
      // Nothing for a backward: the body needs no copies of its carries.
      forget();
      const { outside, step } = recorder.draws.region(() => record(recorder, spec, null, false));
      recorder.steps.push(step);
      return { outside, step };
    }
    recorder.steps.push(made.step);
    if (taping) differentiable(recorder, spec, active, made);
    return { outside: made.outside, step: made.step };
  }
}

/** `active`: the carries that gradients go through. `taping`: there may be a backward. */
function record(recorder: Recorder, spec: LoopSpec, active: readonly boolean[] | null, taping: boolean): Recorded {
  const { name, init, xs, length, reverse } = spec;
  recorder.touch(xs, name);
  // The carries of the steps around: they hold the first, then each, then the last value.
  const carries = init.map((x) => {
    const carry = room(x);
    put(x, carry);
    return carry;
  });
  const floor = nextSeq();
  const inside = new Inside();
  const loop: Loop = spec.of?.loop ?? { name };
  const one = frame(loop, length, reverse);
  const slots = init.map(room);
  const parts = xs.map((x) => abstract(layoutOf(x.shape.slice(1), x.dtype, x.device, x.strides.slice(1))));
  const given: (Given | null)[] = [];
  const start = (x: Tensor, on: boolean): Tensor => {
    const y = on ? variable(x) : x;
    given.push(on ? { node: y.node, index: y.index, layout: y.layout } : null);
    return y;
  };
  let test: Tensor | null = null;
  const bodies: (readonly Step[])[] = [];
  if (spec.test !== null) {
    const ask = () => noGrad(() => owned([spec.test!(slots.slice())], inside, slots));
    const asked = recorder.body(() => recorder.draws.within(one, ask));
    test = asked.result[0]!;
    bodies.push(asked.steps);
  }
  const ySlots: Tensor[] = [];
  const body = recorder.body(() =>
    recorder.draws.within(one, () => {
      // A backward reads carries as they were: from copies, for the slots are written over.
      const own = taping && Number.isFinite(length) ? noGrad(() => slots.map(clone)) : slots;
      const carry = own.map((c, i) => start(c, active?.[i] ?? false));
      const x = parts.map((part, i) => start(part, taping && xs[i]!.node !== null));
      const got = spec.body(carry, x);
      refuseWrites([...own, ...parts, ...slots], name);
      const same = got.carry.map((y, i) => y === carry[i]);
      const results = owned([...got.carry, ...got.ys], inside, [...own, ...slots, ...parts]);
      got.carry.forEach((y, i) => {
        if (same[i]) results[i] = y;
        else put(results[i]!, slots[i]!);
      });
      for (const y of results.slice(init.length)) {
        const slot = room(y);
        put(y, slot);
        ySlots.push(slot);
      }
      return results;
    }),
  );
  bodies.unshift(body.steps);
  inside.close();
  recorder.draws.close([one]);
  const ys = ySlots.map((y) => abstract(layoutOf([length, ...y.shape], y.dtype, y.device)));
  const counted = taping && test !== null && Number.isFinite(length);
  const count = counted ? abstract(layoutOf([], 'i64', init[0]?.device ?? 'cpu')) : null;
  const region: Region = {
    kind: 'loop',
    loop,
    of: spec.of?.loop ?? null,
    bodies,
    test,
    length,
    reverse,
    trips: spec.of?.trips ?? null,
    count,
    slices: [
      ...slots.map((slot, i) => ({ inside: slot, outside: carries[i]!, stride: 0 })),
      ...parts.map((part, i) => ({ inside: part, outside: xs[i]!, stride: xs[i]!.strides[0]! })),
      ...ySlots.map((slot, i) => ({ inside: slot, outside: ys[i]!, stride: slot.size })),
    ],
    results: count === null ? ys : [...ys, count],
  };
  const step = regionStep(name, region, inside, carries, floor);
  return { step, inside, floor, given, results: body.result, outside: [...carries, ...ys], region };
}

/** Puts the loop on the tape. Its backward is a loop over the same iterations, from the last to the first. */
function differentiable(recorder: Recorder, spec: LoopSpec, active: readonly boolean[], made: Recorded): void {
  const { name, init, xs, length, reverse } = spec;
  const { floor, results, outside, region } = made;
  const given = made.given;
  const from = captured(results, floor);
  const on = [...active, ...results.slice(init.length).map(({ node }) => node !== null)];
  const marked = outside.filter((_, i) => on[i]);
  const asked = [...init.map((_, i) => active[i]!), ...xs.map((x) => x.node !== null)];

  const rule = (g: readonly Tensor[]): readonly InputGrad[] => {
    if (recording.enabled) refuseSecondOrder(name);
    if (!Number.isFinite(length)) refuseUnbounded(name);
    const all = on.map((yes, i) => (yes ? g[on.slice(0, i).filter(Boolean).length]! : null));
    const carried = active.flatMap((yes, i) => (yes ? [i] : []));
    const stacked = on.flatMap((yes, i) => (yes && i >= init.length ? [i] : []));
    const wanted = given.filter((x) => x !== null);
    const back = recordLoop(recorder, {
      name: `${name} backward`,
      length,
      reverse: !reverse,
      of: { loop: region.loop, trips: region.count },
      test: null,
      init: [...carried.map((i) => all[i]!), ...from.map(({ layout }) => zerosOf(layout))],
      xs: stacked.map((i) => all[i]!),
      body: (carry, x) => {
        const seeds = [...carry.slice(0, carried.length), ...x];
        const sums = carry.slice(carried.length);
        const grads = partBackward(
          [...carried, ...stacked].map((i) => results[i]!),
          seeds,
          floor,
          [...wanted, ...from.map(({ source }) => source)],
          sums,
        );
        const found = grads.map((grad, i) => grad ?? zerosOf(wanted[i]!.layout));
        return {
          carry: [...found.slice(0, carried.length), ...found.slice(wanted.length)],
          ys: found.slice(carried.length, wanted.length),
        };
      },
    });
    keepFor(back.step, made.step, made.inside);
    const carries = back.outside.slice(0, carried.length);
    const sums = back.outside.slice(carried.length, carried.length + from.length);
    const ys = back.outside.slice(carried.length + from.length);
    return [...carries, ...ys, ...sums];
  };

  const inputs = [...init, ...xs].flatMap((x, i) =>
    asked[i] ? [{ source: x, layout: x.layout, ...(i >= init.length && { saved: x }) }] : [],
  );
  // What the body was given of other x must not change either until the backward.
  const others = xs.filter((x) => x.node === null).map((x) => ({ source: null, layout: x.layout, saved: x }));
  attach(name, marked, [...inputs, ...from, ...others], rule);
}

export function refuseUnbounded(name: string): never {
  throw new GradError('gradients need { maxSteps }: what each step leaves for them must have a place', { op: name });
}
