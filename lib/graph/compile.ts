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
import { files } from './saved.js';
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
  /** How often the function ran to be recorded. */
  traces: number;
  /** Calls that were recorded, of all programs. */
  recorded: number;
  /** Kernels that they became. */
  kernels: number;
  /** Memory for intermediate values of all programs. */
  arenaBytes: number;
  /** By how much the largest program exceeds `memoryBudget`, in bytes: 0 when all fit, or there is none. */
  overBudget: number;
}

export interface CompileOptions {
  /** Passes to leave out, by name: `{ dead: false }`. `false`: none at all, each kernel as eager runs it, bit for bit. */
  passes?: PassOptions;
  /**
   * Bytes that the intermediate values of a program may take: where they are more, some are computed again instead of kept, cheap ones
   * first, to the same bits. A budget that cannot be met gives the least that can be reached; stats() says so. Programs with cond, scan or
   * whileLoop stay as they are: recompute() works there.
   */
  memoryBudget?: number;
}

/** A compiled function: called like the one it was made of. */
export interface Compiled<A extends readonly unknown[], R> {
  (...args: A): R;
  /**
   * The same call beside JavaScript: the program runs on a thread of its own, and timers and requests are served meanwhile. Calls run in
   * the order in which they were made, these and those that block; several may be under way. Learning rates, step counts and random
   * numbers are those of the moment of the call. What touches a tensor that a call under way reads or writes (an op, `item()`, a write
   * in place) waits for it; dispose() need not. Results belong to no scope(). (jax's asynchronous dispatch)
   *
   * The promise rejects with what the function would throw. A call that fails does not hold up those after it; what it writes in place
   * is then partly written, and its step is counted.
   * @throws TraceError inside a function that is being compiled: call it plainly there
   */
  async(...args: A): Promise<R>;
  stats(): CompileStats;
  /** The programs, a line a kernel. */
  explain(): string;
  /**
   * Writes the programs and the tensors that they hold as one safetensors file, which names ops and dtypes: loadProgram() of this or
   * another version answers the same function without the code that it was made of. One program is kept for each form of arguments
   * that it was called with, in the modes (train, eval) of now. (torch.export.save)
   * @throws ArgumentError when nothing was recorded yet
   * @throws TraceError when a run takes more than arguments and tensors (random numbers, learning rates), or leaves gradients
   */
  save(path: string | URL): Promise<void>;
  /**
   * Gives the memory and the kernels of its programs back now, not when the collector finds them; calls under way are waited for. The
   * next call records again; a function of loadProgram() has nothing to record, and throws a DisposedError.
   */
  dispose(): void;
  [Symbol.dispose](): void;
}

/** What stats() answers of these programs. */
export function statsOf(programs: readonly Program[], traces: number, memoryBudget?: number): CompileStats {
  const sum = (of: (program: Program) => number) => programs.reduce((n, program) => n + of(program), 0);
  return {
    programs: programs.length,
    traces,
    recorded: sum((one) => one.recorded),
    kernels: sum((one) => one.kernels),
    arenaBytes: sum((one) => one.arenaBytes),
    overBudget: Math.max(0, ...programs.map((one) => one.arenaBytes - (memoryBudget ?? Number.POSITIVE_INFINITY))),
  };
}

/** For each form of arguments the program used last of those that hold now. `programs`: the longest unused first. */
function holding(programs: ReadonlyMap<string, readonly Program[]>): Program[] {
  const forms = new Map<string, Program>();
  for (const [key, known] of programs) {
    const program = known.find((one) => one.holds());
    if (program !== undefined) forms.set(key.slice(key.indexOf('[')), program);
  }
  if (forms.size > 0) return [...forms.values()];
  throw new ArgumentError(
    programs.size === 0
      ? 'nothing is recorded yet: call the function with arguments of each form that it is to take'
      : 'what was recorded belongs to another mode (train, eval) or other parameters: call the function again in this one',
    { op: 'save' },
  );
}

const blocking = (program: Program, inputs: readonly Tensor[]) => program.run(inputs);
const beside = (program: Program, inputs: readonly Tensor[]) => program.submit(inputs);

/**
 * The same function, recorded at the first call for each form of its arguments (shapes, strides, dtypes; other values count as they are)
 * and from then on replayed by one native call. Tensors from outside are read and written in place at every run: parameters, their
 * gradients, what optimizers keep, running statistics. Learning rates, step counts and random numbers are new at each run; train and
 * eval mode, missing gradients and lists of parameters are watched, and a change records again. Other values from outside are
 * constants, and what else the function does (printing, counting) happens only while it is recorded. A function that makes a tensor of
 * data and writes into it, or uses its gradient, runs twice for that: the second time shows whether it makes one at each call or has
 * kept the first.
 *
 * Results are new, detached tensors. (torch.compile, jax.jit)
 * @throws TraceError when the function reads a value (`item()`, `data()`), is async, or is given tensors that require grad
 */
export function compile<A extends readonly unknown[], R>(
  fn: (...args: A) => R,
  options: CompileOptions = {},
): Compiled<A, R> {
  if (typeof fn !== 'function') throw new ArgumentError(`compiles a function, got ${describe(fn)}`, { op: 'compile' });
  const { passes = {}, memoryBudget } = options;
  if (memoryBudget !== undefined && !(memoryBudget >= 0))
    throw new ArgumentError(`memoryBudget is a number of bytes, got ${describe(memoryBudget)}`, { op: 'compile' });
  const unknown = passes === false ? [] : Object.keys(passes).filter((name) => !passNames.includes(name as never));
  if (unknown.length > 0) {
    throw new ArgumentError(`passes are ${passNames.join(', ')}, got ${unknown.join(', ')}`, { op: 'compile' });
  }
  const programs = new Map<string, Program[]>();
  let traces = 0;
  const all = () => [...programs.values()].flat();
  // The program of the last call: mostly also that of the next.
  let last: { program: Program; enabled: boolean; layouts: readonly Layout[] } | null = null;
  /** Gives the program for these arguments, recorded now when there is none, and their tensors to `run`. */
  const dispatch = (args: A, run: (program: Program, inputs: readonly Tensor[]) => unknown): unknown => {
    sweepIfDue();
    if (last !== null && last.enabled === recording.enabled && sameLayouts(args, last.layouts) && last.program.holds())
      return run(last.program, args as unknown as Tensor[]);
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
      const run = (given: readonly unknown[]) => fn(...(given as unknown as A));
      const recording = recordFunction(run, args, inputs, passes, memoryBudget);
      program = new Program(recording);
      program.bind();
      traces += recording.traces;
      known.unshift(program);
      while (all().length > MOST) {
        const [oldest, list] = programs.entries().next().value!;
        list.pop()!.dispose();
        if (list.length === 0) programs.delete(oldest);
      }
    }
    const plain = args.length === inputs.length && args.every((x, i) => x === inputs[i]);
    last = plain ? { program, enabled: recording.enabled, layouts: inputs.map((x) => x.layout) } : null;
    return run(program, inputs);
  };
  const call = (...args: A): R => {
    // In another function that is being compiled, this one is part of it.
    if (hooks.tracer !== null) return fn(...args);
    return dispatch(args, blocking) as R;
  };
  const dispose = (): void => {
    for (const program of all()) program.dispose();
    programs.clear();
    last = null;
  };
  return Object.assign(call, {
    async: (...args: A): Promise<R> => {
      if (hooks.tracer !== null)
        throw new TraceError('async() does not wait inside a function that is being compiled: call it without .async', {
          op: 'compile',
        });
      return new Promise((resolve) => resolve(dispatch(args, beside) as Promise<R>));
    },
    stats: (): CompileStats => statsOf(all(), traces, memoryBudget),
    explain: (): string =>
      all()
        .map((program) => program.explain())
        .join('\n'),
    save: async (path: string | URL): Promise<void> => files.save(path, holding(programs)),
    dispose,
    [Symbol.dispose]: dispose,
  });
}
