// lib/ as a few files of JavaScript in dist/: one for each entry of package.json's exports, and what they share in chunks. Node
// loads them twice as fast as a file for each module.
import { readFileSync } from 'node:fs';
import { build } from 'esbuild';

const { exports, bin } = JSON.parse(readFileSync('package.json', 'utf8'));
const entries = [...Object.values(exports).flatMap((entry) => entry.default ?? []), ...Object.values(bin)];
await build({
  // The worker is started by its path.
  entryPoints: [...entries, './dist/data/worker.js'].map((path) =>
    path.replace(/^(\.\/)?dist\/(.*)\.js$/, 'lib/$2.ts'),
  ),
  outdir: 'dist',
  outbase: 'lib',
  bundle: true,
  splitting: true,
  packages: 'external',
  platform: 'node',
  target: 'node20',
  format: 'esm',
  logLevel: 'warning',
});
