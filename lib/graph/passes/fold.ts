/** Constant folding: what depends on nothing is computed while the program is made. */
import { apply, applyAll, untraced } from '../../core/apply.js';
import { noGrad } from '../../core/scope.js';
import { pin, type Storage, Tensor } from '../../core/tensor.js';
import type { Step } from '../recorder.js';
import { countWrites } from './flow.js';
import type { Context } from './index.js';

/** Elements of the largest constant that is kept; larger ones are cheaper to make than to read. */
const MOST = 4096;

export function foldConstants(steps: readonly Step[], { recorder, lasts, bind }: Context): Step[] {
  const writes = countWrites(steps);
  const constants = new Map<Storage, Tensor>();
  const concrete = (x: Tensor | number): Tensor | number | null => {
    if (typeof x === 'number') return recorder.standsFor(x) < 0 ? x : null;
    const constant = constants.get(x.storage);
    return constant === undefined ? null : new Tensor(constant.storage, x.layout, x.offset);
  };
  return steps.filter((step) => {
    const { plan, outputs } = step;
    if (outputs.some((y) => y.size > MOST || writes.get(y.storage) !== 1 || lasts(y.storage))) return true;
    const inputs = step.inputs.map(concrete);
    if (inputs.includes(null) || inputs.length === 0) return true;
    const values = untraced(() =>
      noGrad(() => {
        const given = inputs as (Tensor | number)[];
        return plan.op.many ? applyAll(plan.op, given, plan.params) : [apply(plan.op, given, plan.params)];
      }),
    );
    // Another layout than was recorded: views that were made of it would lie elsewhere.
    if (values.some((y, i) => y.layout !== outputs[i]!.layout)) return true;
    values.forEach((y, i) => {
      const { storage, layout } = outputs[i]!;
      constants.set(storage, pin(y));
      bind(storage, { tensor: y, gradientOf: null, layout, offset: 0, differentiable: false, written: false });
    });
    return false;
  });
}
