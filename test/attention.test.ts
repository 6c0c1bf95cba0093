/** What the samples table and the golden files do not say of attention: many blocks and tasks, tensors that lie transposed, the module. */
import { arange, cat, chunk, linear, noGrad, randn, scaledDotProductAttention, sub, type Tensor, tensor } from 'brasa';
import { MultiheadAttention } from 'brasa/nn';
import { describe, expect, test } from 'vitest';

const apart = (x: Tensor, y: Tensor): number => Number(sub(x, y).abs().max().item());

describe('scaledDotProductAttention', () => {
  const [batch, heads, queries, keys] = [2, 6, 700, 530];
  const operands = () => [
    randn([batch, queries, heads, 16], { dtype: 'f64' }).transpose(1, 2),
    randn([batch, keys, 2, 16], { dtype: 'f64' }).transpose(1, 2),
    randn([batch, keys, 2, 24], { dtype: 'f64' }).transpose(1, 2),
  ];
  const lengths = tensor([530, 77], { dtype: 'i32' });

  test.each([
    ['all', {}],
    ['causal', { causal: true }],
    ['causal to the last key of each length', { causal: 'last', lengths }],
  ] as const)('%s: a long call is its queries, a few at a time', (_, options) => {
    const [q, k, v] = operands() as [Tensor, Tensor, Tensor];
    const whole = scaledDotProductAttention(q, k, v, options);
    expect(whole.strides).toEqual([queries * heads * 24, 24, heads * 24, 1]);
    // A mask says of a part what `causal` says of the whole.
    const at = arange(queries).unsqueeze(1);
    const count = 'lengths' in options ? lengths.reshape([batch, 1, 1, 1]) : keys;
    const last = options && 'causal' in options ? (options.causal === 'last' ? at.add(count).sub(queries) : at) : null;
    const seen = last?.ge(arange(keys));
    const parts: Tensor[] = [];
    for (let i = 0; i < queries; i += 2) {
      const mask = seen?.narrow(-2, i, 2);
      const more = { ...('lengths' in options ? { lengths } : {}), ...(mask ? { mask } : {}) };
      parts.push(scaledDotProductAttention(q.narrow(2, i, 2), k, v, more));
    }
    expect(apart(whole, cat(parts, 2))).toBeLessThan(1e-13);
  });

  test.each([
    ['all', {}],
    ['causal', { causal: true }],
    ['lengths', { lengths }],
  ] as const)('%s: gradients of many blocks are those of all scores', (_, options) => {
    const given = operands();
    const r = randn([batch, heads, queries, 24], { dtype: 'f64' });
    const gradients = (plainly: boolean) => {
      const [q, k, v] = given.map((x) => x.detach().requiresGrad_()) as [Tensor, Tensor, Tensor];
      // A mask that needs a gradient keeps all scores.
      const mask = noGrad(() => randn([1], { dtype: 'f64' }).mul(0)).requiresGrad_();
      scaledDotProductAttention(q, k, v, plainly ? { ...options, mask } : options)
        .mul(r)
        .sum()
        .backward();
      return [q, k, v].map((x) => x.grad!);
    };
    const wanted = gradients(true);
    for (const [i, g] of gradients(false).entries()) expect(apart(g, wanted[i]!)).toBeLessThan(1e-11);
  });

  test('probabilities are dropped and the others scaled up', () => {
    const [q, k] = operands() as [Tensor, Tensor];
    const ones = k.mul(0).add(1);
    const y = scaledDotProductAttention(q, k, ones, { dropout: 0.25 });
    expect(y.mean().item()).toBeCloseTo(1, 2);
    expect(Number(y.sub(1).abs().max().item())).toBeGreaterThan(0.01);
    expect(apart(scaledDotProductAttention(q, k, ones), y.mul(0).add(1))).toBeLessThan(1e-13);
  });
});

describe('MultiheadAttention', () => {
  test('keys and values of their own go through their parts of the projection', () => {
    const layer = new MultiheadAttention(12, 3, { dtype: 'f64' });
    const [x, y, z] = [
      [2, 5, 12],
      [2, 7, 12],
      [2, 7, 12],
    ].map((shape) => randn(shape, { dtype: 'f64' })) as [Tensor, Tensor, Tensor];
    const weights = chunk(layer.inProjWeight, 3);
    const heads = (t: Tensor, i: number) => linear(t, weights[i]!).reshape([2, -1, 3, 4]).transpose(1, 2);
    const wanted = scaledDotProductAttention(heads(x, 0), heads(y, 1), heads(z, 2)).transpose(1, 2).reshape([2, 5, 12]);
    expect(apart(layer.forward(x, y, z), layer.outProj.forward(wanted))).toBeLessThan(1e-13);
  });

  test('drops in training only', () => {
    const layer = new MultiheadAttention(8, 2, { dropout: 0.5 });
    const x = randn([2, 6, 8]);
    expect(apart(layer.forward(x), layer.forward(x))).toBeGreaterThan(1e-3);
    layer.eval();
    expect(apart(layer.forward(x), layer.forward(x))).toBe(0);
  });

  test('refuses what does not divide or fit', () => {
    expect(() => new MultiheadAttention(10, 3)).toThrow(/10 features do not divide into 3 heads/);
    expect(() => new MultiheadAttention(8, 2).forward(randn([2, 3, 9]))).toThrow(
      expect.objectContaining({ code: 'ERR_BRASA_SHAPE' }),
    );
  });
});
