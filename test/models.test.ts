/**
 * The models of lib/models: they load files with PyTorch's names and give what PyTorch gives (golden/models.py), eager and compiled; their
 * gradients; decoding with a cache; sampling.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  add,
  backward,
  compile,
  manualSeed,
  mul,
  noGrad,
  ones,
  randint,
  select,
  sum,
  type Tensor,
  tensor,
} from 'brasa';
import { decodeSafetensors, load, save } from 'brasa/io';
import * as models from 'brasa/models';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';

const at = (name: string) => new URL(`golden/models/${name}.safetensors`, import.meta.url);
const golden = decodeSafetensors(readFileSync(at('outputs')));
const values = (x: Tensor) => Array.from(x.dataSync(), Number);

function expectClose(got: Tensor, want: Tensor, what: string, tolerance = 1e-5): void {
  expect(got.shape, what).toEqual(want.shape);
  const [a, b] = [values(got), values(want)];
  const worst = Math.max(...a.map((v, i) => Math.abs(v - b[i]!) / Math.max(1, Math.abs(b[i]!))));
  expect(worst, what).toBeLessThanOrEqual(tolerance);
}

/** The models of golden/models.py in its sizes; `inputs` are names there, `name` turns a name of a watched gradient into ours. */
const small = {
  resnet18: {
    make: () => models.resnet18({ numClasses: 10, width: 4 }),
    run: (model: models.ResNet, [x]: Tensor[]) => [model.forward(x!)],
    inputs: ['x'],
  },
  resnet50: {
    make: () => models.resnet50({ numClasses: 10, width: 2 }),
    run: (model: models.ResNet, [x]: Tensor[]) => [model.forward(x!)],
    inputs: ['x'],
  },
  mobilenetV2: {
    make: () => {
      const stages: models.MobileNetStage[] = [
        [1, 32, 1, 1],
        [6, 32, 2, 2],
        [6, 64, 2, 2],
      ];
      return models.mobilenetV2({ numClasses: 10, stages, widthMult: 0.25, lastChannel: 24 });
    },
    run: (model: models.MobileNetV2, [x]: Tensor[]) => [model.forward(x!)],
    inputs: ['x'],
  },
  bert: {
    make: () =>
      models.bert({
        vocabSize: 40,
        hiddenSize: 12,
        numLayers: 2,
        numHeads: 3,
        intermediateSize: 20,
        maxPositions: 9,
      }),
    run: (model: models.BertModel, [ids, tokenTypes, mask]: Tensor[]) => {
      const { hidden, pooled } = model.forward(ids!, { tokenTypes: tokenTypes!, mask: mask! });
      return [hidden, pooled!];
    },
    inputs: ['ids', 'types', 'mask'],
  },
  gpt2: {
    make: () => models.gpt2({ vocabSize: 40, contextLength: 9, hiddenSize: 12, numLayers: 2, numHeads: 3 }),
    run: (model: models.Gpt2, [ids]: Tensor[]) => [model.forward(ids!)],
    inputs: ['ids'],
  },
  lstm: {
    make: () => models.lstm({ vocabSize: 40, inputSize: 8, hiddenSize: 8, tieWeights: true }),
    run: (model: models.LstmModel, [ids]: Tensor[]) => {
      const [y, [h, c]] = model.forward(ids!);
      return [y, h, c];
    },
    inputs: ['ids'],
  },
};
type Name = keyof typeof small;
interface Small {
  make(): models.PretrainedModel;
  run(model: models.PretrainedModel, inputs: Tensor[]): Tensor[];
  inputs: string[];
}

/** A model with the golden weights, its inputs, and what PyTorch made of them. */
async function loaded(name: Name) {
  const { make, run, inputs } = small[name] as unknown as Small;
  const model = make().eval();
  const report = await models.loadPretrained(model, at(name));
  const of = (kind: string) => Object.entries(golden).filter(([key]) => key.startsWith(`${name}/${kind}`));
  return {
    model,
    report,
    inputs: inputs.map((key) => golden[`${name}/${key}`]!),
    run: (...list: Tensor[]) => run(model, list),
    ys: of('y')
      .filter(([key]) => /\/y\d$/.test(key))
      .map(([, y]) => y),
    rs: of('r')
      .filter(([key]) => /\/r\d$/.test(key))
      .map(([, r]) => r),
    gradients: of('gradient/').map(([key, g]) => [key.slice(`${name}/gradient/`.length), g] as const),
  };
}

const outputsTimes = (ys: Tensor[], rs: Tensor[]): Tensor =>
  ys.map((y, i) => sum(mul(y, rs[i]!))).reduce((a, b) => add(a, b));

describe.each(Object.keys(small) as Name[])('%s', (name) => {
  test("loads PyTorch's names and gives PyTorch's outputs, eager and compiled", async () => {
    const { report, inputs, run, ys } = await loaded(name);
    expect(report).toMatchObject({ missing: [], unexpected: [], mismatched: [] });
    const eager = noGrad(() => run(...inputs));
    const step = compile(run);
    const compiled = noGrad(() => step(...inputs));
    expect(eager).toHaveLength(ys.length);
    ys.forEach((y, i) => {
      expectClose(eager[i]!, y, `output ${i}`);
      expectClose(compiled[i]!, y, `output ${i}, compiled`);
    });
    expect(step.stats().programs).toBe(1);
  });

  test("its gradients are PyTorch's, eager and compiled", async () => {
    const { model, inputs, run, rs, gradients } = await loaded(name);
    const step = () => {
      model.zeroGrad();
      backward(outputsTimes(run(...inputs), rs));
    };
    for (const [how, go] of [
      ['eager', step],
      ['compiled', compile(step)],
    ] as const) {
      go();
      for (const p of model.parameters()) expect(p.grad, how).not.toBeNull();
      const grads = Object.fromEntries(model.namedParameters().map(([key, p]) => [key, p.grad!]));
      for (const [key, want] of gradients) {
        const { name: ours, part } = ourName(model, key, want);
        expectClose(part(grads[ours]!), want, `${how} gradient of ${key}`, 5e-5);
      }
    }
  });

  test('training mode trains', async () => {
    const { model, inputs, run, rs } = await loaded(name);
    model.train();
    backward(outputsTimes(run(...inputs), rs));
    expect(model.parameters().every((p) => values(p.grad!).every(Number.isFinite))).toBe(true);
    expect(model.parameters().some((p) => values(p.grad!).some((v) => v !== 0))).toBe(true);
  });
});

/** Where the model keeps what PyTorch calls `key`: a name, and which part of it, turned as PyTorch has it. */
function ourName(model: models.PretrainedModel, key: string, x: Tensor): { name: string; part(g: Tensor): Tensor } {
  if (key.includes('.self.')) {
    const row = ['query', 'key', 'value'].findIndex((which) => key.includes(`.self.${which}.`));
    const layer = /layer\.(\d+)/.exec(key)![1];
    const kind = key.endsWith('weight') ? 'inProjWeight' : 'inProjBias';
    return { name: `encoder.layers.${layer}.selfAttn.${kind}`, part: (g) => g.chunk(3)[row]! };
  }
  const { state } = models.pretrainedState(model, { [key]: x });
  const name = Object.keys(state).find((found) => !found.endsWith('numBatchesTracked'))!;
  return { name, part: (g) => (key.includes('.c_attn.weight') ? g.transpose(0, 1) : g) };
}

describe('loading', () => {
  const folder = mkdtempSync(join(tmpdir(), 'brasa-models-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'model.safetensors');

  test('what is missing, unexpected or of another shape is an error that lists it, and nothing is loaded', async () => {
    const model = models.resnet18({ numClasses: 10, width: 4 });
    const before = values(model.conv1.weight);
    const tensors = await load(at('resnet18'));
    delete tensors['layer1.0.bn1.running_mean'];
    tensors['head.weight_x'] = ones([1]);
    tensors['fc.bias'] = ones([3]);
    await save(file, tensors);
    const failed = models.loadPretrained(model, file);
    await expect(failed).rejects.toMatchObject({ name: 'ArgumentError', code: 'ERR_BRASA_ARGUMENT' });
    await expect(failed).rejects.toThrow(
      /ResNet.*missing: layer1\.0\.bn1\.runningMean; unexpected: head\.weightX; mismatched: fc\.bias \(3\) is not \(10\)/,
    );
    expect(values(model.conv1.weight)).toEqual(before);
    const report = await models.loadPretrained(model, file, { strict: false });
    expect(report).toEqual({
      missing: ['layer1.0.bn1.runningMean'],
      unexpected: ['head.weightX'],
      mismatched: ['fc.bias (3) is not (10)'],
      skipped: [],
    });
    expect(values(model.conv1.weight)).toEqual(values(tensors['conv1.weight']!));
  });

  test('files without counts of batches, with heads, prefixes, old names and masks', async () => {
    const old = Object.entries(await load(at('resnet18'))).filter(([key]) => !key.endsWith('num_batches_tracked'));
    await save(file, Object.fromEntries(old));
    expect(await models.loadPretrained(models.resnet18({ numClasses: 10, width: 4 }), file)).toMatchObject({
      missing: [],
    });

    const { make, run } = small.bert;
    const renamed = Object.entries(await load(at('bert'))).map(([key, x]) => {
      return [
        `bert.${key.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta')}`,
        x,
      ];
    });
    await save(file, { ...Object.fromEntries(renamed), 'cls.predictions.bias': ones([40]) });
    const model = make().eval();
    expect((await models.loadPretrained(model, file)).skipped).toEqual(['cls.predictions.bias']);
    const { inputs, ys } = await loaded('bert');
    expectClose(run(model, inputs)[0]!, ys[0]!, 'hidden states');

    const { report } = await loaded('gpt2');
    expect(report.skipped.toSorted()).toEqual(['lm_head.weight', 'transformer.h.0.attn.bias']);
  });

  test('parts of a joined matrix that are not all there are reported by the names of the file', async () => {
    const tensors = await load(at('bert'));
    delete tensors['encoder.layer.0.attention.self.key.weight'];
    const model = small.bert.make();
    const { state } = models.pretrainedState(model, tensors);
    const report = model.loadStateDict(state, { strict: false });
    expect(report.missing).toEqual(['encoder.layers.0.selfAttn.inProjWeight']);
    expect(report.unexpected).toEqual([
      'encoder.layer.0.attention.self.query.weight',
      'encoder.layer.0.attention.self.value.weight',
    ]);
    expect(() =>
      models.pretrainedState(model, { 'bert.pooler.dense.bias': ones([12]), 'pooler.dense.bias': ones([12]) }),
    ).toThrow(/two tensors of the file are 'pooler\.bias' of BertModel/);
  });
});

test('bert: lengths are a mask; a model without a pooler', async () => {
  const { model, inputs, ys } = await loaded('bert');
  const [ids, tokenTypes] = inputs as [Tensor, Tensor];
  const { hidden } = (model as models.BertModel).forward(ids, { tokenTypes, lengths: tensor(new Int32Array([7, 4])) });
  // Hidden states of tokens that are not seen say nothing.
  expectClose(hidden.at(0), ys[0]!.at(0), 'first sequence');
  expectClose(hidden.at(1, [0, 4]), ys[0]!.at(1, [0, 4]), 'second sequence');
  const bare = models.bert({
    vocabSize: 40,
    hiddenSize: 12,
    numLayers: 1,
    numHeads: 3,
    intermediateSize: 20,
    pooler: false,
  });
  expect(bare.eval().forward(ids).pooled).toBeNull();
  expect(() => (model as models.BertModel).forward(ones([2, 10]))).toThrow(
    /\[BertModel\] needs ids \(B,T\) with T up to 9, got \(2,10\)/,
  );
});

describe('decoding', () => {
  beforeEach(() => void manualSeed(0));
  const model = models.gpt2({ vocabSize: 23, contextLength: 24, hiddenSize: 16, numLayers: 2, numHeads: 2 }).eval();
  // Wider than at the start of training, so that the likeliest token is not always the same.
  noGrad(() => {
    for (const p of model.parameters()) if (p.ndim > 1) p.mul_(12);
  });
  const prompt = () => randint(0, 23, [3, 5]);

  /** Every token by a forward over all before it. */
  function plainly(ids: Tensor, count: number): number[][] {
    const rows = ids.toArray() as number[][];
    for (let i = 0; i < count; i++) {
      const logits = noGrad(() => model.forward(tensor(rows, { dtype: 'i32' })));
      const best = values(select(logits, 1, -1).argmax(1));
      for (const [b, row] of rows.entries()) row.push(best[b]!);
    }
    return rows;
  }

  test('with a cache is without one, in a single program', async () => {
    const ids = prompt();
    const decoder = new models.Gpt2Decoder(model, { batch: 3 });
    const want = plainly(ids, 19);
    expect((await decoder.generate(ids, { maxNewTokens: 19 })).toArray()).toEqual(want);
    // A second generation begins anew.
    const other = prompt();
    expect((await decoder.generate(other, { maxNewTokens: 4 })).toArray()).toEqual(plainly(other, 4));

    const cache = new models.KeyValueCache(model, { batch: 3, length: 12 });
    const step = compile((tokens: Tensor) => {
      const logits = model.forward(tokens, { cache });
      cache.position.add_(tokens.shape[1]!);
      return logits;
    });
    const whole = noGrad(() => model.forward(ids));
    for (let t = 0; t < 5; t++)
      expectClose(
        step(ids.at('...', [t, t + 1]).contiguous()),
        whole.at([0, 3], [t, t + 1]).contiguous(),
        `token ${t}`,
      );
    expect(step.stats().programs).toBe(1);
    expect(cache.position.item()).toBe(5);
  });

  test('tokens come one by one, and end at the end token', async () => {
    const ids = prompt();
    const rows = plainly(ids, 8).map((row) => row.slice(5));
    const end = rows[0]![3]!;
    const decoder = new models.Gpt2Decoder(model, { batch: 3, length: 13 });
    const expected = rows.map((row) => {
      const at = row.indexOf(end);
      return at < 0 ? row : row.map((token, i) => (i < at ? token : end));
    });
    const seen: number[][] = [];
    for await (const token of decoder.stream(ids, { maxNewTokens: 8, endToken: end })) seen.push(values(token));
    expect(seen).toEqual(seen.map((_, i) => expected.map((row) => row[i])));
    const ended = expected.map((row) => row.indexOf(end));
    expect(seen).toHaveLength(ended.includes(-1) ? 8 : Math.max(...ended) + 1);
  });

  test('sampling: by temperature and of the k likeliest, the same from the same seed', async () => {
    const logits = tensor([[0, 1, 2, -1]]).expand([20_000, 4]);
    const share = (tokens: Tensor) => [0, 1, 2, 3].map((k) => values(tokens).filter((t) => t === k).length / 20_000);
    const softmax = (x: number[]) => x.map((v) => Math.exp(v) / x.reduce((total, w) => total + Math.exp(w), 0));
    const near = (a: number[], b: number[]) => {
      for (const [i, v] of a.entries()) expect(Math.abs(v - b[i]!)).toBeLessThan(0.015);
    };
    near(share(models.sampleToken(logits, 1)), softmax([0, 1, 2, -1]));
    near(share(models.sampleToken(logits, 2)), softmax([0, 0.5, 1, -0.5]));
    near(share(models.sampleToken(logits, tensor(1), 2)), [0, ...softmax([1, 2]), 0]);
    expect(share(models.sampleToken(logits, null))).toEqual([0, 0, 1, 0]);

    const ids = prompt();
    const decoder = new models.Gpt2Decoder(model, { batch: 3 });
    const drawn = async () => {
      manualSeed(7);
      return (await decoder.generate(ids, { maxNewTokens: 10, temperature: 1.5, topK: 5 })).toArray();
    };
    const first = await drawn();
    expect(await drawn()).toEqual(first);
    expect(first).not.toEqual(plainly(ids, 10));
    expect((await decoder.generate(ids, { maxNewTokens: 6, temperature: 3, topK: 1 })).toArray()).toEqual(
      plainly(ids, 6),
    );
  });

  test('what does not fit is refused', async () => {
    const decoder = new models.Gpt2Decoder(model, { batch: 1, length: 8 });
    const ids = randint(0, 23, [1, 5]);
    await expect(decoder.generate(ids, { maxNewTokens: 4 })).rejects.toThrow(
      /5 tokens and 4 more do not fit into a cache of 8/,
    );
    await expect(decoder.generate(prompt())).rejects.toThrow(/needs a prompt \(1,T\), got \(3,5\)/);
    await expect(decoder.generate(ids, { maxNewTokens: 1, temperature: -1 })).rejects.toThrow(
      /temperature is 0 or more/,
    );
    expect(() => new models.KeyValueCache(model, { length: 25 })).toThrow(/sees 24 tokens at most/);
    expect(() => model.forward(randint(0, 23, [1, 25]))).toThrow(/T up to 24, got \(1,25\)/);
    expect(() => models.sampleToken(ones([2, 3]), 1, 0)).toThrow(/topK is a positive integer/);
    expect(() => models.gpt2({ numLayers: -1 })).toThrow(/numLayers must be a positive integer, got -1/);
    expect(() => models.sampleToken(ones([2, 3]), 0)).toThrow(/temperature is above 0, got 0/);
  });
});
