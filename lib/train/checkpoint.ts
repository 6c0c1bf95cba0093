// A checkpoint is one safetensors file in a folder: tensors under their path (`model.0.weight`), the rest as JSON in its
// metadata, with a checksum over both. One file, so that one rename makes it new.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { ArgumentError, BrasaError, FormatError } from '../core/error.js';
import { noGrad } from '../core/scope.js';
import { Tensor } from '../core/tensor.js';
import type { DataLoaderState } from '../data/loader.js';
import { removeTemporaries, writeFileAtomic } from '../io/atomic.js';
import { encodeSafetensors, load, loadMetadata, type TensorRecord } from '../io/file.js';
import { formatHeader, parseHeader, PREFIX_BYTES } from '../io/safetensors.js';
import type { Module, StateDict } from '../nn/module.js';
import { clone } from '../ops/elementwise.js';
import { defaultGenerator, type Generator } from '../ops/random.js';
import { bytes } from '../ops/read.js';
import type { Optimizer, OptimizerState } from '../optim/optimizer.js';
import type { Schedule, ScheduleState } from '../optim/schedule.js';
import type { FitState } from './callback.js';
import { decodeTree, encodeTree } from './tree.js';

const FILE = 'checkpoint.safetensors';
const VERSION = 1;

/** What has a position among its data: a DataLoader, or anything like it. */
export interface Resumable<S = DataLoaderState> {
  stateDict(): S;
  loadStateDict(state: S): void;
}

/** The parts of a training that change as it goes on. */
export interface CheckpointParts {
  model: Module;
  optimizer?: Optimizer;
  schedule?: Schedule | readonly Schedule[];
  /** The training loader: the epoch, and the position in it. */
  train?: Resumable;
  /** Default: the generator that `manualSeed` seeds. */
  generator?: Generator;
}

/** What a checkpoint holds besides; plain data (and tensors) of the caller's own in `extra`. */
export interface CheckpointData {
  fit?: FitState;
  extra?: unknown;
}

interface State extends CheckpointData {
  version: number;
  model: StateDict;
  optimizer?: OptimizerState;
  schedule?: ScheduleState[];
  train?: DataLoaderState;
  generator: { seed: number; offset: number };
}

/**
 * Saves a training into the folder `dir` (made if need be): the model's and optimizer's state, schedules, the random state, the
 * loader's position, and `fit` and `extra`. At every moment, also when the process is killed, the folder holds the old checkpoint or the
 * new one. The values are those of this moment, though writing goes on. Throws ArgumentError for `extra` that is no plain data.
 */
export async function saveCheckpoint(
  dir: string,
  { fit, extra, ...parts }: CheckpointParts & CheckpointData,
): Promise<void> {
  const tensors: TensorRecord = {};
  const { model, ...rest } = { ...stateOf(parts), fit, extra };
  const json = JSON.stringify({
    ...(encodeTree(rest, 'training', tensors) as object),
    model: encodeTree(model, 'model', tensors),
  });
  const [header, ...data] = encodeSafetensors(tensors);
  const { entries } = parseHeader(header!.subarray(PREFIX_BYTES), size(data));
  const sum = checksum(
    json,
    entries.map(({ name }, i) => [tensors[name]!, data[i]!]),
  );
  await mkdir(dir, { recursive: true });
  await removeTemporaries(join(dir, FILE));
  await writeFileAtomic(join(dir, FILE), [formatHeader({ entries, metadata: { brasa: json, crc32: sum } }), ...data]);
}

/**
 * Gives the parts the values they had when `saveCheckpoint` wrote `dir`; answers `fit` and `extra`. Parts may be fewer than were
 * saved. Throws FormatError for a file that is damaged, and ArgumentError for one that does not fit the parts or lacks
 * one; nothing is changed then.
 */
export async function loadCheckpoint(dir: string, parts: CheckpointParts): Promise<CheckpointData> {
  const state = await read(join(dir, FILE));
  for (const part of ['optimizer', 'schedule', 'train'] as const) {
    if (parts[part] && !state[part])
      throw new ArgumentError(`the checkpoint ${dir} has no ${part}`, { op: 'loadCheckpoint' });
  }
  const before = stateOf(parts, (x) => noGrad(() => clone(x)));
  try {
    apply(parts, state);
  } catch (error) {
    apply(parts, before);
    if (error instanceof BrasaError) throw error;
    throw bad('the state has not the form of one', error);
  }
  return { fit: state.fit, extra: state.extra };
}

function stateOf(
  { model, optimizer, schedule, train, generator = defaultGenerator }: CheckpointParts,
  copy: (x: Tensor) => Tensor = (x) => x,
): State {
  return {
    version: VERSION,
    model: mapTensors(model.stateDict(), copy),
    optimizer: optimizer && mapTensors(optimizer.stateDict(), copy),
    schedule: schedule && [schedule].flat().map((each) => each.stateDict()),
    train: train?.stateDict(),
    generator: generator.getState(),
  };
}

function apply(
  { model, optimizer, schedule, train, generator = defaultGenerator }: CheckpointParts,
  state: State,
): void {
  model.loadStateDict(state.model);
  optimizer?.loadStateDict(state.optimizer!);
  const schedules = schedule ? [schedule].flat() : [];
  if (schedule && schedules.length !== state.schedule!.length) {
    throw new ArgumentError(`${state.schedule!.length} schedules were saved, not ${schedules.length}`, {
      op: 'loadCheckpoint',
    });
  }
  schedules.forEach((each, i) => {
    each.loadStateDict(state.schedule![i]!);
  });
  train?.loadStateDict(state.train!);
  generator.setState(state.generator);
}

function mapTensors<T>(value: T, copy: (x: Tensor) => Tensor): T {
  if (value instanceof Tensor) return copy(value) as T;
  if (Array.isArray(value)) return value.map((item) => mapTensors(item, copy)) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapTensors(item, copy)])) as T;
}

async function read(path: string): Promise<State> {
  const metadata = await loadMetadata(path);
  const { brasa: json, crc32: expected } = metadata;
  if (json === undefined || expected === undefined) throw bad(`${path} is no checkpoint of brasa`);
  const tensors = await load(path);
  const sum = checksum(
    json,
    Object.values(tensors).map((x) => [x, bytes(x)]), // in the file's order
  );
  if (sum !== expected) throw bad(`${path} is damaged: its checksum differs`);
  let state: State;
  try {
    state = decodeTree(JSON.parse(json), tensors) as State;
  } catch (error) {
    throw error instanceof BrasaError ? error : bad(`${path} is no JSON inside`, error);
  }
  if (state?.version !== VERSION) {
    throw bad(`${path} has version ${JSON.stringify(state?.version)}; this brasa reads ${VERSION}`);
  }
  const isNumber = (value: unknown) => typeof value === 'number';
  const valid =
    isObject(state.model) &&
    isObject(state.generator) &&
    (state.schedule ?? []).every((each) => isNumber(each.lastEpoch) && each.baseLrs.every(isNumber));
  if (!valid) throw bad(`${path} has not the form of a checkpoint`);
  return state;
}

/** Over the JSON (which has the names), and each tensor's dtype, shape and bytes. */
function checksum(json: string, tensors: readonly (readonly [Tensor, Uint8Array])[]): string {
  let sum = crc32(json);
  for (const [{ dtype, shape }, data] of tensors) sum = crc32(data, crc32(`${dtype} ${shape}`, sum));
  return sum.toString(16);
}

function size(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function bad(message: string, cause?: unknown): FormatError {
  return new FormatError(message, { op: 'loadCheckpoint', ...(cause !== undefined && { cause }) });
}
