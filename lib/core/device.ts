/** Devices by their strings: 'cpu', 'vulkan', 'vulkan:1'. Backends beside the CPU's are opened when one of their devices is first named. */
import { type DeviceRow, native, openBackend } from '../native.js';
import { ArgumentError, DeviceError, DTypeError, describe } from './error.js';

export interface DeviceDescription {
  /** As it is written in code: 'cpu'. */
  readonly id: string;
  readonly name: string;
  /** 'cpu', 'discrete', 'integrated', 'virtual', or 'other'. */
  readonly type: string;
  /** The instruction set or architecture that its kernels use. */
  readonly isa: string;
  /** Bytes. */
  readonly memoryTotal: number;
  /** Bytes. */
  readonly memoryFree: number;
  /** 0 where that says nothing. */
  readonly threads: number;
  /** Computes on the CPU: used only when it is asked for by its number. */
  readonly emulated: boolean;
  /** Element types that its kernels take. */
  readonly dtypes: readonly string[];
  /** What the validation layers have complained about so far, where they are switched on (BRASA_VULKAN_VALIDATION). */
  readonly messages: number;
  /** What is alive of a driver's own: memory, pipelines, pools of commands; of all devices of the backend. */
  readonly objects: number;
  /** Dot-product instructions found beside the instruction set: 'vnni', 'bf16'. */
  readonly features: readonly string[];
  /** Of the CPU: what elementwise programs are compiled to (AVX-512, AVX2), or why they are interpreted. */
  readonly code: string;
}

/** Every device of this machine that brasa can use. */
export function devices(): DeviceDescription[] {
  for (const backend of libraries.keys()) open(backend);
  const rows = native.devices();
  return rows.map((row, index) => ({
    id: canonical.get(index)!,
    name: row.name,
    type: row.type,
    isa: row.isa,
    memoryTotal: row.memoryTotal,
    memoryFree: row.memoryFree,
    threads: row.threads,
    emulated: row.emulated !== 0,
    dtypes: dtypesOf(row),
    messages: row.messages,
    objects: row.objects,
    features: [row.vnni ? 'vnni' : '', row.bf16 ? 'bf16' : ''].filter(Boolean),
    code: row.code,
  }));
}

/**
 * How many threads CPU kernels use, 1 to 1024: the cores allowed to the process, or BRASA_THREADS, unless said. It is one number for
 * the process, its worker threads included; results do not depend on it. (torch.set_num_threads)
 * @throws ArgumentError when n is no such number
 */
export function setThreads(n: number): void {
  if (!Number.isInteger(n) || n < 1 || n > 1024)
    throw new ArgumentError(`needs a whole number from 1 to 1024, got ${describe(n)}`, { op: 'setThreads' });
  native.setThreads(n);
}

const dtypesOf = ({ dtypes }: DeviceRow): string[] =>
  native.table.dtypes.filter(({ id }) => dtypes & (1 << id)).map(({ name }) => name);

/** Backends in libraries of their own, and why they give no device; undefined before they are opened, '' when they do. */
const libraries = new Map<string, string | undefined>([['vulkan', undefined]]);
/** By every name that a device has, its native index; and by that the name that tensors show. */
const known = new Map<string, number>();
const canonical = new Map<number, string>();
/** By the device that lacks element types: those that it has. */
const limited = new Map<string, ReadonlySet<string>>();

/** Names the devices that are there now: each by its number, and the first of a backend that does not compute on the CPU without. */
function nameDevices(): void {
  const counts = new Map<string, number>();
  native.devices().forEach((row: DeviceRow, index) => {
    const { backend, emulated } = row;
    const number = counts.get(backend) ?? 0;
    counts.set(backend, number + 1);
    const plain = number === 0 && emulated === 0;
    known.set(`${backend}:${number}`, index);
    if (plain) known.set(backend, index);
    const id = plain ? backend : `${backend}:${number}`;
    canonical.set(index, id);
    const types = dtypesOf(row);
    if (types.length < native.table.dtypes.length) limited.set(id, new Set(types));
  });
}
nameDevices();

/** Opens a backend's library at the first call; '' or why it gives no device. */
function open(backend: string): string {
  let reason = libraries.get(backend);
  if (reason === undefined) {
    reason = openBackend(backend);
    libraries.set(backend, reason);
    nameDevices();
  }
  return reason;
}

/** Why there is no device of a backend; '' when there is one. */
export function whyMissing(backend: string): string {
  return libraries.has(backend) ? open(backend) : 'not in this build';
}

/** The native index of a device string. */
export function deviceIndex(device: string): number {
  const index = known.get(device) ?? (isDevice(device) ? knownOnceOpened(device) : undefined);
  if (index === undefined) throw new DeviceError(unavailable(device));
  return index;
}

function knownOnceOpened(device: string): number | undefined {
  const backend = device.replace(/:.*/, '');
  if (libraries.has(backend)) open(backend);
  return known.get(device);
}

function unavailable(device: string): string {
  const have = [...canonical.values()].join(', ');
  if (!isDevice(device)) return `unknown device ${describe(device)}; there is: ${have}`;
  const backend = device.replace(/:.*/, '');
  const reason = whyMissing(backend);
  if (reason !== '') return `device '${device}' is not available: ${reason}; there is: ${have}`;
  if (device === backend) {
    const { name } = native.devices()[known.get(`${backend}:0`)!]!;
    return `device '${device}' is a GPU, and here is only ${name}, which computes on the CPU: name it, '${device}:0', to use it`;
  }
  return `there is no device '${device}'; there is: ${have}`;
}

/** Throws DTypeError where the device has no such elements. */
export function checkHolds(device: string, dtype: string): void {
  const types = limited.get(device);
  if (types === undefined || types.has(dtype)) return;
  const { name } = native.devices()[known.get(device)!]!;
  throw new DTypeError(`${device} (${name}) has no ${dtype}: convert with .to('f32') first, or stay on 'cpu'`);
}

export function isDevice(value: unknown): value is string {
  return typeof value === 'string' && /^(cpu|cuda|vulkan)(:\d+)?$/.test(value);
}

/** The canonical string: 'cpu:0' is 'cpu'. Throws DeviceError when it is not there. */
export function canonicalDevice(device: string): string {
  return canonical.get(deviceIndex(device))!;
}

let chosen: string | null = null;

/** Where tensors are made unless said otherwise: BRASA_DEVICE, else 'cpu'. */
export function defaultDevice(): string {
  if (chosen === null) chosen = canonicalDevice(process.env.BRASA_DEVICE || 'cpu');
  return chosen;
}

export interface MemoryStats {
  /** Bytes held by tensors now, in whole blocks of the allocator. */
  readonly liveBytes: number;
  /** Bytes kept for reuse. */
  readonly cachedBytes: number;
  readonly peakBytes: number;
  readonly liveBlocks: number;
  /** How often the device itself was asked for memory. */
  readonly deviceAllocations: number;
  /** Storages of this thread that have not been freed. */
  readonly liveStorages: number;
}

/** What the caching allocator of a device holds. */
export function memoryStats(device: string = defaultDevice()): MemoryStats {
  return native.stats(deviceIndex(device));
}

/** Gives cached memory back to the system. */
export function emptyCache(device: string = defaultDevice()): void {
  native.trim(deviceIndex(device));
}

const closing: (() => void)[] = [];
/** What gives up its part of devices when one is about to be closed. */
export function onDeviceClose(give: () => void): void {
  closing.push(give);
}

const NOTHING_TO_CLOSE = 2;

/**
 * Gives back all that the process holds of a device: cached memory, kernels, and what its driver keeps for them. The next use opens
 * it anew; so does a device that was lost serve again. Its tensors must be gone first (dispose(), scope()), and so must compiled
 * functions that ran on it (their dispose()), of worker threads too.
 * @throws DeviceError while some are there, and for the CPU, which is never closed
 */
export function closeDevice(device: string): void {
  const index = deviceIndex(device);
  for (const give of closing) give();
  const status = native.closeDevice(index);
  if (status === 0) return;
  if (status === NOTHING_TO_CLOSE) throw new DeviceError(`${device} is never closed`, { op: 'closeDevice' });
  const { liveBlocks } = native.stats(index);
  throw new DeviceError(
    `${device} is in use: ${liveBlocks} blocks of memory are alive, of tensors or compiled functions, here or in a worker thread: dispose of them first`,
    { op: 'closeDevice' },
  );
}
