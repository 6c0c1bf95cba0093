// Every kernel on arm64 (test/native/selftest), on whatever machine this is: cross-compiled and run under qemu on any other.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { cmake } from './cmake.mjs';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const native = process.arch === 'arm64';
const compiler = 'aarch64-linux-gnu-g++';
const emulator = 'qemu-aarch64';

if (!native) {
  const packages = { [compiler]: 'g++-aarch64-linux-gnu', [emulator]: 'qemu-user' };
  const missing = Object.keys(packages).filter((tool) => spawnSync(tool, ['--version']).status !== 0);
  if (missing.length > 0) {
    const names = missing.map((tool) => packages[tool]).join(' ');
    console.error(`brasa: ${missing.join(' and ')} missing for the arm64 tests; run: apt-get install -y ${names}`);
    process.exit(1);
  }
}
const definitions = [
  '-DCMAKE_SYSTEM_NAME=Linux',
  '-DCMAKE_SYSTEM_PROCESSOR=aarch64',
  `-DCMAKE_CXX_COMPILER=${compiler}`,
  '-DCMAKE_EXE_LINKER_FLAGS=-static',
  '-DCMAKE_COMPILE_WARNING_AS_ERROR=ON',
];
cmake('build/arm64', 'selftest', native ? [] : definitions);
const [command, ...args] = native ? ['build/arm64/selftest'] : [emulator, 'build/arm64/selftest'];
process.exit(spawnSync(command, args, { stdio: 'inherit' }).status ?? 1);
