// node tools/sanitize.mjs address [vitest arguments]: under AddressSanitizer and UBSan the kernels' selftest, on the baseline instruction set,
// then the addon through the tests named in package.json.
// node tools/sanitize.mjs thread: the thread pool and calls in flight under ThreadSanitizer, at several thread counts.
import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { cmake } from './cmake.mjs';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const [kind, ...rest] = process.argv.slice(2);

function run(command, args, env) {
  const { status } = spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, ...env } });
  if (status !== 0) process.exit(status ?? 1);
}

if (kind === 'thread') {
  const tests = ['pool_test', 'jobs_test'];
  cmake('build/tsan', tests, ['-DBRASA_SANITIZE=thread']);
  for (const threads of ['1', '2', '4', '8'])
    for (const test of tests) run(`build/tsan/${test}`, [], { BRASA_THREADS: threads });
} else {
  // node-gyp-build looks for <BRASA_PREBUILD>/build/Release/*.node before anything else.
  const output = `${process.cwd()}/build/asan/build/Release`;
  cmake(
    'build/asan',
    ['brasa', 'selftest'],
    ['-DBRASA_SANITIZE=address,undefined', `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${output}`],
  );
  const runtime = execFileSync(process.env.CXX ?? 'c++', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
  run('build/asan/selftest', process.arch === 'x64' ? ['v2'] : [], { UBSAN_OPTIONS: 'print_stacktrace=1' });
  run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...rest], {
    BRASA_PREBUILD: `${process.cwd()}/build/asan`,
    GRAPHS: '40', // of the random ones; each compiles twice
    GRAPHS_SEED: '1',
    LD_PRELOAD: runtime,
    // V8 keeps what it has until the process ends; a request for terabytes is refused as the system would.
    ASAN_OPTIONS: 'detect_leaks=0:allocator_may_return_null=1',
    UBSAN_OPTIONS: 'print_stacktrace=1',
  });
}
