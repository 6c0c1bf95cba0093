/** What the compiler says: types of results, and mistakes that must not compile. Checked by `tsc`; run so that the lines are real. */
import { expect, expectTypeOf, test } from 'vitest';
import { add, type DType, mul, op, op as defineOp, sort, stack, sum, Tensor, tensor, zeros } from '../lib/index.js';
import { Linear, Sequential } from '../lib/nn/index.js';

test('results', () => {
  const x = zeros([2, 3]);
  expectTypeOf(x.add(1)).toEqualTypeOf<Tensor>();
  expectTypeOf(x.shape).toEqualTypeOf<readonly number[]>();
  expectTypeOf(x.dtype).toEqualTypeOf<DType>();
  expectTypeOf(x.sum().item()).toEqualTypeOf<number>();
  expectTypeOf(x.data()).resolves.not.toBeAny();
  expectTypeOf(x.dataSync('i64')).toEqualTypeOf<BigInt64Array>();
  expectTypeOf(x.split(1)).toEqualTypeOf<Tensor[]>();
  expectTypeOf(sort(x).indices).toEqualTypeOf<Tensor>();
  expectTypeOf(x.softmax).parameters.toEqualTypeOf<[dim?: number | undefined]>();
  expectTypeOf(new Sequential(new Linear(3, 2)).forward(x)).toEqualTypeOf<Tensor>();
  const scaled = op('typedScale', {
    args: (t: Tensor, factor: number) => ({ inputs: [t], params: { factor } }),
    decompose: ([t], { factor }) => mul(t, factor),
  });
  expectTypeOf(scaled).toEqualTypeOf<(t: Tensor, factor: number) => Tensor>();
  expect(scaled(tensor([2]), 3).item()).toBe(6);
});

test('mistakes', () => {
  const x = zeros([2, 3]);
  // @ts-expect-error a shape is an array
  expect(() => zeros(2, 3)).toThrow();
  // @ts-expect-error no such dtype
  expect(() => x.to({ dtype: 'float32' })).toThrow();
  // @ts-expect-error options come in an object
  expect(() => sum(x, 0, true)).toThrow();
  // @ts-expect-error a list of tensors
  expect(() => stack(x)).toThrow();
  // @ts-expect-error operands are tensors or numbers
  expect(() => add(x, '1')).toThrow();
  // @ts-expect-error neither a decomposition nor inference with a gradient
  expect(() => defineOp('typedBad', { args: (t: Tensor) => ({ inputs: [t] }) })).toThrow();
  expect(x).toBeInstanceOf(Tensor);
});
