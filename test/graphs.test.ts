/**
 * Random graphs: compiled without passes they are bitwise what eager gives, with passes within the dtype's tolerance; each runs twice,
 * and what it writes changes in between. `npm run test:nightly` draws more of them, from a new seed. A failure prints the graph, a
 * line an instruction; GRAPHS_SEED, with GRAPHS where it was set, draws the same again.
 */
import { scope } from 'brasa';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { check } from './graphs/check.js';
import type { Graph, Leaf } from './graphs/graph.js';
import { ops } from './graphs/ops.js';

const COUNT = Number(process.env.GRAPHS ?? 300);
const SEED = Number(process.env.GRAPHS_SEED ?? (process.env.GRAPHS === undefined ? 1 : Date.now() & 0x7fffffff));

const leaves = (floats: readonly Leaf['dtype'][]): fc.Arbitrary<Leaf[]> => {
  const leaf = (roles: readonly Leaf['role'][], dtypes: readonly Leaf['dtype'][]): fc.Arbitrary<Leaf> =>
    fc.record({
      role: fc.constantFrom(...roles),
      dtype: fc.constantFrom(...dtypes),
      shape: fc.constantFrom([3, 4], [4], [2, 3, 4], [4, 4], [3, 1], [], [1, 4], [2, 4, 3], [5, 4]),
      layout: fc.constantFrom('plain', 'plain', 'transposed', 'strided'),
    });
  const all: readonly Leaf['role'][] = ['input', 'state', 'argument'];
  return fc
    .tuple(
      fc.array(leaf(['parameter'], floats), { minLength: 1, maxLength: 3 }),
      fc.array(leaf(all, [...floats, 'i32', 'bool']), { minLength: 2, maxLength: 5 }),
    )
    .map((groups) => groups.flat());
};

/** Elementwise runs and views are what passes work on most. */
const often = ['arithmetic', 'elementwise', 'kinked', 'view'] as const;
const names = [...often, ...often, ...(Object.keys(ops) as (keyof typeof ops)[])];

const graphs: fc.Arbitrary<Graph> = fc
  .constantFrom<Leaf['dtype'][][]>(['f32'], ['f64'], ['f32', 'f64'], ['f32', 'bf16'])
  .chain((floats) =>
    fc.record({
      floats: fc.constant(floats),
      leaves: leaves(floats),
      instructions: fc.array(
        fc.record({
          op: fc.constantFrom(...names),
          picks: fc.array(fc.nat(1000), { minLength: 4, maxLength: 4 }),
        }),
        { minLength: 1, maxLength: 40, size: 'max' },
      ),
      finish: fc.constantFrom('none', 'backward', 'step'),
    }),
  );

// Shrinking a graph that fails takes as long as hundreds of graphs.
test(`${COUNT} random graphs, seed ${SEED}`, { timeout: 120_000 + 500 * COUNT }, async () => {
  let turn = 0;
  await fc.assert(
    fc.asyncProperty(graphs, async (graph) => {
      scope(() => check(graph));
      // Programs that nobody holds are freed when the event loop turns.
      if (++turn % 50 === 0) await new Promise(setImmediate);
    }),
    { numRuns: COUNT, seed: SEED },
  );
  expect(turn).toBeGreaterThanOrEqual(COUNT);
});
