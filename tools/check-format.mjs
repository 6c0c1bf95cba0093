// clang-format over native/ and test/native/: `--fix` rewrites, otherwise any difference is an error.
import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const cwd = fileURLToPath(new URL('..', import.meta.url));
const tool = ['clang-format-14', 'clang-format'].find((name) => spawnSync(name, ['--version']).status === 0);
if (!tool) {
  console.error('clang-format is missing; run: apt-get install -y clang-format');
  process.exit(1);
}
const patterns = ['cc', 'h', 'inl'].flatMap((end) => [`native/*.${end}`, `test/native/*.${end}`]);
const files = execFileSync('git', ['ls-files', ...patterns], { cwd, encoding: 'utf8' })
  .split('\n')
  .filter(Boolean);
const mode = process.argv.includes('--fix') ? ['-i'] : ['--dry-run', '-Werror'];
process.exit(spawnSync(tool, [...mode, ...files], { cwd, stdio: 'inherit' }).status ?? 1);
