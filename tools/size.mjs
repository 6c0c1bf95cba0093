// Lines per folder, and the change against a commit (HEAD~1 unless named): what each change weighs.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const cwd = fileURLToPath(new URL('..', import.meta.url));
const against = process.argv[2] ?? 'HEAD~1';
const folders = ['lib', 'native', 'test', 'bench', 'examples', 'tools'];

/** Folder (two levels deep) -> lines of text, in a commit or in the work tree. */
function lines(commit) {
  const args = ['grep', '-Ic', ...(commit ? ['', commit] : ['--untracked', '']), '--', ...folders];
  const counts = {};
  for (const line of spawnSync('git', args, { cwd, encoding: 'utf8', maxBuffer: 1 << 26 })
    .stdout.split('\n')
    .filter(Boolean)) {
    const [path, count] = line.split(':').slice(-2);
    const parts = path.split('/');
    const folder = parts.slice(0, Math.min(2, parts.length - 1)).join('/');
    counts[folder] = (counts[folder] ?? 0) + Number(count);
  }
  return counts;
}

const now = lines();
const then = lines(against);
const row = (name, count, change) =>
  console.log(
    `${name.padEnd(20)}${String(count).padStart(8)}${(change > 0 ? `+${change}` : change < 0 ? `${change}` : '').padStart(8)}`,
  );
let total = 0;
let before = 0;
for (const folder of [...new Set([...Object.keys(now), ...Object.keys(then)])].sort()) {
  const [count, old] = [now[folder] ?? 0, then[folder] ?? 0];
  row(folder, count, count - old);
  total += count;
  before += old;
}
row('total', total, total - before);
