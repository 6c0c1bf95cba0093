// Loads the native library: the only file that knows Node-API exists.
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
// lib/ and dist/ are both one folder below the package's root.
const root = dirname(dirname(fileURLToPath(import.meta.url)));

function libc(): string {
  if (process.platform !== 'linux') return '';
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime ? ` (glibc ${header.glibcVersionRuntime})` : ' (musl)';
}

function failure(what: string, advice: string, cause: unknown): Error {
  const message = `brasa cannot start on ${process.platform}-${process.arch}${libc()}: ${what}\n${advice}`;
  return Object.assign(new Error(message, { cause }), { code: 'ERR_BRASA_NATIVE' });
}

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
  try {
    return require(file);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw failure(`${file} does not load: ${reason}.`, 'Build it for this machine, in a clone: npm ci', error);
  }
}

export const native = load() as Record<string, never>;
