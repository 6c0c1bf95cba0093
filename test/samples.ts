/** The table that drives tests and benchmarks: a row for each op. */
import { attention } from './samples/attention.js';
import { compositions } from './samples/compositions.js';
import { elementwise } from './samples/elementwise.js';
import { indices } from './samples/indices.js';
import { layers } from './samples/layers.js';
import { lstm } from './samples/lstm.js';
import { reductions } from './samples/reductions.js';
import type { Sample } from './samples/sample.js';
import { views } from './samples/views.js';

export type { Inputs, Make, Nd, Sample } from './samples/sample.js';
export const samples: readonly Sample[] = [
  ...elementwise,
  ...reductions,
  ...views,
  ...indices,
  ...layers,
  ...attention,
  ...lstm,
  ...compositions,
];
