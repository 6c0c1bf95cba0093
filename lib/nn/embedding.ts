import { ArgumentError } from '../core/error.js';
import { noGrad } from '../core/scope.js';
import type { Tensor } from '../core/tensor.js';
import { empty } from '../ops/free.js';
import { embedding } from '../ops/index.js';
import { select } from '../ops/view.js';
import { normal_, zeros_ } from './init.js';
import { Module, parameter } from './module.js';
import { describe, type LayerOptions, positive } from './options.js';

/**
 * A table of vectors, looked up by number. weight (numEmbeddings, embeddingDim), normal; the row `paddingIdx` starts as zeros
 * and gets no gradient. PyTorch: nn.Embedding.
 */
export class Embedding extends Module {
  weight: Tensor;
  readonly numEmbeddings: number;
  readonly embeddingDim: number;
  readonly paddingIdx: number | undefined;

  constructor(
    numEmbeddings: number,
    embeddingDim: number,
    { paddingIdx, ...options }: LayerOptions & { paddingIdx?: number } = {},
  ) {
    super();
    positive('Embedding', { numEmbeddings, embeddingDim });
    if (paddingIdx !== undefined && !(paddingIdx >= -numEmbeddings && paddingIdx < numEmbeddings)) {
      throw new ArgumentError(`paddingIdx ${paddingIdx} is not in a table of ${numEmbeddings}`, { op: 'Embedding' });
    }
    this.numEmbeddings = numEmbeddings;
    this.embeddingDim = embeddingDim;
    this.paddingIdx = paddingIdx === undefined ? undefined : (paddingIdx + numEmbeddings) % numEmbeddings;
    this.weight = parameter(empty([numEmbeddings, embeddingDim], options));
    normal_(this.weight);
    const { weight, paddingIdx: row } = this;
    if (row !== undefined) noGrad(() => zeros_(select(weight, 0, row)));
  }

  /** (...) of any integer type -> (..., embeddingDim) */
  forward(x: Tensor): Tensor {
    return embedding(x, this.weight, { paddingIdx: this.paddingIdx });
  }

  override extraRepr(): string {
    const { numEmbeddings, embeddingDim, paddingIdx } = this;
    return describe(numEmbeddings, embeddingDim, paddingIdx === undefined ? {} : { paddingIdx });
  }
}
