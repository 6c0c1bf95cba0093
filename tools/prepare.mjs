// Builds a clone: the native library (build/), lib/ (dist/: declarations and a bundle) and examples/ (dist/examples). Run by `npm run prepare`, and by npm
// itself after `npm ci` (never for an installed package). Imports no package: it must be able to say what is missing.
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);

// ---- what must be there

const output = (command, args, input) => {
  const { status, stdout } = spawnSync(command, args, { input, encoding: 'utf8' });
  return status === 0 ? stdout : null;
};
const atLeast = (version, major, minor) => {
  const [a, b] = version.split('.').map(Number);
  return a > major || (a === major && b >= minor);
};
const found = (command) => output('sh', ['-c', `command -v ${command}`]) !== null;

// The kernels need C++17 and half-precision floats on the oldest instruction set.
const probe = 'struct A { static inline int x = 1; }; using half = _Float16; float f(half x) { return x; }';
const compiles = (command) => {
  const march = process.arch === 'x64' ? ['-march=x86-64-v2'] : [];
  return output(command, ['-x', 'c++', '-std=c++17', ...march, '-fsyntax-only', '-'], probe) !== null;
};

/** The command that installs `tools`, for the package manager this machine has. */
function installCommand(tools) {
  const managers = {
    'apt-get': { command: 'apt-get install -y', cmake: 'cmake', compiler: 'g++', make: 'ninja-build' },
    dnf: { command: 'dnf install -y', cmake: 'cmake', compiler: 'gcc-c++', make: 'ninja-build' },
    apk: { command: 'apk add', cmake: 'cmake', compiler: 'g++', make: 'ninja' },
    pacman: { command: 'pacman -S --noconfirm', cmake: 'cmake', compiler: 'gcc', make: 'ninja' },
    brew: { command: 'brew install', cmake: 'cmake', compiler: 'llvm', make: 'ninja' },
  };
  const name = Object.keys(managers).find(found);
  if (!name) return 'install them with your package manager';
  const sudo = name !== 'brew' && process.getuid?.() !== 0 ? 'sudo ' : '';
  return `run: ${sudo}${managers[name].command} ${tools.map((tool) => managers[name][tool]).join(' ')}`;
}

function check() {
  if (!atLeast(process.versions.node, 20, 19)) {
    return `Node ${process.versions.node} is too old: brasa needs Node >= 20.19 (https://nodejs.org)`;
  }
  const missing = {};
  const cmake = output('cmake', ['--version'])?.match(/\d+\.\d+/)?.[0];
  if (!cmake || !atLeast(cmake, 3, 21)) missing.cmake = `cmake >= 3.21${cmake ? ` (this is ${cmake})` : ''}`;
  const compiler = process.env.CXX ?? ['c++', 'g++', 'clang++'].find(found);
  if (!compiler || !compiles(compiler)) {
    missing.compiler = `a C++ compiler (g++ >= 12 or clang++ >= 15)${compiler ? `; ${compiler} is too old` : ''}`;
  }
  if (!['ninja', 'make'].some(found)) missing.make = 'ninja or make';
  const tools = Object.keys(missing);
  if (tools.length > 0) return `the build needs ${Object.values(missing).join(', ')}; ${installCommand(tools)}`;
  if (!['typescript', 'esbuild', 'cmake-js', 'node-api-headers'].every((name) => existsSync(`node_modules/${name}`))) {
    return 'the development packages are missing (TypeScript, cmake-js); run: npm ci --include=dev';
  }
  return null;
}

// ---- the build

const seconds = (from) => `${((Date.now() - from) / 1000).toFixed(0)} s`;

/** Runs a Node script quietly: on a terminal one line that counts, elsewhere a line at the end; its output only if it fails. */
function step(name, script, args) {
  const start = Date.now();
  const log = [];
  let progress = '';
  const draw = () => process.stdout.write(`\r\x1b[Kbrasa: ${name}${progress}, ${seconds(start)}`);
  const timer = process.stdout.isTTY ? setInterval(draw, 500) : null;
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const listen = (chunk) => {
    log.push(chunk);
    const counts = String(chunk).match(/^\[\s*(\d+\/\d+|\d+%)\]/gm); // ninja's or make's
    if (counts) progress = ` ${counts.at(-1)}`;
  };
  child.stdout.on('data', listen);
  child.stderr.on('data', listen);
  return new Promise((resolve) => {
    child.on('close', (code) => {
      clearInterval(timer);
      if (timer) process.stdout.write('\r\x1b[K');
      if (code !== 0) {
        process.stdout.write(Buffer.concat(log));
        fail(`the build of the ${name} failed`);
      }
      console.log(`brasa: ${name} built in ${seconds(start)}`);
      resolve();
    });
  });
}

function fail(message) {
  console.error(`brasa: ${message}`);
  process.exit(1);
}

const problem = check();
if (problem) fail(problem);

// A clone that was moved: CMake refuses the old cache.
const cache = 'build/CMakeCache.txt';
if (
  existsSync(cache) &&
  !readFileSync(cache, 'utf8').includes(`brasa_SOURCE_DIR:STATIC=${root.replace(/\/$/, '')}\n`)
) {
  rmSync('build', { recursive: true });
}

const require = createRequire(import.meta.url);
const cmakeJs = require.resolve('cmake-js/bin/cmake-js');
const tsc = 'node_modules/typescript/bin/tsc';
// Kernels for this machine; BRASA_SETS=all adds the other instruction sets, as in the binaries that are published.
const sets = `--CDBRASA_SETS=${process.env.BRASA_SETS ?? 'native'}`;
await step('native library', cmakeJs, ['build', sets, '--parallel', String(availableParallelism())]);
rmSync('dist', { recursive: true, force: true });
await step('TypeScript', tsc, ['-p', 'tsconfig.build.json']);
await step('JavaScript', 'tools/bundle.mjs', []);
await step('documentation of methods', 'tools/methods.mjs', []);
chmodSync('dist/cli/main.js', 0o755);
await step('examples', tsc, ['-p', 'tsconfig.examples.json']);
