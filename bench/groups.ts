/** Every case, by group; and how names select them. */
import { type Case, caseId } from './case.js';
import { compiled } from './compiled.js';
import { convolutions } from './conv.js';
import { full } from './full.js';
import { gemm } from './gemm.js';
import { kernels } from './kernels.js';
import { limits } from './limits.js';
import { ops } from './ops.js';
import { overhead } from './overhead.js';
import { memory, startup } from './processes.js';
import { train } from './train.js';

interface Group {
  readonly name: string;
  readonly about: string;
  /** `counts` are the thread counts asked for: the greatest is for cases that run with one. */
  cases(counts: readonly number[]): Case[];
}

const most = (counts: readonly number[]): number => Math.max(...counts);
export const groups: readonly Group[] = [
  { name: 'ops', about: 'each op of the samples table, about a million elements', cases: (c) => ops(most(c)) },
  {
    name: 'gemm',
    about: 'matrix products of each precision, square and skinny, and their share of the peak',
    cases: gemm,
  },
  {
    name: 'kernels',
    about: 'attention, norms, losses, the optimizer and others, at the sizes of models',
    cases: (c) => kernels(most(c)),
  },
  {
    name: 'conv',
    about: 'convolutions of ResNet and MobileNetV2, f32, and their share of the peak',
    cases: (c) => convolutions(most(c)),
  },
  { name: 'overhead', about: 'what an eager op costs beside its work', cases: (c) => overhead(most(c)) },
  { name: 'train', about: 'training steps, eager', cases: (c) => train(most(c)) },
  {
    name: 'compile',
    about: 'what compile() reaches, beside PyTorch, JAX and TensorFlow',
    cases: (c) => compiled(most(c)),
  },
  { name: 'models', about: 'training steps and inference of known models, compiled', cases: (c) => full(most(c)) },
  { name: 'startup', about: 'what importing adds to a process', cases: (c) => startup(most(c)) },
  { name: 'memory', about: 'peak memory of 5 million eager ops', cases: (c) => memory(most(c)) },
  { name: 'limits', about: 'what the machine can do at most', cases: limits },
];

export const allCases = (counts: readonly number[]): Case[] => groups.flatMap((group) => group.cases(counts));

/** The case of a worker that runs with so many threads. */
export function findCase(id: string, threads: number): Case {
  const found = allCases([threads]).find((one) => caseId(one) === id);
  if (found === undefined) throw new Error(`no case ${id}`);
  return found;
}

/** A name is a group, else an op (the first word of a case), else a regular expression over `group/case`. */
export function select(cases: readonly Case[], name: string): Case[] {
  const word = (one: Case) => one.name.split(' ')[0];
  for (const by of [(one: Case) => one.group === name, (one: Case) => one.name === name || word(one) === name]) {
    const found = cases.filter(by);
    if (found.length > 0) return found;
  }
  const pattern = new RegExp(name, 'i');
  return cases.filter((one) => pattern.test(caseId(one)));
}
