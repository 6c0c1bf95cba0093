import { readdirSync } from 'node:fs';
import type { Tensor } from 'brasa';
import type { Collated, DataLoader, Dataset } from 'brasa/data';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';

/** What test/fixtures/numbers.mjs gives. */
type Sample = { x: Tensor; y: [bigint, boolean]; name: string };

async function drain<B>(loader: AsyncIterable<B>): Promise<B[]> {
  const batches: B[] = [];
  for await (const batch of loader) batches.push(batch);
  return batches;
}

describe('DataLoader workers', () => {
  // Threads run built code, and the dataset's tensors are of that build.
  let BuiltLoader: typeof DataLoader;
  let numbers: Dataset<Sample>;
  beforeAll(async () => {
    const built = (path: string) => import(new URL(path, import.meta.url).href);
    BuiltLoader = (await built('../dist/data/index.js')).DataLoader;
    numbers = (await built('fixtures/numbers.mjs')).default;
  });
  const module = new URL('fixtures/numbers.mjs', import.meta.url);
  const plain = (batches: Collated<Sample>[]) =>
    batches.map(({ x, y, name }) => [x.toArray(), y[0].toArray(), y[0].dtype, y[1].toArray(), name]);
  afterEach(() => vi.unstubAllEnvs());

  it('give the same batches as no workers, whatever their count', async () => {
    const options = { batchSize: 4, shuffle: true, seed: 2 };
    const without = new BuiltLoader(numbers, options);
    const expected = [plain(await drain(without)), plain(await drain(without))];
    for (const workers of [1, 3]) {
      await using loader = new BuiltLoader(numbers, { ...options, workers: { module, count: workers } });
      expect([plain(await drain(loader)), plain(await drain(loader))]).toEqual(expected);
    }
  });

  it('resume in mid-epoch', async () => {
    const options = { batchSize: 4, shuffle: true, seed: 2, workers: { module, count: 2 } };
    const expected = plain(await drain(new BuiltLoader(numbers, { ...options, workers: undefined }))).slice(3);
    await using loader = new BuiltLoader(numbers, options);
    loader.loadStateDict({ seed: 2, epoch: 0, position: 12 });
    expect(plain(await drain(loader))).toEqual(expected);
  });

  it('take a function that makes the dataset, and its collate', async () => {
    await using loader = new BuiltLoader(numbers, {
      batchSize: 20,
      workers: { module: new URL('fixtures/makes-numbers.mjs', import.meta.url), count: 1 },
    });
    const batches = (await drain(loader)) as never as Tensor[];
    expect(batches.map(({ dtype, shape }) => [dtype, shape])).toEqual([
      ['f16', [20]],
      ['f16', [3]],
    ]);
    expect(batches[1].toArray()).toEqual([20, 21, 22]);
  });

  it('reject with the error of the sample, after the batches before it', async () => {
    vi.stubEnv('FAIL', '1');
    const loader = new BuiltLoader(numbers, { batchSize: 4, workers: { module, count: 2 } });
    let batches = 0;
    const run = async () => {
      for await (const _ of loader) batches++;
    };
    const error = (await run().catch((e: unknown) => e)) as Error;
    expect([error.name, error.message, batches]).toEqual(['RangeError', 'sample 13 is unlucky', 3]);
    expect(error.stack).toContain('numbers.mjs');
  });

  it('say what is wrong with a module', async () => {
    const run = (url: string, length = 23) =>
      drain(
        new BuiltLoader({ length, get: numbers.get }, { workers: { module: new URL(url, import.meta.url), count: 1 } }),
      );
    await expect(run('no-such-module.mjs')).rejects.toMatchObject({ code: 'ERR_MODULE_NOT_FOUND' });
    await expect(run('fixtures/numbers.mjs', 5)).rejects.toMatchObject({
      code: 'ERR_BRASA_ARGUMENT',
      message: expect.stringContaining('23 samples'),
    });
    await expect(run('data:text/javascript,export default 1')).rejects.toThrow('has no dataset');
    await expect(run('data:text/javascript,process.exit(3)')).rejects.toThrow('exited with code 3');
  });

  it.runIf(process.platform === 'linux')('end with break and with close()', async () => {
    const threads = () => readdirSync('/proc/self/task').length;
    // Threads of the tests above end in their own time: wait until the count holds still.
    const settled = async () => {
      let [count, since] = [threads(), performance.now()];
      while (performance.now() - since < 1000) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        if (threads() !== count) [count, since] = [threads(), performance.now()];
      }
      return count;
    };
    for await (const _ of new BuiltLoader(numbers, { workers: { module, count: 2 } })) break; // the library's own threads start
    const before = await settled();
    for (let i = 0; i < 3; i++) {
      const loader = new BuiltLoader(numbers, { workers: { module, count: 2 } });
      for await (const _ of loader) {
        expect(threads()).toBeGreaterThanOrEqual(before + 2);
        break;
      }
    }
    expect(await settled()).toBe(before);
    const closed = new BuiltLoader(numbers, { workers: { module, count: 2 } });
    await drain(closed);
    await closed.close();
    expect(await drain(closed)).toHaveLength(23); // new threads
    await closed.close();
    expect(await settled()).toBe(before);
  });
});
