/**
 * What an op costs beside its work. Plain eager loops, as a user writes them: no scope, no dispose, so that collecting what they
 * leave is in the time; hence one long sample a round instead of the median of short ones.
 */
import { add, at, backward, item, matmul, ones, softmax, type Tensor, tensor, zeros } from '../lib/index.js';
import { type Case, type PeerForm, timed } from './case.js';

interface Row {
  name: string;
  work?: number;
  make(): () => unknown;
  torch: PeerForm;
}

const CHAIN = 100;
const rows: Row[] = [
  {
    name: 'add [1]',
    make() {
      const [x, y] = [ones([1]), ones([1])];
      return () => add(x, y);
    },
    torch: { setup: 'x = torch.ones(1); y = torch.ones(1)', code: 'x + y' },
  },
  {
    name: 'add [1] with the tape',
    make() {
      const [x, y] = [ones([1], { requiresGrad: true }), ones([1])];
      return () => add(x, y);
    },
    torch: { setup: 'x = torch.ones(1, requires_grad=True); y = torch.ones(1)', code: 'x + y', grad: true },
  },
  {
    name: `add [1] forward and backward, chain of ${CHAIN}`,
    work: CHAIN,
    make() {
      const [x, y] = [ones([1], { requiresGrad: true }), ones([1])];
      return () => {
        let z: Tensor = x;
        for (let i = 0; i < CHAIN; i++) z = add(z, y);
        backward(z);
      };
    },
    torch: {
      setup: `x = torch.ones(1, requires_grad=True); y = torch.ones(1)
def chain():
  z = x
  for _ in range(${CHAIN}): z = z + y
  z.backward()`,
      code: 'chain()',
      grad: true,
    },
  },
  {
    name: 'matmul [8, 8]',
    make() {
      const x = ones([8, 8]);
      return () => matmul(x, x);
    },
    torch: { setup: 'x = torch.ones(8, 8)', code: 'x @ x' },
  },
  {
    name: 'softmax [64, 64]',
    make() {
      const x = ones([64, 64]);
      return () => softmax(x, -1);
    },
    torch: { setup: 'x = torch.ones(64, 64)', code: 'torch.softmax(x, -1)' },
  },
  {
    name: 'slice',
    make() {
      const x = ones([64, 64]);
      return () => at(x, [1, 3]);
    },
    torch: { setup: 'x = torch.ones(64, 64)', code: 'x[1:3]' },
  },
  {
    name: 'item',
    make() {
      const x = ones([1]);
      return () => item(x);
    },
    torch: { setup: 'x = torch.ones(1)', code: 'x.item()' },
  },
  {
    name: 'tensor of 3 numbers',
    make: () => () => tensor([1, 2, 3]),
    torch: { code: 'torch.tensor([1.0, 2.0, 3.0])' },
  },
  { name: 'zeros [1]', make: () => () => zeros([1]), torch: { code: 'torch.zeros(1)' } },
];

export const overhead = (threads: number): Case[] =>
  rows.map(({ torch, ...row }) =>
    timed({
      group: 'overhead',
      threads,
      unit: 'ns',
      pace: { sample: 0.25, samples: 1, budget: 0 },
      ...row,
      forms: () => [torch],
    }),
  );
