/** Plans: an op resolved once for a signature (layouts, static parameters): output layouts and the native kernel that computes them. */
import { native } from '../native.js';
import type { Inferred, Op, Operand, Params, ViewOf } from './define.js';
import { checkOperand, elementwiseType } from './define.js';
import { deviceIndex, onDeviceClose } from './device.js';
import { type DType, dtypeInfo, isFloat } from './dtype.js';
import { ArgumentError, BrasaError, DeviceError, DTypeError, ShapeError, describe } from './error.js';
import { expandedStrides, type Layout, layoutLike, layoutOf, onLayoutReset, type Shape } from './layout.js';
import { SMALL_BYTES, statusError, Tensor } from './tensor.js';
import { watchPlan } from './watch.js';

/** Which values backward will ask for, by input and by output. */
export interface Saves {
  readonly inputs: readonly boolean[];
  readonly outputs: readonly boolean[];
}

export interface Plan {
  readonly op: Op;
  readonly params: Params;
  readonly layouts: readonly Layout[];
  /** The signature: layouts of the inputs, null for numbers. */
  readonly inputs: readonly (Layout | null)[];
  /** native: a kernel; view: layouts[0] at `offset`; decompose: the op's decomposition runs instead. */
  mode: 'native' | 'view' | 'decompose';
  readonly offset: number;
  /** Native id; -1 before the first run. */
  id: number;
  /** Scalars after the run-time ones: constants of a fused program. */
  constants: readonly number[];
  /** The one output is small enough to be watched in a group. */
  readonly small: boolean;
  /** The operands compute in integers: a fraction is refused. */
  readonly integers: boolean;
  /** Fused program or kernel parameters and, for elementwise, inputs expanded to the output's shape. */
  call: Call | null;
  /** By the mask of inputs that need gradients. */
  readonly saves: Map<number, Saves>;
}

/** What the native library is told; see native/ops.def. */
export interface Call {
  readonly op: number;
  readonly inputs: readonly Layout[];
  readonly nscalars: number;
  readonly params: readonly number[];
  readonly constants: readonly number[];
}

/** Installed by lib/graph: layouts of a decomposition's outputs, and its fusion into one elementwise program where possible. */
export const composites: {
  trace: (op: Op, inputs: readonly Operand[], params: Params) => { layouts: Layout[]; call: Call | null };
} = {
  trace: () => {
    throw new BrasaError('lib/graph is not loaded', 'ERR_BRASA_INTERNAL');
  },
};

const MAX_PLANS = 8192;
let count = 0;
const owners = new Set<Op>();

function forget(): void {
  for (const op of owners) {
    for (const plan of op.plans.values()) {
      if (plan.id >= 0) native.dropPlan(plan.id);
      plan.id = -1;
    }
    op.plans.clear();
  }
  owners.clear();
  count = 0;
}
onLayoutReset(forget);
onDeviceClose(forget);

/** Live plans, and how often the bounded cache may still grow before it starts again. */
export function planCount(): number {
  return count;
}

function keyOf(inputs: readonly Operand[], params: Params | null): number | string {
  const n = inputs.length;
  if (n <= 3 && params === null) {
    let key = 0;
    for (let i = 0; i < n; i++) {
      const x = inputs[i]!;
      key = key * 131072 + (typeof x === 'number' ? 0 : x.layout.id);
    }
    return key;
  }
  let key = params === null ? '' : paramsKey(params);
  for (let i = 0; i < n; i++) {
    const x = inputs[i]!;
    key += typeof x === 'number' ? ',n' : `,${x.layout.id}`;
  }
  return key;
}

function paramsKey(params: Params): string {
  try {
    return JSON.stringify(params);
  } catch {
    throw new ArgumentError(`parameters are numbers, strings, booleans and arrays of them, got ${describe(params)}`);
  }
}

/** The plan for this call; made at the first. `params` null means none. */
export function planFor(
  op: Op,
  inputs: readonly Operand[],
  params: Params | null,
  outs: readonly Tensor[] | null,
): Plan {
  let key: number | string;
  try {
    key = keyOf(inputs, params);
  } catch (error) {
    for (const x of inputs) checkOperand(x, op.name);
    throw error;
  }
  if (outs !== null) key = `${key}>${outs.map((o) => o.layout.id).join()}`;
  const known = op.plans.get(key);
  if (known !== undefined) return known;
  if (count >= MAX_PLANS) forget();
  const made = makePlan(op, inputs, params ?? {}, outs);
  const [first] = made.layouts;
  const plan: Plan = {
    ...made,
    small: made.layouts.length === 1 && first!.size * dtypeInfo(first!.dtype).bytes <= SMALL_BYTES,
  };
  op.plans.set(key, plan);
  owners.add(op);
  count++;
  return plan;
}

function deviceOf(op: Op, inputs: readonly Operand[], params: Params, outs: readonly Tensor[] | null): string {
  let device: string | null = null;
  for (const x of outs === null ? inputs : [...inputs, ...outs]) {
    if (typeof x === 'number') continue;
    if (device === null) device = x.device;
    else if (device !== x.device) {
      throw new DeviceError(`operands are on ${device} and ${x.device}: move one with .to('${device}')`, {
        op: op.name,
      });
    }
  }
  return device ?? (params.device as string | undefined) ?? 'cpu';
}

function makePlan(
  op: Op,
  inputs: readonly Operand[],
  params: Params,
  outs: readonly Tensor[] | null,
): Omit<Plan, 'small'> {
  const device = deviceOf(op, inputs, params, outs);
  const base = {
    op,
    params,
    inputs: inputs.map((x) => (typeof x === 'number' ? null : x.layout)),
    offset: 0,
    id: -1,
    constants: [],
    integers: false,
    call: null,
    saves: new Map(),
  };
  if (op.kind === 'view') {
    const at = op.infer(inputs, params) as ViewOf;
    const x = inputs[0] as Tensor;
    return { ...base, mode: 'view', layouts: [layoutOf(at.shape, x.dtype, device, at.strides)], offset: at.offset };
  }
  if (op.kind === 'composite') {
    const { layouts, call } = composites.trace(op, inputs, params);
    const fused = call !== null && (outs === null || outs.every((o, i) => o.shape.join() === layouts[i]!.shape.join()));
    return {
      ...base,
      layouts: outs ? outs.map((o) => o.layout) : layouts,
      mode: fused ? 'native' : 'decompose',
      call: fused ? call : null,
      constants: fused ? call.constants : [],
    };
  }
  const inferred = op.infer(inputs, params);
  const list = (Array.isArray(inferred) ? inferred : [inferred]) as readonly Inferred[];
  const first = inputs.find((x) => x instanceof Tensor) as Tensor | undefined;
  const layouts = outs
    ? outs.map((o, i) => intoLayout(op, o.layout, list[i]!))
    : list.map((o) => {
        // A tensor answered by infer stands for its shape and dtype; strides are taken from a plain description only.
        if (!(o instanceof Tensor) && o.strides) return layoutOf(o.shape, o.dtype, device, o.strides);
        return first && op.kind === 'elementwise'
          ? layoutLike(first.layout, o.shape, o.dtype)
          : layoutOf(o.shape, o.dtype, device);
      });
  if (op.kind === 'kernel') return { ...base, layouts, mode: 'native', call: kernelCall(op, inputs, params) };
  // Numbers alone: of the result's dtype, or compared as f32.
  const work = first ? workType(op, inputs) : op.row!.result === 'BOOL' ? 'f32' : layouts[0]!.dtype;
  const call = elementwiseCall(op, inputs, layouts[0]!.shape, device, work);
  const integers = !isFloat(work) && inputs.some((x) => typeof x === 'number');
  return { ...base, layouts, mode: 'native', call, integers };
}

function workType(op: Op, inputs: readonly Operand[]): DType {
  return elementwiseType(op.row!, inputs, op.name === 'where' ? 1 : 0);
}

/** Writing into a given tensor: the shapes must agree, and its dtype must hold the result. */
function intoLayout(op: Op, out: Layout, want: Inferred): Layout {
  if (out.shape.join() !== want.shape.join()) {
    throw new ShapeError(`the result (${want.shape.join()}) does not fit in place into (${out.shape.join()})`, {
      op: op.name,
    });
  }
  if (isFloat(want.dtype) && !isFloat(out.dtype) && op.row?.name !== 'copy') {
    throw new DTypeError(`the result is ${want.dtype} and cannot be written in place into ${out.dtype}`, {
      op: op.name,
    });
  }
  return out;
}

/** A tile program of one instruction. */
function elementwiseCall(op: Op, inputs: readonly Operand[], shape: Shape, device: string, work: DType): Call {
  const row = op.row!;
  const compute = dtypeInfo(dtypeInfo(work).compute).id;
  const tensors = inputs.filter((x) => x instanceof Tensor) as Tensor[];
  const nscalars = inputs.length - tensors.length;
  const registers = [-1, -1, -1];
  let tensor = 0;
  let scalar = tensors.length;
  inputs.forEach((x, i) => {
    registers[i] = x instanceof Tensor ? tensor++ : scalar++;
  });
  return {
    op: elementwiseId(),
    inputs: tensors.map((x) => layoutOf(shape, x.dtype, device, expandedStrides(x.layout, shape))),
    nscalars,
    params: [...inputs.map(() => compute), 1, row.id, compute, ...registers, inputs.length],
    constants: [],
  };
}

let elementwise = -1;
/** The id of the kernel that runs tile programs. */
export function elementwiseId(): number {
  if (elementwise < 0) elementwise = native.table.ops.find((row) => row.name === 'elementwise')!.id;
  return elementwise;
}

function kernelCall(op: Op, inputs: readonly Operand[], params: Params): Call {
  const tensors = inputs.filter((x) => x instanceof Tensor) as Tensor[];
  return {
    op: op.row!.id,
    inputs: tensors.map((x) => x.layout),
    nscalars: inputs.length - tensors.length,
    params: op.encode ? op.encode(params, inputs) : [],
    constants: [],
  };
}

/** Gives the plan its native kernel; false when the backend has none and the decomposition must run. */
export function resolve(plan: Plan): boolean {
  const call = plan.call!;
  const text: number[] = [
    call.op,
    call.inputs.length,
    plan.layouts.length,
    call.nscalars + call.constants.length,
    call.params.length,
  ];
  for (const layout of [...call.inputs, ...plan.layouts]) {
    text.push(dtypeInfo(layout.dtype).id, layout.ndim, ...layout.shape, ...layout.strides);
  }
  const device = plan.layouts[0]!.device;
  const id = native.plan(deviceIndex(device), Float64Array.from([...text, ...call.params]));
  if (id >= 0) {
    plan.id = id;
    watchPlan(plan);
    return true;
  }
  const { op } = plan;
  if (id === -2 && op.decompose) {
    plan.mode = 'decompose';
    watchPlan(plan);
    return false;
  }
  if (id === -2) {
    const types = [...new Set(plan.inputs.map((x) => (x === null ? 'number' : x.dtype)))].join(', ');
    throw new DTypeError(`no kernel for ${types} on ${device}`, { op: op.name });
  }
  throw statusError(-id, 'the native library refused the call', op.name, device);
}
