/** What compile() makes a program of: a function recorded, with its results and gradients in memory of their own. */
import { apply } from '../core/apply.js';
import { lookup } from '../core/define.js';
import { TraceError } from '../core/error.js';
import {
  abstract,
  allocate,
  forgetGradient,
  isAbstract,
  pin,
  type Storage,
  seen,
  type Tensor,
} from '../core/tensor.js';
import { applyPasses, type PassOptions, switchedOn } from './passes/index.js';
import { arenaOf } from './memory.js';
import { rematerialize } from './passes/rematerialize.js';
import { Recorder, type State, type Step } from './recorder.js';
import { flatten, rebuild } from './tree.js';

export interface Recording {
  readonly recorder: Recorder;
  /** How often the function ran. */
  readonly traces: number;
  /** How many calls were recorded, and what the passes made of them. */
  readonly recorded: number;
  readonly steps: readonly Step[];
  /** Whether results may take the place of operands. */
  readonly inPlace: boolean;
  /** Stand-ins for the arguments. */
  readonly inputs: readonly Tensor[];
  /** The arguments, with the stand-ins in them. */
  readonly given: readonly unknown[];
  /** What is bound at each run, by the storage that the steps name. */
  readonly states: ReadonlyMap<Storage, State>;
  /** What the function answered, and the tensors in it. */
  readonly form: unknown;
  readonly results: readonly Tensor[];
}

/** The function's calls, what it answered, and the gradients that it left. */
function runOnce(
  fn: (args: readonly unknown[]) => unknown,
  args: readonly unknown[],
  leaves: readonly Tensor[],
  again: boolean,
): { recorder: Recorder; inputs: Tensor[]; form: unknown; gradients: [Tensor, Tensor | null][] } {
  const recorder = new Recorder(again);
  const inputs = leaves.map((x) => abstract(x.layout));
  try {
    const form = recorder.record(() => fn(rebuild(args, inputs.values()) as unknown[]));
    if (form instanceof Promise)
      throw new TraceError('an async function cannot be compiled: its awaits are not recorded', { op: 'compile' });
    return { recorder, inputs, form, gradients: [...recorder.gradients].map(([leaf]) => [leaf, leaf.gradient]) };
  } finally {
    recorder.undo();
  }
}

export function recordFunction(
  fn: (args: readonly unknown[]) => unknown,
  args: readonly unknown[],
  leaves: readonly Tensor[],
  passes: PassOptions,
  memoryBudget = Number.POSITIVE_INFINITY,
): Recording {
  const once = runOnce(fn, args, leaves, false);
  const { recorder, inputs, form, gradients } = once.recorder.unsure ? runOnce(fn, args, leaves, true) : once;
  const answered: Tensor[] = [];
  flatten(form, answered, 'results');

  // What the program makes, in memory of its own: an argument that it writes is not.
  const made = new Map<Storage, number>();
  for (const { outputs } of recorder.steps) for (const y of outputs) made.set(y.storage, y.size);
  for (const { storage } of inputs) made.delete(storage);
  const copy = (x: Tensor) => recorder.record(() => apply(lookup('clone'), [x]));

  // Gradients that were computed go into memory that lasts.
  const kept = new Map<Storage, State>();
  for (const [leaf, now] of gradients) {
    if (now === recorder.gradients.get(leaf)!) continue;
    if (now === null) {
      recorder.after(() => forgetGradient(leaf));
      continue;
    }
    let lasting = now;
    if (isAbstract(now)) {
      const g = made.get(now.storage) === now.size && !kept.has(now.storage) ? now : copy(now);
      const { layout } = g;
      lasting = seen(pin(allocate(layout)));
      kept.set(g.storage, {
        tensor: lasting,
        gradientOf: null,
        layout,
        offset: 0,
        differentiable: false,
        written: true,
      });
    }
    recorder.after(() => {
      leaf.gradient = lasting;
    });
  }
  // Results get memory of their own: not a parameter's, an argument's or a gradient's.
  const results = answered.map((x) => (isAbstract(x) && made.has(x.storage) && !kept.has(x.storage) ? x : copy(x)));

  const states = new Map([...recorder.states, ...kept]);
  const lasts = new Set([...[...inputs, ...results].map((x) => x.storage), ...states.keys()]);
  const context = {
    recorder,
    lasts: (storage: Storage) => lasts.has(storage),
    bind: (storage: Storage, state: State) => states.set(storage, state),
  };
  const inPlace = switchedOn('inPlace', passes);
  const passed = applyPasses(recorder.steps, context, passes);
  const outside = new Set([...lasts, ...states.keys()]);
  // What bodies of control flow read keeps its name: there nothing is made again.
  const limited = memoryBudget < Number.POSITIVE_INFINITY && passed.every(({ region }) => region === undefined);
  // Where memory is short, activations must stay apart from the products that they follow: they are what can be made again.
  const short = limited && arenaOf(passed, outside, inPlace).bytes > memoryBudget;
  const apart = () =>
    passes === false ? passed : applyPasses(recorder.steps, context, { ...passes, epilogue: false });
  const steps = short ? rematerialize(apart(), outside, inPlace, memoryBudget) : passed;
  return {
    recorder,
    traces: once.recorder === recorder ? 1 : 2,
    recorded: recorder.steps.length,
    steps,
    inPlace,
    inputs,
    given: rebuild(args, inputs.values()) as unknown[],
    states,
    form,
    results,
  };
}
