/** What is done to a recorded function before it runs, in this order; each can be switched off. */
import type { Storage } from '../../core/tensor.js';
import type { Recorder, State, Step } from '../recorder.js';
import { batchUpdates } from './batch.js';
import { mergeCommon } from './common.js';
import { removeDead } from './dead.js';
import { foldConstants } from './fold.js';
import { fuseElementwise } from './fuse.js';
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
  fuse: fuseElementwise,
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
  return order.reduce((now, name) => (switchedOn(name, options) ? all[name](now, context) : now), steps);
}
