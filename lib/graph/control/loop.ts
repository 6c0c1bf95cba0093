/** A loop in a function that is being compiled: its body is recorded once, and once more backward when gradients are asked for. */
import type { InputGrad } from '../../core/define.js';
import { GradError } from '../../core/error.js';
import { type Layout, layoutOf } from '../../core/layout.js';
import { noGrad } from '../../core/scope.js';
import { nextSeq, recording } from '../../core/tape.js';
import { abstract, type Tensor } from '../../core/tensor.js';
import { add, clone } from '../../ops/elementwise.js';
import { frame } from '../draws.js';
import type { Recorder, Step } from '../recorder.js';
import type { Loop, Region } from '../region.js';
import { Repeatable, unchanged } from './again.js';
import { Inside, keepFor, owned, put, refuseWrites, regionStep, room, zerosOf } from './body.js';
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
  /** Whose indices it has; a loop of its own unless said. */
  readonly loop?: Loop;
  /** The loop that it goes back through. */
  readonly of?: Loop;
  /** How often it runs, where only a run knows. */
  readonly trips?: Tensor | null;
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
  readonly repeatable: { body: Repeatable; test: Repeatable };
}

/** The last carries, then y of all iterations, each stacked on a new dim 0. */
export function recordLoop(
  recorder: Recorder,
  spec: LoopSpec,
): { outside: readonly Tensor[]; step: Step; region: Region } {
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
      const plain = recorder.draws.region(() => record(recorder, spec, null, false));
      recorder.steps.push(plain.step);
      return plain;
    }
    recorder.steps.push(made.step);
    if (taping) differentiable(recorder, spec, active, made);
    return made;
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
  const loop = spec.loop ?? recorder.draws.loop(name);
  const repeatable = { body: new Repeatable(recorder, name), test: new Repeatable(recorder, name) };
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
    const ask = () => noGrad(() => owned([repeatable.test.first(() => spec.test!(slots.slice()))], inside, slots));
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
      const got = repeatable.body.first(() => spec.body(carry, x));
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
    of: spec.of ?? null,
    bodies,
    test,
    length,
    reverse,
    trips: spec.trips ?? null,
    count,
    slices: [
      ...slots.map((slot, i) => ({ inside: slot, outside: carries[i]!, stride: 0 })),
      ...parts.map((part, i) => ({ inside: part, outside: xs[i]!, stride: xs[i]!.strides[0]! })),
      ...ySlots.map((slot, i) => ({ inside: slot, outside: ys[i]!, stride: slot.size })),
    ],
    results: count === null ? ys : [...ys, count],
  };
  const step = regionStep(name, region, inside, carries, floor);
  return { step, inside, floor, given, results: body.result, outside: [...carries, ...ys], region, repeatable };
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

  const sources = from.map(({ source }) => source);
  const carried = active.flatMap((yes, i) => (yes ? [i] : []));
  const stacked = on.flatMap((yes, i) => (yes && i >= init.length ? [i] : []));
  const marks = [...carried, ...stacked];
  const wanted = given.filter((x) => x !== null);
  const checkRead = unchanged([...made.step.inputs, ...init], name);

  const rule = (g: readonly Tensor[]): readonly InputGrad[] => {
    if (!Number.isFinite(length)) refuseUnbounded(name);
    const seeds = marks.map((i) => g[on.slice(0, i).filter(Boolean).length]!);
    // A backward that is differentiated itself goes through a second run of the body, not through what the first left.
    const second = recording.enabled;
    if (second) checkRead();
    const forward = second ? carriesAgain(recorder, spec, made) : null;
    const inner = forward?.carries ?? [];
    const { region: through } = forward ?? made;
    const back = recordLoop(recorder, {
      name: `${name} backward`,
      length,
      reverse: !reverse,
      loop: region.loop,
      ...(!second && { of: region.loop }),
      trips: through.count ?? through.trips,
      test: null,
      init: [...seeds.slice(0, carried.length), ...from.map(({ layout }) => zerosOf(layout))],
      xs: [...seeds.slice(carried.length), ...(second ? [...inner, ...xs] : [])],
      body: (carry, x) => {
        const own = [...carry.slice(0, carried.length), ...x.slice(0, stacked.length)];
        const sums = carry.slice(carried.length);
        let found: (Tensor | null)[];
        if (second) {
          // Variables, also where nothing is recorded of this backward: it depends on no value.
          const at = x.slice(stacked.length).map((v, i) => (given[i] === null || v.node !== null ? v : variable(v)));
          const start = nextSeq();
          const got = made.repeatable.body.again(() => spec.body(at.slice(0, init.length), at.slice(init.length)));
          const again = [...got.carry, ...got.ys];
          const variables = at.filter((_, i) => given[i] !== null);
          found = partBackward(
            marks.map((i) => again[i]!),
            own,
            start,
            [...variables, ...sources],
          );
          sums.forEach((sum, k) => {
            const i = wanted.length + k;
            found[i] = found[i] == null ? sum : add(sum, found[i]!);
          });
        } else {
          const kept = marks.map((i) => results[i]!);
          found = partBackward(kept, own, floor, [...wanted, ...sources], sums);
        }
        const grads = found.map((grad, i) => grad ?? zerosOf(wanted[i]!.layout));
        return {
          carry: [...grads.slice(0, carried.length), ...grads.slice(wanted.length)],
          ys: grads.slice(carried.length, wanted.length),
        };
      },
    });
    if (!second) keepFor(back.step, made.step, made.inside);
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

/** The loop once more: its carries as each iteration found them, stacked. */
function carriesAgain(
  recorder: Recorder,
  spec: LoopSpec,
  { region, repeatable: { body, test } }: Recorded,
): { carries: readonly Tensor[]; region: Region } {
  const made = recordLoop(recorder, {
    ...spec,
    loop: region.loop,
    body: (carry, x) => ({ carry: body.again(() => spec.body(carry, x)).carry, ys: carry }),
    test: spec.test === null ? null : (carry) => test.again(() => spec.test!(carry)),
  });
  return { carries: made.outside.slice(spec.init.length), region: made.region };
}

export function refuseUnbounded(name: string): never {
  throw new GradError('gradients need { maxSteps }: what each step leaves for them must have a place', { op: name });
}
