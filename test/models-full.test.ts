/** The models of lib/models in their full sizes: parameter counts, eager as compiled, decoding with a cache as without. */
import { compile, manualSeed, noGrad, randint, randn, select, type Tensor } from 'brasa';
import { loadMetadata } from 'brasa/io';
import * as models from 'brasa/models';
import type { Module } from 'brasa/nn';
import { beforeEach, expect, test } from 'vitest';

const makers = { ...models };
beforeEach(() => void manualSeed(0));
/** A quarter of a gigabyte each: not left to the collector. */
const drop = (model: Module) => {
  for (const p of model.parameters()) p.dispose();
};

test('the sizes are those of the originals', async () => {
  const about = await loadMetadata(new URL('golden/models/outputs.safetensors', import.meta.url));
  const counts = JSON.parse(about.counts!) as Record<string, number>;
  expect(counts).toMatchObject({ resnet18: 11_689_512, resnet50: 25_557_032, mobilenetV2: 3_504_872 });
  expect(counts).toMatchObject({ bert: 109_482_240, miniLM: 22_713_216, gpt2: 124_439_808 });
  for (const [name, count] of Object.entries(counts)) {
    const model = makers[name as 'resnet18']();
    expect(model.parameterCount(), name).toBe(count);
    drop(model);
  }
});

/** |a - b| over the largest |b|. */
function difference(a: Tensor, b: Tensor): number {
  return a.sub(b).abs().max().item() / b.abs().max().item();
}

test.each([
  ['resnet50', () => models.resnet50(), () => randn([1, 3, 224, 224])],
  ['mobilenetV2', () => models.mobilenetV2(), () => randn([1, 3, 224, 224])],
  ['miniLM', () => models.miniLM(), () => randint(0, 30000, [1, 128])],
] as [string, () => Module, () => Tensor][])('%s: eager is compiled', (_name, make, input) => {
  const model = make().eval();
  const x = input();
  const run = (given: Tensor): Tensor => {
    const y = model.forward(given) as Tensor | models.BertOutput;
    return 'hidden' in y ? y.hidden : y;
  };
  noGrad(() => expect(difference(compile(run)(x), run(x))).toBeLessThan(1e-5));
  drop(model);
});

test('gpt2: decoding with a cache is decoding without', async () => {
  const model = models.gpt2().eval();
  const ids = randint(0, 50257, [1, 12]);
  const decoder = new models.Gpt2Decoder(model, { length: 16 });
  const all = await decoder.generate(ids, { maxNewTokens: 4 });
  const logits = noGrad(() => model.forward(all.at([0, 1], [0, 15])));
  for (let t = 11; t < 15; t++) {
    const next = select(logits, 1, t);
    const taken = next.at(0, all.at(0, t + 1).item()).item();
    // The likeliest, or as likely but for rounding.
    expect(next.max().item() - taken).toBeLessThan(1e-4);
  }
  drop(model);
});
