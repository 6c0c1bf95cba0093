import { setImmediate } from 'node:timers/promises';
import { ArgumentError } from '../core/error.js';
import { defaultGenerator } from '../ops/random.js';
import { makeBatch, type Task } from './batch.js';
import type { Collated } from './collate.js';
import type { Dataset } from './dataset.js';
import { WorkerPool } from './pool.js';
import { Random } from './random.js';
import { RandomSampler, type Sampler, SequentialSampler } from './sampler.js';

const op = 'DataLoader';

export interface DataLoaderOptions<T, B> {
  /** Samples in a batch; default 1. */
  batchSize?: number;
  /** A new order each epoch. */
  shuffle?: boolean;
  /** Decides order and augmentations, with the epoch. Default: drawn from the global generator, so `manualSeed` decides. */
  seed?: number;
  /** Leaves out a last batch that is not full. */
  dropLast?: boolean;
  /** The order, instead of `shuffle`. */
  sampler?: Sampler;
  /** Samples to batch, instead of the default `collate`. */
  collate?: (samples: T[]) => B;
  /** Batches prepared ahead. Default 2 a worker; 0 without workers. */
  prefetch?: number;
  /**
   * Threads that make the batches. Closures do not cross threads: `module` is the URL of a module whose default export is the
   * dataset or a function that makes it (the very samples of the loader's `dataset`), and which may export `collate`.
   */
  workers?: { module: string | URL; count: number };
}

/** Where a loader is; part of a checkpoint. */
export interface DataLoaderState {
  seed: number;
  epoch: number;
  /** Samples of the epoch already handed out. */
  position: number;
}

// A forgotten loader's threads must end with it.
const forgotten = new FinalizationRegistry<WorkerPool>((pool) => void pool.close());

/**
 * Batches of a dataset: `for await (const [x, y] of loader)`. Each iteration is an epoch. Batches depend on the seed, the epoch
 * and the dataset alone, not on workers or prefetching. One iteration at a time (torch.utils.data.DataLoader).
 */
export class DataLoader<T, B = Collated<T>> implements AsyncIterable<B> {
  readonly dataset: Dataset<T>;
  readonly batchSize: number;
  readonly #options: DataLoaderOptions<T, B>;
  readonly #prefetch: number;
  #seed: number;
  #epoch = 0;
  #position = 0;
  #begun = false; // an iteration has begun at this epoch and position
  #iteration = 0;
  #pool: WorkerPool | undefined;

  constructor(dataset: Dataset<T>, options: DataLoaderOptions<T, B> = {}) {
    const { batchSize = 1, workers, prefetch = workers ? 2 * workers.count : 0 } = options;
    checkInteger('batchSize', batchSize, 1);
    checkInteger('prefetch', prefetch, 0);
    if (workers) checkInteger('workers.count', workers.count, 1);
    if (options.sampler && options.shuffle) throw new ArgumentError('give a sampler or shuffle, not both', { op });
    if (workers && options.collate) {
      throw new ArgumentError('a collate function does not cross threads: export it from the worker module', { op });
    }
    this.dataset = dataset;
    this.batchSize = batchSize;
    this.#options = options;
    this.#prefetch = prefetch;
    this.#seed = options.seed ?? new Random(defaultGenerator.seed, defaultGenerator.take(1)).bits();
    checkInteger('seed', this.#seed, 0);
  }

  /** Batches an epoch has. */
  get length(): number {
    const batches = this.#sampler().length / this.batchSize;
    return this.#options.dropLast ? Math.floor(batches) : Math.ceil(batches);
  }

  /** The epoch under way, or the one that the next iteration will be; from 0. */
  get epoch(): number {
    return this.#epoch;
  }

  /** The next iteration is epoch `epoch`, from its start. */
  setEpoch(epoch: number): void {
    checkInteger('epoch', epoch, 0);
    this.loadStateDict({ seed: this.#seed, epoch, position: 0 });
  }

  /** Taken inside the loop it counts the batch in hand as done: resuming begins with the next one. */
  stateDict(): DataLoaderState {
    return { seed: this.#seed, epoch: this.#epoch, position: this.#position };
  }

  /** The next iteration goes on from there; an epoch whose samples are all done gives no batch. */
  loadStateDict({ seed, epoch, position }: DataLoaderState): void {
    checkInteger('seed', seed, 0);
    checkInteger('epoch', epoch, 0);
    checkInteger('position', position, 0);
    this.#seed = seed;
    this.#epoch = epoch;
    this.#position = position;
    this.#begun = false;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<B, void, undefined> {
    const { tasks, advance, finish } = this.#begin();
    const pending: Promise<B>[] = [];
    let next = 0;
    let turned = performance.now();
    let finished = false;
    try {
      while (next < tasks.length || pending.length > 0) {
        while (next < tasks.length && pending.length <= this.#prefetch) {
          const batch = this.#make(tasks[next++]);
          batch.catch(() => {}); // reported when its turn comes
          pending.push(batch);
        }
        const batch = await pending.shift();
        // Awaiting what is ready never turns the event loop: without this, signals and timers would wait for the epoch's end.
        if (performance.now() - turned > 20) {
          await setImmediate();
          turned = performance.now();
        }
        advance();
        yield batch as B;
      }
      finished = true;
      finish();
    } finally {
      if (!finished) await this.close();
    }
  }

  /** The same batches without await, where neither the dataset nor workers need it. */
  *[Symbol.iterator](): Generator<B, void, undefined> {
    if (this.#options.workers) throw new ArgumentError('batches of workers need `for await`', { op });
    const { tasks, advance, finish } = this.#begin();
    for (const task of tasks) {
      const batch = makeBatch(this.dataset, task, this.#options.collate);
      if (batch instanceof Promise) throw new ArgumentError('the dataset is asynchronous: use `for await`', { op });
      advance();
      yield batch;
    }
    finish();
  }

  /** Ends the worker threads; a later iteration starts new ones. */
  async close(): Promise<void> {
    const pool = this.#pool;
    this.#pool = undefined;
    if (pool) {
      forgotten.unregister(pool);
      await pool.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #sampler(): Sampler {
    const { length } = this.dataset;
    const { sampler, shuffle } = this.#options;
    return sampler ?? (shuffle ? new RandomSampler(length, { seed: this.#seed }) : new SequentialSampler(length));
  }

  // An iteration that was broken off has used its epoch up.
  #begin(): { tasks: Task[]; advance(): void; finish(): void } {
    if (this.#begun) this.#to(this.#epoch + 1);
    this.#begun = true;
    const [seed, epoch, start] = [this.#seed, this.#epoch, this.#position];
    const order = Int32Array.from(this.#sampler().indices(epoch));
    if (start > order.length)
      throw new ArgumentError(`position ${start} is past the ${order.length} samples of an epoch`, { op });
    const tasks: Task[] = [];
    for (let at = start; at < order.length; at += this.batchSize) {
      const indices = order.slice(at, at + this.batchSize);
      if (indices.length === this.batchSize || !this.#options.dropLast) tasks.push({ seed, epoch, indices });
    }
    const iteration = ++this.#iteration; // an older iteration no longer moves the position
    let done = 0;
    return {
      tasks,
      advance: () => {
        if (iteration === this.#iteration) this.#position += tasks[done++].indices.length;
      },
      finish: () => {
        if (iteration === this.#iteration) this.#to(epoch + 1);
      },
    };
  }

  #to(epoch: number): void {
    this.#epoch = epoch;
    this.#position = 0;
    this.#begun = false;
  }

  async #make(task: Task): Promise<B> {
    const { workers, collate } = this.#options;
    if (!workers) return makeBatch(this.dataset, task, collate);
    if (!this.#pool) {
      this.#pool = new WorkerPool(workers.count, { module: String(workers.module), length: this.dataset.length });
      forgotten.register(this, this.#pool, this.#pool);
    }
    return this.#pool.run(task) as Promise<B>;
  }
}

function checkInteger(name: string, value: number, least: number): void {
  if (!(Number.isSafeInteger(value) && value >= least))
    throw new ArgumentError(`${name} must be an integer >= ${least}, not ${value}`, { op });
}
