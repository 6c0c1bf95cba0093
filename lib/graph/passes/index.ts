/** What is done to a recorded function before it runs, in this order; each can be switched off. */
import type { Storage } from '../../core/tensor.js';
import type { Recorder, State, Step } from '../recorder.js';
import { batchUpdates } from './batch.js';
import { mergeCommon } from './common.js';
import { removeDead } from './dead.js';
import { foldConstants } from './fold.js';
import { fuseElementwise } from './fuse.js';

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
  batch: batchUpdates,
} satisfies Record<string, Pass>;

export type PassName = keyof typeof all;
/** false: none of them; else those that are named false are left out. */
export type PassOptions = false | Partial<Record<PassName, boolean>>;

export const passNames = Object.keys(all) as readonly PassName[];

export function applyPasses(steps: readonly Step[], context: Context, options: PassOptions): readonly Step[] {
  if (options === false) return steps;
  return passNames.reduce((now, name) => (options[name] === false ? now : all[name](now, context)), steps);
}
