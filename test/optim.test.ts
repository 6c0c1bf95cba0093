import { manualSeed, mul, randn, scope, sub, Tensor, tensor, zeros } from 'brasa';
import { Linear, parameter, Sequential } from 'brasa/nn';
import {
  Adam,
  AdamW,
  clipGradNorm_,
  clipGradValue_,
  CosineAnnealingLR,
  LambdaLR,
  LinearLR,
  OneCycleLR,
  type Optimizer,
  RMSprop,
  SGD,
  StepLR,
} from 'brasa/optim';
import { describe, expect, test } from 'vitest';

const values = (x: Tensor) => Array.from(x.dataSync(), Number);
const param = (...data: number[]) => parameter(tensor(new Float64Array(data)));

/** A step down sum(p^2) / 2. */
function step(optimizer: Optimizer): void {
  for (const p of optimizer.paramGroups.flatMap((group) => group.params)) p.grad = p.detach().clone();
  optimizer.step();
}

const makers: [string, (params: Tensor[]) => Optimizer][] = [
  ['SGD', (params) => new SGD(params, { lr: 0.1, momentum: 0.9 })],
  ['Adam', (params) => new Adam(params, { lr: 0.1, amsgrad: true })],
  ['AdamW', (params) => new AdamW(params, { lr: 0.1 })],
  ['RMSprop', (params) => new RMSprop(params, { lr: 0.01, centered: true, momentum: 0.5 })],
];

describe.each(makers)('%s', (name, make) => {
  test('moves only what has a gradient, in place', () => {
    const [p, q] = [param(1, 2), param(3)];
    const optimizer = make([p, q]);
    p.grad = tensor(new Float64Array([1, 1]));
    optimizer.step();
    expect(values(p).every((v, i) => v < [1, 2][i])).toBe(true);
    expect(values(q)).toEqual([3]);
    expect(Object.keys(optimizer.stateDict().state)).toEqual(['0']);
  });

  test('resumes bitwise from its state, which copies', () => {
    const p = param(1, -2, 3);
    const a = make([p]);
    step(a);
    step(a);
    const q = parameter(p.detach().clone());
    const b = make([q]);
    const state = a.stateDict();
    b.loadStateDict(state);
    step(a);
    step(b);
    step(a);
    step(b);
    expect(values(q)).toEqual(values(p));
    expect(a.stateDict().state[0].step).toBe(4);
    expect(b.stateDict().paramGroups).toEqual(a.stateDict().paramGroups);
  });

  test('keeps its state beyond the scope of a step', () => {
    const [p, q] = [param(1, 2), param(1, 2)];
    const [a, b] = [make([p]), make([q])];
    for (let i = 0; i < 3; i++) {
      scope(() => step(a));
      step(b);
    }
    expect(values(p)).toEqual(values(q));
    for (const moment of Object.values(a.stateDict().state[0])) {
      if (moment instanceof Tensor) expect(values(moment).every((v) => v !== 0)).toBe(true);
    }
  });

  test('trains a small network', () => {
    manualSeed(0);
    const model = new Sequential(new Linear(2, 16), (x) => x.tanh(), new Linear(16, 1));
    const optimizer = make(model.parameters());
    const x = randn([64, 2]);
    const y = mul(x.at('...', [0, 1]), x.at('...', [1, 2]));
    const loss = () => sub(model.forward(x), y).square().mean();
    const first = loss().item();
    for (let i = 0; i < 100; i++) {
      optimizer.zeroGrad();
      loss().backward();
      optimizer.step();
    }
    expect(loss().item(), name).toBeLessThan(first / 2);
  });

  test('works in half precision and on a transposed parameter', () => {
    const half = parameter(tensor([1, 2, 3], { dtype: 'bf16' }));
    const turned = parameter(
      tensor(
        [
          [1, 2, 3],
          [4, 5, 6],
        ],
        { dtype: 'f64' },
      ).transpose(0, 1),
    );
    const straight = param(1, 4, 2, 5, 3, 6);
    const [a, b, c] = [make([half]), make([turned]), make([straight])];
    for (let i = 0; i < 3; i++) for (const optimizer of [a, b, c]) step(optimizer);
    expect(half.dtype).toBe('bf16');
    expect(values(half).every((v, i) => v < i + 1 && v > 0)).toBe(true);
    expect(values(turned.reshape([6]))).toEqual(values(straight));
  });
});

describe('groups', () => {
  test("have options of their own; the rest is the optimizer's", () => {
    const [p, q] = [param(1), param(1)];
    const optimizer = new SGD([{ params: [p] }, { params: [q], lr: 0.5, momentum: undefined }], { lr: 0.1 });
    step(optimizer);
    expect([values(p), values(q)]).toEqual([[0.9], [0.5]]);
    optimizer.lr = 1;
    step(optimizer);
    expect([values(p), values(q)]).toEqual([[0], [0]]);
    const r = param(1);
    optimizer.addParamGroup({ params: [r], lr: 0.25 });
    step(optimizer);
    expect(values(r)).toEqual([0.75]);
    expect(optimizer.lr).toBe(1);
    expect(optimizer.stateDict().paramGroups.map((group) => group.params)).toEqual([[0], [1], [2]]);
  });

  test('options that are undefined are the defaults', () => {
    const optimizer = new Adam([param(1)], { lr: undefined, betas: undefined });
    expect(optimizer.paramGroups[0]).toMatchObject({ lr: 1e-3, betas: [0.9, 0.999] });
  });

  test('zeroGrad', () => {
    const p = param(1, 2);
    const optimizer = new SGD([p]);
    p.grad = tensor(new Float64Array([1, 1]));
    optimizer.zeroGrad({ setToNone: false });
    expect(values(p.grad!)).toEqual([0, 0]);
    optimizer.zeroGrad();
    expect(p.grad).toBeNull();
  });
});

describe('errors', () => {
  const p = param(1);
  test.each<[string, () => unknown, RegExp]>([
    ['no parameters', () => new SGD([]), /\[SGD\] there are no parameters/],
    ['an empty group', () => new SGD([{ params: [] }]), /\[SGD\] there are no parameters/],
    ['a tensor alone', () => new SGD(p), /\[SGD\] give a list/],
    ['a parameter twice', () => new Adam([p, p]), /\[Adam\] a parameter was given twice: \(1\)/],
    ['a parameter in two groups', () => new Adam([{ params: [p] }, { params: [p] }]), /given twice/],
    ['a computed tensor', () => new AdamW([mul(p, 2)]), /\[AdamW\] a parameter must be a leaf, got the result of mul/],
    ['no tensor', () => new AdamW([{ params: [3 as never] }]), /must be a tensor, got number/],
    ['tensors among groups', () => new SGD([p, { params: [param(1)] }] as never), /not both/],
    ['a negative rate', () => new SGD([p], { lr: -1 }), /\[SGD\] lr must be in \[0, Infinity\), got -1/],
    ['a beta of 1', () => new AdamW([p], { betas: [0.9, 1] }), /\[AdamW\] beta2 must be in \[0, 1\), got 1/],
    ['nesterov without momentum', () => new SGD([p], { nesterov: true }), /nesterov needs/],
    ['stepSize 0', () => new StepLR(new SGD([p]), { stepSize: 0 }), /\[StepLR\] stepSize/],
    [
      'a cycle that is over',
      () => endless(new OneCycleLR(new SGD([p]), { maxLr: 1, totalSteps: 3 })),
      /\[OneCycleLR\] step 4 of a cycle of 3/,
    ],
    ['too few lambdas', () => new LambdaLR(new SGD([p]), []), /\[LambdaLR\] 0 functions for 1/],
  ])('%s', (_name, make, message) => {
    expect(make).toThrow(
      expect.objectContaining({ code: 'ERR_BRASA_ARGUMENT', message: expect.stringMatching(message) }),
    );
  });

  const endless = (schedule: OneCycleLR) => {
    for (;;) schedule.step();
  };

  test('a state that does not fit loads nothing', () => {
    const [q, other] = [param(1, 2), param(1, 2, 3)];
    const a = new Adam([q], { lr: 0.5 });
    const b = new Adam([other]);
    step(a);
    expect(() => b.loadStateDict(a.stateDict())).toThrow(/expAvg of parameter 0 is \(2\), not \(3\)/);
    expect(b.lr).toBe(1e-3);
    const two = new Adam([{ params: [param(1)] }, { params: [param(1)] }]);
    expect(() => two.loadStateDict(a.stateDict())).toThrow(/the state has 1 groups, the optimizer 2/);
    const wide = new Adam([param(1), param(1)]);
    expect(() => wide.loadStateDict(a.stateDict())).toThrow(/group 0 of the state has 1 parameters, not 2/);
  });
});

describe('schedules', () => {
  test('resume from optimizer and schedule state', () => {
    const make = () => {
      const optimizer = new SGD([param(1)], { lr: 0.4 });
      return {
        optimizer,
        schedules: [new LinearLR(optimizer, { totalIters: 3 }), new CosineAnnealingLR(optimizer, { tMax: 9 })],
      };
    };
    const [a, b] = [make(), make()];
    for (let i = 0; i < 5; i++) for (const schedule of a.schedules) schedule.step();
    b.optimizer.loadStateDict(a.optimizer.stateDict());
    for (const [i, schedule] of b.schedules.entries()) schedule.loadStateDict(a.schedules[i].stateDict());
    for (let i = 0; i < 8; i++) {
      for (const schedule of [...a.schedules, ...b.schedules]) schedule.step();
      expect(b.optimizer.lr).toBe(a.optimizer.lr);
      expect(b.schedules[0].lastLr).toEqual([a.optimizer.lr]);
    }
  });

  test('OneCycleLR moves the first beta of Adam', () => {
    const optimizer = new Adam([param(1)]);
    const schedule = new OneCycleLR(optimizer, { maxLr: 1, totalSteps: 10 });
    expect(optimizer.paramGroups[0].betas).toEqual([0.95, 0.999]);
    schedule.step();
    schedule.step();
    expect(optimizer.paramGroups[0].betas[0]).toBeCloseTo(0.85, 12);
    expect(optimizer.lr).toBeCloseTo(1, 12);
  });

  test('a rate set by hand is carried on', () => {
    const optimizer = new SGD([param(1)], { lr: 1 });
    const schedule = new StepLR(optimizer, { stepSize: 2, gamma: 0.5 });
    schedule.step();
    optimizer.lr = 10;
    schedule.step();
    expect(optimizer.lr).toBe(5);
  });
});

describe('clipping', () => {
  test('scales all gradients together; the norm is of what was there', () => {
    const [p, q, r] = [param(0), param(0), param(0)];
    p.grad = tensor(new Float64Array([3]));
    q.grad = tensor(new Float64Array([-4]));
    const norm = clipGradNorm_([p, q, r], 1);
    expect(norm.shape).toEqual([]);
    expect(norm.item()).toBe(5);
    expect(values(p.grad)[0]).toBeCloseTo(0.6, 5);
    expect(values(q.grad)[0]).toBeCloseTo(-0.8, 5);
    expect(clipGradNorm_([p, q], 2).item()).toBeCloseTo(1, 5);
    expect(values(p.grad)[0]).toBeCloseTo(0.6, 5);
    expect(clipGradNorm_([r], 1).item()).toBe(0);
  });

  test('a half-precision norm does not overflow', () => {
    const p = parameter(zeros([4], { dtype: 'f16' }));
    p.grad = tensor([300, 300, 300, 300], { dtype: 'f16' });
    const norm = clipGradNorm_([p], 60);
    expect(norm.dtype).toBe('f32');
    expect(norm.item()).toBe(600);
    for (const v of values(p.grad)) expect(v).toBeCloseTo(30, 1);
  });

  test('by value', () => {
    const p = param(0, 0, 0);
    p.grad = tensor(new Float64Array([-3, 0.5, 2]));
    clipGradValue_([p], 1);
    expect(values(p.grad)).toEqual([-1, 0.5, 1]);
  });
});
