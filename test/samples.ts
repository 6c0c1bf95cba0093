/** The table that drives tests and benchmarks: a row for each op. */
import { elementwise } from './samples/elementwise.js';
import { layers } from './samples/layers.js';
import type { Sample } from './samples/sample.js';
import { structure } from './samples/structure.js';

export type { Inputs, Make, Nd, Sample } from './samples/sample.js';
export const samples: readonly Sample[] = [...elementwise, ...structure, ...layers];
