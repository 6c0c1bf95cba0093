import { ArgumentError, ShapeError } from '../core/error.js';
import { show } from '../core/layout.js';
import { noGrad } from '../core/scope.js';
import type { Tensor } from '../core/tensor.js';
import { compile, type Compiled } from '../graph/compile.js';
import { add_, cast, div, fill_, ge, log, neg, sub, where } from '../ops/elementwise.js';
import { cat, tensor } from '../ops/free.js';
import { topk } from '../ops/index.js';
import { rand } from '../ops/random.js';
import { dataSync } from '../ops/read.js';
import { argmax } from '../ops/reduce.js';
import { to } from '../ops/to.js';
import { reshape, slice, select } from '../ops/view.js';
import { type Gpt2, KeyValueCache } from './gpt2.js';

export interface SampleOptions {
  /** What logits are divided by; 0, unless said, takes the likeliest token. */
  temperature?: number;
  /** Only so many likeliest tokens are drawn from; all unless said. */
  topK?: number;
}

export interface GenerateOptions extends SampleOptions {
  /** How many tokens are made at most. */
  maxNewTokens?: number;
  /** Ends a sequence; generation ends when all sequences did, and what comes after in others is this token again. */
  endToken?: number;
}

/**
 * The next token of each sequence: logits (B,V) -> (B) i32. Draws by the Gumbel-max trick, so that nothing is read: the largest of
 * logits / temperature - log(-log(u)). `temperature` is a number above 0 or a 0-d tensor; null takes the largest logit.
 * @throws ShapeError when logits are not (B,V); ArgumentError when temperature or topK are not above 0
 */
export function sampleToken(logits: Tensor, temperature: Tensor | number | null, topK: number | null = null): Tensor {
  if (logits.ndim !== 2) throw new ShapeError(`needs logits (B,V), got ${show(logits.shape)}`, { op: 'sampleToken' });
  if (topK !== null && !(Number.isInteger(topK) && topK > 0))
    throw new ArgumentError(`topK is a positive integer, got ${topK}`, { op: 'sampleToken' });
  if (typeof temperature === 'number' && !(temperature > 0))
    throw new ArgumentError(`temperature is above 0, got ${temperature}`, { op: 'sampleToken' });
  if (temperature === null) return argmax(logits, 1);
  const [batch, kinds] = logits.shape as [number, number];
  let scores = div(cast(logits, 'f32'), temperature);
  if (topK !== null && topK < kinds) {
    const least = slice(topk(scores, topK, 1).values, 1, topK - 1, topK);
    scores = where(ge(scores, least), scores, Number.NEGATIVE_INFINITY);
  }
  const u = rand([batch, kinds], { dtype: 'f32', device: logits.device });
  return argmax(sub(scores, log(neg(log(u)))), 1);
}

/**
 * Generates with a GPT-2, one token after the other, from a cache of keys and values. The step is one compiled program whatever the
 * position is: position, keys and values are state on the device, and the new token goes in again without being read. One generation
 * at a time; a new one begins the cache anew. `length`: tokens of prompt and answer together.
 */
export class Gpt2Decoder {
  readonly cache: KeyValueCache;
  readonly #model: Gpt2;
  readonly #step: Compiled<[Tensor, Tensor | null, number | null], Tensor>;

  constructor(model: Gpt2, options: { batch?: number; length?: number } = {}) {
    this.cache = new KeyValueCache(model, options);
    this.#model = model;
    this.#step = compile((token: Tensor, temperature: Tensor | null, topK: number | null) =>
      this.#next(token, temperature, topK),
    );
  }

  /** Takes tokens (B,T) up into the cache; the token (B) i32 after them. */
  #next(tokens: Tensor, temperature: Tensor | null, topK: number | null): Tensor {
    const logits = this.#model.forward(tokens, { cache: this.cache, lastOnly: true });
    noGrad(() => add_(this.cache.position, tokens.shape[1]!));
    return sampleToken(select(logits, 1, 0), temperature, topK);
  }

  /**
   * The tokens after `ids` (B,T), (B) i32 each, one after the other. Steps run beside JavaScript: timers and requests go on meanwhile.
   * The model should be in evaluation mode.
   * @throws ShapeError when ids are not (B,T) with the decoder's batch, or leave no room for maxNewTokens; ArgumentError when an option is
   * out of range
   */
  async *stream(ids: Tensor, options: GenerateOptions = {}): AsyncGenerator<Tensor, void> {
    const { maxNewTokens = 32, temperature = 0, topK = null, endToken } = options;
    const { batch, length, position } = this.cache;
    if (!(temperature >= 0))
      throw new ArgumentError(`temperature is 0 or more, got ${temperature}`, { op: 'generate' });
    if (!(Number.isInteger(maxNewTokens) && maxNewTokens > 0))
      throw new ArgumentError(`maxNewTokens is a positive integer, got ${maxNewTokens}`, { op: 'generate' });
    if (ids.ndim !== 2 || ids.shape[0] !== batch || ids.shape[1] === 0)
      throw new ShapeError(`needs a prompt (${batch},T), got ${show(ids.shape)}`, { op: 'generate' });
    if (ids.shape[1]! + maxNewTokens > length)
      throw new ShapeError(`${ids.shape[1]} tokens and ${maxNewTokens} more do not fit into a cache of ${length}`, {
        op: 'generate',
      });
    const { device } = position;
    const heat = temperature === 0 ? null : tensor(temperature, { dtype: 'f32', device });
    const ended = new Set<number>();
    noGrad(() => fill_(position, 0));
    let token = noGrad(() => this.#next(to(ids, device), heat, topK));
    for (let made = 1; ; made++) {
      if (endToken !== undefined) token = this.#end(token, endToken, ended);
      yield token;
      if (made === maxNewTokens || ended.size === batch) return;
      token = await this.#step.async(reshape(token, [batch, 1]), heat, topK);
    }
  }

  /** Sequences that ended stay at the end token. */
  #end(token: Tensor, endToken: number, ended: Set<number>): Tensor {
    const values = Int32Array.from(dataSync(token) as Int32Array, (value, i) => (ended.has(i) ? endToken : value));
    values.forEach((value, i) => {
      if (value === endToken) ended.add(i);
    });
    return tensor(values, { device: token.device });
  }

  /** Prompt and answer, (B,T) -> (B,T+N) i32, N up to maxNewTokens. Errors are those of `stream`. */
  async generate(ids: Tensor, options: GenerateOptions = {}): Promise<Tensor> {
    const parts = [to(cast(ids, 'i32'), this.cache.position.device)];
    for await (const token of this.stream(ids, options)) parts.push(reshape(token, [ids.shape[0]!, 1]));
    return cat(parts, 1);
  }
}
