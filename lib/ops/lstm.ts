/** A layer of an LSTM over a whole sequence. */
import { asTensor, opMany } from '../core/define.js';
import { isFloat, statisticsType } from '../core/dtype.js';
import { checkOptions, DTypeError, ShapeError } from '../core/error.js';
import { sameShape, show } from '../core/layout.js';
import type { Tensor } from '../core/tensor.js';
import { add, cast, mul, sigmoid, square, sub, tanh } from './elementwise.js';
import { cat, zeros, zerosLike } from './free.js';
import { matmul } from './matmul.js';
import { reshape, select, slice, split, transpose, unsqueeze } from './view.js';

interface Params {
  /** From the last step to the first. */
  reverse: boolean;
}
type Inputs = readonly Tensor[];

const encode = ({ reverse }: Params) => [reverse ? 1 : 0];

/** The steps in the order in which they run. */
function order(steps: number, { reverse }: Params): number[] {
  return Array.from({ length: steps }, (_, i) => (reverse ? steps - 1 - i : i));
}
/** What the steps gave, by time: (T,…); of no steps, none of `like`. */
function stacked(parts: readonly Tensor[], { reverse }: Params, like: Tensor): Tensor {
  if (parts.length === 0) return zeros([0, ...like.shape], { dtype: like.dtype, device: like.device });
  const rows = parts.map((x) => unsqueeze(x, 0));
  return cat(reverse ? rows.reverse() : rows);
}
/** x (T,B,F) as it was a step before: `first` (B,F), then all but the last. */
function before(x: Tensor, first: Tensor, { reverse }: Params): Tensor {
  const steps = x.shape[0]!;
  if (steps === 0) return x;
  const start = unsqueeze(first, 0);
  return reverse ? cat([slice(x, 0, 1, steps), start]) : cat([start, slice(x, 0, 0, steps - 1)]);
}
/** The gates i f g o of (…,4H). */
const gatesOf = (x: Tensor) => split(x, x.shape.at(-1)! / 4, -1) as [Tensor, Tensor, Tensor, Tensor];

// The decompositions also take batches of layers: x (T,…,B,4H), weight (…,4H,H), h and c (…,B,H).
const lstmKernel = opMany('lstm', {
  args: (inputs: Inputs, params: Params) => ({ inputs, params }),
  infer: ([x, , h]) => {
    const state = { shape: [x!.shape[0]!, ...h!.shape], dtype: x!.dtype };
    return [state, state, { shape: [...x!.shape], dtype: x!.dtype }];
  },
  encode,
  decompose: ([x, weight, h0, c0], params) => {
    let [h, c] = [h0!, c0!];
    const steps = order(x!.shape[0]!, params).map((t) => {
      const sums = gatesOf(add(select(x!, 0, t), matmul(h, transpose(weight!))));
      const [i, f, g, o] = sums.map((part, n) => (n === 2 ? tanh(part) : sigmoid(part)));
      c = add(mul(f!, c), mul(i!, g!));
      h = mul(o!, tanh(c));
      return [h, c, cat([i!, f!, g!, o!], -1)];
    });
    const all = (n: number, like: Tensor) =>
      stacked(
        steps.map((step) => step[n]!),
        params,
        like,
      );
    return [all(0, h), all(1, c), all(2, cat([h, h, h, h], -1))];
  },
  grad: ([dy, dcells, dgates], [, weight, h, c], [y, cells, gates], params) => {
    let all: Tensor[] | null = null;
    const part = (i: number): Tensor => {
      all ??= lstmGrad([dy!, dcells!, dgates!, gates!, cells!, weight!, c!], params);
      return all[i]!;
    };
    const rows = (x: Tensor) => reshape(x, [-1, x.shape[2]!]);
    return [
      () => part(0),
      () => matmul(transpose(rows(part(0))), rows(before(y!, h!, params))),
      () => part(1),
      () => part(2),
    ];
  },
});

// Without a gradient rule of its own: a second derivative goes through these steps.
const lstmGrad = opMany('lstmGrad', {
  args: (inputs: Inputs, params: Params) => ({ inputs, params }),
  infer: ([, , , gates, , , c]) => [gates!, c!, c!].map(({ shape, dtype }) => ({ shape: [...shape], dtype })),
  encode,
  decompose: ([dy, dcells, dgates, gates, cells, weight, c0], params) => {
    const past = before(cells!, c0!, params);
    const backward = { reverse: !params.reverse };
    let dh = zerosLike(c0!);
    let dc = zerosLike(c0!);
    const steps = order(gates!.shape[0]!, backward).map((t) => {
      const [i, f, g, o] = gatesOf(select(gates!, 0, t));
      const given = gatesOf(select(dgates!, 0, t));
      const through = tanh(select(cells!, 0, t));
      dh = add(dh, select(dy!, 0, t));
      dc = add(add(dc, select(dcells!, 0, t)), mul(mul(dh, o), sub(1, square(through))));
      const outer = [mul(dc, g), mul(dc, select(past, 0, t)), mul(dc, i), mul(dh, through)];
      const inner = [i, f, g, o].map((gate, n) => (n === 2 ? sub(1, square(gate)) : mul(gate, sub(1, gate))));
      const dx = cat(
        outer.map((d, n) => mul(add(d, given[n]!), inner[n]!)),
        -1,
      );
      dc = mul(dc, f);
      dh = matmul(dx, weight!);
      return dx;
    });
    return [stacked(steps, backward, cat([dh, dh, dh, dh], -1)), dh, dc];
  },
});

export interface LstmResult {
  /** The state h after each step (T,B,H). */
  output: Tensor;
  /** The cell c after each step (T,B,H). */
  cells: Tensor;
}

/**
 * One layer of an LSTM over a sequence: x (T,B,4H), what the inputs give to the gates i, f, g, o, biases added (a `linear`); weight
 * (4H,H), what the state gives to them; h and c (B,H), the state before. `reverse`: from the last step to the first. The arithmetic of
 * narrow floats is in f32. (Hochreiter & Schmidhuber 1997; the recurrence of torch.nn.LSTM)
 * @throws ShapeError when sizes do not fit; DTypeError when the operands are not floats of one dtype
 */
export function lstm(x: Tensor, weight: Tensor, h: Tensor, c: Tensor, options: { reverse?: boolean } = {}): LstmResult {
  const given = [x, weight, h, c];
  for (const t of given) asTensor(t, 'lstm');
  checkOptions(options, 'lstm');
  const { dtype } = x;
  if (!isFloat(dtype) || given.some((t) => t.dtype !== dtype))
    throw new DTypeError(`needs floats of one dtype, got ${given.map((t) => t.dtype).join(', ')}`, { op: 'lstm' });
  const [, batch, width] = x.shape;
  const hidden = weight.shape[1];
  const fits =
    x.ndim === 3 &&
    sameShape(weight.shape, [width!, width! / 4]) &&
    [h, c].every((state) => sameShape(state.shape, [batch!, hidden!]));
  if (!fits)
    throw new ShapeError(`needs (T,B,4H), (4H,H), (B,H), (B,H), got ${given.map((t) => show(t.shape)).join(', ')}`, {
      op: 'lstm',
    });
  const wide = statisticsType(dtype);
  const [output, cells] = lstmKernel(
    given.map((t) => (wide === dtype ? t : cast(t, wide))),
    { reverse: options.reverse ?? false },
  );
  return wide === dtype
    ? { output: output!, cells: cells! }
    : { output: cast(output!, dtype), cells: cast(cells!, dtype) };
}
