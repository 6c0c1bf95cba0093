// node tools/cmake.mjs DIR TARGET [-DNAME=VALUE…]: configures DIR and builds TARGET. For the builds that are not cmake-js's
// (binding.gyp, sanitizers). Relative output folders count from the repository's root.
import { execFileSync, spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** `target` is one name or several. */
export function cmake(dir, target, definitions = []) {
  const generator = spawnSync('ninja', ['--version']).status === 0 ? ['-G', 'Ninja'] : [];
  const run = (args) => execFileSync('cmake', args, { cwd: root, stdio: 'inherit' });
  run(['-S', '.', '-B', dir, '-DCMAKE_BUILD_TYPE=Release', ...generator, ...definitions]);
  run(['--build', dir, '--target', ...[target].flat(), '--parallel', String(availableParallelism())]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [dir, target, ...definitions] = process.argv.slice(2);
  cmake(dir, target, definitions);
}
