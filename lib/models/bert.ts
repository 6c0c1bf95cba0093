import { ArgumentError } from '../core/error.js';
import type { Tensor } from '../core/tensor.js';
import { Dropout } from '../nn/dropout.js';
import { Embedding } from '../nn/embedding.js';
import { LayerNorm } from '../nn/layerNorm.js';
import { Linear } from '../nn/linear.js';
import { Module } from '../nn/module.js';
import { TransformerEncoder, TransformerEncoderLayer } from '../nn/transformer.js';
import type { AttentionOptions } from '../ops/attention.js';
import { add, cast, gelu, relu, tanh } from '../ops/elementwise.js';
import { zeros } from '../ops/free.js';
import { reshape, select } from '../ops/view.js';
import { type NameRule, PretrainedModel } from './pretrained.js';
import { checkIds, initialise, placesOf } from './transformer.js';

const activations = {
  gelu: (x: Tensor) => gelu(x),
  geluTanh: (x: Tensor) => gelu(x, { approximate: 'tanh' }),
  relu,
};

export interface BertOptions {
  vocabSize?: number;
  hiddenSize?: number;
  numLayers?: number;
  numHeads?: number;
  intermediateSize?: number;
  /** The longest sequence. */
  maxPositions?: number;
  /** Kinds of segments. */
  typeVocabSize?: number;
  activation?: keyof typeof activations;
  /** Which share of probabilities and sums is dropped while training. */
  dropout?: number;
  layerNormEps?: number;
  /** Have the layer over the first token that gives `pooled`. */
  pooler?: boolean;
}

export interface BertInputs {
  /** Which segment each token belongs to, (B,T) integers; zeros unless given. */
  tokenTypes?: Tensor;
  /** Which tokens are seen, (B,T), bool or integers (1 is seen); all unless given. */
  mask?: Tensor;
  /** How many tokens each sequence has, (B) integers: those beyond are not seen. Faster than a mask. */
  lengths?: Tensor;
}

export interface BertOutput {
  /** (B,T,hiddenSize) */
  hidden: Tensor;
  /** tanh of a linear layer over the first token, (B,hiddenSize); null without a pooler. */
  pooled: Tensor | null;
}

class BertEmbeddings extends Module {
  wordEmbeddings: Embedding;
  positionEmbeddings: Embedding;
  tokenTypeEmbeddings: Embedding;
  norm: LayerNorm;
  dropout: Dropout;

  constructor(vocabulary: number, positions: number, types: number, width: number, eps: number, dropout: number) {
    super();
    this.wordEmbeddings = new Embedding(vocabulary, width);
    this.positionEmbeddings = new Embedding(positions, width);
    this.tokenTypeEmbeddings = new Embedding(types, width);
    this.norm = new LayerNorm(width, { eps });
    this.dropout = new Dropout(dropout);
  }

  /** (B,T) -> (B,T,C) */
  forward(ids: Tensor, types: Tensor): Tensor {
    const x = add(this.wordEmbeddings.forward(ids), this.tokenTypeEmbeddings.forward(types));
    return this.dropout.forward(this.norm.forward(add(x, this.positionEmbeddings.forward(placesOf(ids)))));
  }
}

/**
 * BERT, the encoder (Devlin et al. 2019, arXiv:1810.04805): token ids (B,T) -> hidden states (B,T,hiddenSize) and the pooled first token.
 * The defaults are bert-base-uncased. Files have Hugging Face's names; queries, keys and values of a layer are one matrix here.
 */
export class BertModel extends PretrainedModel {
  embeddings: BertEmbeddings;
  encoder: TransformerEncoder;
  pooler: Linear | null;
  readonly maxPositions: number;

  constructor({
    vocabSize = 30522,
    hiddenSize = 768,
    numLayers = 12,
    numHeads = 12,
    intermediateSize = 3072,
    maxPositions = 512,
    typeVocabSize = 2,
    activation = 'gelu',
    dropout = 0.1,
    layerNormEps = 1e-12,
    pooler = true,
  }: BertOptions = {}) {
    super();
    if (!Object.hasOwn(activations, activation))
      throw new ArgumentError(`activation is one of ${Object.keys(activations).join(', ')}, got '${activation}'`, {
        op: 'BertModel',
      });
    this.maxPositions = maxPositions;
    this.embeddings = new BertEmbeddings(vocabSize, maxPositions, typeVocabSize, hiddenSize, layerNormEps, dropout);
    this.encoder = new TransformerEncoder(() => {
      const layer = new TransformerEncoderLayer(hiddenSize, numHeads, {
        dimFeedforward: intermediateSize,
        dropout,
        activation: activations[activation],
        layerNormEps,
      });
      // BERT drops nothing between its two linear layers.
      layer.dropout = new Dropout(0);
      return layer;
    }, numLayers);
    this.pooler = pooler ? new Linear(hiddenSize, hiddenSize) : null;
    initialise(this, () => 0.02);
  }

  /**
   * Token ids (B,T), integers -> hidden (B,T,hiddenSize), pooled (B,hiddenSize).
   * @throws ShapeError when ids are not (B,T) or longer than maxPositions
   */
  forward(ids: Tensor, { tokenTypes, mask, lengths }: BertInputs = {}): BertOutput {
    checkIds(ids, this.maxPositions, null, 'BertModel');
    const [batch, length] = ids.shape as [number, number];
    const types = tokenTypes ?? zeros([1, length], { dtype: 'i32', device: ids.device });
    const options: AttentionOptions = {};
    if (mask) options.mask = reshape(mask.dtype === 'bool' ? mask : cast(mask, 'bool'), [batch, 1, 1, length]);
    if (lengths) options.lengths = lengths;
    const hidden = this.encoder.forward(this.embeddings.forward(ids, types), options);
    const pooled = this.pooler && tanh(this.pooler.forward(select(hidden, 1, 0)));
    return { hidden, pooled };
  }

  /** Hugging Face's BertModel, alone or inside a model with heads; gamma and beta are norms of files converted from TensorFlow. */
  override rules(): readonly NameRule[] {
    const inLayer = (rest: string) => new RegExp(`^encoder\\.layer\\.(\\d+)\\.${rest}\\.`);
    return [
      { from: /^bert\./, to: '' },
      { from: /^(cls|classifier|qa_outputs)\.|position_ids$/, skip: true },
      { from: /\bgamma$/, to: 'weight' },
      { from: /\bbeta$/, to: 'bias' },
      { from: /^embeddings\.LayerNorm\./, to: 'embeddings.norm.' },
      ...['query', 'key', 'value'].map((which, part) => ({
        from: inLayer(`attention\\.self\\.${which}`),
        to: 'encoder.layers.$1.selfAttn.in_proj_',
        part,
        parts: 3,
      })),
      { from: inLayer('attention\\.output\\.dense'), to: 'encoder.layers.$1.selfAttn.outProj.' },
      { from: inLayer('attention\\.output\\.LayerNorm'), to: 'encoder.layers.$1.norm1.' },
      { from: inLayer('intermediate\\.dense'), to: 'encoder.layers.$1.linear1.' },
      { from: inLayer('output\\.dense'), to: 'encoder.layers.$1.linear2.' },
      { from: inLayer('output\\.LayerNorm'), to: 'encoder.layers.$1.norm2.' },
      { from: /^pooler\.dense\./, to: 'pooler.' },
    ];
  }
}

/** BERT with the sizes of bert-base-uncased unless said: 109,482,240 parameters. */
export const bert = (options: BertOptions = {}): BertModel => new BertModel(options);

/** The encoder of all-MiniLM-L6-v2 (Wang et al. 2020, arXiv:2002.10957): 22,713,216 parameters. */
export const miniLM = (options: BertOptions = {}): BertModel =>
  new BertModel({ hiddenSize: 384, numLayers: 6, intermediateSize: 1536, ...options });
