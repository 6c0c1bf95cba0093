/** Saved programs as a function again. */
import { hooks } from '../core/apply.js';
import { ArgumentError, DisposedError, TraceError } from '../core/error.js';
import { type Layout, layoutOf, show } from '../core/layout.js';
import { sweepIfDue } from '../core/memory.js';
import { abstract, Tensor } from '../core/tensor.js';
import { type Compiled, type CompileStats, statsOf } from './compile.js';
import type { Program } from './program.js';
import { files } from './saved.js';
import { flatten, rebuild } from './tree.js';

/** Forms that a message lists. */
const MOST_LISTED = 8;

interface Form {
  readonly program: Program;
  readonly given: readonly unknown[];
  /** Of the tensors in `given`. */
  readonly layouts: readonly Layout[];
}

function same(a: Layout, b: Layout): boolean {
  const alike = a.dtype === b.dtype && a.device === b.device && a.shape.join() === b.shape.join();
  return a === b || (alike && a.strides.join() === b.strides.join());
}

/** `(f32(2,3), 'a', [i64()])`. */
function written(tree: unknown): string {
  if (tree instanceof Tensor) {
    const { dtype, shape, layout } = tree;
    return `${dtype}${show(shape)}${layout.contiguous ? '' : ` with strides ${show(layout.strides)}`}`;
  }
  if (Array.isArray(tree)) return `[${tree.map(written).join(', ')}]`;
  if (typeof tree === 'object' && tree !== null)
    return `{ ${Object.entries(tree).map(([key, value]) => `${key}: ${written(value)}`)} }`;
  return typeof tree === 'string' ? JSON.stringify(tree) : String(tree);
}

const line = (args: readonly unknown[]): string => `(${args.map(written).join(', ')})`;

export function loadedFunction<A extends readonly unknown[], R>(programs: readonly Program[]): Compiled<A, R> {
  const forms = programs.map((program): Form => {
    const { given, inputs } = program.contents();
    return { program, given, layouts: inputs.map((x) => x.layout) };
  });
  let byKey = new Map<string, Form>();
  /** Layouts have other ids when their table started again. */
  const index = (): void => {
    byKey = new Map();
    for (const form of forms) {
      const fresh = form.layouts.map(({ shape, dtype, device, strides }) =>
        abstract(layoutOf(shape, dtype, device, strides)),
      );
      byKey.set(flatten(rebuild(form.given, fresh.values()), [], 'arguments'), form);
    }
  };
  index();
  const find = (key: string, inputs: readonly Tensor[]): Form | undefined => {
    const form = byKey.get(key);
    return form?.layouts.every((layout, i) => same(layout, inputs[i]!.layout)) ? form : undefined;
  };
  const dispatch = (args: A, run: (program: Program, inputs: readonly Tensor[]) => unknown): unknown => {
    if (hooks.tracer !== null)
      throw new TraceError('a loaded function has no code to be compiled or differentiated: call it outside', {
        op: 'loadProgram',
      });
    if (programs.some((program) => program.disposed))
      throw new DisposedError('the function was disposed of: load it again', { op: 'loadProgram' });
    sweepIfDue();
    const inputs: Tensor[] = [];
    const key = flatten(args, inputs, 'arguments', 'loadProgram');
    let form = find(key, inputs);
    if (form === undefined) {
      index();
      form = find(key, inputs);
    }
    if (form === undefined) {
      const known = forms.slice(0, MOST_LISTED).map(({ given }) => `\n  ${line(given)}`);
      const more = forms.length > MOST_LISTED ? `\n  and ${forms.length - MOST_LISTED} more` : '';
      throw new ArgumentError(
        `takes arguments of the forms that were saved, got ${line(args)}:${known.join('')}${more}`,
        {
          op: 'loadProgram',
        },
      );
    }
    if (inputs.some((x) => x.node !== null))
      throw new TraceError('an argument requires grad, and a loaded function gives no gradients: detach() it', {
        op: 'loadProgram',
      });
    form.program.bind();
    return run(form.program, inputs);
  };
  const dispose = (): void => {
    for (const program of programs) program.dispose();
  };
  const call = (...args: A): R => dispatch(args, (program, inputs) => program.run(inputs)) as R;
  return Object.assign(call, {
    async: (...args: A): Promise<R> =>
      new Promise((resolve) => resolve(dispatch(args, (program, inputs) => program.submit(inputs)) as Promise<R>)),
    stats: (): CompileStats => statsOf(programs, 0),
    explain: (): string => programs.map((program) => program.explain()).join('\n'),
    save: async (path: string | URL): Promise<void> => files.save(path, programs),
    dispose,
    [Symbol.dispose]: dispose,
  });
}
