/** cond(): a choice that depends on a value. */
import { item } from '../../ops/read.js';
import type { Tensor } from '../../core/tensor.js';
import { recorderNow } from './body.js';
import { recordBranch } from './branch.js';
import { alike, checkFunctions, checkTest, type Flat, flat, withLeaves } from './trees.js';

/**
 * `onTrue(...operands)` where the predicate, a 0-d bool, holds, else `onFalse(...operands)`. Both answer trees of tensors of the same
 * form, shapes and dtypes. In a compiled function both are part of the program, which runs one of them: nothing is recorded again when
 * the predicate changes. Gradients go to the operands and to whatever else the branches use.
 *
 * Without compile() only the branch that is taken runs: the gradient of what the other alone uses stays null, where a compiled cond
 * gives zeros. Where the branches draw different amounts of random numbers, numbers drawn
 * after a compiled cond are not those of eager. In a compiled function a branch is recorded again for gradients of gradients: what it
 * uses of variables that change later must be operands. (jax.lax.cond)
 * @throws GradError from a differentiated backward when a branch would do something else by then
 * @throws ShapeError, DTypeError that name the leaf in which branches of a compiled function differ
 */
export function cond<A extends readonly unknown[], R>(
  predicate: Tensor,
  onTrue: (...operands: A) => R,
  onFalse: (...operands: A) => R,
  ...operands: A
): R {
  checkTest(predicate, 'cond', 'the predicate');
  checkFunctions('cond', { onTrue, onFalse });
  const recorder = recorderNow();
  const branch = (fn: (...operands: A) => R, what: string): Flat => flat(fn(...operands), 'cond', what);
  if (recorder === null) {
    const { tree } = item(predicate) ? branch(onTrue, 'onTrue()') : branch(onFalse, 'onFalse()');
    return tree as R;
  }
  let first: Flat | null = null;
  const { outside } = recordBranch(recorder, {
    name: 'cond',
    test: predicate,
    branches: [
      () => {
        first = branch(onTrue, 'onTrue()');
        return first.leaves;
      },
      () => {
        const second = branch(onFalse, 'onFalse()');
        alike(first!, second, 'cond', { want: 'onTrue()', now: 'onFalse()' });
        return second.leaves;
      },
    ],
  });
  return withLeaves(first!, outside);
}
