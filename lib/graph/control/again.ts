/**
 * A body that runs again, for a backward that is differentiated itself: what the first run left in memory carries no gradient, what is
 * computed from the same carries and slices once more does.
 */
import { hooks } from '../../core/apply.js';
import type { Operand } from '../../core/define.js';
import { GradError } from '../../core/error.js';
import { type Storage, storageMark, Tensor } from '../../core/tensor.js';
import type { Log } from '../draws.js';
import type { Recorder, Step } from '../recorder.js';

export class Repeatable {
  readonly #recorder: Recorder;
  readonly #name: string;
  /** What the body is given was made since. */
  readonly #from = storageMark();
  readonly #log: Log = { given: [], loops: [] };
  #steps: readonly Step[] = [];

  constructor(recorder: Recorder, name: string) {
    this.#recorder = recorder;
    this.#name = name;
  }

  first<R>(fn: () => R): R {
    const { steps, draws } = this.#recorder;
    const start = steps.length;
    const result = draws.noted(this.#log, fn);
    this.#steps = steps.slice(start);
    return result;
  }

  /** With the same random numbers; what it writes into memory that was there before is there already. */
  again<R>(fn: () => R): R {
    const { steps, draws } = this.#recorder;
    const start = steps.length;
    const mark = storageMark();
    const { written } = hooks;
    hooks.written = (outs) => outs.some(({ storage }) => storage.id < mark) || (written?.(outs) ?? false);
    let result: R;
    try {
      result = draws.replay(this.#log, fn);
    } finally {
      hooks.written = written;
    }
    if (!this.#isRepeated(steps.slice(start)))
      throw new GradError(
        'for gradients of gradients the body runs again, and did something else: give it variables that change later as operands or carries',
        { op: this.#name },
      );
    return result;
  }

  /** Whether steps are those of the first run: the same calls, which read the same from outside. */
  #isRepeated(steps: readonly Step[]): boolean {
    const counterpart = new Map<Storage, Storage>();
    const standsFor = (x: number) => this.#recorder.standsFor(x);
    const same = (x: Operand, y: Operand): boolean => {
      if (typeof x === 'number' || typeof y === 'number')
        return Object.is(x, y) || (typeof x === typeof y && standsFor(x as number) >= 0);
      if (x.storage.id < this.#from) return x.storage === y.storage && x.layout === y.layout && x.offset === y.offset;
      const known = counterpart.get(x.storage) ?? y.storage;
      counterpart.set(x.storage, known);
      return known === y.storage;
    };
    const own = this.#steps.filter(({ outputs, region }) => region || outputs.every((y) => y.storage.id >= this.#from));
    return (
      own.length === steps.length &&
      own.every(({ plan, inputs }, i) => {
        const other = steps[i]!;
        if (plan.op.name !== other.plan.op.name || inputs.length !== other.inputs.length) return false;
        return inputs.every((x, k) => same(x, other.inputs[k]!));
      })
    );
  }
}

/** Refuses, when asked, to run again what would no longer read the same as now. */
export function unchanged(read: readonly Operand[], name: string): () => void {
  const versions = read.map((x) => (x instanceof Tensor ? x.storage.version : 0));
  return () => {
    if (read.some((x, i) => x instanceof Tensor && x.storage.version !== versions[i]))
      throw new GradError('a value that the body reads was modified in place after the body ran', { op: name });
  };
}
