import { ArgumentError } from '../core/error.js';
import type { Tensor } from '../core/tensor.js';
import { load } from '../io/file.js';
import { type LoadReport, Module, type StateDict } from '../nn/module.js';
import { cat } from '../ops/free.js';
import { transpose } from '../ops/view.js';

/**
 * What happens to the names of a file that `from` matches: `to` replaces the match ($1 is its first group), `skip` leaves the tensor out,
 * `transpose` turns a matrix (in,out) into (out,in), and `part` says which of `parts` it is of a tensor joined along dim 0.
 */
export interface NameRule {
  readonly from: RegExp;
  readonly to?: string;
  readonly skip?: true;
  readonly transpose?: true;
  readonly part?: number;
  readonly parts?: number;
}

/**
 * A model that knows the names its parameters have in PyTorch's files. `rules` are tried in order, each on what the ones before made of
 * the name; what snake_case is left then becomes camelCase, as everywhere in this library.
 */
export abstract class PretrainedModel extends Module {
  /** The one table of names. */
  abstract rules(): readonly NameRule[];
}

export interface PretrainedReport extends LoadReport {
  /** Names of the file that the model has no use for and its table says so: heads of other tasks, masks, tied copies. */
  skipped: string[];
}

export interface PretrainedOptions {
  /** Names that are missing, unexpected or of another shape are an error; else they are reported, and what fits is loaded. */
  strict?: boolean;
}

const camel = (name: string): string => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

interface Part {
  readonly name: string;
  readonly part: number;
  readonly parts: number;
  readonly x: Tensor;
}

/**
 * Tensors by PyTorch's names (torchvision's, Hugging Face's) as a state for `loadStateDict`, by the model's table; and what the table skips.
 * @throws ArgumentError when two tensors come to have one name
 */
export function pretrainedState(
  model: PretrainedModel,
  tensors: Readonly<Record<string, Tensor>>,
): { state: StateDict; skipped: string[] } {
  const state: StateDict = {};
  const skipped: string[] = [];
  const joined = new Map<string, Part[]>();
  const rules = model.rules();
  const put = (name: string, x: Tensor) => {
    if (Object.hasOwn(state, name))
      throw new ArgumentError(`two tensors of the file are '${name}' of ${model.constructor.name}`, {
        op: 'loadPretrained',
      });
    state[name] = x;
  };
  for (const [given, tensor] of Object.entries(tensors)) {
    let [name, x, skip] = [given, tensor, false];
    let part: Pick<Part, 'part' | 'parts'> | null = null;
    for (const rule of rules) {
      if (!rule.from.test(name)) continue;
      if (rule.skip) skip = true;
      if (rule.transpose && x.ndim === 2) x = transpose(x, 0, 1);
      if (rule.part !== undefined) part = { part: rule.part, parts: rule.parts! };
      if (rule.to !== undefined) name = name.replace(rule.from, rule.to);
    }
    name = camel(name);
    if (skip) skipped.push(given);
    else if (part === null) put(name, x);
    else joined.set(name, [...(joined.get(name) ?? []), { ...part, name: given, x }]);
  }
  for (const [name, parts] of joined) {
    const ordered = parts.toSorted((a, b) => a.part - b.part);
    const whole = ordered.length === ordered[0]!.parts && ordered.every(({ part }, i) => part === i);
    // What cannot be joined keeps the file's names, and is reported by them.
    if (whole) put(name, cat(ordered.map(({ x }) => x)));
    else for (const { name: own, x } of ordered) put(own, x);
  }
  // Files of before PyTorch 0.4.1 do not count the batches.
  for (const [name, x] of Object.entries(model.stateDict()))
    if (name.endsWith('.numBatchesTracked') && !Object.hasOwn(state, name)) state[name] = x;
  return { state, skipped };
}

/**
 * Loads a safetensors file whose tensors have PyTorch's names (torchvision's, Hugging Face's) into a model of this package.
 * @throws ArgumentError that lists what is missing, unexpected or of another shape, and nothing is loaded, unless `strict: false`;
 * FormatError when the file is not safetensors
 */
export async function loadPretrained(
  model: PretrainedModel,
  path: string | URL,
  { strict = true }: PretrainedOptions = {},
): Promise<PretrainedReport> {
  const { state, skipped } = pretrainedState(model, await load(path, { device: 'cpu' }));
  return { ...model.loadStateDict(state, { strict }), skipped };
}
