import { ArgumentError } from '../core/error.js';
import type { Tensor } from '../core/tensor.js';
import type { AttentionOptions } from '../ops/attention.js';
import { add, gelu, relu } from '../ops/elementwise.js';
import { MultiheadAttention } from './attention.js';
import { Dropout } from './dropout.js';
import { LayerNorm } from './layerNorm.js';
import { Linear } from './linear.js';
import { Module } from './module.js';
import { describe, type LayerOptions, positive } from './options.js';

export interface TransformerEncoderLayerOptions extends LayerOptions {
  /** Features between the two linear layers. */
  dimFeedforward?: number;
  /** Which share of probabilities, activations and both sums' second terms is dropped while training. */
  dropout?: number;
  activation?: 'relu' | 'gelu' | ((x: Tensor) => Tensor);
  layerNormEps?: number;
  /** Normalise before attention and the linear layers instead of after their sums (Xiong et al. 2020). */
  normFirst?: boolean;
  bias?: boolean;
}

/**
 * Self-attention, then two linear layers, each added to its input and normalised (Vaswani et al. 2017). Parameters: selfAttn, linear1,
 * linear2, norm1, norm2. PyTorch: nn.TransformerEncoderLayer(batch_first=True).
 */
export class TransformerEncoderLayer extends Module {
  selfAttn: MultiheadAttention;
  linear1: Linear;
  dropout: Dropout;
  linear2: Linear;
  norm1: LayerNorm;
  norm2: LayerNorm;
  dropout1: Dropout;
  dropout2: Dropout;
  readonly normFirst: boolean;
  readonly activation: (x: Tensor) => Tensor;

  constructor(
    dModel: number,
    numHeads: number,
    {
      dimFeedforward = 2048,
      dropout = 0.1,
      activation = 'relu',
      layerNormEps = 1e-5,
      normFirst = false,
      bias = true,
      ...options
    }: TransformerEncoderLayerOptions = {},
  ) {
    super();
    if (activation !== 'relu' && activation !== 'gelu' && typeof activation !== 'function')
      throw new ArgumentError(`activation is 'relu', 'gelu' or a function, got '${activation}'`, {
        op: 'TransformerEncoderLayer',
      });
    const norm = () => new LayerNorm(dModel, { eps: layerNormEps, bias, ...options });
    this.selfAttn = new MultiheadAttention(dModel, numHeads, { dropout, bias, ...options });
    this.linear1 = new Linear(dModel, dimFeedforward, { bias, ...options });
    this.dropout = new Dropout(dropout);
    this.linear2 = new Linear(dimFeedforward, dModel, { bias, ...options });
    this.norm1 = norm();
    this.norm2 = norm();
    this.dropout1 = new Dropout(dropout);
    this.dropout2 = new Dropout(dropout);
    this.normFirst = normFirst;
    this.activation = activation === 'relu' ? relu : activation === 'gelu' ? (x) => gelu(x) : activation;
  }

  /** (…,T,dModel) -> the same; `options` say what each position sees, as in scaledDotProductAttention. */
  forward(x: Tensor, options: Omit<AttentionOptions, 'dropout'> = {}): Tensor {
    const { norm1, norm2, normFirst } = this;
    const attend = (y: Tensor) => this.dropout1.forward(this.selfAttn.forward(y, y, y, options));
    const feed = (y: Tensor) =>
      this.dropout2.forward(this.linear2.forward(this.dropout.forward(this.activation(this.linear1.forward(y)))));
    if (normFirst) {
      const y = add(x, attend(norm1.forward(x)));
      return add(y, feed(norm2.forward(y)));
    }
    const y = norm1.forward(add(x, attend(x)));
    return norm2.forward(add(y, feed(y)));
  }

  override extraRepr(): string {
    return describe({ normFirst: this.normFirst });
  }
}

/**
 * Layers of `make(i)` one after the other, then `norm` where there is one: `layers.0`, `layers.1`, … PyTorch: nn.TransformerEncoder, which
 * copies one layer instead.
 */
export class TransformerEncoder extends Module {
  layers: TransformerEncoderLayer[];
  norm: LayerNorm | null;

  constructor(
    make: (i: number) => TransformerEncoderLayer,
    numLayers: number,
    { norm = null }: { norm?: LayerNorm | null } = {},
  ) {
    super();
    positive('TransformerEncoder', { numLayers });
    this.layers = Array.from({ length: numLayers }, (_, i) => make(i));
    this.norm = norm;
  }

  /** (…,T,dModel) -> the same; `options` go to every layer. */
  forward(x: Tensor, options: Omit<AttentionOptions, 'dropout'> = {}): Tensor {
    const y = this.layers.reduce((z, layer) => layer.forward(z, options), x);
    return this.norm ? this.norm.forward(y) : y;
  }
}
