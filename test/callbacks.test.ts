import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { mul, tensor } from 'brasa';
import { DataLoader } from 'brasa/data';
import { Accuracy, ConfusionMatrix } from 'brasa/metrics';
import { Linear, Sequential } from 'brasa/nn';
import { SGD } from 'brasa/optim';
import {
  type Callback,
  checkpoint,
  earlyStopping,
  fit,
  history,
  lineCharts,
  loadCheckpoint,
  progress,
  sparkline,
  terminateOnNaN,
} from 'brasa/train';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { fresh, setup } from './train/setup.js';

describe('callbacks', () => {
  /** A training whose validation losses are given, the epoch's number in the model's one weight. */
  function scripted(losses: number[]) {
    const model = new Sequential(new Linear(1, 1, { bias: false }));
    let epoch = 0;
    const options = {
      train: [0],
      validation: [0],
      step: () =>
        mul(model.parameters()[0]!, 0)
          .sum()
          .add(losses[epoch - 1]!),
      optimizer: new SGD(model.parameters(), { lr: 0 }),
      epochs: losses.length,
    };
    const counter: Callback = {
      onEpochStart: (run) => {
        epoch = run.epoch;
        model.loadStateDict({ '0.weight': tensor([[epoch]]) });
      },
    };
    return { model, options, counter, weight: () => model.parameters()[0]!.item() };
  }

  it('earlyStopping waits, stops, and restores the best', async () => {
    const { model, options, counter, weight } = scripted([5, 3, 4, 2.95, 4, 1]);
    const early = earlyStopping({ monitor: 'validation.loss', patience: 1, minDelta: 0.1, restoreBest: true });
    const { epochs, stopped } = await fit(model, { ...options, callbacks: [counter, early] });
    expect([epochs.length, stopped, weight()]).toEqual([4, 'earlyStopping', 2]);
  });

  it('earlyStopping watches what is to grow', async () => {
    const { model, options, counter } = scripted([1, 2, 1, 1]);
    const early = earlyStopping({ monitor: 'train.loss', mode: 'max' });
    expect((await fit(model, { ...options, callbacks: [counter, early] })).epochs).toHaveLength(3);
  });

  it('earlyStopping says what it can watch', async () => {
    expect(() => earlyStopping({ monitor: 'validation.accuracy' })).toThrow("mode 'max' or 'min'");
    const { model, options, counter } = scripted([1]);
    const run = fit(model, { ...options, callbacks: [counter, earlyStopping({ monitor: 'valid.loss' })] });
    await expect(run).rejects.toThrow('there is: train.loss, validation.loss');
  });

  it('terminateOnNaN stops at the first loss that is no number', async () => {
    const { model, options, counter } = scripted([1, Number.NaN, 1]);
    const { epochs, stopped } = await fit(model, { ...options, callbacks: [counter, terminateOnNaN()] });
    expect([epochs.length, stopped]).toEqual([1, 'nan']);
  });

  it('history records the steps', async () => {
    const { model, options } = setup();
    const [all, some] = [history(), history({ every: 3 })];
    const metrics = { accuracy: new Accuracy(), matrix: new ConfusionMatrix() };
    const { epochs } = await fit(model, { ...options, metrics, epochs: 1, callbacks: [all, some] });
    expect(all.metrics.accuracy!.at(-1)).toBe(epochs[0]!.train.accuracy);
    expect(Object.keys(some.metrics)).toEqual(['accuracy']);
    expect(all.steps).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(some.steps).toEqual([3, 6]);
    const { loss } = all;
    expect(some.loss[1]).toBeCloseTo((loss[3]! + loss[4]! + loss[5]!) / 3, 12);
    const weighted = loss.reduce((sum, value, i) => sum + value * (i < 6 ? 16 : 4), 0);
    expect(epochs[0]!.train.loss).toBeCloseTo(weighted / 100, 12);
  });

  it('checkpoint keeps the newest, the best and the last few', async () => {
    const { model, options, counter } = scripted([5, 3, 4, 6]);
    const dir = fresh();
    await fit(model, { ...options, callbacks: [checkpoint(dir, { best: 'validation.loss', keep: 2 }), counter] });
    expect(readdirSync(dir).sort()).toEqual(['best', 'checkpoint.safetensors', 'epoch-3', 'epoch-4']);
    const weights = [];
    for (const name of ['', 'best', 'epoch-3', 'epoch-4']) {
      const { fit: state } = await loadCheckpoint(join(dir, name), { model });
      weights.push([model.parameters()[0]!.item(), state!.epoch]);
    }
    expect(weights).toEqual([[4, 4], [2, 2], [3, 3], [4, 4]]); // biome-ignore format: a row a checkpoint
  });
});

describe('progress', () => {
  async function printed(stream: { isTTY?: boolean; columns?: number }): Promise<string> {
    let text = '';
    const write = (part: string) => {
      text += part;
      return true;
    };
    const { model, options, data } = setup();
    // A clock by which a batch takes 40 ms, on any machine.
    let now = 0;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now);
    onTestFinished(() => clock.mockRestore());
    const slow: Callback = {
      onBatchEnd() {
        now += 40;
      },
    };
    await fit(model, {
      ...options,
      validation: new DataLoader(data, { batchSize: 50 }),
      metrics: { accuracy: new Accuracy() },
      epochs: 2,
      callbacks: [slow, progress({ stream: { ...stream, write } as never })],
    });
    return text;
  }

  it('prints plain lines where there is no terminal', async () => {
    const lines = (await printed({})).trimEnd().split('\n');
    const number = '[0-9.]+';
    const results = `loss ${number}  accuracy ${number}`;
    for (const [i, line] of lines.entries()) {
      expect(line).toMatch(new RegExp(`^epoch ${i + 1}/2  train ${results}  validation ${results}  ${number} s$`));
    }
    expect(lines).toHaveLength(2);
  });

  it('redraws one line on a terminal, not too often and not too wide', async () => {
    const text = await printed({ isTTY: true, columns: 200 });
    const frames = text.split('\r\x1b[K').filter((frame) => frame.includes('━'));
    expect(frames[0]).toMatch(
      /^epoch 1\/2 {2}━+─* {2}\d\/7 {2}loss [0-9.]+ {2}accuracy [0-9.]+ {2}\d+ samples\/s {2}ETA [0-9.]+ s$/,
    );
    expect(frames).toHaveLength(4); // batches 3 and 6 of each epoch's 7
    expect(text.split('\n')).toHaveLength(3);
    const narrow = (await printed({ isTTY: true, columns: 30 }))
      .split('\r\x1b[K')
      .filter((frame) => frame.includes('━'));
    expect(Math.max(...narrow.map(({ length }) => length))).toBeLessThan(30);
  });
});

describe('charts', () => {
  it('sparkline goes from the smallest to the largest', () => {
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7])).toBe('▁▂▃▄▅▆▇█');
    expect(sparkline([1, 1, 5, 5], { width: 2 })).toBe('▁█');
    expect(sparkline([3, Number.NaN, 3])).toBe('▁ ▁');
    expect(sparkline([])).toBe('');
  });

  it('lineCharts draws each series where its values are', () => {
    const svg = lineCharts([
      { title: 'a < b', series: [{ name: 's', x: [0, 10], y: [0, 1] }] },
      { title: 'log', log: true, series: [{ name: 't', x: [1, 2, 3, 4], y: [1, 0, 10, 100] }] },
    ]);
    expect(svg).toMatch(/^<svg .*<\/svg>\n$/s);
    expect(svg).toContain('a &#60; b');
    expect(svg).toContain('d="M56.0 280.0L464.0 40.0"'); // from the lower left corner to the upper right
    expect(svg.match(/translate\(/g)).toHaveLength(2);
    expect(svg).toContain('d="M56.0 280.0M328.0 160.0L464.0 40.0"'); // the value 0 has no logarithm
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    expect(() => lineCharts([{ title: '', series: [{ name: 's', x: [1], y: [] }] }])).toThrow('1 x and 0 y');
  });
});
