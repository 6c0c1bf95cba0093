// Imports point down the layers of docs/architecture.md, types included. `node tools/check-layers.mjs` exits 1 and lists those that do not.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path/posix';
import { fileURLToPath } from 'node:url';

// Top to bottom; the names of one line may import one another. A name is a file or a folder of lib/.
const layers = [
  ['index'],
  ['cli'],
  ['train', 'models'],
  ['nn', 'optim', 'data', 'metrics', 'io'],
  ['methods'],
  ['transforms'],
  ['graph', 'autograd'],
  ['ops'],
  ['core'],
  ['native', 'place'],
];
const rank = (path) => {
  const name = path.match(/^lib\/([^/.]+)/)?.[1];
  return layers.findIndex((layer) => layer.includes(name));
};

// import … from 'x', export … from 'x', import 'x', import('x'); comments are dropped first.
const specifiers = (text) => {
  const code = text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
  return [...code.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*['"]([^'"\n]+)['"]/g)].map((match) => match[1]);
};

function checkTypeScript(path, text) {
  const from = rank(path);
  if (from < 0) return [`${path}: no layer of tools/check-layers.mjs holds this file`];
  return specifiers(text).flatMap((specifier) => {
    if (specifier === 'brasa' || specifier.startsWith('brasa/'))
      return [`${path}: imports its own package, '${specifier}'`];
    if (!specifier.startsWith('.')) return [];
    const to = join(dirname(path), specifier).replace(/\.js$/, '.ts');
    if (!to.startsWith('lib/')) return [`${path}: imports ${to}, outside lib/`];
    return rank(to) < from ? [`${path}: imports ${to}, a layer above`] : [];
  });
}

// Node-API stays in addon.cc, addon_table.cc and their napi.h; backends do not include one another, and what they share includes none but through device.cc.
function checkNative(path, text) {
  const backend = (name) => name.match(/^native\/(cpu|cuda|vulkan)\//)?.[1];
  return [...text.matchAll(/^\s*#include\s*["<]([^">]+)[">]/gm)].flatMap(([, included]) => {
    if (
      /^(node_api|js_native_api|napi|uv|v8)/.test(included) &&
      !/^native\/(addon(_table)?\.(cc|h)|napi\.h)$/.test(path)
    ) {
      return [`${path}: includes ${included}, which native/addon.cc and addon_table.cc alone may`];
    }
    const to = backend(join(dirname(path), included));
    return to && backend(path) && to !== backend(path) ? [`${path}: includes ${included}, another backend's`] : [];
  });
}

/** What breaks the rule, one line each. `files`: path from the root -> text. */
export function violations(files) {
  return Object.entries(files).flatMap(([path, text]) => {
    if (path.startsWith('lib/') && path.endsWith('.ts')) return checkTypeScript(path, text);
    return /^native\/.*\.(cc|h|inl|def)$/.test(path) ? checkNative(path, text) : [];
  });
}

/** The repository's own sources. */
export function sources() {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const list = execFileSync('git', ['ls-files', '-co', '--exclude-standard', 'lib', 'native'], {
    cwd: root,
    encoding: 'utf8',
  });
  const paths = list.split('\n').filter((path) => path && existsSync(join(root, path)));
  return Object.fromEntries(paths.map((path) => [path, readFileSync(join(root, path), 'utf8')]));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const found = violations(sources());
  for (const line of found) console.error(line);
  process.exit(found.length > 0 ? 1 : 0);
}
