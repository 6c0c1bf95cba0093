// Loads the native library: the only file that knows Node-API exists.
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { home } from './place.js';

const require = createRequire(home);
const root = dirname(fileURLToPath(home));

function libc(): string {
  if (process.platform !== 'linux') return '';
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime ? ` (glibc ${header.glibcVersionRuntime})` : ' (musl)';
}

function failure(what: string, advice: string, cause: unknown): Error {
  const message = `brasa cannot start on ${process.platform}-${process.arch}${libc()}: ${what}\n${advice}`;
  return Object.assign(new Error(message, { cause }), { code: 'ERR_BRASA_NATIVE' });
}

let addon = '';

function load(): unknown {
  const build = require('node-gyp-build') as { resolve(root: string): string };
  let file: string;
  try {
    file = build.resolve(root);
  } catch (error) {
    const prebuilds = join(root, 'prebuilds');
    const ours = existsSync(prebuilds) ? readdirSync(prebuilds).join(', ') : 'none';
    const places = `${join(root, 'build', 'Release')} and ${join(prebuilds, `${process.platform}-${process.arch}`)}`;
    const advice = existsSync(join(root, 'CMakeLists.txt'))
      ? 'Build it: npm run prepare'
      : 'Reinstall the package (npm install brasa), or on a platform without a binary build a clone: npm ci';
    throw failure(`no native library in ${places} (binaries here: ${ours}).`, advice, error);
  }
  addon = file;
  try {
    return require(file);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw failure(`${file} does not load: ${reason}.`, 'Build it for this machine, in a clone: npm ci', error);
  }
}

/** A row of native/ops.def; arity 0 is a KERNEL. */
export interface OpRow {
  readonly id: number;
  readonly name: string;
  readonly arity: number;
  readonly types: string;
  readonly result: string;
}

export interface DeviceRow {
  readonly backend: string;
  readonly name: string;
  readonly isa: string;
  readonly memoryTotal: number;
  readonly memoryFree: number;
  readonly threads: number;
  /** Computes on the CPU: used only when it is asked for by its number. */
  readonly emulated: number;
  /** Of the device's checker, where one is switched on. */
  readonly messages: number;
  /** A bit for each element type that its kernels take. */
  readonly dtypes: number;
  readonly type: string;
  /** Of the driver's interface, that are alive. */
  readonly objects: number;
  readonly vnni: number;
  readonly bf16: number;
  /** Of the CPU: the instructions that elementwise programs are compiled to, or in words why they are interpreted. */
  readonly code: string;
}

/** What native/addon.cc exports; a negative number answered for an id is a status. */
export interface Native {
  /** Shared memory for the operands of `run`; native/addon.cc says what lies where. */
  readonly words: Int32Array;
  readonly numbers: Float64Array;
  readonly table: {
    readonly ops: readonly OpRow[];
    readonly dtypes: readonly { id: number; name: string; bytes: number; compute: string }[];
  };
  run(...fresh: object[]): void;
  create(storage: object, device: number, bytes: number): number;
  write(slot: number, byteOffset: number, from: ArrayBufferView): number;
  read(slot: number, byteOffset: number, to: ArrayBufferView): number;
  peek(): void;
  release(slot: number): void;
  sweep(all: boolean): number;
  plan(device: number, description: Float64Array): number;
  dropPlan(id: number): void;
  program(device: number, description: Float64Array, scalars: Float64Array): number;
  runProgram(outputs: readonly object[], times?: Float64Array): void;
  submitProgram(outputs: readonly object[], times?: Float64Array): void;
  onSettled(callback: () => void): void;
  dropProgram(id: number): void;
  stats(device: number): {
    liveBytes: number;
    cachedBytes: number;
    peakBytes: number;
    liveBlocks: number;
    deviceAllocations: number;
    liveStorages: number;
  };
  trim(device: number): void;
  closeDevice(device: number): number;
  devices(): DeviceRow[];
  /** Ids of the KERNEL ops that a device has a kernel of. */
  kernels(device: number): number[];
  /** Opens a backend's library; '' or the reason why it gives no device. */
  openLibrary(path: string): string;
  /** At the end of the process or thread: devices keep for later ones what serves them. */
  leave(): void;
  /** What the device failed with last. */
  explain(device: number): string;
  /** Until all that the device was given is done. */
  waitFor(device: number): number;
  /** How many threads the CPU's pool uses, 1 to 1024. */
  setThreads(n: number): void;
  limitIsa(name: string): number;
  /** How many elementwise programs there is machine code of. For tests, programs are from now on 0 interpreted, 1 compiled, 2 refused executable memory. */
  machineCode(mode?: 0 | 1 | 2): number;
  mapFile(path: string): ArrayBuffer | number;
}

export const native = load() as Native;

/** The library of a backend that is not in the addon: beside it, brasa_vulkan.so for brasa.node. Opens it; '' or the reason of failure. */
export function openBackend(name: string): string {
  const path = join(
    dirname(addon),
    basename(addon)
      .replace(/^brasa/, `brasa_${name}`)
      .replace(/node$/, 'so'),
  );
  if (!existsSync(path)) return 'not in this build';
  const reason = native.openLibrary(path);
  if (reason === '') process.once('exit', () => native.leave());
  return reason;
}
