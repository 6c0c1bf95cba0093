/** What recording a region's bodies has in common. */
import { applyInto, hooks } from '../../core/apply.js';
import { lookup, type Op } from '../../core/define.js';
import { ArgumentError, GradError } from '../../core/error.js';
import { type Layout, layoutOf } from '../../core/layout.js';
import type { Plan } from '../../core/plan.js';
import { noGrad } from '../../core/scope.js';
import { NO_PARAMS } from '../../core/tape.js';
import { abstract, isAbstract, type Storage, storageMark, Tensor } from '../../core/tensor.js';
import { clone } from '../../ops/elementwise.js';
import { full } from '../../ops/free.js';
import { Recorder, type Step } from '../recorder.js';
import type { Region } from '../region.js';

/** Whoever compiles the function that runs now; null: it runs for real, and control flow is JavaScript's. */
export function recorderNow(): Recorder | null {
  return hooks.tracer instanceof Recorder ? hooks.tracer : null;
}

/** Memory without a value yet. */
export const room = (x: { shape: readonly number[] } & Pick<Tensor, 'dtype' | 'device'>): Tensor =>
  abstract(layoutOf(x.shape, x.dtype, x.device));

/** Writes a value into memory of its shape and dtype, unseen by the tape. */
export function put(value: Tensor, into: Tensor): void {
  noGrad(() => {
    applyInto(lookup('assign'), [value], { shape: into.shape }, [into]);
  });
}

export const zerosOf = ({ shape, dtype, device }: Layout): Tensor => full(shape, 0, { dtype, device });

/** Which tensors the bodies made that were recorded since. */
export class Inside {
  readonly #from = storageMark();
  #to = Number.POSITIVE_INFINITY;

  close(): void {
    this.#to = storageMark();
  }

  has(x: Tensor): boolean {
    return isAbstract(x) && x.storage.id >= this.#from && x.storage.id < this.#to;
  }
}

/** The results in memory that the body made for each alone; `given`: what it was given, which is not. */
export function owned(results: readonly Tensor[], inside: Inside, given: readonly Tensor[]): Tensor[] {
  const taken = new Set<Storage>(given.map((x) => x.storage));
  return results.map((y) => {
    const own = inside.has(y) && !taken.has(y.storage) ? y : clone(y);
    taken.add(own.storage);
    return own;
  });
}

export function refuseWrites(given: readonly Tensor[], name: string): void {
  if (given.some((x) => x.storage.version > 0))
    throw new ArgumentError('the function writes in place to what it was given: answer the new value instead', {
      op: name,
    });
}

/** What the bodies read and write of the memory around them; each storage once. */
function surface(region: Region, inside: Inside): { inputs: Tensor[]; outputs: Tensor[] } {
  const inputs = new Map<Storage, Tensor>();
  const outputs = new Map<Storage, Tensor>();
  const note = (list: Map<Storage, Tensor>, x: unknown): void => {
    if (x instanceof Tensor && !inside.has(x) && !list.has(x.storage)) list.set(x.storage, x);
  };
  for (const step of region.bodies.flat()) {
    for (const x of step.inputs) note(inputs, x);
    for (const y of step.outputs) note(outputs, y);
  }
  const made = new Set(region.results);
  for (const { outside } of region.slices) if (!made.has(outside)) note(inputs, outside);
  for (const x of [region.test, region.trips]) note(inputs, x);
  for (const y of region.results) note(outputs, y);
  return { inputs: [...inputs.values()], outputs: [...outputs.values()] };
}

/** A region as a step. `changed`: memory around it that it reads and writes. */
export function regionStep(
  name: string,
  region: Region,
  inside: Inside,
  changed: readonly Tensor[],
  floor: number,
): Step & { outputs: Tensor[] } {
  for (const step of region.bodies.flat()) {
    for (const y of step.outputs) {
      const seq = Math.max(y.node?.seq ?? 0, y.base?.node?.seq ?? 0);
      if (!inside.has(y) && seq >= floor)
        throw new GradError(
          'the body changes a tensor from outside in place, and gradients depend on it: answer the new value instead',
          { op: name },
        );
    }
  }
  const { inputs, outputs } = surface(region, inside);
  outputs.push(...changed);
  const op: Op = {
    name,
    kind: 'composite',
    row: null,
    many: true,
    infer: () => outputs,
    decompose: null,
    grad: null,
    encode: null,
    byUser: false,
    plans: new Map(),
  };
  const plan: Plan = {
    op,
    params: NO_PARAMS,
    layouts: outputs.map((y) => y.layout),
    inputs: inputs.map((x) => x.layout),
    mode: 'native',
    offset: 0,
    id: -1,
    constants: [],
    small: false,
    integers: false,
    call: null,
    saves: new Map(),
  };
  return { plan, inputs, outputs, region };
}

/** What a backward reads of the bodies that it goes back through is kept for it. */
export function keepFor(backward: Step, forward: Step & { outputs: Tensor[] }, inside: Inside): void {
  for (const x of backward.inputs) {
    if (typeof x !== 'number' && inside.has(x) && !forward.outputs.some((y) => y.storage === x.storage))
      forward.outputs.push(x);
  }
}
