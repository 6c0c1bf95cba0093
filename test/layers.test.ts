import { expect, test } from 'vitest';
import { sources, violations } from '../tools/check-layers.mjs';

test('the sources keep to the layers', () => {
  const files = sources();
  expect(Object.keys(files)).toContain('lib/native.ts');
  expect(Object.keys(files)).toContain('native/addon.cc');
  expect(violations(files)).toEqual([]);
});

test.each([
  ['lib/core/tensor.ts', "import { add } from '../ops/elementwise.js';", 'lib/ops/elementwise.ts, a layer above'],
  ['lib/core/tensor.ts', "import type { Tape } from '../autograd/tape.js';", 'lib/autograd/tape.ts, a layer above'],
  ['lib/ops/view.ts', "export * from '../methods.js';", 'lib/methods.ts, a layer above'],
  ['lib/nn/linear.ts', "const fit = await import('../train/fit.js');", 'lib/train/fit.ts, a layer above'],
  ['lib/nn/linear.ts', "import '../index.js';", 'lib/index.ts, a layer above'],
  ['lib/nn/linear.ts', "import {\n  tensor,\n} from 'brasa';", "its own package, 'brasa'"],
  ['lib/io/npy.ts', "import { rows } from '../../test/samples.js';", 'test/samples.ts, outside lib/'],
  ['lib/extra/file.ts', '', 'no layer'],
  ['native/program.cc', '#include <node_api.h>', 'which native/addon.cc and addon_table.cc alone may'],
  ['native/cuda/backend.cc', '#include "../cpu/kernel.h"', "another backend's"],
])('%s: %s', (path, text, message) => {
  const found = violations({ [path]: text });
  expect(found).toHaveLength(1);
  expect(found[0]).toContain(message);
});

test.each([
  ['lib/train/fit.ts', "import { Adam } from '../optim/adam.js';\nimport { join } from 'node:path';"],
  ['lib/index.ts', "export { add } from './ops/elementwise.js';"],
  ['lib/core/tensor.ts', "// as in import { add } from '../ops/elementwise.js'\n/* from '../index.js' */"],
  ['native/cpu/gemm.inl', '#include "../backend.h"\n#include "kernel.h"'],
])('%s may: %s', (path, text) => {
  expect(violations({ [path]: text })).toEqual([]);
});
