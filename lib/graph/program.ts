/** A recorded function as one native call. */
import { fault } from '../core/apply.js';
import { deviceIndex } from '../core/device.js';
import { TraceError } from '../core/error.js';
import { checkUsable, closeGroup, freeStorage, intoScope, Storage, statusError, Tensor } from '../core/tensor.js';
import { runs, watchProgram } from '../core/watch.js';
import { native } from '../native.js';
import { listen, settled } from './jobs.js';
import { type Encoded, encode } from './encode.js';
import { explainSteps } from './explain.js';
import { type Home, Lowering } from './lower.js';
import { bytesOf } from './memory.js';
import type { Recorder, State, Step } from './recorder.js';
import type { Recording } from './recording.js';
import { rebuild } from './tree.js';

const { words, numbers } = native;
const SLOTS = 8; // words[8..]: what is bound, then the outputs
const OFFSETS = 48; // numbers[48..]: offsets of what is bound

const dropped = new FinalizationRegistry((id: number) => native.dropProgram(id));

function outputBytes(steps: readonly Step[], outputs: readonly Storage[]): number[] {
  const bytes = new Map(outputs.map((storage) => [storage, 0]));
  for (const step of steps)
    for (const { storage, layout } of step.outputs)
      if (bytes.has(storage)) bytes.set(storage, Math.max(bytes.get(storage)!, bytesOf(layout)));
  return [...bytes.values()];
}

/** A recording as instructions. */
export interface Assembled {
  readonly arenaBytes: number;
  /** Of each instruction, the call that it runs. */
  readonly runs: readonly (Step | null)[];
  readonly encoded: Encoded;
}

const storagesOf = (tensors: readonly Tensor[]): Storage[] => [...new Set(tensors.map((x) => x.storage))];

function assemble({ recorder, steps, inPlace, inputs, states, results }: Recording): Assembled {
  const homes = new Map<Storage, Home>();
  const outputs = storagesOf(results);
  for (const storage of [...inputs.map((x) => x.storage), ...states.keys(), ...outputs])
    homes.set(storage, { buffer: 1 + homes.size, offset: 0 });
  const lowered = new Lowering(steps, homes, inPlace);
  const encoded = encode(lowered, recorder, {
    bound: inputs.length + states.size,
    outputBytes: outputBytes(steps, outputs),
  });
  const runs = lowered.code.map((one) => (one.code === 'run' ? one.step : null));
  return { arenaBytes: lowered.arenaBytes, runs, encoded };
}

/** All that a program is made of and that can be kept in a file. */
export interface Contents {
  readonly recorded: number;
  readonly runs: readonly (Step | null)[];
  readonly text: Float64Array;
  readonly scalars: Float64Array;
  readonly inputs: readonly Tensor[];
  readonly given: readonly unknown[];
  readonly states: readonly State[];
  readonly results: readonly Tensor[];
  readonly form: unknown;
}

/** How the native call is made, and what is told of it when it is done. */
interface Start {
  readonly start: (outputs: readonly object[]) => void;
  readonly watch: () => void;
}
const BLOCKING: Start = { start: native.runProgram, watch: () => {} };
const BESIDE: Start = { start: native.submitProgram, watch: () => {} };

export class Program {
  readonly recorded: number;
  readonly steps: readonly Step[];
  readonly arenaBytes: number;
  /** Runs of kernels, each counted once, however often it runs. */
  readonly kernels: number;
  readonly #recording: Recording;
  readonly #runs: readonly (Step | null)[];
  readonly #text: Float64Array;
  #id: number;
  readonly #device: string;
  readonly #recorder: Recorder;
  readonly #states: readonly State[];
  readonly #written: readonly State[];
  readonly #writtenInputs: readonly number[];
  /** How many arguments come before the states. */
  readonly #given: number;
  /** Numbers that are computed at each run: those `from` the list go to `at` in the scalars. */
  readonly #computed: readonly { compute: () => readonly number[]; from: number[]; at: number[] }[];
  readonly #scalars: Float64Array;
  readonly #results: readonly Tensor[];
  readonly #outputs: readonly Storage[];
  readonly #form: unknown;

  /** `assembled`: where the instructions are known already. */
  constructor(recording: Recording, { arenaBytes, runs, encoded }: Assembled = assemble(recording)) {
    const { recorder, recorded, steps, inputs, states, form, results } = recording;
    this.#recording = recording;
    this.#recorder = recorder;
    this.#states = [...states.values()];
    this.#written = this.#states.filter(({ written }) => written);
    this.#given = inputs.length;
    const changed = new Set(steps.flatMap(({ outputs }) => outputs.map((y) => y.storage)));
    this.#writtenInputs = [...inputs.keys()].filter((i) => changed.has(inputs[i]!.storage));
    this.#results = results;
    this.#outputs = storagesOf(results);
    this.#form = form;
    this.recorded = recorded;
    this.steps = steps;
    this.arenaBytes = arenaBytes;
    this.#runs = runs;
    this.kernels = runs.reduce((n, step) => (step === null ? n : n + 1), 0);
    const { device, text, scalars, uses } = encoded;
    this.#device = device;
    this.#text = Float64Array.from(text);
    this.#scalars = Float64Array.from(scalars);
    this.#computed = recorder.computed.map(({ first, count, compute }) => {
      const pairs = Array.from({ length: count }, (_, i) => (uses.get(first + i) ?? []).map((at) => [i, at])).flat();
      return { compute, from: pairs.map(([i]) => i!), at: pairs.map(([, at]) => at!) };
    });
    this.#id = native.program(deviceIndex(device), this.#text, this.#scalars);
    // Plans that no cache holds are the program's alone.
    for (const step of runs) {
      if (step === null) continue;
      const { plan } = step;
      if (plan.op.plans.size > 0 || plan.id < 0) continue;
      native.dropPlan(plan.id);
      plan.id = -1;
    }
    if (this.#id < 0) throw statusError(-this.#id, `no program of ${this.kernels} kernels`, 'compile', device);
    dropped.register(this, this.#id, this);
  }

  /** Gives its memory and kernels back; it never runs again. */
  dispose(): void {
    if (this.#id < 0) return;
    dropped.unregister(this);
    native.dropProgram(this.#id);
    this.#id = -1;
  }

  get disposed(): boolean {
    return this.#id < 0;
  }

  /** Whether everything that decided what was recorded is as it was; if so, what lasts is bound and run() may follow. */
  holds(): boolean {
    for (const guard of this.#recorder.guards) if (!guard()) return false;
    return this.bind();
  }

  /** Names the memory that lasts to the native library; false where it is not as it was recorded. */
  bind(): boolean {
    const states = this.#states;
    const first = this.#given;
    for (let i = 0; i < states.length; i++) {
      const { tensor, gradientOf, layout, offset, differentiable } = states[i]!;
      const x = gradientOf === null ? tensor : gradientOf.gradient!;
      if (x.layout !== layout || x.offset !== offset || (x.node !== null) !== differentiable) return false;
      const { slot } = x.storage;
      if (slot < 0 || x.disposed) checkUsable(x, 'compile');
      words[SLOTS + first + i] = slot;
      numbers[OFFSETS + first + i] = 0;
    }
    return true;
  }

  run(inputs: readonly Tensor[]): unknown {
    const { start, watch } = runs ? this.#watched(native.runProgram, false) : BLOCKING;
    const storages = this.#call(inputs, start);
    watch();
    storages.forEach(intoScope);
    this.#change();
    return this.#answer(storages);
  }

  /** run() beside JavaScript, after what was submitted before. What JavaScript knows has changed when this returns. */
  submit(inputs: readonly Tensor[]): Promise<unknown> {
    listen();
    const { start, watch } = runs ? this.#watched(native.submitProgram, true) : BESIDE;
    const storages = this.#call(inputs, start);
    const done = settled(() => {
      if (words[1] !== 0) {
        storages.forEach(freeStorage);
        throw this.#failure();
      }
      watch();
      return this.#answer(storages);
    });
    this.#change();
    return done;
  }

  /** A call that is asked for the times of its kernels. */
  #watched(call: typeof native.runProgram, beside: boolean): Start {
    const times = new Float64Array(this.#runs.length + 1);
    let from = 0;
    return {
      start: (storages) => {
        from = performance.now();
        call(storages, times);
      },
      watch: () => {
        const plans = this.#runs.map((step) => step?.plan ?? null);
        watchProgram(plans, from, times, beside);
      },
    };
  }

  /** Memory of the outputs, filled or to be filled. */
  #call(inputs: readonly Tensor[], start: Start['start']): Storage[] {
    for (const { at, from, compute } of this.#computed) {
      const values = compute();
      for (let i = 0; i < at.length; i++) this.#scalars[at[i]!] = values[from[i]!]!;
    }
    for (let i = 0; i < inputs.length; i++) {
      const x = inputs[i]!;
      const { slot } = x.storage;
      if (slot < 0 || x.disposed) checkUsable(x, 'compile');
      words[SLOTS + i] = slot;
      numbers[OFFSETS + i] = x.offset;
    }
    for (const { gradientOf, tensor } of this.#written)
      this.#write((gradientOf?.gradient ?? tensor).storage, inputs, -1);
    for (const i of this.#writtenInputs) this.#write(inputs[i]!.storage, inputs, i);
    const n = this.#given + this.#states.length;
    words[0] = this.#id;
    closeGroup();
    const storages = this.#outputs.map(() => new Storage());
    start(storages);
    if (words[1] !== 0) throw this.#failure();
    storages.forEach((storage, i) => {
      storage.slot = words[SLOTS + n + i]!;
    });
    return storages;
  }

  /** What a call changes in JavaScript. */
  #change(): void {
    for (const effect of this.#recorder.effects) effect();
  }

  #answer(storages: readonly Storage[]): unknown {
    const results = this.#results.map(
      ({ storage, layout, offset }) => new Tensor(storages[this.#outputs.indexOf(storage)]!, layout, offset),
    );
    return rebuild(this.#form, results.values());
  }

  /** Kernels are put in order as if what is written were no argument under another name. */
  #write(storage: Storage, inputs: readonly Tensor[], itself: number): void {
    storage.version++;
    for (let i = 0; i < inputs.length; i++) {
      if (inputs[i]!.storage === storage && i !== itself)
        throw new TraceError(`argument ${i} shares memory with what the function changes: give it a clone()`, {
          op: 'compile',
        });
    }
  }

  /** @throws TraceError when a run takes more than arguments and tensors, or leaves more than tensors */
  contents(): Contents {
    const refuse = (why: string): never => {
      throw new TraceError(`${why}: only functions of their arguments and of tensors can be saved`, { op: 'save' });
    };
    if (this.#computed.some(({ at }) => at.length > 0))
      refuse('numbers are computed anew at each call (random numbers, learning rates): call eval(), or pass a tensor');
    if (this.#recorder.effects.length > 0 || this.#states.some(({ gradientOf }) => gradientOf !== null))
      refuse('the function leaves or reads gradients or counts steps: save one that returns what it computes');
    const { recorded, inputs, given, results, form } = this.#recording;
    const states = this.#states;
    return {
      ...{ recorded, inputs, given, states, results, form },
      ...{ runs: this.#runs, text: this.#text, scalars: this.#scalars },
    };
  }

  /** A line a kernel. */
  explain(): string {
    return explainSteps(this.steps, (x) => {
      const i = this.#recorder.standsFor(x);
      return i < 0 ? `${x}` : `run[${i}]`;
    });
  }

  #failure(): Error {
    const failed = this.#runs[words[2]!];
    return failed ? fault(failed.plan) : statusError(words[1]!, 'the program does not run', 'compile', this.#device);
  }
}
