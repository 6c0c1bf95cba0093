/** Records a function for compile(): its calls in order, the tensors from outside that they touch, and what else it depends on. */
import { apply, type Tracer, tracedBy, untraced } from '../core/apply.js';
import { lookup, type Operand } from '../core/define.js';
import type { Layout } from '../core/layout.js';
import { type Plan, planFor, resolve } from '../core/plan.js';
import { noGrad } from '../core/scope.js';
import {
  ABSTRACT,
  abstract,
  alias,
  checkUsable,
  freeStorage,
  isAbstract,
  madeTracing,
  pin,
  type Storage,
  storageMark,
  Tensor,
} from '../core/tensor.js';
import type { Cells, CounterSource } from '../core/cells.js';
import { TraceError } from '../core/error.js';
import { Draws } from './draws.js';
import type { Region } from './region.js';

/** One call: a resolved plan, what it reads (tensors and numbers in order) and what it writes. */
export interface Step {
  readonly plan: Plan;
  readonly inputs: readonly Operand[];
  readonly outputs: readonly Tensor[];
  /** Which recomputation it is part of: steps of different eras are never merged. */
  readonly era?: number;
  /**
   * Control flow: `plan` only names it, `inputs` and `outputs` are what the bodies read and write of the memory around them. What a
   * backward will read of its bodies is appended to the outputs.
   */
  readonly region?: Region;
}

/** Memory from outside: a tensor, or whatever is then the gradient of one. */
export interface State {
  readonly tensor: Tensor;
  readonly gradientOf: Tensor | null;
  readonly layout: Layout;
  readonly offset: number;
  readonly differentiable: boolean;
  written: boolean;
}

/** Numbers that stand for what is computed at each run: too small for anybody to use, and none like another. */
const FIRST_STAND_IN = 2 ** -1040;
const STEP = Number.MIN_VALUE;

export class Recorder implements Tracer, Cells {
  steps: Step[] = [];
  /** By the storage that a call named; several tensors of one storage are one state. */
  readonly states = new Map<Storage, State>();
  readonly guards: (() => boolean)[] = [];
  readonly effects: (() => void)[] = [];
  readonly computed: { first: number; count: number; compute: () => readonly number[] }[] = [];
  /** Gradients as they were when the function first touched them. */
  readonly gradients = new Map<Tensor, Tensor | null>();
  /** Whose gradient a tensor was then. */
  readonly #leafOf = new Map<Tensor, Tensor>();
  readonly #restore: (() => void)[] = [];
  readonly #met = new Set<Tensor>();
  readonly draws = new Draws();
  #standIns = 0;
  #eras = 0;
  #era: number | undefined;
  /** The function and the bodies that are being recorded, one in the other: storages made in it, and steps that come first. */
  readonly #bodies: { from: number; first: Step[] }[] = [{ from: storageMark(), first: [] }];
  readonly #again: boolean;
  /**
   * Whether the function made a tensor of data and wrote into it, or used its gradient: it may make another at each call, or have
   * kept this one. Recording once more shows which.
   */
  unsure = false;

  /** `again`: the function ran before, and has what it makes once. What it makes now it makes at each call. */
  constructor(again = false) {
    this.#again = again;
  }

  /** Runs `fn` on stand-ins. Nothing is computed; gradients that it set are left for the caller to read and undo. */
  record<R>(fn: () => R): R {
    const result = tracedBy(this, fn);
    this.steps.unshift(...this.#bodies[0]!.first.splice(0));
    return result;
  }

  /** Records the body of a region: its steps apart from those around it. */
  body<R>(fn: () => R): { steps: Step[]; result: R } {
    const { steps } = this;
    const before = new Map(Array.from(this.gradients.keys(), (leaf) => [leaf, leaf.gradient]));
    this.steps = [];
    const first: Step[] = [];
    const from = storageMark();
    this.#bodies.push({ from, first });
    try {
      const result = fn();
      this.#settle(before, from);
      return { steps: [...first, ...this.steps], result };
    } finally {
      this.steps = steps;
      this.#bodies.pop();
    }
  }

  /** A body may take gradients of its own tensors, and leaves those of others as they were. */
  #settle(before: ReadonlyMap<Tensor, Tensor | null>, from: number): void {
    for (const [leaf, first] of this.gradients) {
      if (leaf.storage.id < from && leaf.gradient !== (before.has(leaf) ? before.get(leaf) : first))
        throw new TraceError(
          'the body of cond, scan or whileLoop changed the .grad of a tensor from outside: use gradients(), and return them',
          { op: 'compile' },
        );
    }
  }

  /** A function that forgets the steps and numbers since, for what is recorded anew. */
  attempt(): () => void {
    const { length } = this.computed;
    const { steps } = this;
    const count = steps.length;
    const forget = this.draws.mark();
    return () => {
      steps.length = count;
      this.computed.length = length;
      forget();
    };
  }

  /** Gives tensors from outside their gradients and graphs back: nothing was computed yet. */
  undo(): void {
    for (const [leaf, before] of this.gradients) leaf.gradient = before;
    for (const restore of this.#restore.reverse()) restore();
  }

  #remember(x: Tensor): void {
    if (this.#met.has(x)) return;
    this.#met.add(x);
    const { node, index, stamp, storage } = x;
    const { version, recorded } = storage;
    this.#restore.push(() => {
      Object.assign(x, { node, index, stamp });
      Object.assign(storage, { version, recorded });
    });
  }

  emit(plan: Plan, inputs: readonly Operand[], outs: readonly Tensor[] | null): Tensor[] | null {
    if (plan.mode === 'view') {
      const x = inputs[0] as Tensor;
      checkUsable(x, plan.op.name);
      const y = alias(x, plan.layouts[0]!, x.offset + plan.offset);
      y.base = x.base ?? x;
      return [y];
    }
    if (plan.id < 0 && !resolve(plan)) return null;
    for (const x of inputs) if (typeof x !== 'number') this.#note(x, false, plan.op.name);
    const outputs = outs ?? plan.layouts.map((layout) => abstract(layout));
    for (const y of outs ?? []) this.#note(y, true, plan.op.name);
    const step = { plan, inputs: inputs.slice(), outputs };
    this.steps.push(this.#era === undefined ? step : { ...step, era: this.#era });
    return outputs as Tensor[];
  }

  /** What control flow reads by itself. */
  touch(xs: readonly Tensor[], name: string): void {
    for (const x of xs) this.#note(x, false, name);
  }

  #note(x: Tensor, written: boolean, name: string): void {
    checkUsable(x, name);
    if (isAbstract(x)) return;
    if (this.#madeHere(x)) {
      if (written && this.#again) {
        this.#madeAnew(x.storage);
        return;
      }
      this.unsure ||= written;
      pin(x);
    }
    this.#remember(x);
    const known = this.states.get(x.storage);
    if (known) {
      known.written ||= written;
      return;
    }
    // A view that was made in the function is found again through what it is a view of.
    const root = x.base !== null && x.base.storage === x.storage ? x.base : x;
    this.#remember(root);
    const gradientOf = this.#leafOf.get(root) ?? null;
    const { layout, offset, node } = root;
    const differentiable = node !== null;
    this.states.set(x.storage, { tensor: root, gradientOf, layout, offset, differentiable, written });
  }

  #madeHere({ storage }: Tensor): boolean {
    return storage.id >= this.#bodies[0]!.from && madeTracing(storage) !== undefined;
  }

  /** Data that each call writes into anew is memory of the program, filled where the body begins that makes it. */
  #madeAnew(storage: Storage): void {
    const whole = new Tensor(storage, madeTracing(storage)!, 0);
    const data = pin(untraced(() => noGrad(() => apply(lookup('clone'), [whole]))));
    freeStorage(storage);
    storage.slot = ABSTRACT;
    this.states.delete(storage);
    const { steps } = this;
    this.steps = this.#bodies.findLast(({ from }) => storage.id >= from)!.first;
    try {
      this.emit(planFor(lookup('assign'), [data], { shape: whole.shape }, [whole]), [data], [whole]);
    } finally {
      this.steps = steps;
    }
  }

  gradient(x: Tensor, replaced: boolean): void {
    const here = !isAbstract(x) && this.#madeHere(x);
    this.unsure ||= here;
    // A leaf made in the function is gone after it, and its gradient with it.
    if (isAbstract(x) || (here && this.#again) || this.gradients.has(x)) return;
    const before = x.gradient;
    this.gradients.set(x, before);
    if (before !== null) this.#leafOf.set(before, x);
    if (replaced) return;
    if (before === null) this.guards.push(() => x.gradient === null);
    else this.guards.push(() => x.gradient?.layout === before.layout && x.gradient.offset === before.offset);
  }

  guard(holds: () => boolean): void {
    this.guards.push(holds);
  }

  /** `count`: where computing them changes something. */
  numbers(compute: () => readonly number[], count: number = compute().length): readonly number[] {
    const first = this.#standIns;
    this.#standIns += count;
    this.computed.push({ first, count, compute });
    return Array.from({ length: count }, (_, i) => FIRST_STAND_IN + (first + i) * STEP);
  }

  /** Which computed number x stands for; -1: itself. */
  standsFor(x: number): number {
    const i = (x - FIRST_STAND_IN) / STEP;
    return i >= 0 && i < this.#standIns && Number.isInteger(i) ? i : -1;
  }

  draw(source: CounterSource, size: number): readonly number[] {
    return this.draws.take((compute, count) => this.numbers(compute, count), source, size);
  }

  after(effect: () => void): void {
    if (this.#bodies.length > 1)
      throw new TraceError(
        'an optimizer steps outside of cond, scan and whileLoop: return gradients from the body and step after it',
        { op: 'compile' },
      );
    this.effects.push(effect);
  }

  again<R>(fn: () => R): R {
    const before = this.#era;
    this.#era = ++this.#eras;
    try {
      return fn();
    } finally {
      this.#era = before;
    }
  }
}
