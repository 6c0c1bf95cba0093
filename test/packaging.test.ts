// The package as its users get it: packed with a fresh prebuild, installed from the tarball in an empty folder, used from there.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const work = mkdtempSync(join(tmpdir(), 'brasa-packaging-'));
const clone = join(work, 'clone');
const app = join(work, 'app');
const installed = join(app, 'node_modules', 'brasa');
let tarball: string;
let packed: string[];
let binary: string; // prebuilds/<platform>-<arch>/brasa.<libc>.node

const run = (cwd: string, command: string, ...args: string[]) =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/** Bytes of all files below `path`. */
function size(path: string): number {
  const entry = statSync(path);
  return entry.isDirectory() ? readdirSync(path).reduce((sum, name) => sum + size(join(path, name)), 0) : entry.size;
}

beforeAll(() => {
  // Built in a copy: node-gyp empties build/, which other tests are using.
  for (const path of run(root, 'git', 'ls-files', '-co', '--exclude-standard').split('\n')) {
    if (path && existsSync(join(root, path))) {
      mkdirSync(dirname(join(clone, path)), { recursive: true });
      cpSync(join(root, path), join(clone, path));
    }
  }
  symlinkSync(join(root, 'node_modules'), join(clone, 'node_modules'));
  cpSync(join(root, 'dist'), join(clone, 'dist'), { recursive: true });
  run(clone, 'npm', 'run', 'prebuild');

  const [pack] = JSON.parse(run(clone, 'npm', 'pack', '--ignore-scripts', '--json'));
  packed = pack.files.map((file: { path: string }) => file.path);
  binary = packed.find((path) => /^prebuilds\/.*\.node$/.test(path)) ?? '';
  tarball = join(clone, pack.filename);

  mkdirSync(app);
  writeFileSync(join(app, 'package.json'), '{ "private": true }');
  run(app, 'npm', 'install', '--ignore-scripts=false', '--prefer-offline', '--omit=dev', tarball);
});

afterAll(() => rmSync(work, { recursive: true, force: true }));

test('the package holds what runs, and nothing to build', () => {
  expect(packed.filter((path) => path.endsWith('.node'))).toEqual([binary]);
  for (const path of ['dist/index.js', 'dist/index.d.ts', 'dist/cli/main.js', 'LICENSE', 'README.md', 'CHANGELOG.md']) {
    expect(packed).toContain(path);
  }
  expect(
    packed.filter((path) => !/^(dist|prebuilds)\/|^(LICENSE|README\.md|CHANGELOG\.md|package\.json)$/.test(path)),
  ).toEqual([]);
});

test('no install script exists or ran', () => {
  const lock = JSON.parse(readFileSync(join(app, 'package-lock.json'), 'utf8'));
  expect(Object.keys(lock.packages)).toContain('node_modules/brasa');
  expect(
    Object.entries(lock.packages).filter(([, entry]) => (entry as { hasInstallScript?: true }).hasInstallScript),
  ).toEqual([]);
  const { scripts } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  expect(Object.keys(scripts).filter((name) => /^(pre|post)?install$/.test(name))).toEqual([]);
  expect(existsSync(join(installed, 'build'))).toBe(false);
});

test('installed, with its dependencies, it is under 20 MB', () => {
  const megabytes = size(join(app, 'node_modules')) / 1e6;
  console.log(`installed size: ${megabytes.toFixed(1)} MB`);
  expect(megabytes).toBeGreaterThan(0.1);
  expect(megabytes).toBeLessThan(20);
});

test('publint finds nothing', async () => {
  const { messages, pkg } = await publint({ pkgDir: installed, pack: false, strict: true });
  expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
});

// One training step; prints the loss before and after it.
const body = `
manualSeed(0);
const model = new nn.Sequential(new nn.Linear(4, 8), relu, new nn.Linear(8, 3));
const optimizer = new SGD(model.parameters(), { lr: 0.1 });
const x = randn([16, 4]);
const y = tensor(new Int32Array(16).fill(1));
const loss = crossEntropy(model.forward(x), y);
loss.backward();
optimizer.step();
console.log(JSON.stringify([loss.item(), crossEntropy(model.forward(x), y).item()]));
`;

function expectTrained(output: string) {
  const [before, after] = JSON.parse(output) as [number, number];
  expect(after).toBeLessThan(before);
}

test('import trains a step', () => {
  const imports = `
    import { crossEntropy, manualSeed, randn, relu, tensor } from 'brasa';
    import 'brasa/data';
    import 'brasa/io';
    import 'brasa/metrics';
    import 'brasa/models';
    import * as nn from 'brasa/nn';
    import { SGD } from 'brasa/optim';
    import 'brasa/train';`;
  writeFileSync(join(app, 'app.mjs'), imports + body);
  expectTrained(run(app, process.execPath, 'app.mjs'));
});

test('require trains a step', () => {
  const requires = `
    const { crossEntropy, manualSeed, randn, relu, tensor } = require('brasa');
    const nn = require('brasa/nn');
    const { SGD } = require('brasa/optim');`;
  writeFileSync(join(app, 'app.cjs'), requires + body);
  expectTrained(run(app, process.execPath, '--no-warnings', 'app.cjs'));
});

test('a strict TypeScript consumer compiles, and trains a step', () => {
  const imports = `
    import { crossEntropy, manualSeed, randn, relu, type Tensor, tensor } from 'brasa';
    import * as data from 'brasa/data';
    import * as io from 'brasa/io';
    import * as metrics from 'brasa/metrics';
    import * as models from 'brasa/models';
    import * as nn from 'brasa/nn';
    import { SGD } from 'brasa/optim';
    import * as train from 'brasa/train';
    export const everything = [data, io, metrics, models, train];
    export const scale = (t: Tensor): Tensor => t.mul(2);`;
  const options = {
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    target: 'es2022',
    lib: ['es2022', 'esnext.disposable'],
    module: 'nodenext',
    types: ['node'],
    typeRoots: [join(root, 'node_modules', '@types')],
  };
  writeFileSync(join(app, 'app.mts'), imports + body);
  writeFileSync(join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['app.mts'] }));
  rmSync(join(app, 'app.mjs'), { force: true });
  run(app, process.execPath, join(root, 'node_modules', 'typescript', 'bin', 'tsc'));
  expectTrained(run(app, process.execPath, 'app.mjs'));
});

test('the command line starts', () => {
  expect(JSON.parse(run(app, join('node_modules', '.bin', 'brasa'), 'info', '--json'))).toMatchObject({
    version: JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version,
  });
});

test('without a binary there is one readable message', () => {
  const bare = join(work, 'bare');
  cpSync(app, bare, { recursive: true });
  rmSync(join(bare, 'node_modules', 'brasa', 'prebuilds'), { recursive: true });
  const script = "import('brasa').catch((error) => console.log(JSON.stringify([error.code, error.message])))";
  const [code, message] = JSON.parse(run(bare, process.execPath, '-e', script));
  expect(code).toBe('ERR_BRASA_NATIVE');
  expect(message).toContain(`brasa cannot start on ${process.platform}-${process.arch}`);
  expect(message).toContain(join('prebuilds', `${process.platform}-${process.arch}`));
  expect(message).toContain('npm install brasa');
});

test('a binary that does not load is named, with the reason', () => {
  const broken = join(work, 'broken');
  cpSync(app, broken, { recursive: true });
  const file = join('node_modules', 'brasa', binary);
  writeFileSync(join(broken, file), 'not a library');
  const script = "import('brasa').catch((error) => console.log(JSON.stringify([error.code, error.message])))";
  const [code, message] = JSON.parse(run(broken, process.execPath, '-e', script));
  expect(code).toBe('ERR_BRASA_NATIVE');
  expect(message).toContain(`${file} does not load: `);
});
