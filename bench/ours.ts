/**
 * The worker that times ours: {"case", "sample", "samples", "budget"} -> {"seconds"}; with "first": true, of the next call alone;
 * {"clear": true} drops what is kept.
 */
import { readFileSync } from 'node:fs';
import { register } from 'node:module';
import { createInterface } from 'node:readline';
import type { Pace } from './case.js';
import type { Json } from './worker.js';

register('./dist.mjs', import.meta.url);
const { collectGarbage, devices, emptyCache, synchronize } = await import('../lib/index.js');
const { findCase } = await import('./groups.js');
const { measure } = await import('./measure.js');

const prepared = new Map<string, () => unknown>();

/** The work of `group/name`, or of a part of it: `group/name#part`. */
function prepare(id: string): () => unknown {
  const [name, part = ''] = id.split('#');
  const work = prepared.get(id) ?? findCase(name!, Number(process.env.BRASA_THREADS)).make!(part);
  prepared.set(id, work);
  return work;
}

function answer(request: Json): Json {
  if (request.clear) {
    prepared.clear();
    collectGarbage(true);
    emptyCache();
    return {};
  }
  const work = prepare(String(request.case));
  if (!request.first) return { seconds: measure(work, request as unknown as Pace, synchronize) };
  const start = performance.now();
  work();
  synchronize();
  return { seconds: (performance.now() - start) / 1e3 };
}

const say = (line: Json) => process.stdout.write(`${JSON.stringify(line)}\n`);
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as Json;
say({ name: `brasa ${version}`, isa: devices()[0]!.isa });
for await (const line of createInterface({ input: process.stdin })) {
  try {
    say(answer(JSON.parse(line) as Json));
  } catch (error) {
    say({ error: (error as Error).message });
  }
}
