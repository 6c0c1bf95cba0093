/** The instructions of a program in words, and back: what lib/graph/encode.ts writes as numbers, with the same fields in the same order. */
import type { Plan } from '../core/plan.js';
import { dtypeInfo } from '../core/dtype.js';
import type { Step } from './recorder.js';
import { bad, count, extent, list, numberOf, type NumberText, numberText, text } from './names.js';

/** buffer, offset, and a [loop, stride] for each loop that moves it. */
export type PlaceText = (number | [number, number])[];
export type InstructionText =
  | ['run', number, NumberText[], ...PlaceText[]]
  | ['jump', number]
  | ['unless', number, PlaceText]
  | ['begin', number, number, number, number, ...PlaceText[]]
  | ['next', number]
  | ['count', number, PlaceText];

/** In the order of their numbers. */
const names = ['run', 'jump', 'unless', 'begin', 'next', 'count'] as const;
const MAX_BUFFERS = 4081;
const MAX_LOOPS = 1024;

/** How an operand lies: its width, and elements from the first to the last. */
interface Operand {
  readonly bytes: number;
  readonly elements: number;
}
const FLAG: Operand = { bytes: 1, elements: 1 };
const COUNTER: Operand = { bytes: 8, elements: 1 };

const operandsOf = ({ call, layouts }: Plan): Operand[] =>
  [...call!.inputs, ...layouts].map((x) => ({ bytes: dtypeInfo(x.dtype).bytes, elements: extent(x) }));

/** What instructions ask of memory: called for each place with the bytes that it reaches to, and its element's. */
export type Touch = (buffer: number, bytes: number, item: number, written: boolean) => void;

/** The loops around an instruction: how often each runs at most. */
class Loops {
  readonly #open: { loop: number; most: number }[] = [];

  begin(loop: number, most: number): void {
    this.#open.push({ loop, most });
  }

  next(): void {
    this.#open.pop();
  }

  /** Bytes behind the beginning of its buffer that a place reaches to. */
  reach([, offset, ...moves]: PlaceText, { bytes, elements }: Operand): number {
    if (elements === 0 || this.#open.some(({ most }) => most === 0)) return 0;
    let high = (offset as number) + elements;
    for (const [loop, stride] of moves as [number, number][]) {
      const around = this.#open.find((one) => one.loop === loop);
      if (around === undefined) throw bad('a place moves with a loop that is not around it');
      high += Math.max(stride, 0) * (around.most - 1);
    }
    return high * bytes;
  }
}

/** Reads the numbers of a program, whose runs take these plans and scalars. `kernelOf`: the number of a plan in the file. */
export function disassemble(
  { text: numbers, scalars, runs }: { text: Float64Array; scalars: Float64Array; runs: readonly (Step | null)[] },
  kernelOf: (plan: Plan) => number,
  touch: Touch,
): { arena: number; outputs: number[]; code: InstructionText[] } {
  let at = 0;
  const next = () => numbers[at++]!;
  const [arena, , nout] = [next(), next(), next(), next()];
  const outputs = Array.from({ length: nout! }, next);
  const loops = new Loops();
  const place = (operand: Operand, written: boolean): PlaceText => {
    const [buffer, offset, moves] = [next(), next(), next()];
    const one: PlaceText = [
      buffer,
      offset,
      ...Array.from({ length: moves }, () => [next(), next()] as [number, number]),
    ];
    touch(buffer, loops.reach(one, operand), operand.bytes, written);
    return one;
  };
  const code = runs.map((step): InstructionText => {
    const name = names[next()]!;
    switch (name) {
      case 'run': {
        const { plan, inputs } = step!;
        const [, first] = [next(), next(), next()];
        const given = inputs.filter((x) => typeof x === 'number').length;
        const places = operandsOf(plan).map((one, i) => place(one, i >= plan.call!.inputs.length));
        return ['run', kernelOf(plan), Array.from(scalars.subarray(first, first! + given), numberText), ...places];
      }
      case 'jump':
        return [name, next()];
      case 'unless':
        return [name, next(), place(FLAG, false)];
      case 'begin': {
        const [loop, most, reverse, to, counted] = [next(), next(), next(), next(), next()];
        const trips = counted === 1 ? [place(COUNTER, false)] : [];
        loops.begin(loop, most);
        return [name, loop, most, reverse, to, ...trips];
      }
      case 'next':
        loops.next();
        return [name, next()];
      default:
        return ['count', next(), place(COUNTER, true)];
    }
  });
  return { arena: arena!, outputs, code };
}

/** The numbers again, of instructions from a file; `touch` may refuse what they reach to. The native library checks the jumps. */
export function reassemble(
  code: readonly unknown[],
  header: readonly number[],
  plans: readonly Plan[],
  touch: Touch,
): { text: number[]; scalars: number[]; runs: ({ plan: Plan; numbers: number[]; places: PlaceText[] } | null)[] } {
  const numbers = header.slice();
  const scalars: number[] = [];
  const loops = new Loops();
  const place = (value: unknown, operand: Operand, written: boolean): PlaceText => {
    const [buffer, offset, ...moves] = list(value, 'a place');
    const one: PlaceText = [count(buffer, 'a buffer', MAX_BUFFERS), count(offset, 'an offset')];
    for (const move of moves) {
      const [loop, stride] = list(move, 'a move');
      if (!Number.isSafeInteger(stride)) throw bad('a stride is no integer');
      one.push([count(loop, 'a loop', MAX_LOOPS - 1), stride as number]);
    }
    const [to, from] = one as [number, number];
    numbers.push(to, from, one.length - 2, ...(one.slice(2) as [number, number][]).flat());
    touch(to, loops.reach(one, operand), operand.bytes, written);
    return one;
  };
  const exactly = (fields: readonly unknown[], n: number): void => {
    if (fields.length !== n) throw bad('an instruction has too many or too few fields');
  };
  const runs = code.map((value) => {
    const [name, ...fields] = list(value, 'an instruction');
    const known = names.indexOf(text(name, 'the name of an instruction') as (typeof names)[number]);
    if (known < 0) throw bad(`this version knows no instruction ${JSON.stringify(name).slice(0, 80)}`);
    numbers.push(known);
    const target = (x: unknown) => numbers.push(count(x, 'where an instruction jumps to', code.length));
    const loop = (x: unknown) => numbers.push(count(x, 'a loop', MAX_LOOPS - 1));
    switch (names[known]!) {
      case 'run': {
        const [kernel, given, ...places] = fields;
        const plan = plans[count(kernel, 'a kernel', plans.length - 1)]!;
        const operands = operandsOf(plan);
        exactly(places, operands.length);
        const own = list(given, 'numbers of a run').map((x) => numberOf(x, 'a number of a run'));
        exactly(own, plan.call!.nscalars);
        numbers.push(plan.id, scalars.length, 0);
        scalars.push(...own, ...plan.constants);
        const read = operands.map((one, i) => place(places[i], one, i >= plan.call!.inputs.length));
        return { plan, numbers: own, places: read };
      }
      case 'jump':
        exactly(fields, 1);
        target(fields[0]);
        return null;
      case 'unless':
        exactly(fields, 2);
        target(fields[0]);
        place(fields[1], FLAG, false);
        return null;
      case 'begin': {
        const [which, most, reverse, to, ...trips] = fields;
        if (trips.length > 1) exactly(fields, 5);
        loop(which);
        numbers.push(count(most, 'iterations', 2 ** 53), count(reverse, 'a direction', 1));
        target(to);
        numbers.push(trips.length);
        if (trips.length === 1) place(trips[0], COUNTER, false);
        loops.begin(which as number, most as number);
        return null;
      }
      case 'next':
        exactly(fields, 1);
        loop(fields[0]);
        loops.next();
        return null;
      default:
        exactly(fields, 2);
        loop(fields[0]);
        place(fields[1], COUNTER, true);
        return null;
    }
  });
  return { text: numbers, scalars, runs };
}
