// Every kernel against plain loops (test/native/selftest), as built by `npm run prepare`: the CPU's of each instruction set that this machine has,
// and, where Vulkan was built, those of its devices.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
execFileSync('cmake', ['--build', 'build', '--target', 'selftest'], { stdio: 'inherit' });

const vulkan = 'build/Release/brasa_vulkan.so';
const sets = process.arch === 'x64' ? [['v2'], ['avx2'], ['v4']] : [[]];
if (existsSync(vulkan)) sets.push([vulkan]);
else console.log(`selftest: no ${vulkan}, its kernels were not run`);
let failed = false;
for (const args of sets) {
  const { status } = spawnSync('build/selftest', args, { stdio: 'inherit' });
  // 2: said why there is nothing to run
  if (status !== 0 && status !== 2) failed = true;
}
process.exitCode = failed ? 1 : 0;
