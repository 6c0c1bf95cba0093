/** Multi-tensor updates: what an optimizer does to each parameter is one kernel over all of them. */
import type { Call } from '../../core/plan.js';
import type { Step } from '../recorder.js';
import { opRow } from '../../core/define.js';
import { isTile, ownPlan } from '../tile.js';
import { type Group, Groups, reads } from './flow.js';
import type { Context } from './index.js';

/** Operands of one call: native/plans.h. */
const MAX_OPERANDS = 4000;

/** Only writes into memory that lasts are gathered: other values would have to be kept until the last of them is there. */
export function batchUpdates(steps: readonly Step[], { lasts }: Context): Step[] {
  const groups = new Groups(steps);
  const open = new Map<string, number>();
  steps.forEach((step, i) => {
    if (!isTile(step.plan) || !step.outputs.every((y) => lasts(y.storage))) return;
    const { params, inputs, constants } = step.plan.call!;
    const numbers = step.inputs.filter((x) => typeof x === 'number');
    const key = [step.plan.layouts[0]!.device, inputs.length, params.join(), constants.join(), numbers.join()].join(
      '|',
    );
    const last = open.get(key);
    open.set(key, i);
    if (last === undefined) return;
    const operands = inputs.length + step.outputs.length;
    const group = groups.of(last);
    if ((group.members.length + 1) * operands <= MAX_OPERANDS) groups.merge(group, groups.of(i));
  });
  return groups.ordered().map((group) => together(group, steps));
}

function together({ members }: Group, steps: readonly Step[]): Step {
  const all = members.map((i) => steps[i]!);
  const [first] = all;
  if (all.length === 1) return first!;
  const one = first!.plan.call!;
  const call: Call = {
    ...one,
    op: opRow('elementwiseMany')!.id,
    inputs: all.flatMap(({ plan }) => plan.call!.inputs),
    params: [all.length, one.inputs.length, first!.outputs.length, ...one.params],
  };
  const layouts = all.flatMap(({ plan }) => plan.layouts);
  return {
    plan: ownPlan(`${first!.plan.op.name} x ${all.length}`, call, layouts),
    inputs: [...all.flatMap(reads), ...first!.inputs.filter((x) => typeof x === 'number')],
    outputs: all.flatMap(({ outputs }) => outputs),
  };
}
