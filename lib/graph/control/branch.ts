/** A choice in a function that is being compiled: both branches are recorded, one of them runs. */
import type { InputGrad } from '../../core/define.js';
import { nextSeq, recording } from '../../core/tape.js';
import type { Tensor } from '../../core/tensor.js';
import { frame } from '../draws.js';
import type { Recorder, Step } from '../recorder.js';
import type { Loop, Region } from '../region.js';
import { Repeatable, unchanged } from './again.js';
import { Inside, keepFor, owned, put, regionStep, room, zerosOf } from './body.js';
import { attach, captured, partBackward } from './tape.js';

export interface BranchSpec {
  readonly name: string;
  /** 0-d bool. */
  readonly test: Tensor;
  /** If it holds, and if not: as many results, of the same shapes and dtypes. */
  readonly branches: readonly [() => readonly Tensor[], () => readonly Tensor[]];
  /** The choice that this one goes back through. */
  readonly of?: Loop;
}

export function recordBranch(recorder: Recorder, spec: BranchSpec): { outside: readonly Tensor[]; step: Step } {
  const { name, test } = spec;
  recorder.touch([test], name);
  const floor = nextSeq();
  const inside = new Inside();
  const frames = [frame(), frame()];
  const repeatable = frames.map(() => new Repeatable(recorder, name));
  const bodies = recorder.draws.region(() => {
    const recorded = spec.branches.map((branch, i) =>
      recorder.body(() =>
        recorder.draws.within(frames[i]!, () => {
          const results = owned(repeatable[i]!.first(branch), inside, []);
          const slots = results.map(room);
          results.forEach((y, k) => {
            put(y, slots[k]!);
          });
          return { results, slots };
        }),
      ),
    );
    recorder.draws.close(frames);
    return recorded;
  });
  inside.close();
  const results = bodies.map((body) => body.result.results);
  const outside = results[0]!.map(room);
  const region: Region = {
    kind: 'cond',
    loop: { name },
    of: spec.of ?? null,
    bodies: bodies.map(({ steps }) => steps),
    test,
    length: 1,
    reverse: false,
    trips: null,
    count: null,
    slices: bodies.flatMap(({ result }) =>
      result.slots.map((slot, k) => ({ inside: slot, outside: outside[k]!, stride: 0 })),
    ),
    results: outside,
  };
  const step = regionStep(name, region, inside, [], floor);
  recorder.steps.push(step);
  const on = outside.map((_, k) => results.some((list) => list[k]!.node !== null));
  if (on.includes(true)) {
    const from = captured(results.flat(), floor);
    const sources = from.map(({ source }) => source);
    const checkRead = unchanged(step.inputs, name);
    const rule = (g: readonly Tensor[]): readonly InputGrad[] => {
      // A backward that is differentiated itself goes through a second run of the branch, not through what the first left.
      const second = recording.enabled;
      if (second) checkRead();
      const back = (k: number) => () => {
        const start = second ? nextSeq() : floor;
        const made = second ? repeatable[k]!.again(spec.branches[k]!) : results[k]!;
        const kept = made.filter((_, i) => on[i]);
        const grads = partBackward(kept, g, start, sources);
        return grads.map((grad, i) => grad ?? zerosOf(from[i]!.layout));
      };
      const branches = [back(0), back(1)] as const;
      const made = recordBranch(recorder, {
        ...{ name: `${name} backward`, test, branches },
        ...(!second && { of: region.loop }),
      });
      if (!second) keepFor(made.step, step, inside);
      return [null, ...made.outside];
    };
    attach(
      name,
      outside.filter((_, k) => on[k]),
      [{ source: null, layout: test.layout, saved: test }, ...from],
      rule,
    );
  }
  return { outside, step };
}
