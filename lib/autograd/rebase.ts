/**
 * Writes in place through a view that gradients flow through: the base becomes a new value, its old one with the view's place
 * overwritten. (What PyTorch calls CopySlices.)
 */
import { apply, applyInto, rebase } from '../core/apply.js';
import { lookup } from '../core/define.js';
import { GradError } from '../core/error.js';
import { noGrad } from '../core/scope.js';
import { type Node, NO_PARAMS, nextSeq } from '../core/tape.js';
import type { Tensor } from '../core/tensor.js';

rebase.check = (view: Tensor): void => {
  const base = view.base!;
  if (base.node?.leaf) {
    throw new GradError(
      'a view of a leaf that requires grad cannot be written while gradients are recorded: use noGrad(() => …)',
    );
  }
  if (!base.layout.contiguous)
    throw new GradError('a recorded write through a view needs a contiguous base: use .contiguous()');
};

rebase.after = (view: Tensor): void => {
  const base = view.base!;
  const offset = view.offset - base.offset;
  const { shape, strides } = view.layout;
  const place = (g: Tensor) => apply(lookup('asStrided'), [g], { shape, strides, offset });
  const node: Node = {
    op: {
      name: 'viewWrite',
      kind: 'composite',
      row: null,
      many: false,
      infer: () => base,
      decompose: null,
      encode: null,
      byUser: false,
      plans: new Map(),
      // Bound to this write: where the view lies is no parameter of an op that others could call.
      grad: ((g: Tensor) => {
        const dense = apply(lookup('contiguous'), [g]);
        const outside = () => {
          const mask = apply(lookup('full'), [1], { shape: g.shape, dtype: g.dtype, device: g.device });
          noGrad(() => applyInto(lookup('full'), [0], { shape, dtype: g.dtype, device: g.device }, [place(mask)]));
          return apply(lookup('mul'), [dense, mask]);
        };
        return [outside, () => place(dense)];
      }) as never,
    },
    seq: nextSeq(),
    edges: [base.node, view.node],
    edgeIndex: [base.index, view.index],
    inputs: [base.layout, view.layout],
    outputs: [base.layout],
    versions: [],
    params: NO_PARAMS,
    layouts: [base.layout],
    leaf: null,
    hooks: null,
    pending: null,
    freed: false,
  };
  base.node = node;
  base.index = 0;
  base.stamp = base.storage.recorded;
};
