/** Which steps must stay in order, and steps gathered into groups without breaking it. */
import type { Storage, Tensor } from '../../core/tensor.js';
import type { Step } from '../recorder.js';

/** The tensors among a step's inputs. */
export function reads(step: Step): Tensor[] {
  return step.inputs.filter((x) => typeof x !== 'number') as Tensor[];
}

/** How often each storage is written. */
export function countWrites(steps: readonly Step[]): Map<Storage, number> {
  const writes = new Map<Storage, number>();
  for (const { outputs } of steps)
    for (const { storage } of outputs) writes.set(storage, (writes.get(storage) ?? 0) + 1);
  return writes;
}

/** For each step, those before it that it must come after: the writer of what it reads, and who touched what it writes. */
function predecessors(steps: readonly Step[]): Set<number>[] {
  const writer = new Map<Storage, number>();
  const readers = new Map<Storage, number[]>();
  return steps.map((step, i) => {
    const before = new Set<number>();
    for (const { storage } of reads(step)) {
      const last = writer.get(storage);
      if (last !== undefined) before.add(last);
    }
    for (const { storage } of step.outputs) {
      const last = writer.get(storage);
      if (last !== undefined) before.add(last);
      for (const reader of readers.get(storage) ?? []) before.add(reader);
    }
    for (const { storage } of reads(step)) {
      const known = readers.get(storage);
      if (known) known.push(i);
      else readers.set(storage, [i]);
    }
    for (const { storage } of step.outputs) {
      writer.set(storage, i);
      readers.set(storage, []);
    }
    before.delete(i);
    return before;
  });
}

/** Steps that become one: by their numbers, in order. */
export interface Group {
  readonly members: readonly number[];
}

/** A partition of the steps in which every two groups can still be put in order. */
export class Groups {
  readonly #before: readonly Set<number>[];
  readonly #of: Group[];

  constructor(steps: readonly Step[]) {
    this.#before = predecessors(steps);
    this.#of = steps.map((_, i) => ({ members: [i] }));
  }

  of(step: number): Group {
    return this.#of[step]!;
  }

  /** The groups that a group must come after. */
  before(group: Group): Set<Group> {
    const all = new Set<Group>();
    for (const i of group.members) for (const j of this.#before[i]!) all.add(this.#of[j]!);
    all.delete(group);
    return all;
  }

  /** Makes one group of two, or answers null: something between them must come after one and before the other. */
  merge(a: Group, b: Group): Group | null {
    if (this.#leads(a, b) || this.#leads(b, a)) return null;
    const group = { members: [...a.members, ...b.members].sort((x, y) => x - y) };
    for (const i of group.members) this.#of[i] = group;
    return group;
  }

  /** Whether a path goes from a to b through a third group. */
  #leads(a: Group, b: Group): boolean {
    const seen = new Set<Group>([b]);
    const open = [...this.before(b)].filter((g) => g !== a);
    while (open.length > 0) {
      const group = open.pop()!;
      if (group === a) return true;
      if (seen.has(group)) continue;
      seen.add(group);
      open.push(...this.before(group));
    }
    return false;
  }

  /** All groups in an order that holds, as near to that of their last members as can be. */
  ordered(): Group[] {
    const result: Group[] = [];
    const done = new Set<Group>();
    const visit = (group: Group): void => {
      if (done.has(group)) return;
      done.add(group);
      for (const other of this.before(group)) visit(other);
      result.push(group);
    };
    const groups = [...new Set(this.#of)].sort((x, y) => x.members.at(-1)! - y.members.at(-1)!);
    for (const group of groups) visit(group);
    return result;
  }
}
