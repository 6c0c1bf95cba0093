/**
 * The ops as methods of Tensor: `x.add(y)` is `add(x, y)`. One list; the types follow from the functions.
 * Functions that do not begin with a tensor (creation, cat, where) are no methods.
 */
import { inspect } from 'node:util';
// The interpreters that core's hooks wait for: whoever imports a subpath alone needs them too.
import './autograd/rebase.js';
import './autograd/saves.js';
import './graph/fusion.js';
import { backward } from './autograd/backward.js';
import { detach, isLeaf, registerHook, requiresGrad_ } from './core/leaf.js';
import { Tensor } from './core/tensor.js';
import * as at from './ops/at.js';
import * as conv from './ops/conv.js';
import * as dynamic from './ops/dynamic.js';
import * as elementwise from './ops/elementwise.js';
import * as index from './ops/index.js';
import * as matmul from './ops/matmul.js';
import * as norm from './ops/norm.js';
import * as print from './ops/print.js';
import { dropout } from './ops/random.js';
import * as read from './ops/read.js';
import * as reduce from './ops/reduce.js';
import { to } from './ops/to.js';
import * as view from './ops/view.js';

/** Exports of those files that are no methods: their first operand is not the subject, or they are internal. */
const free = [
  'fullOp', 'where', 'reluGrad', 'wrapDim', 'wrapDims', 'checkShape', 'sumTo', 'embedding', 'oneHot', 'flatNonzero', 'conv2d',
  'batchNorm', 'linear', 'setConvPrecision', 'getConvPrecision', 'synchronize',
] as const; // biome-ignore format: a list

type Method<F> = F extends (x: never, ...rest: infer A) => infer R ? (...rest: A) => R : never;
/** Names are resolved here, types only where a member is used: anything eager would be circular. */
type Attach<M> = { [K in Exclude<keyof M, (typeof free)[number] | 'data' | 'dataSync'>]: Method<M[K]> };

declare module './core/tensor.js' {
  interface Tensor
    extends Attach<typeof elementwise>,
      Attach<typeof view>,
      Attach<typeof index>,
      Attach<typeof dynamic>,
      Attach<typeof conv>,
      Attach<typeof norm>,
      Attach<typeof matmul>,
      Attach<typeof reduce>,
      Attach<typeof at>,
      Attach<typeof print>,
      Attach<typeof read>,
      Attach<typeof rest> {
    data(): Promise<read.DataArray>;
    data(as: 'i64'): Promise<BigInt64Array>;
    dataSync(): read.DataArray;
    dataSync(as: 'i64'): BigInt64Array;
    [Symbol.iterator](): IterableIterator<Tensor>;
  }
}

const rest = { to, dropout, detach, isLeaf, requiresGrad_, registerHook, backward };
const methods = {
  ...elementwise,
  ...view,
  ...index,
  ...dynamic,
  ...conv,
  ...norm,
  ...matmul,
  ...reduce,
  ...at,
  ...print,
  ...read,
  ...rest,
};

type AnyOp = (x: Tensor, a?: unknown, b?: unknown, c?: unknown, d?: unknown) => unknown;

for (const [name, fn] of Object.entries(methods) as [string, AnyOp][]) {
  if ((free as readonly string[]).includes(name)) continue;
  const method =
    name === 'at'
      ? function (this: Tensor, ...list: never[]) {
          return at.at(this, ...list);
        }
      : function (this: Tensor, a?: unknown, b?: unknown, c?: unknown, d?: unknown) {
          return fn(this, a, b, c, d);
        };
  Object.defineProperty(method, 'name', { value: name });
  Object.defineProperty(Tensor.prototype, name, { value: method, writable: true, configurable: true });
}

Object.defineProperty(Tensor.prototype, Symbol.iterator, {
  value: function* (this: Tensor) {
    for (let i = 0; i < (this.shape[0] ?? 0); i++) yield view.select(this, 0, i);
  },
});
Object.defineProperty(Tensor.prototype, inspect.custom, {
  value(this: Tensor) {
    return print.toString(this);
  },
});
