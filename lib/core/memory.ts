/**
 * The sweep. Finalizers run only when the event loop turns, so a synchronous loop would never free: at a byte threshold the weak
 * references of storages are polled instead, after a forced minor collection, and a major one when much survives.
 * It runs only at the entry of apply, before any operand's slot is read.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { native } from '../native.js';
import { closeGroup } from './tensor.js';

const BUDGET = 7; // numbers[7]: bytes that may still be allocated before the next sweep
const MINOR = 64 * 2 ** 20;
const MAJOR = 512 * 2 ** 20;
const { numbers } = native;

type Collect = (options?: { type: 'minor' | 'major' }) => void;
let collect: Collect | null = null;
let liveAtMajor = 0;

numbers[BUDGET] = MINOR;

function collector(): Collect {
  if (collect === null) {
    const own = (globalThis as { gc?: Collect }).gc;
    if (own) collect = own;
    else {
      setFlagsFromString('--expose-gc');
      collect = runInNewContext('gc') as Collect;
      setFlagsFromString('--no-expose-gc');
    }
  }
  return collect;
}

export function sweepIfDue(): void {
  if (numbers[BUDGET]! < 0) sweep();
}

/** Frees the memory of tensors that JavaScript no longer reaches. Bytes that stay live. */
export function sweep(full = false): number {
  const gc = collector();
  closeGroup();
  let live: number;
  if (full) {
    // The first ends a marking that may be under way, and keeps what died since that began.
    gc({ type: 'major' });
    gc({ type: 'major' });
    live = native.sweep(true);
    liveAtMajor = live;
  } else {
    gc({ type: 'minor' });
    live = native.sweep(false);
    // What outlived two minor collections dies in a major one only: run it when live memory has doubled since the last.
    if (live > Math.max(MAJOR, 2 * liveAtMajor)) {
      gc({ type: 'major' });
      live = native.sweep(true);
      liveAtMajor = live;
    }
  }
  numbers[BUDGET] = Math.max(MINOR, live / 4);
  return live;
}
