// A worker thread of a DataLoader: imports the user's module and answers tasks with batches.
import { parentPort, workerData } from 'node:worker_threads';
import { ArgumentError } from '../core/error.js';
import { makeBatch, type Task } from './batch.js';
import type { Dataset } from './dataset.js';
import { pack } from './pack.js';
import type { WorkerError, WorkerStart } from './pool.js';

/** What the module exports: a dataset, or a function that makes one; and, if the default does not do, a collate. */
interface UserModule {
  default: Dataset | (() => Dataset | Promise<Dataset>);
  collate?: (samples: unknown[]) => unknown;
}

async function open({ module, length }: WorkerStart) {
  const { default: source, collate }: UserModule = await import(module);
  const dataset = typeof source === 'function' ? await source() : source;
  if (typeof dataset?.get !== 'function') {
    throw new ArgumentError(`${module} has no dataset (or function that makes one) as default export`, {
      op: 'DataLoader',
    });
  }
  if (dataset.length !== length) {
    throw new ArgumentError(`${module} has ${dataset.length} samples, the loader's dataset ${length}`, {
      op: 'DataLoader',
    });
  }
  return { dataset, collate };
}

const opened = open(workerData);
opened.catch(() => {}); // reported with the first task

parentPort!.on('message', async ({ id, task }: { id: number; task: Task }) => {
  try {
    const { dataset, collate } = await opened;
    const transfer: ArrayBuffer[] = [];
    const batch = pack(await makeBatch(dataset, task, collate), transfer);
    parentPort!.postMessage({ id, batch }, transfer);
  } catch (error) {
    parentPort!.postMessage({ id, error: describe(error) });
  }
});

function describe(error: unknown): WorkerError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const { name, message, stack, code, op } = error as Error & { code?: unknown; op?: unknown };
  const text = (value: unknown) => (value === undefined ? undefined : String(value));
  return { name, message, stack, code: text(code), op: text(op) };
}
