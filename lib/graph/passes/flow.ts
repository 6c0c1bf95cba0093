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

/** Groups further apart are left apart: hardly any could come together, and looking costs as much. */
const MOST_BETWEEN = 2048;

/** A partition of the steps, kept in an order that holds: what a group must come after stands before it. */
export class Groups {
  readonly #before: readonly Set<number>[];
  readonly #of: Group[];
  readonly #order: (Group | undefined)[];
  readonly #at = new Map<Group, number>();

  constructor(steps: readonly Step[]) {
    this.#before = predecessors(steps);
    this.#of = steps.map((_, i) => ({ members: [i] }));
    this.#order = [...this.#of];
    this.#of.forEach((group, at) => {
      this.#at.set(group, at);
    });
  }

  of(step: number): Group {
    return this.#of[step]!;
  }

  /** Makes one group of two, or answers null: something between them must come after one and before the other. */
  merge(a: Group, b: Group): Group | null {
    return this.merging(a, b)?.() ?? null;
  }

  /** merge(), to be done if the answer is called, while the groups are as they are. */
  merging(a: Group, b: Group): (() => Group) | null {
    const [first, last] = this.#at.get(a)! < this.#at.get(b)! ? [a, b] : [b, a];
    const from = this.#at.get(first)!;
    const to = this.#at.get(last)!;
    if (to - from > MOST_BETWEEN) return null;
    // What depends on the first goes behind; the last must not be among what depends on that.
    const stay: Group[] = [];
    const behind = new Set<Group>();
    for (let at = from + 1; at < to; at++) {
      const group = this.#order[at];
      if (group === undefined) continue;
      if (this.#follows(group, first, behind)) behind.add(group);
      else stay.push(group);
    }
    if (this.#follows(last, null, behind)) return null;
    return () => {
      const group = { members: [...a.members, ...b.members].sort((x, y) => x - y) };
      for (const i of group.members) this.#of[i] = group;
      this.#at.delete(first);
      this.#at.delete(last);
      const segment = [...stay, group, ...behind];
      // Places may stay empty, at the beginning of where they were.
      const start = to + 1 - segment.length;
      this.#order.fill(undefined, from, start);
      segment.forEach((moved, i) => {
        this.#order[start + i] = moved;
        this.#at.set(moved, start + i);
      });
      return group;
    };
  }

  #follows(group: Group, first: Group | null, others: ReadonlySet<Group>): boolean {
    for (const i of group.members) {
      for (const j of this.#before[i]!) {
        const before = this.#of[j]!;
        if (before === first || others.has(before)) return true;
      }
    }
    return false;
  }

  /** All groups in an order that holds. */
  ordered(): Group[] {
    return this.#order.filter((group) => group !== undefined);
  }
}
