/** The worker that times ours: {"case", "sample", "samples", "budget"} -> {"seconds"}; {"clear": true} drops the case. */
import { readFileSync } from 'node:fs';
import { register } from 'node:module';
import { createInterface } from 'node:readline';
import type { Pace } from './case.js';
import type { Json } from './worker.js';

register('./dist.mjs', import.meta.url);
const { collectGarbage, devices, emptyCache } = await import('../lib/index.js');
const { findCase } = await import('./groups.js');
const { measure } = await import('./measure.js');

let prepared: { id: string; work: () => unknown } | null = null;

function answer(request: Json): Json {
  if (request.clear) {
    prepared = null;
    collectGarbage(true);
    emptyCache();
    return {};
  }
  const id = String(request.case);
  if (prepared?.id !== id) prepared = { id, work: findCase(id, Number(process.env.BRASA_THREADS)).make!() };
  return { seconds: measure(prepared.work, request as unknown as Pace) };
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
