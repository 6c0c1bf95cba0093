/** Common subexpressions: the same call of the same values is made once. */
import { type Storage, Tensor } from '../../core/tensor.js';
import type { Plan } from '../../core/plan.js';
import type { Step } from '../recorder.js';
import { countWrites } from './flow.js';
import type { Context } from './index.js';

export function mergeCommon(steps: readonly Step[], { lasts }: Context): Step[] {
  const writes = countWrites(steps);
  const numbers = new Map<Storage | Plan, number>();
  const number = (x: Storage | Plan): number => {
    if (!numbers.has(x)) numbers.set(x, numbers.size);
    return numbers.get(x)!;
  };
  const versions = new Map<Storage, number>();
  const instead = new Map<Storage, Storage>();
  const renamed = (x: Tensor): Tensor => {
    const storage = instead.get(x.storage);
    return storage === undefined ? x : new Tensor(storage, x.layout, x.offset);
  };
  const known = new Map<string, Step>();
  const kept: Step[] = [];
  for (const original of steps) {
    const inputs = original.inputs.map((x) => (typeof x === 'number' ? x : renamed(x)));
    const step = { ...original, inputs };
    // Written once and only here: a value, not memory that changes.
    const pure = step.outputs.every(({ storage }) => writes.get(storage) === 1 && !lasts(storage));
    const key = [
      number(step.plan),
      step.era ?? '',
      ...inputs.map((x) =>
        typeof x === 'number'
          ? `#${Object.is(x, -0) ? '-0' : x}`
          : `${number(x.storage)}.${versions.get(x.storage) ?? 0}.${x.layout.id}.${x.offset}`,
      ),
    ].join();
    const same = pure ? known.get(key) : undefined;
    if (same !== undefined) {
      step.outputs.forEach(({ storage }, i) => {
        instead.set(storage, same.outputs[i]!.storage);
      });
      continue;
    }
    if (pure) known.set(key, step);
    for (const { storage } of step.outputs) versions.set(storage, (versions.get(storage) ?? 0) + 1);
    kept.push(step);
  }
  return kept;
}
