import { untraced } from '../core/apply.js';
import { ArgumentError, type BrasaError, ShapeError } from '../core/error.js';
import { sameShape, show } from '../core/layout.js';
import { detach, isLeaf } from '../core/leaf.js';
import { noGrad } from '../core/scope.js';
import { afterwards, freshNumbers, compiling } from '../core/cells.js';
import { forgetGradient, gradientOf, pin, Tensor } from '../core/tensor.js';
import { copy_, zero_ } from '../ops/elementwise.js';
import { zerosLike } from '../ops/free.js';
import type { Fused } from './fused.js';

/** Options that every optimizer has. */
export interface OptimizerOptions {
  /** The learning rate. */
  lr: number;
}

/** Parameters that share options. */
export type ParamGroup<O extends OptimizerOptions> = O & {
  params: Tensor[];
  /** The rate at the start; set by schedules. */
  initialLr?: number;
};

/** A group as it is given: options that are left out are the optimizer's. */
export type GroupOptions<O> = Partial<O> & { params: Iterable<Tensor> };

/** What an optimizer is made from: tensors, or groups of them with options of their own. */
export type Params<O> = Iterable<Tensor> | Iterable<GroupOptions<O>>;

/** How a parameter moves: one kernel over [p, g, ...moments, ...scalars], which writes [p, ...moments] in place. */
export interface Rule {
  /** Names of what is kept of each parameter, in its shape, zeros at first. */
  readonly moments: readonly string[];
  readonly kernel: Fused;
}

/** What is kept of one parameter: `step`, how often it moved, and the moments. */
export type ParamState = Record<string, Tensor | number> & { step: number };

/** Parameters are numbered across the groups, in order. */
export interface OptimizerState {
  state: Record<number, ParamState>;
  paramGroups: (Record<string, unknown> & { params: number[] })[];
}

/**
 * The base of optimizers. A subclass gives the rule of a group and, from options and step count, its scalars. Options may
 * differ by group and change between steps (`optimizer.lr = 1e-4`, `optimizer.paramGroups[1].weightDecay = 0`).
 * PyTorch: optim.Optimizer.
 */
export abstract class Optimizer<O extends OptimizerOptions = OptimizerOptions> {
  readonly paramGroups: ParamGroup<O>[] = [];
  readonly #defaults: O;
  readonly #state = new Map<Tensor, ParamState>();

  constructor(params: Params<O>, options: Partial<O>, defaults: O) {
    this.#defaults = { ...defaults, ...given(options) };
    if (params instanceof Tensor) throw this.#error('give a list of parameters: [x]');
    const list = [...params];
    if (list.length === 0) throw this.#error('there are no parameters: the list is empty');
    const groups = list.every((item) => item instanceof Tensor) ? [{ params: list }] : list;
    for (const group of groups) this.addParamGroup(group as GroupOptions<O>);
  }

  /** The kernel for a group. */
  protected abstract rule(group: ParamGroup<O>): Rule;

  /** The numbers of the `step`-th move (from 1), in the order that the rule's kernel takes them. */
  protected abstract scalars(group: ParamGroup<O>, step: number): number[];

  /** Refuses options out of their range. */
  protected abstract check(options: O): void;

  /** Adds parameters, with options of their own; what is left out is as for the optimizer. */
  addParamGroup(group: GroupOptions<O>): void {
    if (group instanceof Tensor || typeof group?.params?.[Symbol.iterator] !== 'function') {
      throw this.#error('give tensors, or groups { params: [...], ... }, not both');
    }
    const params = [...group.params];
    if (params.length === 0) throw this.#error('there are no parameters: a group is empty');
    const known = new Set(this.paramGroups.flatMap((g) => g.params));
    for (const p of params) {
      if (!(p instanceof Tensor)) throw this.#error(`a parameter must be a tensor, got ${typeof p}`);
      if (!isLeaf(p))
        throw this.#error(`a parameter must be a leaf, got the result of ${p.node!.op!.name}: ${show(p.shape)}`);
      if (known.has(p)) throw this.#error(`a parameter was given twice: ${show(p.shape)}`);
      known.add(p);
    }
    const full = { ...this.#defaults, ...given(group), params } as ParamGroup<O>;
    this.check(full);
    this.paramGroups.push(full);
  }

  /** The learning rate of the first group; setting it sets that of all groups. */
  get lr(): number {
    return this.paramGroups[0].lr;
  }
  set lr(value: number) {
    for (const group of this.paramGroups) group.lr = value;
  }

  /** Forgets the gradients, or fills them with zeros when `setToNone` is false. */
  zeroGrad({ setToNone = true }: { setToNone?: boolean } = {}): void {
    for (const p of this.paramGroups.flatMap((group) => group.params)) {
      if (setToNone) forgetGradient(p);
      else if (gradientOf(p) !== null) noGrad(() => zero_(p.gradient!));
    }
  }

  /** Moves every parameter that has a gradient. */
  step(): void {
    noGrad(() => {
      for (const group of this.paramGroups) {
        const rule = this.rule(group);
        const { params } = group;
        const { length } = params;
        compiling.recorder?.guard(
          () => this.rule(group) === rule && group.params === params && params.length === length,
        );
        this.#move(group, rule);
      }
    });
  }

  #move(group: ParamGroup<O>, { moments, kernel }: Rule): void {
    const moving = group.params.filter((p) => gradientOf(p) !== null);
    const states = moving.map((p) => {
      const state = this.#state.get(p) ?? ({ step: 0 } as ParamState);
      this.#state.set(p, state);
      for (const name of moments) state[name] ??= untraced(() => pin(zerosLike(p)));
      return state;
    });
    // Parameters that moved as often as each other share the numbers.
    const first = new Map<number, ParamState>();
    const numbers = new Map<number, readonly number[]>();
    for (const state of states) {
      const { step } = state;
      if (first.has(step)) continue;
      first.set(step, state);
      numbers.set(
        step,
        freshNumbers(() => this.scalars(group, state.step + 1)),
      );
    }
    const leaders = states.map(({ step }) => first.get(step)!);
    compiling.recorder?.guard(() =>
      states.every((state, i) => state.step === leaders[i]!.step && this.#state.get(moving[i]!) === state),
    );
    moving.forEach((p, i) => {
      const state = states[i]!;
      const kept = moments.map((name) => state[name] as Tensor);
      kernel([p, ...kept], [p, gradientOf(p)!, ...kept, ...numbers.get(state.step)!]);
    });
    afterwards(() => {
      for (const state of states) state.step++;
    });
  }

  /** Moments (detached, sharing memory), step counts and options; parameters by number. */
  stateDict(): OptimizerState {
    const state: Record<number, ParamState> = {};
    let number = 0;
    const paramGroups = this.paramGroups.map((group) => {
      const params = group.params.map((p) => {
        const kept = this.#state.get(p);
        if (kept) state[number] = mapTensors(kept, detach);
        return number++;
      });
      return { ...group, params };
    });
    return { state, paramGroups: paramGroups as unknown as OptimizerState['paramGroups'] };
  }

  /** Resumes from the `stateDict()` of an optimizer over the same parameters; on an error nothing is loaded. */
  loadStateDict(saved: OptimizerState): void {
    const groups = this.paramGroups;
    if (saved.paramGroups.length !== groups.length) {
      throw this.#error(`the state has ${saved.paramGroups.length} groups, the optimizer ${groups.length}`);
    }
    const loads: (() => void)[] = [];
    saved.paramGroups.forEach(({ params: numbers, ...options }, i) => {
      const group = groups[i];
      if (numbers.length !== group.params.length) {
        throw this.#error(`group ${i} of the state has ${numbers.length} parameters, not ${group.params.length}`);
      }
      this.check({ ...group, ...options });
      loads.push(() => Object.assign(group, options));
      group.params.forEach((p, k) => {
        const kept = saved.state[numbers[k]];
        for (const [name, x] of Object.entries(kept ?? {})) {
          if (x instanceof Tensor && !sameShape(x.shape, p.shape)) {
            const where = `${name} of parameter ${numbers[k]}`;
            throw new ShapeError(`${where} is ${show(x.shape)}, not ${show(p.shape)}`, { op: this.constructor.name });
          }
        }
        loads.push(() => this.#load(p, kept));
      });
    });
    noGrad(() => {
      for (const load of loads) load();
    });
  }

  /** Moments that are there keep their memory, which a compiled step may hold. */
  #load(p: Tensor, saved: ParamState | undefined): void {
    const own = this.#state.get(p);
    if (!saved) this.#state.delete(p);
    else {
      const load = (x: Tensor, name: string) => copy_((own?.[name] as Tensor | undefined) ?? pin(zerosLike(p)), x);
      this.#state.set(p, mapTensors(saved, load));
    }
  }

  #error(message: string): BrasaError {
    return new ArgumentError(message, { op: this.constructor.name });
  }
}

function mapTensors(state: ParamState, fn: (x: Tensor, name: string) => Tensor): ParamState {
  const entries = Object.entries(state).map(([name, x]) => [name, x instanceof Tensor ? fn(x, name) : x]);
  return Object.fromEntries(entries);
}

/** Without the options that are undefined. */
function given<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}

/** Refuses an option outside [0, high). */
export function inRange(op: string, options: Record<string, number>, high = Number.POSITIVE_INFINITY): void {
  for (const [name, value] of Object.entries(options)) {
    if (!(typeof value === 'number' && value >= 0 && value < high)) {
      throw new ArgumentError(`${name} must be in [0, ${high}), got ${value}`, { op });
    }
  }
}
