// Run before `npm start` and `npm test`: says so when the build is not there (npm ci with ignore-scripts leaves none).
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const addon =
  existsSync('build/Release/brasa.node') || (existsSync('prebuilds') && readdirSync('prebuilds').length > 0);
const missing = [
  ...(addon ? [] : ['the native library (build/Release/brasa.node)']),
  ...(existsSync('dist/index.js') ? [] : ['dist/']),
];
if (missing.length > 0) {
  console.error(`brasa: ${missing.join(' and ')} not built yet; run: npm run prepare`);
  process.exit(1);
}
