/**
 * docs/ops.md is what `brasa info --ops` tells. After a change: `npx vitest run --project quick test/coverage.test.ts -u`, where there is
 * a Vulkan device. Where there is none its column is as it was, and that is said.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type Coverage, coverage, table } from '../lib/cli/ops.js';
import { whyMissing } from '../lib/core/device.js';

const path = new URL('../docs/ops.md', import.meta.url);
const reason = whyMissing('vulkan');
if (reason !== '') console.log(`no Vulkan device here, its column of docs/ops.md is not compared: ${reason}`);

const page = (list: readonly Coverage[]) => `# Ops by device

How each op runs, as \`brasa info --ops\` tells of the devices of a machine (test/coverage.test.ts writes and compares this page):

- elementwise: an instruction of an elementwise program, alone or fused with others;
- kernel: a kernel of its own;
- decomposed: as the ops that it is made of; what compile() would fuse into one kernel (\`…Then\`) stays apart;
- view: no memory is touched;
- refused: a DTypeError.

A device takes every type that the op takes on the CPU, save those that \`brasa info\` says it lacks.

${table(list, { cpu: 'CPU', vulkan: 'Vulkan' })}
`;

test('docs/ops.md is up to date', async () => {
  const old = new Map(
    readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('| `'))
      .map((line) => {
        const [, op, , , vulkan] = line.split('|').map((cell) => cell.trim());
        return [op!.slice(1, -1), vulkan!] as const;
      }),
  );
  const list = coverage().map((row) => {
    const there = Object.entries(row.on).find(([id]) => id.startsWith('vulkan'))?.[1];
    return { ...row, on: { cpu: row.on.cpu!, vulkan: there ?? (old.get(row.op) as 'kernel') ?? 'refused' } };
  });
  expect(list.filter(({ on }) => on.cpu === 'refused' || on.vulkan === 'refused')).toEqual([]);
  await expect(page(list)).toMatchFileSnapshot(path.pathname);
});
