/** Inputs of a million elements, fast; and what each is, so that a peer can make its own like it. */
import { cast, type DType, rand, randint, randperm, reshape, type Tensor } from '../lib/index.js';
import type { Inputs, Make, Sample } from '../test/samples.js';
import { size } from '../test/samples/sample.js';
import type { Spec } from './case.js';

const isFloat = (dtype: DType): boolean => /^b?f\d/.test(dtype);

function maker(dtype: DType): { make: Make; specOf: Map<Tensor, Spec> } {
  const specOf = new Map<Tensor, Spec>();
  const note = (x: Tensor, kind: Exclude<Spec, number>['kind'], low: number, high: number): Tensor => {
    specOf.set(x, { kind, shape: x.shape, dtype: x.dtype, low, high });
    return x;
  };
  const make: Make = {
    dtype,
    real(shape, low = -2, high = 2) {
      if (isFloat(dtype)) return note(rand(shape, { low, high, dtype }), 'real', low, high);
      const [least, most] = [Math.ceil(low), Math.floor(high) + 1];
      return note(randint(least, most, shape, { dtype }), 'real', least, most);
    },
    distinct: (shape) => note(cast(reshape(randperm(size(shape)), shape), dtype), 'distinct', 0, size(shape)),
    index: (shape, low, high) => note(randint(low, high, shape), 'index', low, high),
    mask: (shape) => note(cast(randint(0, 2, shape), 'bool'), 'mask', 0, 2),
    edges: () => make.real([16]),
  };
  return { make, specOf };
}

/** f32 where the op takes it, else i32, else its first dtype. */
function benchDType({ dtypes = ['f32'] }: Sample): DType {
  return (['f32', 'i32'] as const).find((dtype) => dtypes.includes(dtype)) ?? dtypes[0]!;
}

export function benchInputs(sample: Sample): Inputs {
  return sample.bench!.make(maker(benchDType(sample)).make);
}

/** The same inputs, described. */
export function benchSpecs(sample: Sample): Spec[] {
  const { make, specOf } = maker(benchDType(sample));
  return sample.bench!.make(make).map((x) => {
    const spec = typeof x === 'number' ? x : specOf.get(x);
    if (spec === undefined) throw new Error(`${sample.name}: a bench input must come from \`make\` unchanged`);
    return spec;
  });
}
