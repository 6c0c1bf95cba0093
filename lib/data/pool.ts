import { Worker } from 'node:worker_threads';
import { ArgumentError } from '../core/error.js';
import { home } from '../place.js';
import type { Task } from './batch.js';
import { type Packed, unpack } from './pack.js';

export interface WorkerError {
  name: string;
  message: string;
  stack?: string;
  code?: string;
  op?: string;
}

/** A worker's answer to the task of that id. */
export type Reply = { id: number; batch: Packed } | { id: number; error: WorkerError };

/** What a worker is started with; a dataset of another length than the loader's is refused. */
export interface WorkerStart {
  module: string;
  length: number;
}

interface Waiting {
  resolve(batch: Packed): void;
  reject(error: unknown): void;
}

/**
 * Threads that each hold the module's dataset and make batches. They stay warm between epochs, do not keep the process
 * alive while idle, and end with close().
 */
export class WorkerPool {
  readonly #workers: { thread: Worker; waiting: Map<number, Waiting> }[];
  #lastId = 0;
  #closed: unknown;

  constructor(count: number, start: WorkerStart) {
    this.#workers = Array.from({ length: count }, () => {
      const thread = new Worker(new URL('data/worker.js', home), { workerData: start });
      const waiting = new Map<number, Waiting>();
      thread.unref();
      thread.on('message', (reply: Reply) => {
        const task = waiting.get(reply.id);
        if (!task) return; // the pool was closed while this reply was under way
        waiting.delete(reply.id);
        if (waiting.size === 0) thread.unref();
        if ('error' in reply) task.reject(revive(reply.error));
        else task.resolve(reply.batch);
      });
      thread.on('error', (error) => this.close(error));
      thread.on('exit', (code) =>
        this.close(new ArgumentError(`a worker exited with code ${code}`, { op: 'DataLoader' })),
      );
      return { thread, waiting };
    });
  }

  /** A batch made by the thread with the least to do. */
  run(task: Task): Promise<unknown> {
    if (this.#closed) return Promise.reject(this.#closed);
    const { thread, waiting } = this.#workers.reduce((a, b) => (b.waiting.size < a.waiting.size ? b : a));
    const id = ++this.#lastId;
    const reply = new Promise<Packed>((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      thread.ref();
      thread.postMessage({ id, task });
    });
    return reply.then(unpack);
  }

  /** Ends the threads; whatever still waits is rejected with `reason`. */
  async close(reason: unknown = new ArgumentError('the workers were closed', { op: 'DataLoader' })): Promise<void> {
    this.#closed ??= reason;
    for (const { waiting } of this.#workers) {
      for (const { reject } of waiting.values()) reject(this.#closed);
      waiting.clear();
    }
    await Promise.all(this.#workers.map(({ thread }) => thread.terminate()));
  }
}

// Error classes do not cross threads; their fields do.
function revive({ message, ...fields }: WorkerError): Error {
  return Object.assign(new Error(message), fields);
}
