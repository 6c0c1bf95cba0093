/** Dead code: what nothing that lasts depends on is not computed. */
import type { Storage } from '../../core/tensor.js';
import type { Step } from '../recorder.js';
import type { Context } from './index.js';

export function removeDead(steps: readonly Step[], { lasts }: Context): Step[] {
  const wanted = new Set<Storage>();
  const kept: Step[] = [];
  for (let i = steps.length - 1; i >= 0; i--) {
    const step = steps[i]!;
    if (!step.outputs.some(({ storage }) => wanted.has(storage) || lasts(storage))) continue;
    kept.push(step);
    for (const x of [...step.inputs, ...step.outputs]) if (typeof x !== 'number') wanted.add(x.storage);
  }
  return kept.reverse();
}
