/** Rows of attention: sizes around the edges of a block, heads that share keys, and each way to hide keys. */
import * as b from '../../lib/index.js';
import type { AttentionOptions, Tensor } from '../../lib/index.js';
import { get, type Make, type Nd, nd, type Sample } from './sample.js';

const floats = ['f32', 'f64', 'f16', 'bf16'] as const;

/** q (B,H,T,D), k (B,G,S,D), v (B,G,S,E); `extra`: what an added mask says of (b,h,i,j), -Infinity where j is hidden. */
function reference(q: Nd, k: Nd, v: Nd, extra: (index: readonly number[]) => number): Nd {
  const [batch, heads, queries, depth] = q.shape as [number, number, number, number];
  const [groups, keys] = k.shape.slice(1, 3) as [number, number];
  return nd([batch, heads, queries, v.shape[3]!], ([n, h, i, e]) => {
    const g = Math.floor(h! / (heads / groups));
    const scores = Array.from({ length: keys }, (_, j) => {
      let dot = 0;
      for (let d = 0; d < depth; d++) dot += get(q, [n!, h!, i!, d]) * get(k, [n!, g, j, d]);
      return dot / Math.sqrt(depth) + extra([n!, h!, i!, j]);
    });
    const peak = Math.max(...scores);
    if (peak === Number.NEGATIVE_INFINITY) return 0;
    let [total, sum] = [0, 0];
    scores.forEach((s, j) => {
      total += Math.exp(s - peak);
      sum += Math.exp(s - peak) * get(v, [n!, g, j, e!]);
    });
    return sum / total;
  });
}
const hide = (hidden: boolean): number => (hidden ? Number.NEGATIVE_INFINITY : 0);

type Sizes = readonly [
  batch: number,
  heads: number,
  groups: number,
  queries: number,
  keys: number,
  depth: number,
  width: number,
];
const operands = (make: Make, [batch, heads, groups, queries, keys, depth, width]: Sizes) => [
  make.real([batch, heads, queries, depth]),
  make.real([batch, groups, keys, depth]),
  make.real([batch, groups, keys, width]),
];
const tiny: Sizes = [2, 2, 1, 3, 4, 3, 2];

function row(
  name: string,
  options: AttentionOptions,
  sizes: readonly Sizes[],
  extra: (sizes: Sizes) => (index: readonly number[]) => number,
): Sample {
  const sizesOf = (q: Nd, k: Nd, v: Nd): Sizes => [
    q.shape[0]!,
    q.shape[1]!,
    k.shape[1]!,
    q.shape[2]!,
    k.shape[2]!,
    q.shape[3]!,
    v.shape[3]!,
  ];
  return {
    name: `scaledDotProductAttention${name}`,
    call: (q: Tensor, k: Tensor, v: Tensor) => b.scaledDotProductAttention(q, k, v, options),
    cases: (make) => sizes.map((s) => operands(make, s)),
    reference: (q: Nd, k: Nd, v: Nd) => reference(q, k, v, extra(sizesOf(q, k, v))),
    dtypes: floats,
    slack: 20,
    exact: false,
    grad: [0, 1, 2],
    gradCases: (make) => [operands(make, tiny)],
  };
}

const bench = (causal: boolean): Sample['bench'] => ({
  make: (make) => [0, 1, 2].map(() => make.real([4, 12, 512, 64])),
  torch: `torch.nn.functional.scaled_dot_product_attention(x0, x1, x2, is_causal=${causal ? 'True' : 'False'})`,
});
const masks: readonly [string, (make: Make) => Tensor, readonly number[]][] = [
  ['bool', (make) => make.mask([3, 4]), []],
  ['added', (make) => make.real([2, 1, 1, 4]), [3]],
];

export const attention: Sample[] = [
  {
    ...row(
      '',
      {},
      [
        tiny,
        [1, 1, 1, 1, 1, 1, 1],
        [1, 2, 2, 19, 270, 17, 9],
        [1, 1, 1, 140, 40, 5, 3],
        [2, 4, 2, 1, 37, 8, 8],
        [1, 2, 1, 0, 3, 4, 4],
      ],
      () => () => 0,
    ),
    errors: [
      [() => b.scaledDotProductAttention(b.ones([2, 3]), b.ones([4, 2]), b.ones([4, 3])), 'ShapeError', /last dim/],
      [
        () => b.scaledDotProductAttention(b.ones([3, 2, 4]), b.ones([2, 2, 4]), b.ones([2, 2, 4])),
        'ShapeError',
        /cannot share/,
      ],
      [() => b.scaledDotProductAttention(b.ones([2, 3]), b.ones([4, 3]), b.ones([5, 3])), 'ShapeError', /as many keys/],
      [
        () => b.scaledDotProductAttention(b.ones([2, 3]), b.ones([4, 3]), b.ones([4, 3]), { mask: b.ones([3, 4]) }),
        'ShapeError',
        /broadcast/,
      ],
      [
        () => b.scaledDotProductAttention(b.ones([2, 3]), b.ones([4, 3]), b.ones([4, 3]), { dropout: 1 }),
        'ArgumentError',
        /dropout/,
      ],
      [
        () => b.scaledDotProductAttention(b.ones([2, 3]), b.ones([4, 3]), b.ones([4, 3], { dtype: 'f64' })),
        'DTypeError',
        /one dtype/,
      ],
    ],
    bench: bench(false)!,
  },
  {
    ...row(
      ' causal',
      { causal: true },
      [tiny, [1, 2, 2, 30, 270, 8, 3], [1, 1, 1, 300, 290, 4, 1]],
      () =>
        ([, , i, j]) =>
          hide(j! > i!),
    ),
    bench: bench(true)!,
  },
  row(
    ' causal to the last',
    { causal: 'last' },
    [tiny, [1, 1, 1, 20, 7, 4, 4], [2, 2, 1, 2, 9, 4, 4]],
    ([, , , queries, keys]) =>
      ([, , i, j]) =>
        hide(j! > i! + keys - queries),
  ),
  ...masks.map(
    ([kind, mask, more]): Sample => ({
      ...row(` ${kind} mask`, {}, [], () => () => 0),
      call: (q: Tensor, k: Tensor, v: Tensor, m: Tensor) =>
        b.scaledDotProductAttention(q, k, v, { mask: m, causal: 'last' }),
      cases: (make) => [[...operands(make, tiny), mask(make)]],
      reference: (q: Nd, k: Nd, v: Nd, m: Nd) =>
        reference(
          q,
          k,
          v,
          ([n, , i, j]) =>
            hide(j! > i! + 1) + (kind === 'bool' ? hide(get(m, [i!, j!]) === 0) : get(m, [n!, 0, 0, j!])),
        ),
      grad: [0, 1, 2, ...more],
      gradCases: (make) => [[...operands(make, tiny), mask(make)]],
      ...(kind === 'bool' ? { fixed: [3] } : {}),
    }),
  ),
  {
    ...row(' lengths', {}, [], () => () => 0),
    call: (q: Tensor, k: Tensor, v: Tensor, n: Tensor) =>
      b.scaledDotProductAttention(q, k, v, { lengths: n, causal: 'last' }),
    cases: (make) => [
      [...operands(make, tiny), make.index([2], 0, 5)],
      [...operands(make, [3, 2, 2, 12, 20, 4, 6]), make.index([3], 0, 21)],
    ],
    reference: (q: Nd, k: Nd, v: Nd, n: Nd) =>
      reference(q, k, v, ([s, , i, j]) => hide(j! >= n.data[s!]! || j! > i! + n.data[s!]! - q.shape[2]!)),
    fixed: [3],
    gradCases: (make) => [[...operands(make, tiny), make.index([2], 0, 5)]],
  },
];
