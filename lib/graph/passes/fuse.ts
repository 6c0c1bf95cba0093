/**
 * Elementwise fusion: calls over the same shape that feed each other, or read the same memory, become one tile program. What only
 * they read is never stored.
 */
import type { Step } from '../recorder.js';
import { isTile } from '../tile.js';
import { gather } from './gather.js';
import type { Context } from './index.js';

export function fuseElementwise(steps: readonly Step[], context: Context): Step[] {
  const takes = ({ plan }: Step) => isTile(plan);
  return gather(steps, context, takes, () => true);
}
