import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import {
  ArgumentError,
  arange,
  BrasaError,
  cat,
  type Compiled,
  compile,
  cond,
  crossEntropy,
  DeviceError,
  dropout,
  dynamicUpdateSlice,
  FormatError,
  gradients,
  loadProgram,
  manualSeed,
  matmul,
  noGrad,
  ones,
  randn,
  relu,
  scan,
  softmax,
  type Tensor,
  tensor,
  TraceError,
  where,
  whileLoop,
  zeros,
} from '../lib/index.js';
import { least } from '../lib/graph/contracts.js';
import { loadMetadata, save as saveTensors, load as loadTensors } from '../lib/io/index.js';
import { native } from '../lib/native.js';
import { BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Sequential } from '../lib/nn/index.js';
import { SGD } from '../lib/optim/index.js';
import { makeInputs } from './samples/make.js';
import { samples } from './samples.js';

const folder = mkdtempSync(join(tmpdir(), 'brasa-save-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let count = 0;
const fresh = () => join(folder, `${count++}.safetensors`);

type Any = (...args: never[]) => unknown;
const bits = (x: Tensor) => Buffer.from(x.bytes()).toString('hex');
const flat = (x: unknown): string => {
  if (Array.isArray(x)) return `[${x.map(flat).join()}]`;
  if (x !== null && typeof x === 'object' && 'layout' in x)
    return `${(x as Tensor).dtype}(${(x as Tensor).shape}):${bits(x as Tensor)}`;
  if (x !== null && typeof x === 'object')
    return `{${Object.entries(x).map(([key, value]) => `${key}:${flat(value)}`)}}`;
  return `${typeof x}:${x}`;
};

/** Saves, loads, compares what both answer to each list of arguments, and saves again: the same bytes. */
async function roundTrip<A extends readonly unknown[], R>(step: Compiled<A, R>, calls: readonly A[]) {
  const path = fresh();
  const before = calls.map((args) => flat(step(...args)));
  await step.save(path);
  const loaded = await loadProgram<A, R>(path);
  calls.forEach((args, i) => {
    expect(flat(loaded(...args))).toBe(before[i]);
  });
  expect(loaded.stats().traces).toBe(0);
  const again = fresh();
  await loaded.save(again);
  expect(readFileSync(again).equals(readFileSync(path))).toBe(true);
  return { path, loaded };
}

describe('what was compiled is answered bit for bit by what was loaded', () => {
  test('an MLP, of two batch sizes, without its code', async () => {
    manualSeed(1);
    const model = new Sequential(new Linear(5, 16), relu, new Linear(16, 3));
    let forwards = 0;
    const step = compile((x: Tensor) => {
      forwards++;
      return model.forward(x);
    });
    const { loaded } = await roundTrip(step, [[randn([4, 5])], [randn([7, 5])]]);
    expect(forwards).toBe(2);
    expect(loaded.stats()).toMatchObject({ programs: 2, traces: 0, kernels: step.stats().kernels });
    expect(loaded.explain()).toContain('matmul');
    // Its weights are its own.
    const x = randn([4, 5]);
    const expected = flat(step(x));
    noGrad(() => {
      for (const p of model.parameters()) p.zero_();
    });
    expect(flat(step(x))).not.toBe(expected);
    expect(flat(loaded(x))).toBe(expected);
    expect(flat(await loaded.async(x))).toBe(expected);
  });

  test('a CNN in eval mode, after training mode', async () => {
    manualSeed(2);
    const model = new Sequential(
      ...[new Conv2d(1, 4, 3), new BatchNorm2d(4), relu, new MaxPool2d(2), new Dropout(0.5), new Flatten()],
      new Linear(36, 3),
    );
    const step = compile((x: Tensor) => softmax(model.forward(x) as Tensor, -1));
    const x = randn([2, 1, 8, 8]);
    step(x);
    await expect(step.save(fresh())).rejects.toThrow('random numbers');
    model.eval();
    await expect(step.save(fresh())).rejects.toThrow('another mode');
    await roundTrip(step, [[x], [randn([1, 1, 8, 8])]]);
  });

  test.each([false, undefined])('dtypes, sums, casts, indices: passes %s', async (passes) => {
    manualSeed(3);
    const w = randn([6, 6]).to('bf16');
    const bias = randn([12]).slice(0, 3, 9);
    const transposed = randn([6, 4]).transpose(0, 1);
    const step = compile(
      (x: Tensor, i: Tensor) => {
        const y = matmul(x.to('bf16'), w).to('f32').add(bias).mul(0.3);
        const { values, indices } = y.topk(2, 1);
        return {
          ...{ sum: y.exp().sum(1), mean: y.square().mean(), values, indices },
          ...{ picked: y.indexSelect(1, i), masked: y.gt(0), big: where(y.lt(0), Number.NEGATIVE_INFINITY, y) },
          outer: matmul(transposed, y.transpose(0, 1)),
        };
      },
      { passes: passes === false ? false : {} },
    );
    await roundTrip(step, [[randn([4, 6]), tensor([1, 5, -1], { dtype: 'i64' })]]);
  });

  test('scan, cond and whileLoop', async () => {
    manualSeed(4);
    const w = randn([3, 3]);
    const step = compile((h: Tensor, xs: Tensor, flag: Tensor) => {
      const [last, ys] = scan(
        (c: Tensor, x: Tensor) => {
          const y = matmul(c, w).add(x).tanh();
          return [y, y.sum()] as const;
        },
        h,
        xs,
      );
      const chosen = cond(
        flag,
        () => last.mul(2),
        () => last.sub(1),
      );
      const [, doubled] = whileLoop(
        ([i]: readonly [Tensor, Tensor]) => i.lt(5),
        ([i, y]: readonly [Tensor, Tensor]) => [i.add(1), y.mul(2)] as [Tensor, Tensor],
        [tensor(0, { dtype: 'i64' }), chosen] as [Tensor, Tensor],
      );
      return [last, ys, chosen, doubled];
    });
    const args = [randn([2, 3]), randn([4, 2, 3])] as const;
    await roundTrip(step, [
      [...args, tensor(true)],
      [...args, tensor(false)],
    ]);
  });

  test('gradients that are returned', async () => {
    manualSeed(5);
    const w = randn([5, 3]).requiresGrad_();
    const step = compile((x: Tensor, y: Tensor) => gradients(crossEntropy(matmul(x, w), y), [w]));
    await roundTrip(step, [[randn([4, 5]), tensor([0, 2, 1, 1], { dtype: 'i64' })]]);
  });

  test('updates of parameters, and running statistics of training', async () => {
    manualSeed(8);
    const build = () => {
      const model = new Sequential(new Conv2d(1, 4, 3), new BatchNorm2d(4), relu, new Flatten(), new Linear(16, 3));
      const weights = model.parameters();
      return compile((x: Tensor, y: Tensor) => {
        const loss = crossEntropy(model.forward(x) as Tensor, y);
        gradients(loss, weights).forEach((g, i) => {
          noGrad(() => weights[i]!.sub_(g.mul(0.1)));
        });
        return loss;
      });
    };
    const step = build();
    const args = [randn([4, 1, 4, 4]), tensor([0, 2, 1, 1], { dtype: 'i64' })] as const;
    for (let i = 0; i < 2; i++) step(...args);
    const path = fresh();
    await step.save(path);
    expect((await loadMetadata(path)).program).toContain('elementwiseMany');
    const loaded = await loadProgram(path);
    const losses = Array.from({ length: 3 }, () => loaded(...args).item());
    expect(losses).toEqual(Array.from({ length: 3 }, () => step(...args).item()));
    expect(new Set(losses).size).toBe(3);
    loaded.dispose();
    expect(() => loaded(...args)).toThrow('[loadProgram] the function was disposed of: load it again');
  });

  test('every op, with its gradients', async () => {
    const unsaved: string[] = [];
    for (const sample of samples) {
      const dtype = (sample.dtypes ?? ['f32'])[0]!;
      const step = compile((inputs: readonly (Tensor | number)[]) => {
        const wanted = (sample.grad ?? []).filter((i) => (inputs[i] as Tensor).dtype?.startsWith('f'));
        const given = inputs.map((x, i) => (wanted.includes(i) ? (x as Tensor).mul(1).requiresGrad_() : x));
        const results = [sample.call(...(given as never[]))].flat() as Tensor[];
        const total = results.filter((y) => y.requiresGrad).map((y) => y.square().sum().to('f64'));
        if (total.length === 0) return results;
        const of = wanted.map((i) => given[i] as Tensor);
        return [
          ...results,
          ...gradients(
            total.reduce((a, b) => a.add(b)),
            of,
            { allowUnused: true },
          ),
        ];
      });
      const calls = sample.cases(makeInputs(dtype, 1)).map((inputs) => [inputs] as const);
      try {
        step(...calls[0]!);
      } catch (error) {
        // Their results depend on values.
        expect(error).toBeInstanceOf(TraceError);
        unsaved.push(sample.name);
        continue;
      }
      await roundTrip(step as never, calls as never);
    }
    expect(unsaved).toEqual(['nonzero', 'maskedSelect']);
  });

  test('arguments and results in all forms', async () => {
    const step = compile((tree: { x: Tensor; list: Tensor[] }, scale: number, mode: string, rest: unknown) => ({
      y: tree.list.reduce((sum, x) => sum.add(x), tree.x.mul(scale)),
      said: [mode, rest, Number.NaN, -0, 12n, undefined, null, true],
      x: tree.x,
    }));
    const x = ones([2]);
    const { loaded } = await roundTrip(step, [
      [{ x, list: [] }, 2, 'a', undefined],
      [{ x, list: [x, x] }, Number.NEGATIVE_INFINITY, 'a', null],
      [{ x, list: [x] }, -0, '"', { deep: [1n, { '': false }] }],
    ]);
    const other = loaded as unknown as Any as (...args: unknown[]) => unknown;
    expect(() => other({ x, list: [] }, 3, 'a', undefined)).toThrow(ArgumentError);
    expect(() => other({ x, list: [] }, 3, 'a', undefined)).toThrow('({ x: f32(2),list: [] }, 2, "a", undefined)');
    expect(() => other({ x: x.expand([3, 2]), list: [] }, 2, 'a', undefined)).toThrow('with strides (0,1)');
    expect(() => other({ x: ones([2]).requiresGrad_(), list: [] }, 2, 'a', undefined)).toThrow(TraceError);
    expect(() => compile((y: Tensor) => other({ x: y, list: [] }, 2, 'a', undefined))(x)).toThrow(TraceError);
  });

  test('a cache that two programs share goes on from where it was', async () => {
    const build = () => {
      const cache = zeros([4, 2]);
      const put = compile((x: Tensor, at: Tensor) => {
        cache.copy_(dynamicUpdateSlice(cache, x, [at, 0]));
        return cache.sum(0);
      });
      return put;
    };
    const put = build();
    const at = (i: number) => tensor(i, { dtype: 'i64' });
    put(ones([2, 2]), at(0));
    put(ones([1, 2]).mul(5), at(2));
    const path = fresh();
    await put.save(path);
    expect(Object.keys(await loadTensors(path))).toHaveLength(1);
    const loaded = (await loadProgram(path)) as unknown as typeof put;
    const other = (await loadProgram(path)) as unknown as typeof put;
    expect(loaded(ones([1, 2]), at(3)).toArray()).toEqual([8, 8]);
    expect(loaded(ones([2, 2]).mul(2), at(0)).toArray()).toEqual([10, 10]);
    expect(other(ones([1, 2]), at(3)).toArray()).toEqual([8, 8]);
    expect(put(ones([1, 2]).mul(3), at(3)).toArray()).toEqual([10, 10]);
    await loaded.save(path);
    const later = (await loadProgram(path)) as unknown as typeof put;
    expect(later(ones([1, 2]), at(3)).toArray()).toEqual([10, 10]);
  });

  test('an argument that is written', async () => {
    const step = compile((x: Tensor) => {
      x.add_(1);
      return x.mul(2);
    });
    const path = fresh();
    step(zeros([3]));
    await step.save(path);
    const loaded = await loadProgram(path);
    const x = cat([zeros([2]), ones([3])]).slice(0, 2, 5);
    expect(loaded(x).toArray()).toEqual([4, 4, 4]);
    expect(x.toArray()).toEqual([2, 2, 2]);
  });

  test('no kernel at all', async () => {
    await roundTrip(
      compile(() => 'nothing'),
      [[]],
    );
  });
});

describe('what cannot be saved is refused', () => {
  test('nothing recorded', async () => {
    await expect(compile(() => ones([1])).save(fresh())).rejects.toThrow(ArgumentError);
  });

  test('random numbers, optimizers, gradients that stay', async () => {
    const refused = async (fn: (x: Tensor) => unknown, message: string): Promise<void> => {
      const step = compile(fn);
      // The second call finds gradients where the first one found none.
      for (let i = 0; i < 2; i++) step(ones([2]));
      const path = fresh();
      const error = await step.save(path).then(
        () => null,
        (reason: Error) => reason,
      );
      expect(error).toBeInstanceOf(TraceError);
      expect(error!.message).toContain(message);
      expect(() => readFileSync(path)).toThrow();
    };
    await refused((x) => dropout(x, 0.5), 'random numbers');
    const w = ones([2]).requiresGrad_();
    await refused((x) => {
      w.mul(x).sum().backward();
      return x.sum();
    }, 'gradients');
    const optimizer = new SGD([w], { lr: 0.1 });
    await refused((x) => {
      optimizer.zeroGrad();
      w.mul(x).sum().backward();
      optimizer.step();
      return x.sum();
    }, 'only functions of their arguments');
    // What is drawn and not used is no reason.
    const unused = compile((x: Tensor) => {
      dropout(x, 0.5);
      return x.add(1);
    });
    await roundTrip(unused, [[ones([2])]]);
  });
});

interface Text {
  device: string;
  programs: { [key: string]: never }[];
}

/** Writes a file again with another text, or tensors, and the hash that these have. */
async function forge(
  path: string,
  change: (program: Text & Record<string, never>, tensors: Record<string, Tensor>) => unknown,
): Promise<string> {
  const metadata = await loadMetadata(path);
  const tensors: Record<string, Tensor> = { ...(await loadTensors(path)) };
  const program = JSON.parse(metadata.program!);
  const changed = change(program, tensors);
  const json = typeof changed === 'string' ? changed : JSON.stringify(program);
  const hash = createHash('sha256').update(json);
  for (const name of Object.keys(tensors).sort()) {
    const x = tensors[name]!;
    hash.update(JSON.stringify([name, x.dtype, x.shape])).update(x.bytes());
  }
  const forged = fresh();
  await saveTensors(forged, tensors, { metadata: { ...metadata, program: json, sha256: hash.digest('hex') } });
  return forged;
}

/** A program with all there is: loops, a choice, tile programs, a product with one, a state. */
async function specimen(): Promise<{ path: string; args: Tensor[] }> {
  manualSeed(6);
  const model = new Sequential(new Linear(3, 4), relu, new Linear(4, 3));
  const step = compile((h: Tensor, xs: Tensor, flag: Tensor) => {
    const [last, ys] = scan(
      (c: Tensor, x: Tensor) => [(model.forward(c) as Tensor).add(x), c.exp().sum(1)] as const,
      h,
      xs,
    );
    return [
      cond(
        flag,
        () => last.mul(2),
        () => last.sub(1),
      ),
      ys,
      last.cumsum(0).softmax(1),
    ];
  });
  const args = [randn([2, 3]), randn([4, 2, 3]), tensor(true)];
  step(args[0]!, args[1]!, args[2]!);
  const path = fresh();
  await step.save(path);
  return { path, args };
}

describe('files that are none', () => {
  const outcome = (path: string): Promise<unknown> =>
    loadProgram(path).then(
      (loaded) => loaded,
      (error) => error,
    );

  test('names of ops and dtypes, no numbers of them', async () => {
    const { path } = await specimen();
    const text = (await loadMetadata(path)).program!;
    const { kernels } = JSON.parse(text).programs[0];
    for (const { op, params } of kernels)
      if (op === 'elementwise') expect(params.filter((x: unknown) => typeof x === 'string').length).toBeGreaterThan(1);
    expect(kernels.map(({ op }: { op: string }) => op)).toContain('cumsum');
    expect(text).toContain('"relu"');
  });

  test('another kind, another version, foreign names, missing parts', async () => {
    const { path } = await specimen();
    const plain = fresh();
    await saveTensors(plain, { x: arange(3) });
    await expect(loadProgram(plain)).rejects.toThrow('no program in this file');
    writeFileSync(plain, 'not a safetensors file');
    await expect(loadProgram(plain)).rejects.toThrow(FormatError);
    await expect(loadProgram(join(folder, 'absent'))).rejects.toThrow('ENOENT');

    const metadata = await loadMetadata(path);
    await saveTensors(plain, await loadTensors(path), { metadata: { ...metadata, version: '2' } });
    await expect(loadProgram(plain)).rejects.toThrow('format 2');
    await saveTensors(plain, { ...(await loadTensors(path)), 0: arange(3) }, { metadata });
    await expect(loadProgram(plain)).rejects.toThrow('the hash differs');

    const refuses = async (change: Parameters<typeof forge>[1], message: string, kind = FormatError as never) => {
      const error = await outcome(await forge(path, change));
      expect(error).toBeInstanceOf(kind);
      expect((error as Error).message).toContain(message);
    };
    const replaced = (from: string | RegExp, to: string) => (program: unknown) =>
      JSON.stringify(program).replace(from, to);
    await refuses(replaced('"relu"', '"reluPlus"'), 'no op "reluPlus"');
    await refuses(replaced('"op":"cumsum"', '"op":"cumsun"'), 'no op "cumsun"');
    await refuses(replaced('"dtype":"f32"', '"dtype":"f33"'), 'dtype "f33"');
    await refuses(replaced('"unless"', '"perhaps"'), 'no instruction "perhaps"');
    await refuses(replaced('"cpu"', '"gpu"'), 'for gpu', DeviceError as never);
    await refuses((_, tensors) => delete tensors[0], 'is missing');
    await refuses((program) => {
      (program.programs[0]!.code as unknown[])[0] = ['jump', 0];
    }, 'no program');
    await refuses((program) => {
      program.programs[0]!.arena = 64 as never;
    }, 'outside of its memory');
    await refuses(replaced(/"outputs":\[\d+,/, '"outputs":[4,'), 'memory');
    await refuses(() => '[', 'damaged');
    await refuses(() => `{"device":"cpu","programs":[{"arguments":${'['.repeat(1e5)}${']'.repeat(1e5)}}]}`, 'damaged');
    expect(await outcome(await forge(path, () => undefined))).toBeTypeOf('function');
  });

  test('what kernels are given is checked, of each kernel', () => {
    const kernels = native.table.ops.filter(({ arity }) => arity === 0).map(({ name }) => name);
    expect(Object.keys(least).sort()).toEqual(kernels.sort());
  });

  test('bytes changed or cut off', async () => {
    const { path } = await specimen();
    const whole = readFileSync(path);
    const damaged = fresh();
    let state = 12345;
    const random = (n: number) => {
      state = (state * 1103515245 + 12345) % 2 ** 31;
      return state % n;
    };
    for (let i = 0; i < 150; i++) {
      const bytes = Buffer.from(whole);
      const at = random(bytes.length);
      bytes[at]! ^= 1 << random(8);
      writeFileSync(damaged, i % 3 === 0 ? whole.subarray(0, at) : bytes);
      const error = await outcome(damaged);
      // A changed space behind the header is no change.
      if (typeof error !== 'function') expect(error).toBeInstanceOf(FormatError);
    }
  });

  test('numbers changed, with the hash that goes with them', async () => {
    const { path, args } = await specimen();
    const { program: text } = await loadMetadata(path);
    const numbers = [...text!.matchAll(/(?<=[[,:])-?\d+(?=[\],}])/g)];
    let loaded = 0;
    const messages = new Set<string>();
    for (let i = 0; i < 400; i++) {
      const { 0: was, index } = numbers[(i * 7919) % numbers.length]!;
      const now = [Number(was) + 1, 0, -1, 1e9, Number(was) * 2, 1.5, 2 ** 52, 3][(i >> 3) % 8]!;
      const changed = `${text!.slice(0, index)}${now}${text!.slice(index! + was.length)}`;
      const result = await outcome(await forge(path, () => changed));
      if (typeof result !== 'function') {
        expect(result, changed.slice(index! - 60, index! + 20)).toBeInstanceOf(BrasaError);
        messages.add((result as Error).message.slice(0, 60));
        continue;
      }
      loaded++;
      // As many iterations as a file says are made.
      if (now >= 1e9) continue;
      try {
        (result as Any)(...(args as never[]));
      } catch (error) {
        expect(error).toBeInstanceOf(BrasaError);
      }
    }
    expect(loaded).toBeGreaterThan(10);
    expect(messages.size).toBeGreaterThan(8);
  });
});
