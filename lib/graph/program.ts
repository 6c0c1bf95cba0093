/** A recorded function as one native call. */
import { apply, fault } from '../core/apply.js';
import { lookup } from '../core/define.js';
import { deviceIndex } from '../core/device.js';
import { dtypeInfo } from '../core/dtype.js';
import { BrasaError, DeviceError, TraceError } from '../core/error.js';
import type { Layout } from '../core/layout.js';
import { native } from '../native.js';
import {
  abstract,
  allocate,
  checkUsable,
  closeGroup,
  forgetGradient,
  intoScope,
  isAbstract,
  pin,
  seen,
  Storage,
  Tensor,
} from '../core/tensor.js';
import { type Life, place } from './memory.js';
import { removeDead } from './passes/dead.js';
import { Recorder, type State, type Step } from './recorder.js';
import { flatten, rebuild } from './tree.js';

const { words, numbers } = native;
const SLOTS = 8; // words[8..]: what is bound, then the outputs
const OFFSETS = 48; // numbers[48..]: offsets of what is bound

/** Where a storage lies: 0 the arena, then what is bound, then outputs; the offset in bytes. */
interface Home {
  buffer: number;
  offset: number;
}

const bytesOf = (layout: Layout): number => layout.size * dtypeInfo(layout.dtype).bytes;

const dropped = new FinalizationRegistry((id: number) => native.dropProgram(id));

export class Program {
  readonly steps: readonly Step[];
  readonly arenaBytes: number;
  readonly #id: number;
  readonly #recorder: Recorder;
  readonly #guards: readonly (() => boolean)[];
  readonly #states: readonly State[];
  readonly #effects: readonly (() => void)[];
  readonly #computed: { at: number[]; compute: () => readonly number[]; from: number[] }[];
  readonly #scalars: Float64Array;
  readonly #results: readonly Tensor[];
  readonly #outputs: readonly Storage[];
  readonly #form: unknown;

  constructor(fn: (args: readonly unknown[]) => unknown, args: readonly unknown[], leaves: readonly Tensor[]) {
    const recorder = new Recorder();
    this.#recorder = recorder;
    const inputs = leaves.map((x) => abstract(x.layout));
    let form: unknown;
    let grads: [Tensor, Tensor | null][] = [];
    try {
      form = recorder.record(() => fn(rebuild(args, inputs.values()) as unknown[]));
      if (form instanceof Promise)
        throw new TraceError('an async function cannot be compiled: its awaits are not recorded', { op: 'compile' });
      grads = [...recorder.gradients].map(([leaf]) => [leaf, leaf.gradient]);
    } finally {
      recorder.undo();
    }
    const results: Tensor[] = [];
    flatten(form, results, 'results');
    // Gradients that were computed go into memory that lasts; results into memory of their own: not a parameter's, an
    // argument's, a gradient's, nor a part of something larger.
    const made = new Map<Storage, number>();
    for (const { outputs } of recorder.steps) for (const y of outputs) made.set(y.storage, y.size);
    const kept = new Map<Storage, Tensor>();
    const copy = (x: Tensor) => recorder.record(() => apply(lookup('clone'), [x]));
    for (const [leaf, now] of grads) {
      if (now === recorder.gradients.get(leaf)!) continue;
      if (now === null) {
        recorder.after(() => forgetGradient(leaf));
        continue;
      }
      let lasting = now;
      if (isAbstract(now)) {
        const g = made.get(now.storage) === now.size && !kept.has(now.storage) ? now : copy(now);
        lasting = seen(pin(allocate(g.layout)));
        kept.set(g.storage, lasting);
      }
      recorder.after(() => {
        leaf.gradient = lasting;
      });
    }
    const own = new Set<Storage>();
    this.#results = results.map((x) => {
      const y = isAbstract(x) && made.has(x.storage) && !kept.has(x.storage) ? x : copy(x);
      own.add(y.storage);
      return y;
    });
    this.#outputs = [...own];
    this.#form = form;
    this.#guards = recorder.guards;
    this.#effects = recorder.effects;

    const lasting = new Set([...inputs.map((x) => x.storage), ...recorder.states.keys(), ...kept.keys(), ...own]);
    this.steps = removeDead(recorder.steps, (storage) => lasting.has(storage));

    // ---- where everything lies
    const homes = new Map<Storage, Home>();
    inputs.forEach((x, i) => {
      homes.set(x.storage, { buffer: 1 + i, offset: 0 });
    });
    const bound: State[] = [...recorder.states].map(([storage, state], i) => {
      homes.set(storage, { buffer: 1 + inputs.length + i, offset: 0 });
      return state;
    });
    for (const [storage, tensor] of kept) {
      homes.set(storage, { buffer: 1 + inputs.length + bound.length, offset: 0 });
      bound.push({ tensor: () => tensor, layout: tensor.layout, offset: 0, differentiable: false, written: true });
    }
    this.#states = bound;
    const outBytes = this.#outputs.map(() => 0);
    this.#outputs.forEach((storage, i) => {
      homes.set(storage, { buffer: 1 + inputs.length + bound.length + i, offset: 0 });
    });
    const lives = new Map<Storage, Life>();
    this.steps.forEach(({ inputs: read, outputs }, step) => {
      for (const y of outputs) {
        const home = homes.get(y.storage);
        if (home === undefined && !lives.has(y.storage))
          lives.set(y.storage, { bytes: bytesOf(y.layout), from: step, to: step });
        const i = this.#outputs.indexOf(y.storage);
        if (i >= 0) outBytes[i] = Math.max(outBytes[i]!, bytesOf(y.layout));
      }
      for (const x of [...read, ...outputs]) {
        if (typeof x === 'number') continue;
        const life = lives.get(x.storage);
        if (life) life.to = step;
        else if (!homes.has(x.storage))
          throw new TraceError('a value of another traced function was used', { op: 'compile' });
      }
    });
    const list = [...lives];
    const { offsets, bytes } = place(list.map(([, life]) => life));
    list.forEach(([storage], i) => {
      homes.set(storage, { buffer: 0, offset: offsets[i]! });
    });
    this.arenaBytes = bytes;

    // ---- what the native library is told
    const device = this.steps.length > 0 ? this.steps[0]!.plan.layouts[0]!.device : 'cpu';
    const scalars: number[] = [];
    const uses = new Map<number, number[]>();
    const text = [bytes, inputs.length + bound.length, outBytes.length, this.steps.length, ...outBytes];
    for (const { plan, inputs: read, outputs } of this.steps) {
      if (plan.layouts[0]!.device !== device)
        throw new DeviceError(
          `a compiled function runs on one device, this one on ${device} and ${plan.layouts[0]!.device}`,
          { op: 'compile' },
        );
      text.push(plan.id, scalars.length);
      for (const x of read) {
        if (typeof x !== 'number') continue;
        const i = recorder.standsFor(x);
        if (i >= 0) uses.set(i, [...(uses.get(i) ?? []), scalars.length]);
        scalars.push(x);
      }
      scalars.push(...plan.constants);
      for (const x of [...read, ...outputs]) {
        if (typeof x === 'number') continue;
        const { buffer, offset } = homes.get(x.storage)!;
        text.push(buffer, offset / dtypeInfo(x.dtype).bytes + x.offset);
      }
    }
    this.#scalars = Float64Array.from(scalars);
    this.#computed = recorder.computed.map(({ first, count, compute }) => {
      const pairs = Array.from({ length: count }, (_, i) =>
        (uses.get(first + i) ?? []).map((at) => [at, i] as const),
      ).flat();
      return { compute, at: pairs.map(([at]) => at), from: pairs.map(([, i]) => i) };
    });
    this.#id = native.program(deviceIndex(device), Float64Array.from(text), this.#scalars);
    if (this.#id < 0)
      throw new BrasaError(`the native library refused the program (status ${-this.#id})`, 'ERR_BRASA_INTERNAL', {
        op: 'compile',
      });
    dropped.register(this, this.#id);
  }

  /** Whether everything that decided what was recorded is as it was. */
  holds(): boolean {
    for (const guard of this.#guards) if (!guard()) return false;
    for (const state of this.#states) {
      const x = state.tensor();
      if (x.layout !== state.layout || x.offset !== state.offset || (x.node !== null) !== state.differentiable)
        return false;
    }
    return true;
  }

  run(inputs: readonly Tensor[]): unknown {
    for (const { at, from, compute } of this.#computed) {
      const values = compute();
      for (let i = 0; i < at.length; i++) this.#scalars[at[i]!] = values[from[i]!]!;
    }
    let n = 0;
    for (const x of inputs) {
      checkUsable(x, 'compile');
      words[SLOTS + n] = x.storage.slot;
      numbers[OFFSETS + n++] = x.offset;
    }
    for (const state of this.#states) {
      const x = state.tensor();
      checkUsable(x, 'compile');
      words[SLOTS + n] = x.storage.slot;
      numbers[OFFSETS + n++] = 0;
    }
    words[0] = this.#id;
    closeGroup();
    const storages = this.#outputs.map(() => new Storage());
    native.runProgram(storages);
    if (words[1] !== 0) throw this.#failure();
    storages.forEach((storage, i) => {
      storage.slot = words[SLOTS + n + i]!;
      intoScope(storage);
    });
    for (const state of this.#states) if (state.written) state.tensor().storage.version++;
    for (const effect of this.#effects) effect();
    const results = this.#results.map(
      ({ storage, layout, offset }) => new Tensor(storages[this.#outputs.indexOf(storage)]!, layout, offset),
    );
    return rebuild(this.#form, results.values());
  }

  /** A line a kernel: what it makes, its name, what it reads. */
  explain(): string {
    const names = new Map<Storage, string>();
    const name = (x: Tensor): string => {
      if (!names.has(x.storage)) names.set(x.storage, `%${names.size}`);
      return `${names.get(x.storage)}:${x.dtype}(${x.shape.join()})`;
    };
    return this.steps
      .map(({ plan, inputs, outputs }) => {
        const read = inputs.map((x) => (typeof x === 'number' ? this.#number(x) : name(x))).join(', ');
        return `${outputs.map(name).join(', ')} = ${plan.op.name}(${read})`;
      })
      .join('\n');
  }

  #number(x: number): string {
    const i = this.#recorder.standsFor(x);
    return i < 0 ? `${x}` : `run[${i}]`;
  }

  #failure(): Error {
    const step = this.steps[words[2]!];
    return step
      ? fault(step.plan)
      : new BrasaError(`the program does not run (native status ${words[1]})`, 'ERR_BRASA_INTERNAL', { op: 'compile' });
  }
}
