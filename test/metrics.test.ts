import { type Tensor, tensor } from 'brasa';
import {
  Accuracy,
  type Average,
  ConfusionMatrix,
  classificationReport,
  F1,
  MeanAbsoluteError,
  MeanMetric,
  MeanSquaredError,
  type Metric,
  Precision,
  R2,
  Recall,
  RocAuc,
} from 'brasa/metrics';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const labels = (values: number[]) => tensor(Int32Array.from(values));
/** Scores (N,C) whose largest is at the label. */
const scores = (values: number[], classes: number) =>
  tensor(values.map((label) => Array.from({ length: classes }, (_, c) => (c === label ? 2 : c / classes))));

function compute<R>(metric: Metric<R>, ...batches: [Tensor, Tensor][]): R {
  for (const [prediction, target] of batches) metric.update(prediction, target);
  return metric.compute();
}

// Expected values of this example are scikit-learn 1.9's, with zero_division=0.
const target = [0, 0, 0, 1, 1, 2, 2, 2, 2, 4];
const predicted = [0, 1, 0, 1, 2, 2, 2, 0, 2, 2];
const batch: [Tensor, Tensor] = [labels(predicted), labels(target)];

describe('Accuracy', () => {
  it('takes scores, labels and probabilities', () => {
    expect(compute(new Accuracy(), batch)).toBe(0.6);
    expect(compute(new Accuracy(), [scores(predicted, 5), batch[1]])).toBe(0.6);
    expect(compute(new Accuracy(), [tensor([0.5, 0.4, 0.9]), labels([1, 1, 1])])).toBeCloseTo(2 / 3, 12);
    expect(compute(new Accuracy({ threshold: 0 }), [tensor([-1, 0.1, 0]), labels([1, 1, 1])])).toBeCloseTo(2 / 3, 12);
    expect(compute(new Accuracy(), [tensor([true, false]), tensor([true, true])])).toBe(0.5);
    const pixels = tensor([
      [
        [1, 0],
        [0, 1],
      ],
      [
        [0, 1],
        [1, 0],
      ],
    ]); // (N,C,L) = (2,2,2): classes [[0,1],[1,0]]
    expect(compute(new Accuracy(), [pixels, tensor(Int32Array.of(0, 1, 0, 0), { shape: [2, 2] })])).toBe(0.75);
  });

  it('counts the top k', () => {
    const rows = tensor([
      [0.1, 0.2, 0.3, 0.4],
      [0.4, 0.3, 0.2, 0.1],
      [0.25, 0.1, 0.4, 0.25],
    ]);
    const at = (topK: number) => compute(new Accuracy({ topK }), [rows, labels([1, 1, 1])]);
    expect([at(1), at(2), at(3), at(4), at(9)].map((value) => Math.round(3 * value))).toEqual([0, 1, 2, 3, 3]);
  });

  it('streams, resets, and is 0 of nothing', () => {
    const accuracy = new Accuracy();
    expect(accuracy.compute()).toBe(0);
    for (let i = 0; i < 10; i++) accuracy.update(labels([predicted[i]]), labels([target[i]]));
    expect(accuracy.compute()).toBe(0.6);
    accuracy.reset();
    expect(accuracy.compute()).toBe(0);
  });

  it('leaves out what is to be ignored', () => {
    expect(compute(new Accuracy({ ignoreIndex: -100 }), [labels([1, 2, 3]), labels([1, -100, -100])])).toBe(1);
    expect(compute(new Accuracy({ ignoreIndex: -1, topK: 2 }), [scores([1, 2], 3), labels([1, -1])])).toBe(1);
    expect(() => compute(new Accuracy(), [labels([1]), labels([-100])])).toThrow('[Accuracy] label -100 is no class');
  });

  it('refuses shapes that do not fit, and changes nothing', () => {
    const accuracy = new Accuracy();
    const wrong: [Tensor, Tensor][] = [
      [scores([1, 1], 3), labels([1])],
      [labels([1, 2]), labels([1])],
      [tensor([[0.3], [0.9]]), labels([0, 1])], // one column: argmax would always be 0
      [tensor([[1, 2]]), tensor([[[1]]])],
    ];
    for (const pair of wrong)
      expect(() => accuracy.update(...pair)).toThrow(expect.objectContaining({ code: 'ERR_BRASA_SHAPE' }));
    expect(() => new Accuracy({ topK: 2 }).update(labels([1]), labels([1]))).toThrow('topK needs (N,C) and (N)');
    for (const topK of [0, 1.5]) expect(() => new Accuracy({ topK })).toThrow('[Accuracy] topK');
    expect(accuracy.compute()).toBe(0);
  });
});

describe('Precision, Recall, F1', () => {
  const expected: [Average, number | number[], number | number[], number | number[]][] = [
    ['macro', 0.44166666666666665, 0.47916666666666663, 0.45833333333333326],
    ['micro', 0.6, 0.6, 0.6],
    ['weighted', 0.54, 0.6, 0.5666666666666667],
    ['none', [2 / 3, 0.5, 0.6, 0, 0], [2 / 3, 0.5, 0.75, 0, 0], [2 / 3, 0.5, 2 / 3, 0, 0]],
  ];
  it.each(expected)('average %s as scikit-learn does', (average, precision, recall, f1) => {
    const near = (value: number | number[]) => [value].flat().map((v) => expect.closeTo(v, 12));
    expect([compute(new Precision({ average }), batch)].flat()).toEqual(near(precision));
    expect([compute(new Recall({ average }), batch)].flat()).toEqual(near(recall));
    expect([compute(new F1({ average }), batch)].flat()).toEqual(near(f1));
  });

  it('default to macro; give one value a class with none, also for a class that never occurs', () => {
    expect(compute(new F1(), batch)).toBeCloseTo(0.45833333333333326, 12);
    expect(compute(new F1({ average: 'none', classes: 7 }), batch)).toHaveLength(7);
    expect(() => new F1({ average: 'median' as never })).toThrow('average must be one of macro');
    expect(new F1().compute()).toBe(0);
  });

  it('do not depend on how samples come in batches', () => {
    const pairs = fc.array(fc.tuple(fc.nat(4), fc.nat(4)), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(pairs, fc.nat(40), (samples, cut) => {
        const part = (from: number, to?: number): [Tensor, Tensor] => [
          labels(samples.slice(from, to).map(([p]) => p)),
          labels(samples.slice(from, to).map(([, t]) => t)),
        ];
        for (const average of ['macro', 'micro', 'weighted'] as const) {
          const whole = compute(new F1({ average }), part(0));
          expect(compute(new F1({ average }), part(0, cut), part(cut))).toBeCloseTo(whole, 12);
        }
      }),
    );
  });
});

describe('ConfusionMatrix', () => {
  const counts = [
    [2, 1, 0, 0, 0],
    [0, 1, 1, 0, 0],
    [1, 0, 3, 0, 0],
    [0, 0, 0, 0, 0],
    [0, 0, 1, 0, 0],
  ];

  it('counts row true, column predicted', () => {
    expect(compute(new ConfusionMatrix(), batch)).toEqual(counts);
    expect(compute(new ConfusionMatrix(), [labels([0]), labels([0])], [labels([2]), labels([1])])).toEqual([
      [1, 0, 0],
      [0, 0, 1],
      [0, 0, 0],
    ]);
    expect(compute(new ConfusionMatrix(), [scores([0], 3), labels([0])])).toHaveLength(3);
  });

  it('normalizes rows, columns or everything; empty ones stay 0', () => {
    const rows = compute(new ConfusionMatrix({ normalize: 'true' }), batch);
    expect(rows[2]).toEqual([0.25, 0, 0.75, 0, 0]);
    expect(rows[3]).toEqual([0, 0, 0, 0, 0]);
    expect(compute(new ConfusionMatrix({ normalize: 'pred' }), batch).map((row) => row[2])).toEqual([
      0, 0.2, 0.6, 0, 0.2,
    ]);
    expect(compute(new ConfusionMatrix({ normalize: 'all' }), batch)[2][2]).toBe(0.3);
  });

  it('refuses a class beyond those it has, and keeps its counts', () => {
    const matrix = new ConfusionMatrix({ classes: 2 });
    matrix.update(labels([1]), labels([0]));
    expect(() => matrix.update(labels([0, 2]), labels([0, 0]))).toThrow('[ConfusionMatrix] class 2 of 2');
    expect(matrix.compute()).toEqual([
      [0, 1],
      [0, 0],
    ]);
    matrix.reset();
    expect(matrix.compute()).toEqual([
      [0, 0],
      [0, 0],
    ]);
    expect(() => new ConfusionMatrix({ classes: 3, names: ['a'] })).toThrow('1 names for 3 classes');
  });

  it('prints a table', () => {
    const matrix = new ConfusionMatrix({ names: ['cat', 'dog'] });
    matrix.update(labels([0, 1, 1, 1]), labels([0, 0, 1, 1]));
    expect(String(matrix)).toBe(
      ['true \\ predicted  cat  dog', '             cat    1    1', '             dog    0    2'].join('\n'),
    );
    expect(String(new ConfusionMatrix())).toBe('true \\ predicted');
  });

  it('makes the classification report of scikit-learn', () => {
    const matrix = new ConfusionMatrix();
    matrix.update(labels(predicted), labels(target.map((t) => (t === 4 ? 3 : t))));
    expect(classificationReport(matrix, { digits: 3 })).toBe(`\
              precision    recall  f1-score   support

           0      0.667     0.667     0.667         3
           1      0.500     0.500     0.500         2
           2      0.600     0.750     0.667         4
           3      0.000     0.000     0.000         1

    accuracy                          0.600        10
   macro avg      0.442     0.479     0.458        10
weighted avg      0.540     0.600     0.567        10`);
  });
});

describe('RocAuc', () => {
  it('is the chance that a positive outranks a negative, ties counting half', () => {
    const y = [0, 0, 1, 1, 1, 0, 1, 0];
    const s = [0.1, 0.4, 0.35, 0.8, 0.4, 0.4, 0.9, 0.2];
    expect(compute(new RocAuc(), [tensor(s), labels(y)])).toBe(0.8125);
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(5), fc.boolean()), { minLength: 2, maxLength: 30 }), (samples) => {
        const [positives, negatives] = [true, false].map((side) =>
          samples.filter(([, p]) => p === side).map(([score]) => score),
        );
        fc.pre(positives.length > 0 && negatives.length > 0);
        let wins = 0;
        for (const p of positives) for (const n of negatives) wins += p > n ? 1 : p === n ? 0.5 : 0;
        const auc = compute(new RocAuc(), [
          tensor(samples.map(([score]) => score)),
          labels(samples.map(([, p]) => Number(p))),
        ]);
        expect(auc).toBeCloseTo(wins / (positives.length * negatives.length), 12);
      }),
    );
  });

  it('refuses what has no order', () => {
    expect(() => new RocAuc().update(tensor([0.5]), labels([2]))).toThrow('target 2 is neither 0 nor 1');
    expect(() => new RocAuc().update(tensor([Number.NaN]), labels([1]))).toThrow('NaN');
    expect(new RocAuc().compute()).toBeNaN();
  });
});

describe('regression', () => {
  const a = tensor([
    [3, 1],
    [-0.5, 2],
    [2, 7],
    [7, 9],
  ]); // targets
  const b = tensor([
    [2.5, 1.5],
    [0, 2],
    [2, 8],
    [8, 8],
  ]); // predictions

  it('agrees with scikit-learn', () => {
    expect(compute(new MeanSquaredError(), [b, a])).toBeCloseTo(0.46875, 12);
    expect(compute(new MeanAbsoluteError(), [b, a])).toBeCloseTo(0.5625, 12);
    expect(compute(new R2(), [b, a])).toBeCloseTo(0.9491644037180147, 12);
    expect(compute(new R2(), [b.at([0, 1]), a.at([0, 1])], [b.at([1, 4]), a.at([1, 4])])).toBeCloseTo(
      0.9491644037180147,
      12,
    );
    expect(compute(new R2(), [tensor([1, 1]), tensor([1, 1])])).toBe(1);
    expect(compute(new R2(), [tensor([1, 2]), tensor([1, 1])])).toBe(0);
  });

  it('R2 is exact far from zero', () => {
    const far = (values: number[]) => tensor(Float64Array.from(values, (v) => v + 1e9));
    expect(compute(new R2(), [far([1.5, 2, 2.5]), far([1, 2, 3])])).toBeCloseTo(0.75, 6);
  });

  it('refuses shapes that would broadcast', () => {
    for (const metric of [new MeanSquaredError(), new MeanAbsoluteError(), new R2()]) {
      expect(() => metric.update(tensor([[1], [2]]), tensor([1, 2]))).toThrow(
        'prediction (2,1) does not fit target (2)',
      );
    }
    const r2 = new R2();
    r2.update(a, b);
    expect(() => r2.update(tensor([1]), tensor([1]))).toThrow('1 columns after 2');
  });

  it('MeanMetric weighs', () => {
    const mean = new MeanMetric();
    mean.update(1, 3);
    mean.update(tensor([5, 5]), 0.5);
    expect(mean.compute()).toBe(2);
    mean.reset();
    expect(mean.compute()).toBe(0);
  });
});
