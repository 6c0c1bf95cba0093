/** compile(): a function of tensors as one native call. */
import { hooks } from '../core/apply.js';
import { ArgumentError, describe, TraceError } from '../core/error.js';
import { sweepIfDue } from '../core/memory.js';
import { recording } from '../core/tape.js';
import type { Layout } from '../core/layout.js';
import { Tensor } from '../core/tensor.js';
import { type PassOptions, passNames } from './passes/index.js';
import { Program } from './program.js';
import { recordFunction } from './recording.js';
import { flatten } from './tree.js';

/** Programs that one function keeps; the longest unused goes first. */
const MOST = 64;

/** Whether the arguments are tensors without a graph, and of these layouts. */
function sameLayouts(args: readonly unknown[], layouts: readonly Layout[]): boolean {
  if (args.length !== layouts.length) return false;
  for (let i = 0; i < layouts.length; i++) {
    const x = args[i];
    if (!(x instanceof Tensor) || x.layout !== layouts[i] || x.node !== null) return false;
  }
  return true;
}

export interface CompileStats {
  /** Signatures and states of the world that were traced and are kept. */
  programs: number;
  /** How often the function was traced. */
  traces: number;
  /** Calls that were recorded, of all programs. */
  recorded: number;
  /** Kernels that they became. */
  kernels: number;
  /** Memory for intermediate values of all programs. */
  arenaBytes: number;
}

export interface CompileOptions {
  /** Passes to leave out, by name: `{ dead: false }`. `false`: none at all, each kernel as eager runs it, bit for bit. */
  passes?: PassOptions;
}

/** A compiled function: called like the one it was made of. */
export interface Compiled<A extends readonly unknown[], R> {
  (...args: A): R;
  stats(): CompileStats;
  /** The programs, a line a kernel. */
  explain(): string;
}

/**
 * The same function, recorded at the first call for each form of its arguments (shapes, strides, dtypes; other values count as they are)
 * and from then on replayed by one native call. Tensors from outside are read and written in place at every run: parameters, their
 * gradients, what optimizers keep, running statistics. Learning rates, step counts and random numbers are new at each run; train and
 * eval mode, missing gradients and lists of parameters are watched, and a change records again. Other values from outside are
 * constants, and what else the function does (printing, counting) happens only while it is recorded.
 *
 * Results are new, detached tensors. (torch.compile, jax.jit)
 * @throws TraceError when the function reads a value (`item()`, `data()`), is async, or is given tensors that require grad
 */
export function compile<A extends readonly unknown[], R>(
  fn: (...args: A) => R,
  options: CompileOptions = {},
): Compiled<A, R> {
  if (typeof fn !== 'function') throw new ArgumentError(`compiles a function, got ${describe(fn)}`, { op: 'compile' });
  const { passes = {} } = options;
  const unknown = passes === false ? [] : Object.keys(passes).filter((name) => !passNames.includes(name as never));
  if (unknown.length > 0) {
    throw new ArgumentError(`passes are ${passNames.join(', ')}, got ${unknown.join(', ')}`, { op: 'compile' });
  }
  const programs = new Map<string, Program[]>();
  let traces = 0;
  const all = () => [...programs.values()].flat();
  // The program of the last call: mostly also that of the next.
  let last: { program: Program; enabled: boolean; layouts: readonly Layout[] } | null = null;
  const call = (...args: A): R => {
    // In another function that is being compiled, this one is part of it.
    if (hooks.tracer !== null) return fn(...args);
    sweepIfDue();
    if (last !== null && last.enabled === recording.enabled && sameLayouts(args, last.layouts) && last.program.holds())
      return last.program.run(args as unknown as Tensor[]) as R;
    const inputs: Tensor[] = [];
    const key = `${recording.enabled}${flatten(args, inputs, 'arguments')}`;
    for (const x of inputs) {
      if (x.node !== null)
        throw new TraceError('an argument requires grad: detach() it, or take gradients inside the function', {
          op: 'compile',
        });
    }
    const known = programs.get(key) ?? [];
    programs.delete(key);
    programs.set(key, known);
    let program = known.find((one) => one.holds());
    if (program === undefined) {
      program = new Program(recordFunction((given) => fn(...(given as unknown as A)), args, inputs, passes));
      program.bind();
      traces++;
      known.unshift(program);
      while (all().length > MOST) {
        const [oldest, list] = programs.entries().next().value!;
        list.pop();
        if (list.length === 0) programs.delete(oldest);
      }
    }
    const plain = args.length === inputs.length && args.every((x, i) => x === inputs[i]);
    last = plain ? { program, enabled: recording.enabled, layouts: inputs.map((x) => x.layout) } : null;
    return program.run(inputs) as R;
  };
  return Object.assign(call, {
    stats: (): CompileStats => ({
      programs: all().length,
      traces,
      recorded: all().reduce((n, { recorded }) => n + recorded, 0),
      kernels: all().reduce((n, { steps }) => n + steps.length, 0),
      arenaBytes: all().reduce((n, { arenaBytes }) => n + arenaBytes, 0),
    }),
    explain: (): string =>
      all()
        .map((program) => program.explain())
        .join('\n'),
  });
}
