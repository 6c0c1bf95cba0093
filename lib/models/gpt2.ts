import { ArgumentError } from '../core/error.js';
import { noGrad } from '../core/scope.js';
import type { Tensor } from '../core/tensor.js';
import { Dropout } from '../nn/dropout.js';
import { Embedding } from '../nn/embedding.js';
import { LayerNorm } from '../nn/layerNorm.js';
import { Linear } from '../nn/linear.js';
import { Module } from '../nn/module.js';
import { positive } from '../nn/options.js';
import { scaledDotProductAttention } from '../ops/attention.js';
import { dynamicUpdateSlice_ } from '../ops/dynamic.js';
import { add, gelu } from '../ops/elementwise.js';
import { zeros } from '../ops/free.js';
import { linear } from '../ops/matmul.js';
import { chunk, expand, reshape, slice, transpose } from '../ops/view.js';
import { type NameRule, PretrainedModel } from './pretrained.js';
import { checkIds, initialise, placesOf } from './transformer.js';

/** Keys and values of the tokens so far, of each layer (B,heads,length,D), and how many there are. */
export class KeyValueCache {
  readonly keys: readonly Tensor[];
  readonly values: readonly Tensor[];
  /** How many tokens are in the cache: 0-d i32, on the device, so that a compiled function reads it anew. */
  readonly position: Tensor;
  readonly batch: number;
  /** For how many tokens there is room. */
  readonly length: number;

  constructor(model: Gpt2, { batch = 1, length = model.contextLength }: { batch?: number; length?: number } = {}) {
    if (!(Number.isInteger(batch) && batch > 0 && Number.isInteger(length) && length > 0))
      throw new ArgumentError(`batch and length are positive integers, got ${batch} and ${length}`, {
        op: 'KeyValueCache',
      });
    if (length > model.contextLength)
      throw new ArgumentError(
        `the model sees ${model.contextLength} tokens at most, a cache of ${length} is too long`,
        {
          op: 'KeyValueCache',
        },
      );
    this.batch = batch;
    this.length = length;
    const { weight } = model.wte;
    const place = { dtype: weight.dtype, device: weight.device };
    const depth = weight.shape[1]! / model.numHeads;
    const make = () => model.h.map(() => zeros([batch, model.numHeads, length, depth], place));
    this.keys = make();
    this.values = make();
    this.position = zeros([], { dtype: 'i32', device: weight.device });
  }
}

class Attention extends Module {
  cAttn: Linear;
  cProj: Linear;
  dropout: Dropout;
  residDropout: Dropout;
  readonly numHeads: number;

  constructor(width: number, numHeads: number, dropout: number) {
    super();
    this.cAttn = new Linear(width, 3 * width);
    this.cProj = new Linear(width, width);
    this.dropout = new Dropout(dropout);
    this.residDropout = new Dropout(dropout);
    this.numHeads = numHeads;
  }

  /** (B,T,C) -> (B,T,C); with a cache, the tokens after those in it, whose keys and values are written into layer `i`. */
  forward(x: Tensor, cache: KeyValueCache | null, i: number): Tensor {
    const [batch, count, width] = x.shape as [number, number, number];
    const heads = (y: Tensor) => transpose(reshape(y, [batch, count, this.numHeads, width / this.numHeads]), 1, 2);
    const [q, k, v] = chunk(this.cAttn.forward(x), 3, -1).map(heads) as [Tensor, Tensor, Tensor];
    const dropout = this.training ? this.dropout.p : 0;
    let y: Tensor;
    if (cache === null) y = scaledDotProductAttention(q, k, v, { causal: true, dropout });
    else {
      const { position, keys, values } = cache;
      dynamicUpdateSlice_(keys[i]!, k, [0, 0, position, 0]);
      dynamicUpdateSlice_(values[i]!, v, [0, 0, position, 0]);
      const lengths = expand(add(position, count), [batch]);
      y = scaledDotProductAttention(q, keys[i]!, values[i]!, { causal: 'last', lengths });
    }
    return this.residDropout.forward(this.cProj.forward(reshape(transpose(y, 1, 2), x.shape)));
  }
}

class FeedForward extends Module {
  cFc: Linear;
  cProj: Linear;
  dropout: Dropout;

  constructor(width: number, dropout: number) {
    super();
    this.cFc = new Linear(width, 4 * width);
    this.cProj = new Linear(4 * width, width);
    this.dropout = new Dropout(dropout);
  }

  forward(x: Tensor): Tensor {
    return this.dropout.forward(this.cProj.forward(gelu(this.cFc.forward(x), { approximate: 'tanh' })));
  }
}

class Block extends Module {
  ln1: LayerNorm;
  attn: Attention;
  ln2: LayerNorm;
  mlp: FeedForward;

  constructor(width: number, numHeads: number, dropout: number, eps: number) {
    super();
    this.ln1 = new LayerNorm(width, { eps });
    this.attn = new Attention(width, numHeads, dropout);
    this.ln2 = new LayerNorm(width, { eps });
    this.mlp = new FeedForward(width, dropout);
  }

  forward(x: Tensor, cache: KeyValueCache | null, i: number): Tensor {
    const y = add(x, this.attn.forward(this.ln1.forward(x), cache, i));
    return add(y, this.mlp.forward(this.ln2.forward(y)));
  }
}

export interface Gpt2Options {
  vocabSize?: number;
  /** How many tokens it sees at most. */
  contextLength?: number;
  hiddenSize?: number;
  numLayers?: number;
  numHeads?: number;
  /** Which share of embeddings, probabilities and sums is dropped while training. */
  dropout?: number;
  layerNormEps?: number;
}

export interface Gpt2Inputs {
  /**
   * The tokens are those after the ones in the cache, which takes them up; gradients are not recorded. The caller moves the position on,
   * and keeps it within the cache's length: it is on the device and not read here.
   */
  cache?: KeyValueCache;
  /** Logits of the last token alone, (B,1,vocabSize). */
  lastOnly?: boolean;
}

/**
 * GPT-2 (Radford et al. 2019): token ids (B,T) -> logits (B,T,vocabSize), through the embedding's own weight. The defaults are the
 * smallest model, "gpt2". Files have Hugging Face's names, whose matrices are (in,out) and are turned around.
 */
export class Gpt2 extends PretrainedModel {
  wte: Embedding;
  wpe: Embedding;
  drop: Dropout;
  h: Block[];
  lnF: LayerNorm;
  readonly contextLength: number;
  readonly numHeads: number;

  constructor({
    vocabSize = 50257,
    contextLength = 1024,
    hiddenSize = 768,
    numLayers = 12,
    numHeads = 12,
    dropout = 0.1,
    layerNormEps = 1e-5,
  }: Gpt2Options = {}) {
    super();
    positive('Gpt2', { numLayers, numHeads });
    if (hiddenSize % numHeads !== 0)
      throw new ArgumentError(`${hiddenSize} features do not divide into ${numHeads} heads`, { op: 'Gpt2' });
    this.contextLength = contextLength;
    this.numHeads = numHeads;
    this.wte = new Embedding(vocabSize, hiddenSize);
    this.wpe = new Embedding(contextLength, hiddenSize);
    this.drop = new Dropout(dropout);
    this.h = Array.from({ length: numLayers }, () => new Block(hiddenSize, numHeads, dropout, layerNormEps));
    this.lnF = new LayerNorm(hiddenSize, { eps: layerNormEps });
    // What is added to the residual stream, 2 * numLayers times, begins so much smaller.
    initialise(this, (name) => (name.endsWith('cProj.weight') ? 0.02 / Math.sqrt(2 * numLayers) : 0.02));
  }

  /**
   * Token ids (B,T), integers -> logits (B,T,vocabSize).
   * @throws ShapeError when ids are not (B,T), or are more than there is room for
   */
  forward(ids: Tensor, { cache, lastOnly = false }: Gpt2Inputs = {}): Tensor {
    checkIds(ids, cache?.length ?? this.contextLength, cache?.batch ?? null, 'Gpt2');
    return cache ? noGrad(() => this.#logits(ids, cache, lastOnly)) : this.#logits(ids, null, lastOnly);
  }

  #logits(ids: Tensor, cache: KeyValueCache | null, lastOnly: boolean): Tensor {
    const count = ids.shape[1]!;
    const first = placesOf(ids);
    const places = cache ? add(first, cache.position) : first;
    let x = this.drop.forward(add(this.wte.forward(ids), this.wpe.forward(places)));
    this.h.forEach((block, i) => {
      x = block.forward(x, cache, i);
    });
    return linear(this.lnF.forward(lastOnly ? slice(x, 1, count - 1, count) : x), this.wte.weight);
  }

  /** Hugging Face's GPT2Model or GPT2LMHeadModel; the head is the embedding, and masks are computed. */
  override rules(): readonly NameRule[] {
    return [
      { from: /^transformer\./, to: '' },
      { from: /^lm_head\.weight$|\.attn\.(masked_)?bias$/, skip: true },
      { from: /\.ln_(\d)\./, to: '.ln$1.' },
      { from: /\.c_(attn|proj|fc)\.weight$/, transpose: true },
    ];
  }
}

/** GPT-2 with the sizes of the smallest model unless said: 124,439,808 parameters. */
export const gpt2 = (options: Gpt2Options = {}): Gpt2 => new Gpt2(options);
