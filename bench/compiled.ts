/** What compile() reaches: training steps, a fused chain, the cost of a kernel in a program, and of recording one. */
import {
  abs,
  add,
  compile,
  cumsum,
  maximum,
  minimum,
  mul,
  randn,
  scope,
  sub,
  type Tensor,
  zeros,
} from '../lib/index.js';
import { type Bench, type Case, interleave, type Pace, type PeerForm, type Result, timed } from './case.js';
import { graphForms, type Model, recurrent, resnet, torchForms, trainStep } from './models.js';
import { models, stepTiming } from './train.js';

const group = 'compile';
const peers = ['torch', 'jax', 'tensorflow'] as const;

const step = (model: Model, threads: number): Case =>
  timed({
    group,
    name: model.name,
    threads,
    peers,
    ...stepTiming(model),
    make: () => trainStep(model, true),
    forms: () => [...torchForms(model, true), ...graphForms(model)],
  });

// ---- elementwise

const MANY = 16 * 2 ** 20;
const once = (fn: (x: Tensor) => Tensor, x: Tensor): (() => void) => {
  const run = compile(fn);
  return () =>
    scope(() => {
      run(x);
    });
};
const one = (x: Tensor): Tensor => mul(x, 1.5);
const eight = (x: Tensor): Tensor =>
  minimum(abs(add(mul(maximum(sub(add(mul(x, 1.5), 0.5), 0.25), -1), 0.75), 0.125)), 2);
const elementwise = [
  { name: 'one elementwise op (mul), 16M', fn: one, peer: 'one' },
  { name: 'chain of 8 elementwise ops, 16M', fn: eight, peer: 'eight' },
] as const;
const passPace: Pace = { sample: 0.002, samples: 5, budget: 0.15 };

function elementwiseForms(peer: string): PeerForm[] {
  const of = (name: string, options = ''): string =>
    `step, sync = elementwise("${peer}", ${MANY}, "${name}"${options})`;
  return [
    { label: 'eager', setup: of('eager'), code: 'step()' },
    { label: 'eager, in place', setup: of('in place'), code: 'step()' },
    { label: 'torch.compile', setup: of('compiled'), code: 'step()', slow: true },
    { peer: 'jax', label: 'jit', setup: of('jit'), code: 'step()' },
    { peer: 'tensorflow', label: 'tf.function', setup: of('graph'), code: 'step()' },
    { peer: 'tensorflow', label: 'tf.function with XLA', setup: of('xla'), code: 'step()' },
  ];
}

const elementwiseCases = (threads: number): Case[] =>
  elementwise.map(({ name, fn, peer }) =>
    timed({
      group,
      name,
      threads,
      peers,
      unit: 'ms',
      pace: passPace,
      make: () => once(fn, randn([MANY])),
      forms: () => elementwiseForms(peer),
    }),
  );

/** The time of the chain in times of one op, which is one pass over memory. */
const passes = (threads: number): Case => ({
  group,
  name: 'chain of 8 elementwise ops, in passes of one',
  threads,
  peers: [],
  async measure(bench: Bench): Promise<Result> {
    const [pass, chain] = await interleave(
      bench.runs,
      elementwise.map(
        ({ name }) =>
          () =>
            bench.timeOurs(`${group}/${name}`, threads, passPace),
      ),
    );
    await bench.clear(threads);
    return { unit: 'passes', value: chain! / pass!, rivals: [] };
  },
});

// ---- dispatch

const KERNELS = 100;
const ROWS = 1000;
const sums = (count: number) => (x: Tensor) => {
  let y = x;
  for (let i = 0; i < count; i++) y = cumsum(y, 1);
  return y;
};
/** Programs of tiny kernels that depend on each other, and one kernel that does the work of many. */
const parts: Record<string, () => () => void> = {
  'one kernel': () => once(sums(1), zeros([1, 4])),
  'many kernels': () => once(sums(1 + KERNELS), zeros([1, 4])),
  'many rows': () => once(sums(1), zeros([1 + ROWS, 4])),
};

/**
 * What a further kernel adds to a program, less its work: the time of 101 sums of 4 elements over that of one, divided by 100; less
 * the time of 1001 rows of 4 elements in one kernel over that of one row, divided by 1000.
 */
const dispatch = (threads: number): Case => ({
  group,
  name: 'dispatch of a kernel in a program',
  threads,
  peers: [],
  make: (part) => parts[part]!(),
  async measure(bench: Bench): Promise<Result> {
    const id = `${group}/${this.name}`;
    const pace: Pace = { sample: 0.002, samples: 25, budget: 0.1 };
    const [single, many, rows] = await interleave(
      bench.runs,
      Object.keys(parts).map((part) => () => bench.timeOurs(`${id}#${part}`, threads, pace)),
    );
    await bench.clear(threads);
    const slope = (1e9 * (many! - single!)) / KERNELS;
    const work = (1e9 * (rows! - single!)) / ROWS;
    const note = `a kernel adds ${slope.toFixed(1)}, of which its work is ${work.toFixed(1)}`;
    return { unit: 'ns', value: slope - work, rivals: [], note };
  },
});

// ---- recording

const small = resnet(8, 32);
/** The first step of a process, less the time of a later one. */
const tracing = (threads: number): Case =>
  timed({
    group,
    name: `trace and plan of ${small.name}`,
    threads,
    unit: 'ms',
    first: true,
    pace: { sample: 0.002, samples: 3, budget: 0 },
    make: () => trainStep(small, true),
    forms: () => torchForms(small, true).filter(({ slow }) => slow),
  });

export const compiled = (threads: number): Case[] => [
  ...[...models].reverse().map((model) => step(model, threads)),
  step(recurrent, threads),
  ...elementwiseCases(threads),
  passes(threads),
  dispatch(threads),
  tracing(threads),
];
