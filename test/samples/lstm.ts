/** Rows of lstm: one step and several, either direction, sizes around those of a panel. */
import type { Tensor } from '../../lib/index.js';
import * as b from '../../lib/index.js';
import { get, type Make, type Nd, nd, type Sample } from './sample.js';

type Sizes = readonly [steps: number, batch: number, hidden: number];
const operands = (make: Make, [steps, batch, hidden]: Sizes) => [
  make.real([steps, batch, 4 * hidden]),
  make.real([4 * hidden, hidden], -0.5, 0.5),
  make.real([batch, hidden], -1, 1),
  make.real([batch, hidden], -1, 1),
];

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** output and cells (T,B,H). */
function reference(x: Nd, weight: Nd, h0: Nd, c0: Nd, reverse: boolean): readonly Nd[] {
  const [steps, batch] = x.shape as [number, number];
  const hidden = weight.shape[1]!;
  const output = nd([steps, batch, hidden], () => 0);
  const cells = nd([steps, batch, hidden], () => 0);
  for (let row = 0; row < batch; row++) {
    let h = Array.from({ length: hidden }, (_, j) => get(h0, [row, j]));
    let c = Array.from({ length: hidden }, (_, j) => get(c0, [row, j]));
    for (let step = 0; step < steps; step++) {
      const t = reverse ? steps - 1 - step : step;
      const gate = (j: number) => h.reduce((sum, v, k) => sum + v * get(weight, [j, k]), get(x, [t, row, j]));
      c = c.map((v, j) => sigmoid(gate(hidden + j)) * v + sigmoid(gate(j)) * Math.tanh(gate(2 * hidden + j)));
      h = c.map((v, j) => sigmoid(gate(3 * hidden + j)) * Math.tanh(v));
      for (let j = 0; j < hidden; j++) {
        output.data[(t * batch + row) * hidden + j] = h[j]!;
        cells.data[(t * batch + row) * hidden + j] = c[j]!;
      }
    }
  }
  return [output, cells];
}

const row = (name: string, reverse: boolean, sizes: readonly Sizes[]): Sample => ({
  name: `lstm${name}`,
  call: (x: Tensor, weight: Tensor, h: Tensor, c: Tensor) => {
    const { output, cells } = b.lstm(x, weight, h, c, { reverse });
    return [output, cells];
  },
  cases: (make) => sizes.map((s) => operands(make, s)),
  reference: (x: Nd, weight: Nd, h: Nd, c: Nd) => reference(x, weight, h, c, reverse),
  dtypes: ['f32', 'f64', 'f16', 'bf16'],
  slack: 10,
  exact: false,
  grad: [0, 1, 2, 3],
  gradCases: (make) => [operands(make, [3, 2, 2])],
});

export const lstm: Sample[] = [
  {
    ...row('', false, [
      [3, 2, 3],
      [1, 1, 1],
      [2, 17, 33],
      [2, 3, 130],
      [0, 2, 3],
    ]),
    errors: [
      [() => b.lstm(b.ones([2, 3, 8]), b.ones([8, 3]), b.ones([3, 2]), b.ones([3, 2])), 'ShapeError', /\(4H,H\)/],
      [() => b.lstm(b.ones([2, 3, 8]), b.ones([8, 2]), b.ones([3, 2]), b.ones([2, 2])), 'ShapeError', /\(B,H\)/],
      [
        () => b.lstm(b.ones([2, 3, 8]), b.ones([8, 2]), b.ones([3, 2], { dtype: 'f64' }), b.ones([3, 2])),
        'DTypeError',
        /one dtype/,
      ],
      [
        () => b.lstm(b.ones([2, 3, 8]), b.ones([8, 2]), b.ones([3, 2]), b.ones([3, 2]), null as never),
        'ArgumentError',
        /options are an object/,
      ],
    ],
  },
  row(' reversed', true, [
    [4, 2, 3],
    [2, 40, 40],
  ]),
];
