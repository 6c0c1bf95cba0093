/** Instructions as the list of numbers that native/programs.h and native/instructions.h document. */
import { dtypeInfo } from '../core/dtype.js';
import { DeviceError, TraceError } from '../core/error.js';
import { resolve } from '../core/plan.js';
import type { Tensor } from '../core/tensor.js';
import type { Instruction, Label, Lowering } from './lower.js';
import type { Recorder } from './recorder.js';
import type { Loop } from './region.js';

const codes: Readonly<Record<Instruction['code'], number>> = {
  run: 0,
  jump: 1,
  unless: 2,
  begin: 3,
  next: 4,
  count: 5,
};
const MAX_LOOPS = 1024;
/** Iterations of a loop that only its condition ends. */
const UNBOUNDED = 2 ** 53;

export interface Encoded {
  readonly device: string;
  readonly text: readonly number[];
  readonly scalars: readonly number[];
  /** By the number of a value that is computed at each run: where it stands in the scalars. */
  readonly uses: ReadonlyMap<number, readonly number[]>;
}

export function encode(
  lowered: Lowering,
  recorder: Recorder,
  { bound, outputBytes }: { bound: number; outputBytes: readonly number[] },
): Encoded {
  const { code } = lowered;
  const loops = new Map<Loop, number>();
  const scalars: number[] = [];
  const uses = new Map<number, number[]>();
  const text = [lowered.arenaBytes, bound, outputBytes.length, code.length, ...outputBytes];
  let device: string | null = null;

  const number = (loop: Loop): number => {
    if (!loops.has(loop)) loops.set(loop, loops.size);
    return loops.get(loop)!;
  };
  const place = (x: Tensor): void => {
    const { bytes } = dtypeInfo(x.dtype);
    const { buffer, offset, moves } = lowered.find(x);
    text.push(buffer, offset / bytes + x.offset, moves.length);
    for (const { loop, stride } of moves) text.push(number(loop), stride / bytes);
  };
  const jump = ({ at }: Label): void => {
    text.push(at);
  };
  const run = ({ step }: Instruction & { code: 'run' }): void => {
    const { plan, inputs, outputs } = step;
    device ??= plan.layouts[0]!.device;
    if (plan.layouts[0]!.device !== device) refuseDevices(device, plan.layouts[0]!.device);
    // The cache of plans may have started again meanwhile.
    if (plan.id < 0) resolve(plan);
    const first = scalars.length;
    const moves: number[] = [];
    for (const x of inputs) {
      if (typeof x !== 'number') continue;
      const i = recorder.standsFor(x);
      if (i >= 0) uses.set(i, [...(uses.get(i) ?? []), scalars.length]);
      for (const { loop, stride } of recorder.draws.moves.get(x) ?? [])
        moves.push(scalars.length - first, number(loop), stride());
      scalars.push(x);
    }
    scalars.push(...plan.constants);
    text.push(plan.id, first, moves.length / 3, ...moves);
    for (const x of [...inputs, ...outputs]) if (typeof x !== 'number') place(x);
  };

  for (const one of code) {
    text.push(codes[one.code]);
    switch (one.code) {
      case 'run':
        run(one);
        break;
      case 'jump':
        jump(one.to);
        break;
      case 'unless':
        jump(one.to);
        place(one.test);
        break;
      case 'begin': {
        const { loop, length, reverse, trips } = one.region;
        text.push(number(loop), Math.min(length, UNBOUNDED), reverse ? 1 : 0);
        jump(one.to);
        text.push(trips === null ? 0 : 1);
        if (trips !== null) place(trips);
        break;
      }
      case 'next':
        text.push(number(one.region.loop));
        break;
      case 'count':
        text.push(number(one.region.loop));
        place(one.region.count!);
        break;
    }
  }
  if (loops.size > MAX_LOOPS)
    throw new TraceError(`at most ${MAX_LOOPS} loops are compiled into one program, this has ${loops.size}`, {
      op: 'compile',
    });
  return { device: device ?? 'cpu', text, scalars, uses };
}

function refuseDevices(a: string, b: string): never {
  throw new DeviceError(`a compiled function runs on one device, this one on ${a} and ${b}`, { op: 'compile' });
}
