/** The sample rows, at about a million elements, the allocation of the result included. */
import { scope } from '../lib/index.js';
import { samples } from '../test/samples.js';
import { type Case, timed } from './case.js';
import { benchInputs, benchSpecs } from './inputs.js';

export const ops = (threads: number): Case[] =>
  samples
    .filter((sample) => sample.bench !== undefined)
    .map((sample) =>
      timed({
        group: 'ops',
        name: sample.name,
        threads,
        unit: 'ms',
        make() {
          const inputs = benchInputs(sample) as never[];
          // PyTorch frees a result and its intermediates by their reference counts; scope() does it here.
          return () =>
            scope(() => {
              sample.call(...inputs);
            });
        },
        forms: () => [{ inputs: benchSpecs(sample), code: sample.bench!.torch }],
      }),
    );
