// Learning-rate schedules, in PyTorch's recursive form: each step derives a group's rate from its present one, so schedules
// stack (a warm-up and a cosine on one optimizer, both stepped) and a rate that was set by hand is carried on.

import { ArgumentError } from '../core/error.js';
import type { Optimizer, OptimizerOptions, ParamGroup } from './optimizer.js';

/** What a schedule keeps between runs; the rates themselves are in the optimizer's state. */
export interface ScheduleState {
  lastEpoch: number;
  baseLrs: number[];
}

/** The rate after step `t` of a group, which has `group.lr` now and had `base` at the start. */
export type ScheduleRule = (group: ParamGroup<OptimizerOptions>, base: number, t: number, index: number) => number;

/** Moves the learning rates of an optimizer; call `step()` once an epoch (or once a batch: the unit is the caller's). */
export class Schedule {
  readonly optimizer: Optimizer;
  /** Steps taken so far. */
  lastEpoch = 0;
  #baseLrs: number[];
  readonly #rule: ScheduleRule;

  /** Applies `rule` for t = 0 at once. Any schedule is `new Schedule(optimizer, rule)`. */
  constructor(optimizer: Optimizer, rule: ScheduleRule) {
    this.optimizer = optimizer;
    this.#rule = rule;
    this.#baseLrs = optimizer.paramGroups.map((group) => {
      group.initialLr ??= group.lr;
      return group.initialLr;
    });
    this.#apply();
  }

  /** Sets the rates of the next step. */
  step(): void {
    this.lastEpoch++;
    this.#apply();
  }

  /** The rate of each group. */
  get lastLr(): number[] {
    return this.optimizer.paramGroups.map((group) => group.lr);
  }

  stateDict(): ScheduleState {
    return { lastEpoch: this.lastEpoch, baseLrs: [...this.#baseLrs] };
  }

  /** Resumes; load the optimizer's state too, which holds the present rates. */
  loadStateDict({ lastEpoch, baseLrs }: ScheduleState): void {
    if (baseLrs.length !== this.#baseLrs.length) {
      const counts = `${baseLrs.length} parameter groups, the optimizer has ${this.#baseLrs.length}`;
      throw new ArgumentError(`the state is of ${counts}`, { op: this.constructor.name });
    }
    this.lastEpoch = lastEpoch;
    this.#baseLrs = [...baseLrs];
  }

  #apply(): void {
    this.optimizer.paramGroups.forEach((group, i) => {
      group.lr = this.#rule(group, this.#baseLrs[i]!, this.lastEpoch, i);
    });
  }
}

function positive(name: string, option: string, value: number): void {
  if (!(Number.isInteger(value) && value > 0)) {
    throw new ArgumentError(`${option} must be a positive integer, got ${value}`, { op: name });
  }
}

/** Multiplies the rate by `gamma` every `stepSize` steps. PyTorch: StepLR. */
export class StepLR extends Schedule {
  constructor(optimizer: Optimizer, { stepSize, gamma = 0.1 }: { stepSize: number; gamma?: number }) {
    positive('StepLR', 'stepSize', stepSize);
    super(optimizer, ({ lr }, _, t) => (t > 0 && t % stepSize === 0 ? lr * gamma : lr));
  }
}

/** Multiplies the rate by `gamma` at each of `milestones` (twice where one stands twice). PyTorch: MultiStepLR. */
export class MultiStepLR extends Schedule {
  constructor(optimizer: Optimizer, { milestones, gamma = 0.1 }: { milestones: readonly number[]; gamma?: number }) {
    super(optimizer, ({ lr }, _, t) => lr * gamma ** milestones.filter((m) => m === t).length);
  }
}

/** Multiplies the rate by `gamma` at each step. PyTorch: ExponentialLR. */
export class ExponentialLR extends Schedule {
  constructor(optimizer: Optimizer, { gamma }: { gamma: number }) {
    super(optimizer, ({ lr }, _, t) => (t > 0 ? lr * gamma : lr));
  }
}

/** From the start rate down to `etaMin` along half a cosine of `tMax` steps, and up again. PyTorch: CosineAnnealingLR. */
export class CosineAnnealingLR extends Schedule {
  constructor(optimizer: Optimizer, { tMax, etaMin = 0 }: { tMax: number; etaMin?: number }) {
    positive('CosineAnnealingLR', 'tMax', tMax);
    const height = (t: number) => 1 + Math.cos((Math.PI * t) / tMax);
    super(optimizer, ({ lr }, base, t) => {
      if (t === 0) return lr;
      // One past the bottom, where the ratio below is 0 / 0.
      if ((t - 1 - tMax) % (2 * tMax) === 0) return lr + ((base - etaMin) * (1 - Math.cos(Math.PI / tMax))) / 2;
      return (height(t) / height(t - 1)) * (lr - etaMin) + etaMin;
    });
  }
}

/** Warm-up: the rate times a factor that goes evenly from `startFactor` to `endFactor` in `totalIters` steps. PyTorch: LinearLR. */
export class LinearLR extends Schedule {
  constructor(
    optimizer: Optimizer,
    {
      startFactor = 1 / 3,
      endFactor = 1,
      totalIters = 5,
    }: { startFactor?: number; endFactor?: number; totalIters?: number } = {},
  ) {
    positive('LinearLR', 'totalIters', totalIters);
    if (!(startFactor > 0 && startFactor <= 1)) {
      throw new ArgumentError(`startFactor must be in (0, 1], got ${startFactor}`, { op: 'LinearLR' });
    }
    const factor = (t: number) => startFactor + ((endFactor - startFactor) * t) / totalIters;
    super(optimizer, ({ lr }, _, t) => {
      if (t === 0) return lr * startFactor;
      return t > totalIters ? lr : (lr * factor(t)) / factor(t - 1);
    });
  }
}

/** The start rate times `lambda(t)`; one function for all groups, or one for each. PyTorch: LambdaLR. */
export class LambdaLR extends Schedule {
  constructor(optimizer: Optimizer, lambda: ((t: number) => number) | readonly ((t: number) => number)[]) {
    const { length } = optimizer.paramGroups;
    const lambdas = typeof lambda === 'function' ? Array.from({ length }, () => lambda) : lambda;
    if (lambdas.length !== length) {
      throw new ArgumentError(`${lambdas.length} functions for ${length} parameter groups`, { op: 'LambdaLR' });
    }
    super(optimizer, (_, base, t, i) => base * lambdas[i]!(t));
  }
}

export interface OneCycleOptions {
  /** The highest rate. */
  maxLr: number;
  /** The length of the cycle; further steps are an error. */
  totalSteps: number;
  /** The part of the cycle in which the rate rises. */
  pctStart?: number;
  annealStrategy?: 'cos' | 'linear';
  /** Move momentum (SGD, RMSprop) or the first beta (Adam) the other way. */
  cycleMomentum?: boolean;
  baseMomentum?: number;
  maxMomentum?: number;
  /** The first rate is maxLr / divFactor, the last that one / finalDivFactor. */
  divFactor?: number;
  finalDivFactor?: number;
  /** Down to the first rate as fast as up, and from there to the last. */
  threePhase?: boolean;
}

/** Rate up to `maxLr` and down to nearly 0, momentum down and up; a step a batch. PyTorch: OneCycleLR (Smith & Topin 2018). */
export class OneCycleLR extends Schedule {
  constructor(
    optimizer: Optimizer,
    {
      maxLr,
      totalSteps,
      pctStart = 0.3,
      annealStrategy = 'cos',
      cycleMomentum = true,
      baseMomentum = 0.85,
      maxMomentum = 0.95,
      divFactor = 25,
      finalDivFactor = 1e4,
      threePhase = false,
    }: OneCycleOptions,
  ) {
    positive('OneCycleLR', 'totalSteps', totalSteps);
    const first = maxLr / divFactor;
    const last = first / finalDivFactor;
    const top = pctStart * totalSteps - 1;
    // Each phase: its last step, then lr and momentum from and to.
    const phases = threePhase
      ? [
          [top, first, maxLr, maxMomentum, baseMomentum],
          [2 * top, maxLr, first, baseMomentum, maxMomentum],
          [totalSteps - 1, first, last, maxMomentum, maxMomentum],
        ]
      : [
          [top, first, maxLr, maxMomentum, baseMomentum],
          [totalSteps - 1, maxLr, last, baseMomentum, maxMomentum],
        ];
    const anneal = (from: number, to: number, part: number) =>
      annealStrategy === 'cos' ? to + ((from - to) / 2) * (1 + Math.cos(Math.PI * part)) : from + (to - from) * part;
    super(optimizer, (group, _, t) => {
      if (t > totalSteps) throw new ArgumentError(`step ${t} of a cycle of ${totalSteps} steps`, { op: 'OneCycleLR' });
      const i = phases.findIndex(([end], index) => t <= end! || index === phases.length - 1);
      const [end, lrFrom, lrTo, momentumFrom, momentumTo] = phases[i]! as [number, number, number, number, number];
      const begin = i === 0 ? 0 : phases[i - 1]![0]!;
      const part = (t - begin) / (end - begin);
      if (cycleMomentum) setMomentum(group as object, anneal(momentumFrom, momentumTo, part));
      return anneal(lrFrom, lrTo, part);
    });
  }
}

function setMomentum(group: object & { betas?: readonly [number, number]; momentum?: number }, momentum: number): void {
  if (group.betas) group.betas = [momentum, group.betas[1]];
  else group.momentum = momentum;
}
