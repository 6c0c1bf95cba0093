// prebuilds/<platform>-<arch>/brasa.<libc>.node, the library that the package ships, through prebuildify and binding.gyp; and beside it
// the libraries of other backends that were built with it, as brasa_vulkan.<libc>.so.
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
// node-gyp wants Node's headers even for a target that compiles nothing: those beside this Node spare a download.
const prefix = dirname(dirname(process.execPath));
const headers = existsSync(`${prefix}/include/node/common.gypi`) ? { npm_config_nodedir: prefix } : {};
const args = ['node_modules/prebuildify/bin.js', '--napi', '--strip', '--tag-libc'];
const { status } = spawnSync(process.execPath, args, { stdio: 'inherit', env: { ...process.env, ...headers } });
if (status !== 0) process.exit(status ?? 1);

const folder = `prebuilds/${process.platform}-${process.arch}`;
const [addon] = readdirSync(folder).filter((name) => /^brasa\..*node$/.test(name));
for (const name of readdirSync('build/Release').filter((file) => /^brasa_\w+\.so$/.test(file))) {
  const copy = `${folder}/${addon.replace(/^brasa/, name.slice(0, -3)).replace(/node$/, 'so')}`;
  copyFileSync(`build/Release/${name}`, copy);
  if (process.platform === 'linux') execFileSync('strip', ['--strip-unneeded', copy]);
}
for (const name of readdirSync(folder)) {
  let needs = '';
  if (process.platform === 'linux') {
    const symbols = execFileSync('objdump', ['-T', `${folder}/${name}`], { encoding: 'utf8', maxBuffer: 1 << 26 });
    const versions = [...symbols.matchAll(/GLIBC_2\.(\d+)/g)].map((match) => Number(match[1]));
    if (versions.length > 0) needs = `, needs glibc >= 2.${Math.max(...versions)}`;
  }
  console.log(`${folder}/${name}: ${(statSync(`${folder}/${name}`).size / 1e6).toFixed(1)} MB${needs}`);
}
