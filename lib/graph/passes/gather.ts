/** Gathers steps that feed each other, or read the same memory, into steps that do all of it. */
import { sameShape } from '../../core/layout.js';
import type { Storage } from '../../core/tensor.js';
import type { Step } from '../recorder.js';
import { type Group, Groups, reads } from './flow.js';
import type { Context } from './index.js';
import { Joined, sameStrides, walked } from './join.js';

/** `takes`: the steps that may be members; `pairs`: which two may be brought together. */
export function gather(
  steps: readonly Step[],
  { lasts }: Context,
  takes: (step: Step) => boolean,
  pairs: (a: Step, b: Step) => boolean,
): Step[] {
  const groups = new Groups(steps);
  // Who reads a storage from outside its group decides whether it is stored.
  const readers = new Map<Storage, Set<number>>();
  steps.forEach((step, i) => {
    for (const { storage } of reads(step)) readers.set(storage, (readers.get(storage) ?? new Set()).add(i));
  });
  const leaves = (storage: Storage, members: ReadonlySet<number>): boolean => {
    if (lasts(storage)) return true;
    for (const i of readers.get(storage) ?? []) if (!members.has(i)) return true;
    return false;
  };

  const fused = new Map<Group, { joined: Joined; write: () => Step }>();
  const lastReader = new Map<Storage, number>();
  const maker = new Map<Storage, number>();
  steps.forEach((step, i) => {
    if (takes(step)) {
      const near = new Set<number>();
      for (const { storage } of reads(step)) {
        for (const j of [maker.get(storage), lastReader.get(storage)]) if (j !== undefined) near.add(j);
        lastReader.set(storage, i);
      }
      for (const j of [...near].sort((a, b) => b - a)) {
        const one = groups.of(i);
        const other = groups.of(j);
        if (one === other || !pairs(step, steps[j]!) || !related(step, steps[j]!)) continue;
        const merge = groups.merging(one, other);
        if (merge === null) continue;
        const members = [...other.members, ...one.members];
        const whole = new Set(members);
        // This step is the last so far.
        const known = one.members.length === 1 ? fused.get(other)?.joined : undefined;
        const joined = known ? known.with(step) : Joined.of(members.sort((x, y) => x - y).map((k) => steps[k]!));
        const write = joined?.stored((storage) => leaves(storage, whole)) ?? null;
        if (joined === null || write === null) continue;
        const { era } = step;
        fused.set(merge(), { joined, write: era === undefined ? write : () => ({ ...write(), era }) });
      }
    }
    for (const { storage } of step.outputs) {
      if (takes(step)) maker.set(storage, i);
      else maker.delete(storage);
    }
  });
  return groups.ordered().map((group) => fused.get(group)?.write() ?? steps[group.members[0]!]!);
}

function related(a: Step, b: Step): boolean {
  if (a.era !== b.era) return false;
  const x = walked(a);
  const y = walked(b);
  return x.device === y.device && sameShape(x.shape, y.shape) && sameStrides(x, y);
}
