/** What is done to a recorded function before it runs, in this order; each can be switched off. */
import type { Storage } from '../../core/tensor.js';
import type { Recorder, State, Step } from '../recorder.js';
import type { Region } from '../region.js';
import { batchUpdates } from './batch.js';
import { mergeCommon } from './common.js';
import { removeDead } from './dead.js';
import { addEpilogues } from './epilogue.js';
import { reads } from './flow.js';
import { foldConstants } from './fold.js';
import { fuseElementwise } from './fuse.js';
import { chooseLayouts } from './layout.js';
import { gatherProducts } from './products.js';
import { fuseSums } from './reduce.js';

/** What a pass may know beside the steps. */
export interface Context {
  readonly recorder: Recorder;
  /** Whether a storage is read after the program: state, arguments, results. What writes one stays as it is. */
  readonly lasts: (storage: Storage) => boolean;
  /** Makes memory from outside of a storage that steps read. */
  readonly bind: (storage: Storage, state: State) => void;
}

/** Steps that give the same. Steps are never changed, only replaced. */
export type Pass = (steps: readonly Step[], context: Context) => readonly Step[];

const all = {
  dead: removeDead,
  common: mergeCommon,
  fold: foldConstants,
  products: gatherProducts,
  layout: chooseLayouts,
  fuse: fuseElementwise,
  epilogue: addEpilogues,
  reduce: fuseSums,
  batch: batchUpdates,
} satisfies Record<string, Pass>;

/** inPlace: of the planning of memory, which comes last. */
export type PassName = keyof typeof all | 'inPlace';
/** false: none of them; else those that are named false are left out. */
export type PassOptions = false | Partial<Record<PassName, boolean>>;

const order = Object.keys(all) as (keyof typeof all)[];
export const passNames: readonly PassName[] = [...order, 'inPlace'];

export function switchedOn(name: PassName, options: PassOptions): boolean {
  return options !== false && options[name] !== false;
}

export function applyPasses(steps: readonly Step[], context: Context, options: PassOptions): readonly Step[] {
  if (options === false) return steps;
  // Bodies name what they read and write of the steps around them: that stays.
  const named = steps.flatMap((step) => (step.region === undefined ? [] : [...reads(step), ...step.outputs]));
  const storages = new Set(named.map((x) => x.storage));
  const careful = { ...context, lasts: (storage: Storage) => context.lasts(storage) || storages.has(storage) };
  return order
    .reduce((now, name) => (options[name] === false ? now : all[name](now, name === 'dead' ? context : careful)), steps)
    .map((step) => (step.region === undefined ? step : withinBodies(step, step.region, context, options)));
}

function withinBodies(step: Step, region: Region, context: Context, options: PassOptions): Step {
  const results = [
    ...region.slices.map(({ inside }) => inside),
    ...step.outputs,
    ...(region.test ? [region.test] : []),
  ];
  const storages = new Set(results.map((x) => x.storage));
  const inner = { ...context, lasts: (storage: Storage) => context.lasts(storage) || storages.has(storage) };
  // Batched copies of results could not be left out one by one (lower.ts).
  const those = { ...options, batch: false };
  return { ...step, region: { ...region, bodies: region.bodies.map((body) => applyPasses(body, inner, those)) } };
}
