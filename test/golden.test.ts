// Agreement with PyTorch: the golden files beside golden/make.py, which wrote them.

import { readFileSync } from 'node:fs';

import { cat, crossEntropy, type DType, manualSeed, mul, Tensor, tensor } from 'brasa';
import * as nn from 'brasa/nn';
import * as optim from 'brasa/optim';
import { beforeEach, describe, expect, test } from 'vitest';

const layers = { ...nn };
const optimizers = { ...optim };
const initialisers = { ...nn.init };

const path = (name: string) => new URL(`golden/${name}`, import.meta.url);
const json = (name: string) => JSON.parse(readFileSync(path(name), 'utf8'));

/** A safetensors file, read the shortest way: the tests of lib/io should not be needed to trust these. */
function golden<T>(name: string): { tensors: Record<string, Tensor>; about: T } {
  const file = readFileSync(path(name));
  const start = 8 + Number(file.readBigUInt64LE());
  const { __metadata__, ...entries } = JSON.parse(file.toString('utf8', 8, start));
  const kinds = { F64: Float64Array, F32: Float32Array, I64: BigInt64Array };
  const tensors = Object.entries(entries).map(([key, entry]) => {
    const { dtype, shape, data_offsets } = entry as {
      dtype: keyof typeof kinds;
      shape: number[];
      data_offsets: number[];
    };
    const [begin, end] = data_offsets.map((offset) => start + offset);
    const data = new kinds[dtype](file.buffer.slice(file.byteOffset + begin, file.byteOffset + end) as ArrayBuffer);
    return [key, tensor(data, { shape })] as const;
  });
  const about = Object.fromEntries(
    Object.entries(__metadata__ as object).map(([key, text]) => [key, JSON.parse(text)]),
  );
  return { tensors: Object.fromEntries(tensors), about: about as T };
}

/** The tensors whose names begin with `prefix`, without it. */
function below(tensors: Record<string, Tensor>, prefix: string): Record<string, Tensor> {
  const entries = Object.entries(tensors).filter(([key]) => key.startsWith(prefix));
  return Object.fromEntries(entries.map(([key, value]) => [key.slice(prefix.length), value]));
}

function expectClose(actual: Tensor, expected: Tensor, tolerance: number, what: string): void {
  expect(actual.shape, what).toEqual(expected.shape);
  expectNumbers(Array.from(actual.dataSync(), Number), Array.from(expected.dataSync(), Number), tolerance, what);
}

/** |actual - expected| <= tolerance * max(1, |expected|), and NaN nowhere. */
function expectNumbers(actual: readonly number[], expected: readonly number[], tolerance: number, what: string): void {
  expect(actual.length, what).toBe(expected.length);
  let worst = 0;
  expected.forEach((value, i) => {
    const error = Math.abs(actual[i] - value) / Math.max(1, Math.abs(value));
    worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(worst, error);
  });
  expect(worst, what).toBeLessThanOrEqual(tolerance);
}

/** Outputs and states one after the other, as make.py joins them. */
const joined = (y: unknown): Tensor =>
  y instanceof Tensor ? y : cat((y as unknown[]).map((part) => joined(part).flatten()));

interface LayerCase {
  kind: string;
  args: unknown[];
  options: Record<string, unknown>;
  training: boolean;
}

describe('layers', () => {
  const { tensors, about } = golden<{ cases: LayerCase[] }>('layers.safetensors');

  about.cases.forEach(({ kind, args, options, training }, i) => {
    test(`${kind} ${JSON.stringify(args)} ${JSON.stringify(options)}${training ? '' : ' eval'}`, () => {
      const make = (layers as unknown as Record<string, new (...args: unknown[]) => nn.Module>)[kind];
      const given = Object.keys(options).length > 0 ? [...args, options] : args;
      const layer = new make(...given).to('f64').train(training);
      const of = (name: string) => below(tensors, `${i}/${name}/`);
      layer.loadStateDict(of('before'));
      const x = tensors[`${i}/x`];
      if (x.dtype === 'f64') x.requiresGrad_();
      const y = joined(layer.forward(x));
      expectClose(y, tensors[`${i}/y`], 1e-11, 'output');
      mul(y, tensors[`${i}/r`]).sum().backward();
      if (x.dtype === 'f64') expectClose(x.grad!, tensors[`${i}/gradient`], 1e-10, 'gradient of the input');
      const gradients = of('gradient');
      const parameters = layer.namedParameters();
      expect(parameters.map(([name]) => name)).toEqual(Object.keys(gradients));
      for (const [name, p] of parameters) expectClose(p.grad!, gradients[name], 1e-10, `gradient of ${name}`);
      const after = of('after');
      const buffers = layer.namedBuffers();
      expect(buffers.map(([name]) => name)).toEqual(Object.keys(after));
      for (const [name, b] of buffers) expectClose(b, after[name], 1e-11, `${name} after the call`);
    });
  });
});

interface Run {
  kind: 'SGD' | 'Adam' | 'AdamW' | 'RMSprop';
  options: { lr: number };
  f32: boolean;
}

/** Any of the optimizers, by name. */
function optimizerOf(kind: Run['kind'], params: Tensor[], options: object): optim.Optimizer {
  return new optimizers[kind](params, options as never);
}

describe('five training steps of a CNN', () => {
  const { tensors, about } = golden<{ runs: Run[] }>('training.safetensors');
  const initial = below(tensors, 'initial/');

  function train(run: Run, dtype: DType): { losses: number[]; model: nn.Module } {
    const model = new nn.Sequential(
      new nn.Conv2d(1, 6, 3, { padding: 1, bias: false }),
      new nn.BatchNorm2d(6),
      new nn.ReLU(),
      new nn.MaxPool2d(2),
      new nn.Conv2d(6, 12, 3, { padding: 1, bias: false }),
      new nn.BatchNorm2d(12),
      new nn.ReLU(),
      new nn.MaxPool2d(2),
      new nn.Flatten(),
      new nn.Linear(12 * 3 * 3, 24),
      new nn.ReLU(),
      new nn.Linear(24, 10),
    ).to(dtype);
    model.loadStateDict(initial);
    const optimizer = optimizerOf(run.kind, model.parameters(), run.options);
    const x = tensors.x.to(dtype);
    const losses = Array.from({ length: 5 }, () => {
      optimizer.zeroGrad();
      const loss = crossEntropy(model.forward(x), tensors.y);
      loss.backward();
      optimizer.step();
      return loss.item();
    });
    return { losses, model };
  }

  about.runs.forEach((run, i) => {
    const name = `${run.kind} ${JSON.stringify(run.options)}`;
    test(`${name}, f64`, () => {
      const { losses, model } = train(run, 'f64');
      expectNumbers(losses, Array.from(tensors[`${i}/losses`].dataSync(), Number), 1e-9, 'losses');
      const final = below(tensors, `${i}/final/`);
      const state = model.stateDict();
      expect(Object.keys(state).sort()).toEqual(Object.keys(final).sort());
      for (const [key, value] of Object.entries(state)) expectClose(value, final[key], 1e-9, key);
    });
    if (run.f32) {
      test(`${name}, f32`, () => {
        const { losses } = train(run, 'f32');
        expectNumbers(losses, Array.from(tensors[`${i}/losses32`].dataSync(), Number), 1e-5, 'losses');
      });
    }
  });
});

describe('optimizers on a quadratic', () => {
  const { a, b, start, runs } = json('optimizers.json');
  const f64 = (values: number[]) => tensor(new Float64Array(values));

  for (const { kind, options, path: expected } of runs as (Run & { path: number[][] })[]) {
    test(`${kind} ${JSON.stringify(options)}`, () => {
      const p = nn.parameter(f64(start));
      const optimizer = optimizerOf(kind, [p], options);
      for (const point of expected) {
        p.grad = mul(f64(a), p.detach().sub(f64(b)));
        optimizer.step();
        expectNumbers(Array.from(p.dataSync(), Number), point, 1e-12, 'parameter');
      }
    });
  }

  for (const { normType, limit, total, gradients } of json('optimizers.json').clipNorm) {
    test(`clipGradNorm_ to ${limit}, norm ${normType}`, () => {
      const ps = [a, b].map((gradient: number[]) => {
        const p = nn.parameter(f64(start));
        p.grad = f64(gradient);
        return p;
      });
      const norm = optim.clipGradNorm_(ps, limit, {
        normType: normType === 'inf' ? Number.POSITIVE_INFINITY : normType,
      });
      expectNumbers([norm.item()], [total], 1e-12, 'total norm');
      for (const [i, p] of ps.entries()) expectClose(p.grad!, f64(gradients[i]), 1e-12, 'gradient');
    });
  }
});

describe('schedules', () => {
  const { runs, chained, lambda } = json('schedules.json') as {
    runs: { kind: string; options: object; path: number[][] }[];
    chained: number[][];
    lambda: number[][];
  };

  function check(make: (optimizer: optim.Optimizer) => optim.Schedule[], expected: number[][]): void {
    const group = () => [nn.parameter(tensor([0]))];
    const optimizer = new optim.SGD([{ params: group() }, { params: group(), lr: 0.02 }], { lr: 0.1, momentum: 0.9 });
    const schedules = make(optimizer);
    const [first, second] = optimizer.paramGroups;
    for (const point of expected) {
      expectNumbers([first.lr, second.lr, first.momentum], point, 1e-14, 'lr, lr of group 1, momentum');
      if (point !== expected.at(-1)) for (const schedule of schedules) schedule.step();
    }
  }

  for (const { kind, options, path: expected } of runs) {
    test(`${kind} ${JSON.stringify(options)}`, () => {
      const make = optimizers[kind as 'StepLR'] as new (optimizer: optim.Optimizer, options: object) => optim.Schedule;
      check((optimizer) => [new make(optimizer, options)], expected);
    });
  }
  test('LinearLR with CosineAnnealingLR', () => {
    check(
      (o) => [
        new optim.LinearLR(o, { startFactor: 0.25, totalIters: 4 }),
        new optim.CosineAnnealingLR(o, { tMax: 20 }),
      ],
      chained,
    );
  });
  test('LambdaLR', () => {
    check((o) => [new optim.LambdaLR(o, [(t) => 1 / (1 + t), (t) => 0.95 ** t])], lambda);
  });
});

interface Moments {
  mean: number;
  std: number;
  min: number;
  max: number;
}

describe('initialisation', () => {
  const { shape, functions, fresh, gains } = json('init.json');
  beforeEach(() => void manualSeed(0));

  /** A uniform's standard deviation is its width / sqrt(12). */
  const uniform = (std: number, width: number) => Math.abs((std * Math.sqrt(12)) / width - 1) < 0.2;

  /** The same moments within sampling noise, and extremes: a uniform's nearly reached, a normal's within two deviations. */
  function expectMoments(x: Tensor, { mean, std, min, max }: Moments, what: string): void {
    const values = Array.from(x.dataSync(), Number);
    const ourMean = values.reduce((sum, v) => sum + v, 0) / values.length;
    const ourStd = Math.sqrt(values.reduce((sum, v) => sum + (v - ourMean) ** 2, 0) / values.length);
    expect(Math.abs(ourMean - mean), `${what}: mean`).toBeLessThanOrEqual((8 * std) / Math.sqrt(values.length));
    expect(Math.abs(ourStd - std), `${what}: std`).toBeLessThanOrEqual((8 * std) / Math.sqrt(values.length));
    const [low, high] = values.reduce(([l, h], v) => [Math.min(l, v), Math.max(h, v)], [ourMean, ourMean]);
    const slack = uniform(std, max - min) ? (16 * (max - min)) / values.length : std * 2;
    expect(Math.abs(low - min), `${what}: min`).toBeLessThanOrEqual(slack);
    expect(Math.abs(high - max), `${what}: max`).toBeLessThanOrEqual(slack);
  }

  for (const { name, options, ...moments } of functions as ({ name: string; options: object } & Moments)[]) {
    test(`${name} ${JSON.stringify(options)}`, () => {
      const fill = initialisers[name as 'uniform_'] as (x: Tensor, options: object) => Tensor;
      expectMoments(
        fill(tensor(new Float64Array(shape.reduce((p: number, n: number) => p * n, 1)), { shape }), options),
        moments,
        name,
      );
    });
  }
  for (const { kind, args, parameters } of fresh) {
    test(`fresh ${kind} ${JSON.stringify(args)}`, () => {
      const layer = new layers[kind as 'Linear'](...(args as [number, number]));
      for (const [name, p] of layer.namedParameters()) expectMoments(p, parameters[name], name);
    });
  }
  for (const { args, gain } of gains) {
    test(`calculateGain ${args}`, () => {
      expect(nn.init.calculateGain(...(args as [nn.init.Nonlinearity, number]))).toBeCloseTo(gain, 14);
    });
  }
});
