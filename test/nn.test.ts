import { inspect } from 'node:util';

import { add, manualSeed, mul, noGrad, ones, randn, relu, type Tensor, tensor, zeros } from 'brasa';
import {
  BatchNorm1d,
  BatchNorm2d,
  buffer,
  Conv2d,
  Dropout,
  Embedding,
  Flatten,
  GELU,
  Identity,
  init,
  LayerNorm,
  Linear,
  MaxPool2d,
  Module,
  parameter,
  ReLU,
  Sequential,
} from 'brasa/nn';
import { describe, expect, test, vi } from 'vitest';

const values = (x: Tensor) => Array.from(x.dataSync(), Number);
const names = (entries: [string, unknown][]) => entries.map(([name]) => name);

/** Every way to hold a parameter, a buffer and a layer. */
class Tree extends Module {
  scale = parameter(ones([2]));
  steps = buffer(zeros([]));
  scratch = buffer(zeros([3]), { persistent: false });
  plain = zeros([4]);
  nothing: Tensor | null = null;
  blocks = [new Linear(2, 2), new Linear(2, 2, { bias: false })];
  heads = { a: new Linear(2, 1), b: [parameter(zeros([1]))] };
  #hidden = new Linear(2, 2);

  forward(x: Tensor): Tensor {
    return this.#hidden.forward(this.blocks.reduce((y, block) => block.forward(y), mul(x, this.scale)));
  }
}

describe('registration', () => {
  test('properties, arrays and objects, in order of insertion; private fields and plain tensors are not seen', () => {
    const tree = new Tree();
    expect(names(tree.namedParameters())).toEqual([
      'scale',
      'blocks.0.weight',
      'blocks.0.bias',
      'blocks.1.weight',
      'heads.a.weight',
      'heads.a.bias',
      'heads.b.0',
    ]);
    expect(names(tree.namedBuffers())).toEqual(['steps', 'scratch']);
    expect(names(tree.namedModules())).toEqual(['', 'blocks.0', 'blocks.1', 'heads.a']);
    expect(names(tree.namedChildren())).toEqual(['blocks.0', 'blocks.1', 'heads.a']);
    expect(Object.keys(tree.stateDict())).not.toContain('scratch');
  });

  test('a tied parameter is listed once and saved under both names', () => {
    const model = new Sequential(new Linear(3, 3), new Linear(3, 3));
    const [first, second] = model.children() as Linear[];
    second.weight = first.weight;
    expect(names(model.namedParameters())).toEqual(['0.weight', '0.bias', '1.bias']);
    expect(Object.keys(model.stateDict())).toEqual(['0.weight', '0.bias', '1.weight', '1.bias']);
    const layer = new Linear(3, 3);
    const twice = new Sequential(layer, layer);
    expect(names(twice.namedModules())).toEqual(['', '0']);
    expect(Object.keys(twice.stateDict())).toEqual(['0.weight', '0.bias', '1.weight', '1.bias']);
  });

  test('a module that holds its parent ends', () => {
    class Child extends Module {
      weight = parameter(ones([1]));
      parent: Module | null = null;
      forward(x: Tensor): Tensor {
        return x;
      }
    }
    const child = new Child();
    const parent = new Sequential(child);
    child.parent = parent;
    expect(names(parent.namedParameters())).toEqual(['0.weight']);
    expect(Object.keys(parent.stateDict())).toEqual(['0.weight']);
    expect(parent.eval().modules()).toHaveLength(2);
  });

  test('parameter and buffer', () => {
    const p = parameter(ones([2]));
    expect(p.requiresGrad).toBe(true);
    const computed = mul(parameter(ones([2])), 2);
    const leaf = parameter(computed);
    expect(leaf).not.toBe(computed);
    mul(leaf, 3).sum().backward();
    expect(values(leaf.grad!)).toEqual([3, 3]);
    expect(() => parameter(tensor(new Int32Array(2)))).toThrow(/\[parameter\].*i32/);
    const state = ones([2]);
    expect(buffer(state)).toBe(state);
    expect(state.requiresGrad).toBe(false);
  });

  test('counts, freezing, zeroGrad', () => {
    const model = new Sequential(new Linear(3, 4), relu, new Linear(4, 2));
    expect(model.parameterCount()).toBe(3 * 4 + 4 + 4 * 2 + 2);
    (model[0] as Linear).requiresGrad_(false);
    expect(model.parameterCount({ trainable: true })).toBe(4 * 2 + 2);
    expect(model.parameters()).toHaveLength(4);
    model
      .forward(ones([1, 3]))
      .sum()
      .backward();
    expect(model.parameters().map((p) => p.grad !== null)).toEqual([false, false, true, true]);
    model.zeroGrad();
    expect(model.parameters().every((p) => p.grad === null)).toBe(true);
  });

  test('train and eval reach every module; apply goes inside out', () => {
    const model = new Sequential(new Dropout(), new Sequential(new Dropout(), new Identity()));
    expect(model.eval()).toBe(model);
    expect(model.modules().map((m) => m.training)).toEqual([false, false, false, false, false]);
    model.train();
    expect(model.modules().every((m) => m.training)).toBe(true);
    const seen: string[] = [];
    model.apply((m) => seen.push(m.constructor.name));
    expect(seen).toEqual(['Dropout', 'Dropout', 'Identity', 'Sequential', 'Sequential']);
  });
});

describe('state', () => {
  const make = () => new Sequential(new Linear(2, 3), new BatchNorm1d(3), relu, new Linear(3, 1));

  test('goes from one model to another', () => {
    manualSeed(1);
    const a = make();
    const b = make();
    a.forward(randn([8, 2]));
    const x = randn([4, 2]);
    expect(values(b.eval().forward(x))).not.toEqual(values(a.eval().forward(x)));
    expect(b.loadStateDict(a.stateDict())).toEqual({ missing: [], unexpected: [], mismatched: [] });
    expect(values(b.forward(x))).toEqual(values(a.forward(x)));
    expect(Object.keys(a.stateDict())).toEqual([
      '0.weight',
      '0.bias',
      '1.weight',
      '1.bias',
      '1.runningMean',
      '1.runningVar',
      '1.numBatchesTracked',
      '3.weight',
      '3.bias',
    ]);
  });

  test('is detached and shares memory', () => {
    const layer = new Linear(2, 1);
    const { weight } = layer.stateDict();
    expect(weight.requiresGrad).toBe(false);
    init.constant_(layer.weight, 7);
    expect(values(weight)).toEqual([7, 7]);
  });

  test('what does not fit is listed, and nothing is loaded', () => {
    const layer = new Linear(2, 3);
    const before = values(layer.weight);
    const state = { weight: zeros([3, 2]), extra: zeros([1]) };
    expect(() => layer.loadStateDict(state)).toThrow(
      expect.objectContaining({
        code: 'ERR_BRASA_ARGUMENT',
        message: expect.stringMatching(/missing: bias; unexpected: extra/),
      }),
    );
    expect(() => layer.loadStateDict({ weight: zeros([3, 2]), bias: zeros([2]) })).toThrow(
      /mismatched: bias \(2\) is not \(3\)/,
    );
    expect(values(layer.weight)).toEqual(before);
    expect(layer.loadStateDict({ ...state, bias: zeros([2]) }, { strict: false })).toEqual({
      missing: [],
      unexpected: ['extra'],
      mismatched: ['bias (2) is not (3)'],
    });
    expect(values(layer.weight)).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test('to() changes type in place: optimizers keep their parameters', () => {
    const model = make();
    const before = model.parameters();
    const first = values(before[0]);
    model
      .forward(randn([4, 2]))
      .sum()
      .backward();
    expect(model.to('f64')).toBe(model);
    expect(model.parameters().every((p, i) => p === before[i])).toBe(true);
    expect(before.every((p) => p.dtype === 'f64' && p.requiresGrad && p.grad?.dtype === 'f64')).toBe(true);
    expect(values(before[0])).toEqual(first);
    const state = model.stateDict();
    expect(state['1.runningVar'].dtype).toBe('f64');
    expect(state['1.numBatchesTracked'].dtype).toBe('i64');
    model.zeroGrad();
    model
      .forward(randn([4, 2], { dtype: 'f64' }))
      .sum()
      .backward();
    expect(before[0].grad!.dtype).toBe('f64');
    expect(() => model.to('i32')).toThrow(/i32/);
    expect(() => model.to('gpu' as never)).toThrow(/gpu/);
  });
});

describe('hooks', () => {
  test('see and replace inputs and outputs, and go away', () => {
    const model = new Sequential(new Identity());
    const inner = model[0] as Identity;
    const seen = vi.fn();
    const removePre = inner.registerForwardPreHook((module, [x]) => {
      seen(module);
      return add(x, 1);
    });
    const removePost = inner.registerForwardHook((_module, [x], y) => {
      expect(values(x)).toEqual(values(y));
      return mul(y, 10);
    });
    const watch = inner.registerForwardHook((_module, _inputs, y) => {
      seen(values(y));
    });
    expect(values(model.forward(tensor([1])))).toEqual([20]);
    expect(seen.mock.calls).toEqual([[inner], [[20]]]);
    removePost();
    expect(values(model.forward(tensor([1])))).toEqual([2]);
    removePre();
    watch();
    watch();
    expect(values(model.forward(tensor([1])))).toEqual([1]);
    expect(Object.hasOwn(inner, 'forward')).toBe(false);
    expect(names(model.namedModules())).toEqual(['', '0']);
  });

  test('give back a forward that the instance had of its own', () => {
    const layer = new Identity();
    const own = <T>(x: T): T => x;
    layer.forward = own;
    layer.registerForwardHook(() => 5)();
    expect(layer.forward).toBe(own);
  });
});

test('a model prints as in PyTorch', () => {
  const model = new Sequential(
    new Conv2d(1, 8, 3, { padding: 1, bias: false }),
    new BatchNorm2d(8),
    new ReLU(),
    new MaxPool2d(2),
    new Sequential(new Flatten(), new Linear(32, 10)),
  );
  expect(inspect(model)).toBe(`Sequential(
  (0): Conv2d(1, 8, kernelSize=[3, 3], stride=[1, 1], padding=[1, 1], bias=false)
  (1): BatchNorm2d(8, eps=0.00001, momentum=0.1, affine=true, trackRunningStats=true)
  (2): ReLU()
  (3): MaxPool2d(kernelSize=2, stride=2, padding=0, dilation=1, ceilMode=false)
  (4): Sequential(
    (0): Flatten(startDim=1, endDim=-1)
    (1): Linear(inFeatures=32, outFeatures=10, bias=true)
  )
)`);
  expect(String(new GELU())).toBe('GELU(approximate="none")');
  expect(String(new LayerNorm([4, 6]))).toBe('LayerNorm([4, 6], eps=0.00001, elementwiseAffine=true, bias=true)');
  expect(String(new Embedding(5, 3, { paddingIdx: -1 }))).toBe('Embedding(5, 3, paddingIdx=4)');
});

describe('layers', () => {
  test('Sequential runs modules and functions; a stage can be replaced', () => {
    const model = new Sequential(new Identity(), (x) => mul(x, 3), relu);
    expect(values(model.forward(tensor([-1, 2])))).toEqual([0, 6]);
    model[1] = (x) => mul(x, -1);
    expect(values(model.forward(tensor([-1, 2])))).toEqual([1, 0]);
    expect([...model]).toHaveLength(3);
    expect(model.length).toBe(3);
    class Sizes extends Module {
      forward(x: Tensor): readonly number[] {
        return x.shape;
      }
    }
    // @ts-expect-error a stage takes one tensor
    new Sequential((x: Tensor, y: Tensor) => add(x, y));
    // @ts-expect-error a stage gives a tensor
    new Sequential(new Sizes());
  });

  test('Dropout drops in training only, scales what it keeps, and its gradient has the same holes', () => {
    manualSeed(3);
    const layer = new Dropout(0.25);
    const x = ones([10_000], { requiresGrad: true });
    const y = layer.forward(x);
    const kept = values(y).filter((v) => v !== 0);
    expect(kept.length / 10_000).toBeCloseTo(0.75, 1);
    expect(new Set(kept)).toEqual(new Set([Math.fround(1 / 0.75)]));
    y.sum().backward();
    expect(values(x.grad!)).toEqual(values(y));
    expect(layer.eval().forward(x)).toBe(x);
    expect(() => new Dropout(1.5)).toThrow(/\[Dropout\]/);
  });

  test('Embedding keeps its padding row at zero', () => {
    const layer = new Embedding(4, 2, { paddingIdx: -2 });
    expect(values(layer.forward(tensor(new Int32Array([2]))))).toEqual([0, 0]);
    layer
      .forward(tensor(new Int32Array([2, 1, 2])))
      .sum()
      .backward();
    expect(values(layer.weight.grad!)).toEqual([0, 0, 1, 1, 0, 0, 0, 0]);
    expect(() => new Embedding(4, 2, { paddingIdx: 4 })).toThrow(/\[Embedding\]/);
    expect(() => layer.forward(tensor(new Int32Array([4])))).toThrow(
      expect.objectContaining({ code: 'ERR_BRASA_INDEX' }),
    );
  });

  test('BatchNorm follows the running statistics', () => {
    const layer = new BatchNorm1d(2);
    const x = tensor([
      [0, 10],
      [2, 30],
    ]);
    layer.forward(x);
    expect(values(layer.runningMean!)).toEqual([0.1, 2].map(Math.fround));
    const [first, second] = values(layer.runningVar!);
    expect(first).toBeCloseTo(0.9 + 0.2, 5);
    expect(second).toBeCloseTo(0.9 + 20, 4);
    layer.eval().forward(x);
    expect(values(layer.runningMean!)).toEqual([0.1, 2].map(Math.fround));
    expect(values(layer.numBatchesTracked!)).toEqual([1]);
    expect(() => layer.forward(zeros([2, 2, 2, 2]))).toThrow(/\[BatchNorm1d\]/);
    expect(() => new BatchNorm2d(2).forward(zeros([2, 2]))).toThrow(/\[BatchNorm2d\]/);
    expect(() => new BatchNorm1d(2).forward(zeros([1, 2]))).toThrow(/more than one value/);
  });

  test('wrong sizes are refused at construction', () => {
    expect(() => new Linear(0, 3)).toThrow(/\[Linear\] inFeatures must be a positive integer, got 0/);
    expect(() => new Conv2d(3, 4, 3, { groups: 2 })).toThrow(/\[Conv2d\]/);
    expect(() => new Conv2d(3, 4, 3, { padding: 'same', stride: 2 })).toThrow(/\[Conv2d\] padding 'same'/);
  });
});

describe('init', () => {
  test('records nothing on a parameter', () => {
    const p = parameter(zeros([3, 4]));
    expect(init.kaimingUniform_(p)).toBe(p);
    expect(p.grad).toBeNull();
    mul(p, 2).sum().backward();
    expect(values(p.grad!)).toEqual(new Array(12).fill(2));
  });

  test('follows the seed', () => {
    const draw = () => {
      manualSeed(5);
      return values(new Linear(4, 4).weight);
    };
    expect(draw()).toEqual(draw());
  });

  test('needs two dims for a fan', () => {
    expect(() => init.xavierNormal_(zeros([3]))).toThrow(expect.objectContaining({ code: 'ERR_BRASA_SHAPE' }));
    expect(() => init.calculateGain('sine' as never)).toThrow(/sine/);
  });

  test('half precision is drawn finely', () => {
    const x = init.uniform_(noGrad(() => zeros([4096], { dtype: 'bf16' })));
    expect(new Set(values(x)).size).toBeGreaterThan(256);
  });
});
