import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

// `npm test` runs the quick project in under 5 minutes on two cores; `npm run test:all` the slow ones too; `npm run test:nightly`
// more random graphs, and Vulkan's tests under synchronization validation.
const slow = ['packaging', 'bench', 'models-full', 'vulkan-*'].map((name) => `test/${name}.test.ts`);
/** Tests of the CPU that run on Vulkan too. */
const onVulkan = [
  'autograd',
  'compile',
  'control*',
  'epilogue',
  'graphs',
  'layout',
  'ops',
  'optim',
  'recompute',
  'second',
].map((name) => `test/${name}.test.ts`);
const vulkan = { include: onVulkan, setupFiles: ['test/vulkan/setup.ts'], testTimeout: 300_000 };
const lib = fileURLToPath(new URL('lib', import.meta.url));

export default defineConfig({
  resolve: {
    alias: [
      { find: /^brasa$/, replacement: `${lib}/index.ts` },
      { find: /^brasa\/(.+)$/, replacement: `${lib}/$1/index.ts` },
    ],
  },
  test: {
    projects: [
      { extends: true, test: { name: 'quick', include: ['test/**/*.test.ts'], exclude: slow, testTimeout: 60_000 } },
      { extends: true, test: { name: 'slow', include: slow, testTimeout: 900_000, hookTimeout: 900_000 } },
      { extends: true, test: { name: 'vulkan', ...vulkan, env: { GRAPHS: '100', GRAPHS_SEED: '1' } } },
      { extends: true, test: { name: 'vulkan-nightly', ...vulkan, env: { BRASA_VULKAN_VALIDATION: 'sync' } } },
      { extends: true, test: { name: 'nightly', include: ['test/graphs.test.ts'], env: { GRAPHS: '10000' } } },
    ],
  },
});
