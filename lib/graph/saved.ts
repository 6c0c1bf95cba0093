/** Programs as a text that names ops and dtypes, beside the tensors that they hold; lib/io/program.ts keeps both in a file. */
import { BrasaError, DeviceError, FormatError, OutOfMemoryError } from '../core/error.js';
import { dtypeInfo } from '../core/dtype.js';
import { layoutOf } from '../core/layout.js';
import type { Plan } from '../core/plan.js';
import { abstract, alias, checkUsable, pin, Storage, Tensor } from '../core/tensor.js';
import { native } from '../native.js';
import { disassemble, type InstructionText, type PlaceText, reassemble } from './disassemble.js';
import {
  bad,
  count,
  extent,
  type KernelText,
  kernelText,
  type LayoutText,
  layoutFrom,
  layoutText,
  list,
} from './names.js';
import { numberOf, type NumberText, numberText, planFrom, record, text } from './names.js';
import { type Contents, Program } from './program.js';
import { Recorder, type State, type Step } from './recorder.js';

/** Numbers, strings, booleans, null and arrays are themselves; the rest has one of these keys. */
type TreeText = NumberText | string | boolean | null | TreeText[] | { [kind: string]: unknown } | LayoutText;

interface ProgramText {
  arguments: TreeText;
  results: TreeText;
  recorded: number;
  arena: number;
  /** Names of the tensors that it reads and writes. */
  tensors: string[];
  /** Bytes of each memory that results lie in. */
  outputs: number[];
  kernels: KernelText[];
  code: InstructionText[];
}

export interface Saved {
  readonly json: string;
  readonly tensors: Readonly<Record<string, Tensor>>;
}

/** Filled in by lib/io. */
export const files: { save: (path: string | URL, programs: readonly Program[]) => Promise<void> } = {
  save: () => {
    throw new BrasaError('lib/io is not loaded', 'ERR_BRASA_INTERNAL');
  },
};

function treeText(tree: unknown, leaf: (x: Tensor) => TreeText): TreeText {
  if (tree instanceof Tensor) return { tensor: leaf(tree) };
  if (Array.isArray(tree)) return tree.map((item) => treeText(item, leaf));
  if (typeof tree === 'number') return numberText(tree);
  if (tree === undefined) return { undefined: true };
  if (typeof tree === 'bigint') return { bigint: `${tree}` };
  if (typeof tree !== 'object' || tree === null) return tree as TreeText;
  return { object: Object.entries(tree).map(([key, value]) => [key, treeText(value, leaf)]) };
}

function treeFrom(value: unknown, leaf: (x: unknown) => Tensor): unknown {
  if (Array.isArray(value)) return value.map((item) => treeFrom(item, leaf));
  if (typeof value !== 'object' || value === null) return value;
  const tree = value as Record<string, unknown>;
  if ('tensor' in tree) return leaf(tree.tensor);
  if ('undefined' in tree) return undefined;
  if ('bigint' in tree) return BigInt(text(tree.bigint, 'a bigint'));
  if (!('object' in tree)) return numberOf(tree, 'a value');
  const entries = list(tree.object, 'an object').map((pair) => list(pair, 'an entry'));
  return Object.fromEntries(entries.map(([key, item]) => [text(key, 'a key'), treeFrom(item, leaf)]));
}

/** @throws TraceError for what can not be saved, DisposedError when a tensor of it is gone */
export function describePrograms(programs: readonly Program[]): Saved {
  const all = programs.map((program) => program.contents());
  // What several programs share, a cache for instance, is one tensor.
  const held = new Map<Storage, { state: State; bytes: number }>();
  const texts = all.map((contents): ProgramText => describeOne(contents, held));
  const names = new Map([...held.keys()].map((storage, i) => [storage, `${i}`]));
  all.forEach(({ states }, i) => {
    texts[i]!.tensors = states.map(({ tensor }) => names.get(tensor.storage)!);
  });
  const tensors: Record<string, Tensor> = {};
  for (const [storage, name] of names) tensors[name] = wholeOf(held.get(storage)!);
  return { json: JSON.stringify({ device: 'cpu', programs: texts }), tensors };
}

/** The memory of a state as far as it is used: in its shape, or as a row of elements where that does not tell it. */
function wholeOf({ state: { tensor, layout, offset }, bytes }: { state: State; bytes: number }): Tensor {
  checkUsable(tensor, 'save');
  const item = dtypeInfo(layout.dtype).bytes;
  if (layout.contiguous && offset === 0 && bytes <= layout.size * item) return tensor;
  const elements = Math.max(Math.ceil(bytes / item), offset + extent(layout));
  return alias(tensor, layoutOf([elements], layout.dtype, layout.device), 0);
}

function describeOne(contents: Contents, held: Map<Storage, { state: State; bytes: number }>): ProgramText {
  const { recorded, inputs, given, states, results, form } = contents;
  const device = [...inputs, ...states.map(({ tensor }) => tensor), ...results].find((x) => x.device !== 'cpu')?.device;
  if (device !== undefined)
    throw new DeviceError(`programs are saved from cpu, this one runs on ${device}: move the model with .to('cpu')`, {
      op: 'save',
    });
  for (const state of states) if (!held.has(state.tensor.storage)) held.set(state.tensor.storage, { state, bytes: 0 });
  const bound = states.map(({ tensor }) => held.get(tensor.storage)!);
  const kernels: KernelText[] = [];
  const known = new Map<string, number>();
  const kernelOf = (plan: Plan): number => {
    const kernel = kernelText(plan);
    const key = JSON.stringify(kernel);
    if (!known.has(key)) known.set(key, kernels.push(kernel) - 1);
    return known.get(key)!;
  };
  const { arena, outputs, code } = disassemble(contents, kernelOf, (buffer, bytes) => {
    const one = bound[buffer - 1 - inputs.length];
    if (one !== undefined) one.bytes = Math.max(one.bytes, bytes);
  });
  const storages = [...new Set(results.map((x) => x.storage))];
  const answers = results.map(({ storage, layout, offset }) => ({
    ...{ output: storages.indexOf(storage), offset },
    ...layoutText(layout),
  }));
  const next = answers.values();
  return {
    arguments: treeText(given, ({ layout }) => layoutText(layout)),
    results: treeText(form, () => next.next().value!),
    ...{ recorded, arena, tensors: [], outputs, kernels, code },
  };
}

/** @throws FormatError for a text that is none of describePrograms, or of which this version cannot run all */
export function restorePrograms({ json, tensors }: Saved): Program[] {
  try {
    const { device, programs } = record(JSON.parse(json), 'the program');
    if (device !== 'cpu')
      throw new DeviceError(`programs run on cpu, this one is for ${text(device, 'the device').slice(0, 80)}`, {
        op: 'loadProgram',
      });
    return list(programs, 'the programs').map((one) => restoreOne(record(one, 'a program'), tensors));
  } catch (error) {
    if (error instanceof FormatError || error instanceof DeviceError || error instanceof OutOfMemoryError) throw error;
    throw bad(`damaged: ${(error as Error).message}`, error);
  }
}

function restoreOne(one: Record<string, unknown>, tensors: Saved['tensors']): Program {
  const inputs: Tensor[] = [];
  const given = treeFrom(list(one.arguments, 'the arguments'), (x) => {
    inputs.push(abstract(layoutFrom(x, 'an argument')));
    return inputs.at(-1)!;
  }) as unknown[];
  const states = new Map<Storage, State>();
  for (const name of list(one.tensors, 'the tensors')) {
    if (!Object.hasOwn(tensors, text(name, 'the name of a tensor'))) throw bad(`the tensor ${name} is missing`);
    const tensor = pin(tensors[name as string]!);
    const { storage, layout, offset } = tensor;
    if (states.has(storage)) throw bad(`the tensor ${name} is named twice`);
    states.set(storage, { tensor, gradientOf: null, layout, offset, differentiable: false, written: false });
  }
  const arena = count(one.arena, 'the arena');
  const bytes = list(one.outputs, 'the outputs').map((n) => count(n, 'the bytes of an output'));
  const outputs = bytes.map(() => new Storage());

  // All memory by number: 0 the arena, arguments, tensors, outputs.
  const lasting = [...states.values()];
  const outside = [...inputs, ...lasting.map(({ tensor }) => tensor)];
  const sizes = [arena, ...outside.map((x) => extent(x.layout) * dtypeInfo(x.dtype).bytes), ...bytes];
  const touch = (buffer: number, to: number, item: number, written: boolean): void => {
    if (!(to <= (sizes[buffer] ?? -1))) throw bad(`an operand reaches outside of its memory (${buffer})`);
    const x = outside[buffer - 1];
    // Where an argument begins is counted in its own elements.
    if (x !== undefined && dtypeInfo(x.dtype).bytes !== item) throw bad(`an operand is no ${x.dtype}`);
    const state = lasting[buffer - 1 - inputs.length];
    if (state !== undefined && written) state.written = true;
  };

  const results: Tensor[] = [];
  const form = treeFrom(one.results, (x) => {
    const { output, offset } = record(x, 'a result');
    const k = count(output, 'the memory of a result', outputs.length - 1);
    const layout = layoutFrom(x, 'a result');
    const at = count(offset, 'the offset of a result');
    if ((at + extent(layout)) * dtypeInfo(layout.dtype).bytes > bytes[k]!)
      throw bad('a result is larger than its memory');
    results.push(new Tensor(outputs[k]!, layout, at));
    return results.at(-1)!;
  });
  if ([...new Set(results.map((x) => x.storage))].some((storage, k) => storage !== outputs[k]))
    throw bad('results are not in the order of their memory');
  if (new Set(results.map((x) => x.storage)).size !== outputs.length) throw bad('memory is made for no result');

  const plans: Plan[] = [];
  try {
    for (const kernel of list(one.kernels, 'the kernels')) plans.push(planFrom(kernel));
    const code = list(one.code, 'the instructions');
    const header = [arena, outside.length, outputs.length, code.length, ...bytes];
    const { text: numbers, scalars, runs } = reassemble(code, header, plans, touch);
    const arenaAt = new Map<number, Storage>();
    const tensorAt = ([buffer, offset]: PlaceText, layout: Tensor['layout']): Tensor => {
      const at = buffer as number;
      if (at === 0 && !arenaAt.has(offset as number)) arenaAt.set(offset as number, new Storage());
      const storage =
        at === 0 ? arenaAt.get(offset as number)! : (outside[at - 1]?.storage ?? outputs[at - 1 - outside.length]!);
      return new Tensor(storage, layout, 0, false);
    };
    const steps = runs.map((run): Step | null => {
      if (run === null) return null;
      const { plan, numbers: own, places } = run;
      const layouts = [...plan.call!.inputs, ...plan.layouts];
      const operands = places.map((place, i) => tensorAt(place, layouts[i]!));
      const read = plan.call!.inputs.length;
      return { plan, inputs: [...operands.slice(0, read), ...own], outputs: operands.slice(read) };
    });
    const recording = {
      ...{ recorder: new Recorder(), traces: 0, recorded: count(one.recorded, 'the count of calls') },
      ...{ steps: steps.filter((step) => step !== null), inPlace: false, inputs, given, states, form, results },
    };
    return new Program(recording, {
      ...{ arenaBytes: arena, runs: steps },
      encoded: { device: 'cpu', text: numbers, scalars, uses: new Map() },
    });
  } catch (error) {
    if (error instanceof OutOfMemoryError || error instanceof FormatError) throw error;
    throw bad(`its instructions make no program: ${(error as Error).message}`, error);
  } finally {
    for (const plan of plans) {
      if (plan.id >= 0) native.dropPlan(plan.id);
      plan.id = -1;
    }
  }
}
