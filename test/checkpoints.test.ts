import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultGenerator, manualSeed, randn, Tensor, tensor } from 'brasa';
import { DataLoader } from 'brasa/data';
import { Accuracy, ConfusionMatrix } from 'brasa/metrics';
import { Linear, Sequential } from 'brasa/nn';
import { SGD, StepLR } from 'brasa/optim';
import { checkpoint, earlyStopping, fit, history, loadCheckpoint, saveCheckpoint } from 'brasa/train';
import { describe, expect, it } from 'vitest';
import { abortAt, fresh, setup, values } from './train/setup.js';

describe('checkpoints', () => {
  it('hold everything: a training that goes on from one, within an epoch, ends with the same bytes', async () => {
    const train = async (stopAt: number[], epochs = 4) => {
      const dir = fresh();
      let state: Awaited<ReturnType<typeof loadCheckpoint>> | undefined;
      for (const step of [...stopAt, -1]) {
        const { model, optimizer, schedule, train, options, data } = setup(state ? 77 : 0); // a resumed one begins elsewhere
        if (state) state = await loadCheckpoint(dir, { model, optimizer, schedule, train });
        const { signal, callback } = abortAt(step);
        const { stopped, epochs: records } = await fit(model, {
          ...options,
          epochs,
          signal,
          validation: new DataLoader(data, { batchSize: 50 }),
          metrics: { accuracy: new Accuracy(), matrix: new ConfusionMatrix() },
          callbacks: [
            callback,
            checkpoint(dir, { best: 'train.loss' }),
            earlyStopping({ monitor: 'validation.loss', patience: 9, restoreBest: true }),
            history(),
          ],
          resume: state?.fit,
        });
        expect(stopped).toBe(step < 0 ? 'completed' : 'aborted');
        state ??= {};
        if (step < 0) {
          const file = (name: string) => readFileSync(join(dir, name, 'checkpoint.safetensors'), 'latin1');
          return { weights: values(model), records, files: [file(''), file('best')] };
        }
      }
    };
    const whole = await train([]);
    // Within an epoch, at its last batch, before the first epoch's end, twice in an epoch.
    expect(await train([10])).toEqual(whole);
    expect(await train([14])).toEqual(whole);
    expect(await train([3, 5, 21])).toEqual(whole);
  });

  it('keep the random state and data of the caller', async () => {
    const { model } = setup();
    const dir = fresh();
    const extra = { note: 'ä', numbers: [Number.NaN, Number.NEGATIVE_INFINITY, -0, 0.1, null, true], x: randn([3]) };
    await saveCheckpoint(dir, { model, extra });
    const next = randn([4]).toArray();
    manualSeed(99);
    const loaded = (await loadCheckpoint(dir, { model })).extra as typeof extra;
    expect(randn([4]).toArray()).toEqual(next);
    expect({ ...loaded, x: loaded.x.toArray() }).toEqual({ ...extra, x: extra.x.toArray() });
    await expect(saveCheckpoint(dir, { model, extra: { f: () => 1 } })).rejects.toThrow(
      'training.extra.f is no plain data',
    );
    expect((await loadCheckpoint(dir, { model })).extra).toMatchObject({ note: 'ä' }); // the old one is whole
  });

  it('that are damaged or of another model are errors, and change nothing', async () => {
    const { model, optimizer, schedule, train, options } = setup();
    await fit(model, { ...options, epochs: 1 });
    const dir = fresh();
    const parts = { model, optimizer, schedule, train };
    await saveCheckpoint(dir, parts);
    const path = join(dir, 'checkpoint.safetensors');
    const good = readFileSync(path);
    await fit(model, { ...options, epochs: 1 }); // move on from what was saved
    const snapshot = () => ({
      model: values(model),
      optimizer: JSON.stringify(optimizer.stateDict(), (_, x) => (x instanceof Tensor ? x.toArray() : x)),
      rest: [schedule.stateDict(), train.stateDict(), defaultGenerator.getState()],
    });
    const refused = async (bytes: Uint8Array, code: string) => {
      writeFileSync(path, bytes);
      const before = snapshot();
      await expect(loadCheckpoint(dir, parts)).rejects.toMatchObject({ code });
      expect(snapshot()).toEqual(before);
    };
    for (const length of [0, 7, 8, 100, good.length - 1]) await refused(good.subarray(0, length), 'ERR_BRASA_FORMAT');
    const flips = Array.from({ length: 60 }, (_, i) => Math.floor((i * good.length) / 60));
    for (const at of flips) {
      const bytes = Uint8Array.from(good);
      bytes[at]! ^= 1;
      await refused(bytes, 'ERR_BRASA_FORMAT');
    }
    const text = good.toString('latin1');
    const edited = text.replace('lastEpoch', 'lastepoch');
    expect(edited).not.toBe(text);
    await refused(Buffer.from(edited, 'latin1'), 'ERR_BRASA_FORMAT');

    // Sound, of a model that fits and an optimizer that does not: the model is as it was.
    const other = setup();
    const wide = new SGD([...other.model.parameters(), tensor([1], { requiresGrad: true })]);
    await saveCheckpoint(dir, { ...parts, optimizer: wide, schedule: new StepLR(wide, { stepSize: 1 }) });
    await refused(readFileSync(path), 'ERR_BRASA_ARGUMENT');
    await saveCheckpoint(dir, { model: new Sequential(new Linear(2, 2)) });
    await refused(readFileSync(path), 'ERR_BRASA_ARGUMENT');

    writeFileSync(path, good);
    const before = snapshot();
    await loadCheckpoint(dir, parts);
    expect(snapshot()).not.toEqual(before);
    await saveCheckpoint(dir, parts);
    expect(readFileSync(path).equals(good)).toBe(true);
  });

  it('removes what a killed writer left', async () => {
    const { model } = setup();
    const dir = fresh();
    await saveCheckpoint(dir, { model });
    writeFileSync(join(dir, '.checkpoint.safetensors.0123.tmp'), 'half');
    writeFileSync(join(dir, 'mine.tmp'), 'kept');
    await saveCheckpoint(dir, { model });
    expect(readdirSync(dir).sort()).toEqual(['checkpoint.safetensors', 'mine.tmp']);
  });
});
