// Writes the methods of Tensor into dist/methods.d.ts one by one, each with its function's doc comment: editors show no
// documentation for members of a mapped type. Runs after tsc.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

const file = 'dist/methods.d.ts';
const text = readFileSync(file, 'utf8');
const free = new Set([...text.match(/const free: readonly \[([^\]]*)\]/)[1].matchAll(/'(\w+)'/g)].map((m) => m[1]));

/** Exported functions of a source file with their doc comments (the last before the declaration). */
function documented(path) {
  const source = readFileSync(path, 'utf8');
  const found = new Map();
  for (const match of source.matchAll(
    /(\/\*\*(?:(?!\*\/)[\s\S])*\*\/)\n(?:\/\/[^\n]*\n)*export (?:async )?(?:const|function) (\w+)/g,
  )) {
    if (!found.has(match[2])) found.set(match[2], match[1]);
  }
  return found;
}

/** Names that a declaration file exports as values. */
function exported(path) {
  const declarations = readFileSync(path, 'utf8');
  return new Set([...declarations.matchAll(/^export declare (?:const|function) (\w+)/gm)].map((m) => m[1]));
}

const members = [];
const own = new Set(['data', 'dataSync']);
for (const [, name] of text.matchAll(/Attach<typeof (\w+)>/g)) {
  if (name === 'rest') continue;
  const docs = documented(`lib/ops/${name}.ts`);
  for (const op of exported(`dist/ops/${name}.d.ts`)) {
    if (free.has(op) || own.has(op)) continue;
    own.add(op);
    members.push(`        ${docs.get(op) ?? ''}\n        ${op}: Method<(typeof ${name})['${op}']>;`);
  }
}
const others = new Map();
for (const folder of ['ops', 'core', 'autograd']) {
  for (const path of readdirSync(`lib/${folder}`))
    for (const [name, doc] of documented(`lib/${folder}/${path}`)) others.set(name, doc);
}
for (const op of text.match(/declare const rest: \{([^}]*)\}/)[1].matchAll(/(\w+): typeof/g)) {
  members.push(`        ${others.get(op[1]) ?? ''}\n        ${op[1]}: Method<typeof ${op[1]}>;`);
}
const missing = members.filter((member) => !member.includes('/**')).map((member) => member.trim());
if (missing.length > 0) throw new Error(`methods without a doc comment:\n${missing.join('\n')}`);
const data = others.get('dataSync') ?? '';
writeFileSync(
  file,
  text
    .replace(/interface Tensor extends [^{]*\{/, `interface Tensor {\n${members.join('\n')}`)
    .replace(/(\n\s*)(data\(\): Promise)/, `$1${others.get('data')}$1$2`)
    .replace(/(\n\s*)(dataSync\(\): read)/, `$1${data}$1$2`),
);
