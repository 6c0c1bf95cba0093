import { asTensor } from '../core/define.js';
import { ArgumentError, ShapeError } from '../core/error.js';
import { show } from '../core/layout.js';
import type { Tensor } from '../core/tensor.js';
import { Dropout } from '../nn/dropout.js';
import { Embedding } from '../nn/embedding.js';
import { Linear } from '../nn/linear.js';
import { LSTM } from '../nn/recurrent.js';
import { type NameRule, PretrainedModel } from './pretrained.js';

export interface LstmOptions {
  /** Inputs are token ids (T,B) of so many kinds; without it they are features (T,B,inputSize). */
  vocabSize?: number;
  inputSize?: number;
  hiddenSize?: number;
  numLayers?: number;
  /** What is predicted at each step: vocabSize unless said. */
  outputSize?: number;
  /** Which share of the inputs and of each layer's outputs is dropped while training. */
  dropout?: number;
  /** The embedding's weight also reads the output (Press & Wolf 2017): inputSize is hiddenSize then. */
  tieWeights?: boolean;
}

/**
 * A sequence model of LSTM layers: token ids (T,B), or features (T,B,inputSize) -> logits (T,B,outputSize) and the last state, which the
 * next piece of the sequence may begin with. Names are those of PyTorch's word language model: encoder, rnn, decoder.
 */
export class LstmModel extends PretrainedModel {
  encoder: Embedding | null;
  rnn: LSTM;
  decoder: Linear;
  drop: Dropout;

  constructor({
    vocabSize,
    inputSize = 256,
    hiddenSize = 256,
    numLayers = 2,
    outputSize = vocabSize,
    dropout = 0,
    tieWeights = false,
  }: LstmOptions = {}) {
    super();
    if (outputSize === undefined)
      throw new ArgumentError('a model of features needs an outputSize', { op: 'LstmModel' });
    this.encoder = vocabSize === undefined ? null : new Embedding(vocabSize, inputSize);
    this.rnn = new LSTM(inputSize, hiddenSize, { numLayers, dropout });
    this.decoder = new Linear(hiddenSize, outputSize);
    this.drop = new Dropout(dropout);
    if (!tieWeights) return;
    if (!this.encoder || inputSize !== hiddenSize || outputSize !== vocabSize)
      throw new ArgumentError('tied weights need a vocabulary, inputSize = hiddenSize and outputSize = vocabSize', {
        op: 'LstmModel',
      });
    this.decoder.weight = this.encoder.weight;
  }

  /**
   * (T,B) or (T,B,inputSize), and the state [h, c] to begin with, each (numLayers,B,hiddenSize) -> [logits (T,B,outputSize), last state].
   * @throws ShapeError when sizes do not fit
   */
  forward(x: Tensor, state?: readonly [Tensor, Tensor]): [Tensor, [Tensor, Tensor]] {
    asTensor(x, 'LstmModel');
    if (x.ndim !== (this.encoder ? 2 : 3))
      throw new ShapeError(`needs ${this.encoder ? 'ids (T,B)' : 'features (T,B,inputSize)'}, got ${show(x.shape)}`, {
        op: 'LstmModel',
      });
    const [y, last] = this.rnn.forward(this.drop.forward(this.encoder ? this.encoder.forward(x) : x), state);
    return [this.decoder.forward(this.drop.forward(y)), last];
  }

  /** PyTorch's names are ours. */
  override rules(): readonly NameRule[] {
    return [];
  }
}

/** Two layers of 256 unless said; vocabSize or outputSize is needed. */
export const lstm = (options: LstmOptions = {}): LstmModel => new LstmModel(options);
