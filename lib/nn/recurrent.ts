import { asTensor } from '../core/define.js';
import { ArgumentError, ShapeError } from '../core/error.js';
import { show } from '../core/layout.js';
import { handOver, type Tensor } from '../core/tensor.js';
import { scan } from '../graph/control/scan.js';
import { add, mul, relu, sigmoid, sub, tanh } from '../ops/elementwise.js';
import { cat, empty, stack, zeros } from '../ops/free.js';
import { lstm } from '../ops/lstm.js';
import { linear } from '../ops/matmul.js';
import { dropout } from '../ops/random.js';
import { chunk, select, squeeze, transpose, unsqueeze } from '../ops/view.js';
import { uniform_ } from './init.js';
import { Module, parameter } from './module.js';
import { describe, type LayerOptions, positive } from './options.js';

export interface RecurrentOptions extends LayerOptions {
  /** Layers one above the other. */
  numLayers?: number;
  /** Have both biases of each layer. */
  bias?: boolean;
  /** Inputs and outputs are (B,T,…) instead of (T,B,…); states stay (layers,B,hiddenSize). */
  batchFirst?: boolean;
  /** Which share of each layer's output but the last's is dropped while training. */
  dropout?: number;
  /** A second set of layers reads from the last step to the first; outputs are joined. */
  bidirectional?: boolean;
}

/**
 * Layers that carry a state along a sequence. The inputs of all steps are one product; the rest is one loop, whatever the length: a kernel,
 * or a `scan`. Parameters of layer k, by PyTorch's names in camelCase: weightIhL{k} (gates*hiddenSize, inputs),
 * weightHhL{k} (gates*hiddenSize, hiddenSize), biasIhL{k} and biasHhL{k} (gates*hiddenSize), `…Reverse` for the way back; all uniform
 * within 1 / sqrt(hiddenSize).
 */
abstract class Recurrent extends Module {
  [weightIh: `weightIhL${string}`]: Tensor;
  [weightHh: `weightHhL${string}`]: Tensor;
  [biasIh: `biasIhL${string}`]: Tensor;
  [biasHh: `biasHhL${string}`]: Tensor;
  readonly inputSize: number;
  readonly hiddenSize: number;
  readonly numLayers: number;
  readonly bias: boolean;
  readonly batchFirst: boolean;
  dropout: number;
  readonly bidirectional: boolean;

  /** `gates`: how many vectors of hiddenSize a step computes. */
  protected constructor(inputSize: number, hiddenSize: number, gates: number, options: RecurrentOptions) {
    super();
    const { numLayers = 1, bias = true, batchFirst = false, bidirectional = false, ...rest } = options;
    const { dropout: share = 0, dtype, device } = rest;
    const op = this.constructor.name;
    positive(op, { inputSize, hiddenSize, numLayers });
    if (!(share >= 0 && share <= 1)) throw new ArgumentError(`dropout is from 0 to 1, got ${share}`, { op });
    this.inputSize = inputSize;
    this.hiddenSize = hiddenSize;
    this.numLayers = numLayers;
    this.bias = bias;
    this.batchFirst = batchFirst;
    this.dropout = share;
    this.bidirectional = bidirectional;
    const bound = 1 / Math.sqrt(hiddenSize);
    const place = { ...(dtype && { dtype }), ...(device && { device }) };
    const make = (...shape: number[]) => parameter(uniform_(empty(shape, place), { a: -bound, b: bound }));
    const rows = gates * hiddenSize;
    for (let layer = 0; layer < numLayers; layer++) {
      const inputs = layer === 0 ? inputSize : hiddenSize * this.#ways.length;
      for (const way of this.#ways) {
        this[`weightIhL${layer}${way}`] = make(rows, inputs);
        this[`weightHhL${layer}${way}`] = make(rows, hiddenSize);
        if (bias) this[`biasIhL${layer}${way}`] = make(rows);
        if (bias) this[`biasHhL${layer}${way}`] = make(rows);
      }
    }
  }

  get #ways(): readonly string[] {
    return this.bidirectional ? ['', 'Reverse'] : [''];
  }

  /**
   * One layer in one direction: `given` (T,B,gates*hiddenSize), the inputs' part of the gates, the state of (B,hiddenSize) each, weight
   * (gates*hiddenSize,hiddenSize) and bias of the state's part -> the last state, and outputs (T,B,hiddenSize).
   */
  protected abstract along(
    given: Tensor,
    state: Tensor[],
    weight: Tensor,
    bias: Tensor | null,
    reverse: boolean,
  ): [Tensor[], Tensor];

  /** Whether `along` adds the state's bias; else it is null there, and added to the inputs of all steps at once. */
  protected get biasInStep(): boolean {
    return false;
  }

  /** x (T,B,inputSize) in the order that was asked for, or (T,inputSize) -> outputs, and final states (layers*ways,B,hiddenSize). */
  protected run(x: Tensor, count: number, given?: readonly Tensor[]): [Tensor, Tensor[]] {
    const op = this.constructor.name;
    asTensor(x, op);
    const { inputSize, hiddenSize, numLayers, batchFirst } = this;
    if ((x.ndim !== 3 && x.ndim !== 2) || x.shape.at(-1) !== inputSize)
      throw new ShapeError(
        `needs ${batchFirst ? '(B,T' : '(T,B'},${inputSize}) or (T,${inputSize}), got ${show(x.shape)}`,
        { op },
      );
    const single = x.ndim === 2;
    const sequence = single ? unsqueeze(x, 1) : batchFirst ? transpose(x, 0, 1) : x;
    const all = numLayers * this.#ways.length;
    const shape = [all, sequence.shape[1]!, hiddenSize];
    const initial = given?.map((state) => {
      const whole = single && state.ndim === 2 ? unsqueeze(state, 1) : state;
      if (whole.ndim !== 3 || shape.some((n, i) => n !== whole.shape[i]))
        throw new ShapeError(`the state is ${show(single ? [all, hiddenSize] : shape)}, got ${show(state.shape)}`, {
          op,
        });
      return whole;
    });
    const zero = zeros(shape.slice(1), { dtype: x.dtype, device: x.device });
    const last: Tensor[][] = [];
    let y = sequence;
    for (let layer = 0; layer < numLayers; layer++) {
      const from = layer > 0 && this.training && this.dropout > 0 ? dropout(y, this.dropout) : y;
      const outputs = this.#ways.map((way) => {
        const state = initial?.map((each) => select(each, 0, last.length)) ?? Array<Tensor>(count).fill(zero);
        const name = `${layer}${way}` as const;
        const weight = this[`weightHhL${name}`]!;
        const [biasIh, biasHh] = this.bias ? [this[`biasIhL${name}`]!, this[`biasHhL${name}`]!] : [null, null];
        const early = biasIh && biasHh && !this.biasInStep ? add(biasIh, biasHh) : biasIh;
        const gates = linear(from, this[`weightIhL${name}`]!, early);
        const [final, ys] = this.along(gates, state, weight, this.biasInStep ? biasHh : null, way !== '');
        last.push(final);
        return ys;
      });
      y = outputs.length === 1 ? outputs[0]! : cat(outputs, -1);
    }
    const states = Array.from({ length: count }, (_, i) => stack(last.map((state) => state[i]!)));
    if (single) return [handOver(y, squeeze(y, 1)), states.map((state) => handOver(state, squeeze(state, 1)))];
    return [batchFirst ? transpose(y, 0, 1) : y, states];
  }

  override extraRepr(): string {
    const { inputSize, hiddenSize, numLayers, bias, batchFirst, dropout: share, bidirectional } = this;
    return describe(inputSize, hiddenSize, {
      ...(numLayers === 1 ? {} : { numLayers }),
      ...(bias ? {} : { bias }),
      ...(batchFirst ? { batchFirst } : {}),
      ...(share === 0 ? {} : { dropout: share }),
      ...(bidirectional ? { bidirectional } : {}),
    });
  }
}

/** A layer by its step: [h (B,hiddenSize)] from what the inputs give to the gates of it, and h before. */
function stepwise(
  given: Tensor,
  state: Tensor[],
  reverse: boolean,
  step: (given: Tensor, h: Tensor) => Tensor,
): [Tensor[], Tensor] {
  const next = (before: Tensor[], x: Tensor): [Tensor[], Tensor] => {
    const h = step(x, before[0]!);
    return [[h], h];
  };
  return scan(next, state, given, { reverse });
}

export interface RNNOptions extends RecurrentOptions {
  nonlinearity?: 'tanh' | 'relu';
}

/** h = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu (Elman 1990). Parameters as LSTM's, with one gate. PyTorch: nn.RNN. */
export class RNN extends Recurrent {
  readonly nonlinearity: 'tanh' | 'relu';

  constructor(inputSize: number, hiddenSize: number, { nonlinearity = 'tanh', ...options }: RNNOptions = {}) {
    super(inputSize, hiddenSize, 1, options);
    if (nonlinearity !== 'tanh' && nonlinearity !== 'relu')
      throw new ArgumentError(`nonlinearity is 'tanh' or 'relu', got '${nonlinearity}'`, { op: 'RNN' });
    this.nonlinearity = nonlinearity;
  }

  /**
   * (T,B,inputSize) or (T,inputSize), and the first state (numLayers*ways,B,hiddenSize), zeros unless given -> [outputs of the last layer
   * (T,B,hiddenSize*ways), last state]; with batchFirst x and outputs are (B,T,…).
   * @throws ShapeError when sizes do not fit
   */
  forward(x: Tensor, state?: Tensor): [Tensor, Tensor] {
    const [y, [h]] = this.run(x, 1, state && [state]);
    return [y, h!];
  }

  protected override along(given: Tensor, state: Tensor[], weight: Tensor, _bias: null, reverse: boolean) {
    const activation = this.nonlinearity === 'relu' ? relu : tanh;
    return stepwise(given, state, reverse, (x, h) => activation(add(x, linear(h, weight))));
  }
}

/**
 * Long short-term memory (Hochreiter & Schmidhuber 1997; with a forget gate, Gers et al. 2000). Of layer k: weightIhL{k} (4*hiddenSize,
 * inputs), weightHhL{k} (4*hiddenSize, hiddenSize), biasIhL{k} and biasHhL{k}, gates in PyTorch's order: input, forget, cell, output.
 * PyTorch: nn.LSTM without proj_size.
 */
export class LSTM extends Recurrent {
  constructor(inputSize: number, hiddenSize: number, options: RecurrentOptions = {}) {
    super(inputSize, hiddenSize, 4, options);
  }

  /**
   * (T,B,inputSize) or (T,inputSize), and the first [h, c], each (numLayers*ways,B,hiddenSize), zeros unless given -> [outputs of the last
   * layer (T,B,hiddenSize*ways), [last h, last c]]; with batchFirst x and outputs are (B,T,…).
   * @throws ShapeError when sizes do not fit
   */
  forward(x: Tensor, state?: readonly [Tensor, Tensor]): [Tensor, [Tensor, Tensor]] {
    const [y, [h, c]] = this.run(x, 2, state);
    return [y, [h!, c!]];
  }

  protected override along(
    given: Tensor,
    state: Tensor[],
    weight: Tensor,
    _bias: null,
    reverse: boolean,
  ): [Tensor[], Tensor] {
    const { output, cells } = lstm(given, weight, state[0]!, state[1]!, { reverse });
    const steps = given.shape[0]!;
    const last = reverse ? 0 : steps - 1;
    return [steps === 0 ? state : [select(output, 0, last), select(cells, 0, last)], output];
  }
}

/**
 * Gated recurrent unit (Cho et al. 2014), in the form whose reset gate works on the product: n = tanh(W_in x + b_in + r * (W_hn h + b_hn)).
 * Of layer k: weightIhL{k} (3*hiddenSize, inputs), weightHhL{k} (3*hiddenSize, hiddenSize), biasIhL{k} and biasHhL{k}, gates in PyTorch's
 * order: reset, update, new. PyTorch: nn.GRU.
 */
export class GRU extends Recurrent {
  constructor(inputSize: number, hiddenSize: number, options: RecurrentOptions = {}) {
    super(inputSize, hiddenSize, 3, options);
  }

  /**
   * (T,B,inputSize) or (T,inputSize), and the first state (numLayers*ways,B,hiddenSize), zeros unless given -> [outputs of the last layer
   * (T,B,hiddenSize*ways), last state]; with batchFirst x and outputs are (B,T,…).
   * @throws ShapeError when sizes do not fit
   */
  forward(x: Tensor, state?: Tensor): [Tensor, Tensor] {
    const [y, [h]] = this.run(x, 1, state && [state]);
    return [y, h!];
  }

  protected override get biasInStep(): boolean {
    return true;
  }

  protected override along(
    given: Tensor,
    state: Tensor[],
    weight: Tensor,
    bias: Tensor | null,
    reverse: boolean,
  ): [Tensor[], Tensor] {
    return stepwise(given, state, reverse, (x, h) => {
      const [xr, xz, xn] = chunk(x, 3, -1) as [Tensor, Tensor, Tensor];
      const [hr, hz, hn] = chunk(linear(h, weight, bias), 3, -1) as [Tensor, Tensor, Tensor];
      const n = tanh(add(xn, mul(sigmoid(add(xr, hr)), hn)));
      return add(n, mul(sigmoid(add(xz, hz)), sub(h, n)));
    });
  }
}
