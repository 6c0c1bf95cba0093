/** What backward will need of an op is inferred: its gradient rule is traced once a signature, to see which values it touches. */
import { hooks } from '../core/apply.js';
import type { InputGrad } from '../core/define.js';
import type { Plan, Saves } from '../core/plan.js';
import { abstract, Tensor } from '../core/tensor.js';
import { live, trace } from '../graph/tracer.js';

type Rule = (g: unknown, inputs: unknown, y: unknown, params: unknown) => Tensor | readonly InputGrad[];

hooks.saves = (plan: Plan, mask: number): Saves => {
  const rule = plan.op.grad as unknown as Rule;
  // Numbers are no part of a signature: what stands for them is none that a rule treats specially.
  const inputs = plan.inputs.map((layout) => (layout === null ? 2.5 : abstract(layout)));
  const outputs = plan.layouts.map((layout) => abstract(layout));
  const g = plan.layouts.map((layout) => abstract(layout));
  const wanted: Tensor[] = [];
  const { records } = trace(() => {
    const many = plan.op.many;
    const grads = rule(many ? g : g[0], inputs, many ? outputs : outputs[0], plan.params);
    const list = grads instanceof Tensor ? [grads] : grads;
    for (let i = 0; i < list.length; i++) {
      if ((mask & (1 << Math.min(i, 30))) === 0) continue;
      const one = list[i];
      const value = typeof one === 'function' ? one() : one;
      if (value) wanted.push(value);
    }
  });
  const touched = new Set<unknown>(wanted);
  for (const record of live(records, wanted)) for (const x of record.inputs) touched.add(x);
  return { inputs: inputs.map((x) => touched.has(x)), outputs: outputs.map((y) => touched.has(y)) };
};
