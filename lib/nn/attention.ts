import { ArgumentError, ShapeError } from '../core/error.js';
import { show } from '../core/layout.js';
import type { Tensor } from '../core/tensor.js';
import { type AttentionOptions, scaledDotProductAttention } from '../ops/attention.js';
import { empty, zeros } from '../ops/free.js';
import { linear } from '../ops/matmul.js';
import { chunk, reshape, transpose } from '../ops/view.js';
import { xavierUniform_, zeros_ } from './init.js';
import { Linear } from './linear.js';
import { Module, parameter } from './module.js';
import { describe, type LayerOptions, positive } from './options.js';

export interface MultiheadAttentionOptions extends LayerOptions {
  /** Which share of the probabilities is dropped while training. */
  dropout?: number;
  bias?: boolean;
}

/**
 * Attention in `numHeads` parts of the features (Vaswani et al. 2017): queries, keys and values projected, attended, joined and projected
 * again. inProjWeight (3*embedDim, embedDim), Xavier uniform; inProjBias (3*embedDim), zeros; outProj, a Linear. PyTorch:
 * nn.MultiheadAttention(batch_first=True, need_weights=False); but in a bool mask true is seen.
 */
export class MultiheadAttention extends Module {
  inProjWeight: Tensor;
  inProjBias: Tensor | null;
  outProj: Linear;
  readonly embedDim: number;
  readonly numHeads: number;
  dropout: number;

  constructor(
    embedDim: number,
    numHeads: number,
    { dropout = 0, bias = true, ...options }: MultiheadAttentionOptions = {},
  ) {
    super();
    positive('MultiheadAttention', { embedDim, numHeads });
    if (embedDim % numHeads !== 0)
      throw new ArgumentError(`${embedDim} features do not divide into ${numHeads} heads`, {
        op: 'MultiheadAttention',
      });
    if (!(dropout >= 0 && dropout < 1))
      throw new ArgumentError(`dropout is from 0 to below 1, got ${dropout}`, { op: 'MultiheadAttention' });
    this.embedDim = embedDim;
    this.numHeads = numHeads;
    this.dropout = dropout;
    this.inProjWeight = parameter(empty([3 * embedDim, embedDim], options));
    this.inProjBias = bias ? parameter(zeros([3 * embedDim], options)) : null;
    this.outProj = new Linear(embedDim, embedDim, { bias, ...options });
    xavierUniform_(this.inProjWeight);
    if (this.outProj.bias) zeros_(this.outProj.bias);
  }

  /**
   * query (…,T,embedDim), key and value (…,S,embedDim), by default the query -> (…,T,embedDim).
   * @throws ShapeError when the last dim is not embedDim
   */
  forward(
    query: Tensor,
    key: Tensor = query,
    value: Tensor = key,
    options: Omit<AttentionOptions, 'dropout'> = {},
  ): Tensor {
    const { embedDim, numHeads, inProjWeight, inProjBias } = this;
    for (const x of [query, key, value])
      if (x.ndim < 2 || x.shape.at(-1) !== embedDim)
        throw new ShapeError(`needs (…,T,${embedDim}), got ${show(x.shape)}`, { op: 'MultiheadAttention' });
    const heads = (x: Tensor) =>
      transpose(reshape(x, [...x.shape.slice(0, -1), numHeads, embedDim / numHeads]), -3, -2);
    const [q, k, v] =
      query === key && key === value
        ? chunk(linear(query, inProjWeight, inProjBias), 3, -1)
        : projected([query, key, value], inProjWeight, inProjBias);
    const y = scaledDotProductAttention(heads(q!), heads(k!), heads(v!), {
      ...options,
      dropout: this.training ? this.dropout : 0,
    });
    return this.outProj.forward(reshape(transpose(y, -3, -2), query.shape));
  }

  override extraRepr(): string {
    const { embedDim, numHeads, dropout, inProjBias } = this;
    return describe({ embedDim, numHeads, dropout, bias: inProjBias !== null });
  }
}

function projected(inputs: readonly Tensor[], weight: Tensor, bias: Tensor | null): Tensor[] {
  const [weights, biases] = [chunk(weight, 3), bias && chunk(bias, 3)];
  return inputs.map((x, i) => linear(x, weights[i]!, biases && biases[i]!));
}
