/** Devices by their strings: 'cpu', later 'cuda', 'cuda:1', 'vulkan'. */
import { type DeviceRow, native } from '../native.js';
import { DeviceError, describe } from './error.js';

export interface DeviceDescription {
  /** As it is written in code: 'cpu'. */
  readonly id: string;
  readonly name: string;
  /** The instruction set or architecture that its kernels use. */
  readonly isa: string;
  /** Bytes. */
  readonly memoryTotal: number;
  /** Bytes. */
  readonly memoryFree: number;
  readonly threads: number;
  /** Dot-product instructions found beside the instruction set: 'vnni', 'bf16'. */
  readonly features: readonly string[];
}

/** Every device of this machine that brasa can use. */
export function devices(): DeviceDescription[] {
  return native.devices().map((row: DeviceRow) => ({
    id: row.backend,
    name: row.name,
    isa: row.isa,
    memoryTotal: row.memoryTotal,
    memoryFree: row.memoryFree,
    threads: row.threads,
    features: [row.vnni ? 'vnni' : '', row.bf16 ? 'bf16' : ''].filter(Boolean),
  }));
}

const known = new Map<string, number>([
  ['cpu', 0],
  ['cpu:0', 0],
]);

/** The native index of a device string. */
export function deviceIndex(device: string): number {
  const index = known.get(device);
  if (index === undefined) throw new DeviceError(unavailable(device));
  return index;
}

function unavailable(device: string): string {
  const have = [...new Set(native.devices().map((row: DeviceRow) => row.backend))].join(', ');
  if (isDevice(device)) return `device '${device}' is not available in this build; there is: ${have}`;
  return `unknown device ${describe(device)}; there is: ${have}`;
}

export function isDevice(value: unknown): value is string {
  return typeof value === 'string' && /^(cpu|cuda|vulkan)(:\d+)?$/.test(value);
}

/** The canonical string: 'cpu:0' is 'cpu'. Throws DeviceError when it is not there. */
export function canonicalDevice(device: string): string {
  deviceIndex(device);
  return device === 'cpu:0' ? 'cpu' : device;
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
