/** A GPT of two layers: pre-norm blocks, causal attention written out, the embedding's weight also reads the output. */
import { arange, crossEntropy, linear, type Tensor, where } from 'brasa';
import { Embedding, LayerNorm, Linear, Module } from 'brasa/nn';
import { AdamW } from 'brasa/optim';
import { initialised, integers, type Place, type Training } from './program.js';

class Attention extends Module {
  qkv: Linear;
  out: Linear;
  readonly heads: number;

  constructor(width: number, heads: number) {
    super();
    this.heads = heads;
    this.qkv = new Linear(width, 3 * width);
    this.out = new Linear(width, width);
  }

  /** (B, T, C) -> (B, T, C) */
  forward(x: Tensor): Tensor {
    const [B, T, C] = x.shape as [number, number, number];
    const split = (y: Tensor) => y.reshape([B, T, this.heads, C / this.heads]).transpose(1, 2);
    const [q, k, v] = this.qkv.forward(x).chunk(3, -1).map(split) as [Tensor, Tensor, Tensor];
    const scores = q.matmul(k.transpose()).div(Math.sqrt(C / this.heads)); // (B, heads, T, T)
    const t = arange(T, undefined, { device: x.device });
    const past = t.unsqueeze(1).ge(t);
    const weights = where(past, scores, -Infinity).softmax(-1);
    return this.out.forward(weights.matmul(v).transpose(1, 2).reshape([B, T, C]));
  }
}

class Block extends Module {
  norm1: LayerNorm;
  attention: Attention;
  norm2: LayerNorm;
  up: Linear;
  down: Linear;

  constructor(width: number, heads: number) {
    super();
    this.norm1 = new LayerNorm(width);
    this.attention = new Attention(width, heads);
    this.norm2 = new LayerNorm(width);
    this.up = new Linear(width, 4 * width);
    this.down = new Linear(4 * width, width);
  }

  forward(x: Tensor): Tensor {
    const y = x.add(this.attention.forward(this.norm1.forward(x)));
    return y.add(this.down.forward(this.up.forward(this.norm2.forward(y)).gelu({ approximate: 'tanh' })));
  }
}

class GPT extends Module {
  tokens: Embedding;
  positions: Embedding;
  blocks: Block[];
  norm: LayerNorm;

  constructor(vocabulary: number, context: number, width: number, heads: number, layers: number) {
    super();
    this.tokens = new Embedding(vocabulary, width);
    this.positions = new Embedding(context, width);
    this.blocks = Array.from({ length: layers }, () => new Block(width, heads));
    this.norm = new LayerNorm(width);
  }

  /** (B, T) -> logits (B, T, vocabulary) */
  forward(ids: Tensor): Tensor {
    let x = this.tokens
      .forward(ids)
      .add(this.positions.forward(arange(ids.shape[1]!, undefined, { dtype: 'i32', device: ids.device })));
    for (const block of this.blocks) x = block.forward(x);
    return linear(this.norm.forward(x), this.tokens.weight);
  }
}

export function gpt(place: Place): Training {
  const model = initialised(new GPT(17, 8, 16, 2, 2), place);
  const optimizer = new AdamW(model.parameters(), { lr: 0.003, betas: [0.9, 0.95], weightDecay: 0.1 });
  const data = [0, 1].map((k) => integers(k, 17, [4, 9], place));

  return {
    batch: (i) => [data[i % 2]!],
    step(ids: Tensor) {
      optimizer.zeroGrad();
      const logits = model.forward(ids.at('...', [0, -1]));
      const loss = crossEntropy(logits.flatten(0, 1), ids.at('...', [1, 9]).flatten());
      loss.backward();
      optimizer.step();
      return loss;
    },
  };
}
