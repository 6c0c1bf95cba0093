/** Programs for readers: what explain() answers. */
import { opRow } from '../core/define.js';
import { type Storage, Tensor } from '../core/tensor.js';
import { reads } from './passes/flow.js';
import type { Step } from './recorder.js';

/**
 * A line a kernel: what it makes, its name, what it reads; below control flow, its bodies. One that does the same to many tensors is
 * said for the first of them. `number`: a number, or what it stands for.
 */
export function explainSteps(steps: readonly Step[], number: (x: number) => string): string {
  const names = new Map<Storage, string>();
  const name = ({ storage }: Tensor): string => {
    if (!names.has(storage)) names.set(storage, `%${names.size}`);
    return names.get(storage)!;
  };
  const typed = (x: Tensor): string => `${name(x)}:${x.dtype}(${x.shape.join()})`;
  const line = (step: Step): string => {
    const { plan, inputs, outputs } = step;
    const { call } = plan;
    const many = call !== null && call.op === opRow('elementwiseMany')!.id;
    const [, nin, nout] = many ? (call.params as [number, number, number]) : [1, inputs.length, outputs.length];
    const numbers = many ? inputs.filter((x) => typeof x === 'number') : [];
    const first = many ? [...reads(step).slice(0, nin), ...numbers] : inputs;
    const read = first.map((x) => (x instanceof Tensor ? typed(x) : number(x))).join(', ');
    const made = outputs.slice(0, nout).map(typed).join(', ');
    const others = outputs.filter((_, i) => i >= nout && i % nout === 0).map(name);
    const likewise = others.length > 0 ? `; likewise ${others.join(', ')}` : '';
    return `${made} = ${plan.op.name}(${read})${likewise}`;
  };
  const lines = (list: readonly Step[], indent: string): string[] =>
    list.flatMap((step) => {
      const { region } = step;
      const head = `${indent}${line(step)}`;
      if (region === undefined) return [head];
      const heads = region.kind === 'cond' ? ['if', 'else'] : ['each', 'while'];
      return [
        head,
        ...region.bodies.flatMap((body, i) => [`${indent}  ${heads[i]}:`, ...lines(body, `${indent}    `)]),
      ];
    });
  return lines(steps, '').join('\n');
}
