/** Trailing reductions: what is made and then summed is added up while it is made. */
import type { Step } from '../recorder.js';
import { isTile } from '../tile.js';
import { gather } from './gather.js';
import type { Context } from './index.js';
import { isSum } from './join.js';

/** Each of up to 64 chunks has sums of its own: they must be few beside what is summed, or all of it small. */
const SMALL = 65536;
const SHARE = 64;

/** Whether a step is a sum that is worth adding up while its operand is made. */
export function addsUp({ plan }: Step): boolean {
  const size = plan.inputs[0]?.size ?? 0;
  return isSum(plan) && size > 0 && (size <= SMALL || plan.layouts[0]!.size * SHARE <= size);
}

export function fuseSums(steps: readonly Step[], context: Context): Step[] {
  const takes = (step: Step) => isTile(step.plan) || addsUp(step);
  return gather(steps, context, takes, (a, b) => isSum(a.plan) || isSum(b.plan));
}
