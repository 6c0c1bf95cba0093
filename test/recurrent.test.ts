/** RNN, LSTM, GRU: states, forms of input, compiled as eager, dropout, errors. Agreement with PyTorch is in golden.test.ts. */
import {
  backward,
  compile,
  grad,
  gradcheck,
  manualSeed,
  mul,
  noGrad,
  randn,
  stack,
  sum,
  type Tensor,
  tensor,
  vmap,
} from 'brasa';
import { GRU, LSTM, RNN, TransformerEncoder, TransformerEncoderLayer } from 'brasa/nn';
import { Adam } from 'brasa/optim';
import { beforeEach, describe, expect, test } from 'vitest';

beforeEach(() => void manualSeed(0));
const values = (x: Tensor) => Array.from(x.dataSync(), Number);
function expectClose(a: Tensor, b: Tensor, tolerance = 1e-12): void {
  expect(a.shape).toEqual(b.shape);
  expect(a.sub(b).abs().max().item()).toBeLessThanOrEqual(tolerance);
}

const kinds = { RNN, LSTM, GRU };
/** Output, and the states as a list. */
function run(layer: RNN | LSTM | GRU, x: Tensor, state?: Tensor[]): [Tensor, Tensor[]] {
  if (layer instanceof LSTM) {
    const [y, last] = layer.forward(x, state as [Tensor, Tensor] | undefined);
    return [y, [...last]];
  }
  const [y, h] = layer.forward(x, state?.[0]);
  return [y, [h]];
}

describe.each(Object.keys(kinds) as (keyof typeof kinds)[])('%s', (kind) => {
  const make = (options = {}) => new kinds[kind](3, 4, { dtype: 'f64', ...options });
  const x = () => randn([5, 2, 3], { dtype: 'f64' });

  test('a sequence in two pieces is the sequence, by its state', () => {
    const layer = make({ numLayers: 2 });
    const all = x();
    const [y, last] = run(layer, all);
    const [first, state] = run(layer, all.at([0, 3]));
    const [second, end] = run(layer, all.at([3, 5]), state);
    expectClose(first, y.at([0, 3]));
    expectClose(second, y.at([3, 5]));
    end.forEach((s, i) => {
      expectClose(s, last[i]!);
    });
    expect(last.map((s) => s.shape)).toEqual(last.map(() => [2, 2, 4]));
  });

  test('batchFirst and single sequences are the same numbers', () => {
    const layer = make({ numLayers: 2, bidirectional: true });
    const first = make({ numLayers: 2, bidirectional: true, batchFirst: true });
    first.loadStateDict(layer.stateDict());
    const all = x();
    const [y, last] = run(layer, all);
    const [yFirst, lastFirst] = run(first, all.transpose(0, 1));
    expectClose(yFirst.transpose(0, 1), y);
    expectClose(lastFirst[0]!, last[0]!);
    const [single, state] = run(layer, all.select(1, 1));
    expectClose(single, y.select(1, 1));
    expectClose(state[0]!, last[0]!.select(1, 1));
    expect(single.shape).toEqual([5, 8]);
    // A state of one sequence.
    expectClose(
      run(layer, all.select(1, 1), state)[0],
      run(
        layer,
        all.at('...', [1, 2], [0, 3]),
        last.map((s) => s.at([0, 4], [1, 2])),
      )[0].select(1, 0),
    );
  });

  test('the second half of a bidirectional layer reads the sequence backwards', () => {
    const both = make({ bidirectional: true });
    const one = make();
    const state = Object.entries(both.stateDict());
    one.loadStateDict(
      Object.fromEntries(state.filter(([key]) => key.endsWith('Reverse')).map(([key, w]) => [key.slice(0, -7), w])),
    );
    const all = x();
    const reversed = (t: Tensor) => t.indexSelect(0, tensor(new Int32Array([4, 3, 2, 1, 0])));
    const [y] = run(one, reversed(all));
    expectClose(run(both, all)[0].at('...', [4, 8]), reversed(y));
  });

  test('compiled is eager, outputs and gradients, in a program that does not grow with the sequence', () => {
    const layer = make({ numLayers: 2, bidirectional: true });
    const kernels = [5, 20].map((length) => {
      const all = randn([length, 2, 3], { dtype: 'f64' });
      const weights = randn([length, 2, 8], { dtype: 'f64' });
      const step = (given: Tensor) => {
        layer.zeroGrad();
        const [y] = run(layer, given);
        backward(sum(mul(y, weights)));
        return y;
      };
      const want = step(all);
      const gradients = layer.parameters().map((p) => p.grad!);
      const compiled = compile(step);
      expectClose(compiled(all), want);
      layer.parameters().forEach((p, i) => {
        expectClose(p.grad!, gradients[i]!, 1e-10);
      });
      return compiled.stats().kernels;
    });
    expect(kernels[1]).toBe(kernels[0]);
  });

  test('gradients are numerical ones', () => {
    const layer = make();
    expect(gradcheck((given: Tensor) => run(layer, given)[0], [x().requiresGrad_()])).toBe(true);
  });

  test('mapped by vmap it is a loop over the examples, values and gradients', () => {
    const layer = make();
    const all = randn([3, 5, 2, 3], { dtype: 'f64' });
    const loss = (given: Tensor) => run(layer, given)[0].square().sum();
    const gradients = (y: Tensor) => {
      layer.zeroGrad();
      backward(y);
      return layer.parameters().map((p) => p.grad!);
    };
    const mapped = vmap(loss)(all);
    const plain = [...all].map(loss);
    expectClose(mapped, stack(plain));
    const want = gradients(stack(plain).sum());
    gradients(mapped.sum()).forEach((g, i) => {
      expectClose(g, want[i]!, 1e-10);
    });
    expectClose(vmap(grad(loss))(all), stack([...all].map((x) => grad(loss)(x) as Tensor)), 1e-10);
  });

  test('dropout falls between layers, while training', () => {
    const layer = make({ numLayers: 2, dropout: 0.5 });
    const all = x();
    const train = () => noGrad(() => values(run(layer, all)[0]));
    expect(train()).not.toEqual(train());
    layer.eval();
    expect(train()).toEqual(train());
    const single = make({ dropout: 0.5 });
    expect(values(run(single, all)[0])).toEqual(values(run(single, all)[0]));
  });

  test('it learns to repeat what it saw', () => {
    const layer = new kinds[kind](2, 8);
    const optimizer = new Adam(layer.parameters(), { lr: 0.02 });
    const all = randn([6, 16, 2]).mul(0.3);
    const step = compile((given: Tensor) => {
      optimizer.zeroGrad();
      // The output's first two features, a step late.
      const loss = run(layer, given)[0]
        .at([1, 6], '...', [0, 2])
        .sub(given.at([0, 5]))
        .square()
        .mean();
      backward(loss);
      optimizer.step();
      return loss;
    });
    const first = step(all).item();
    for (let i = 0; i < 150; i++) step(all);
    expect(step(all).item()).toBeLessThan(0.35 * first);
  });

  test('what does not fit is refused', () => {
    const layer = make();
    expect(() => run(layer, randn([5, 2, 4]))).toThrow(`[${kind}] needs (T,B,3) or (T,3), got (5,2,4)`);
    expect(() => run(layer, x(), [randn([1, 3, 4]), randn([1, 3, 4])])).toThrow(
      `[${kind}] the state is (1,2,4), got (1,3,4)`,
    );
    expect(() => run(layer, null as never)).toThrow(`[${kind}] expected a tensor, got null`);
    expect(() => make({ numLayers: 0 })).toThrow('numLayers must be a positive integer');
    expect(() => make({ dropout: 2 })).toThrow('dropout is from 0 to 1');
  });
});

test('LSTM: names, shapes and the printed form', () => {
  const layer = new LSTM(3, 4, { numLayers: 2, bidirectional: true });
  expect(Object.entries(layer.stateDict()).map(([name, x]) => `${name} ${x.shape}`)).toEqual([
    ...['weightIhL0 16,3', 'weightHhL0 16,4', 'biasIhL0 16', 'biasHhL0 16'],
    ...['weightIhL0Reverse 16,3', 'weightHhL0Reverse 16,4', 'biasIhL0Reverse 16', 'biasHhL0Reverse 16'],
    ...['weightIhL1 16,8', 'weightHhL1 16,4', 'biasIhL1 16', 'biasHhL1 16'],
    ...['weightIhL1Reverse 16,8', 'weightHhL1Reverse 16,4', 'biasIhL1Reverse 16', 'biasHhL1Reverse 16'],
  ]);
  expect(layer.weightIhL0.shape).toEqual([16, 3]);
  expect(`${layer}`).toBe('LSTM(3, 4, numLayers=2, bidirectional=true)');
  expect(() => new RNN(3, 4, { nonlinearity: 'sin' as 'tanh' })).toThrow("nonlinearity is 'tanh' or 'relu'");
});

test('TransformerEncoder: layers one after the other, and what they may see', () => {
  const make = () => new TransformerEncoderLayer(8, 2, { dimFeedforward: 16, dropout: 0 });
  const encoder = new TransformerEncoder(make, 2);
  expect(encoder.namedParameters()[0]![0]).toBe('layers.0.selfAttn.inProjWeight');
  const x = randn([2, 5, 8]);
  const [first, second] = encoder.layers as [TransformerEncoderLayer, TransformerEncoderLayer];
  expect(values(encoder.forward(x))).toEqual(values(second.forward(first.forward(x))));
  // Causal: a later token changes nothing before it.
  const other = x.clone();
  noGrad(() => other.at('...', [4, 5], [0, 8]).mul_(2));
  const [a, b] = [x, other].map((given) => encoder.forward(given, { causal: true }).at([0, 2], [0, 4]));
  expectClose(a!, b!, 1e-6);
});
