/**
 * What goes wrong on Vulkan, and what lasts: each test is a process of its own, in which the device pretends (BRASA_VULKAN_PRETEND)
 * to fail. They run over dist/.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { device, vulkan } from './vulkan/compare.js';

const folder = mkdtempSync(join(tmpdir(), 'brasa-vulkan-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const dist = new URL('../dist/index.js', import.meta.url).href;
const root = fileURLToPath(new URL('..', import.meta.url));

/** Runs the body of a module, in which `b` is brasa and `device` the device; answers what it prints as JSON. */
function run<T>(body: string, env: Record<string, string> = {}): T {
  const script = `import * as b from '${dist}';
    const device = '${device}';
    const caught = (f) => { try { f(); return null; } catch (e) { return { name: e.constructor.name, message: e.message, code: e.code }; } };
    const say = (x) => console.log(JSON.stringify(x));
    ${body}`;
  const out = execFileSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', script], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, BRASA_VULKAN_CACHE: '0', BRASA_VULKAN_PRETEND: '', ...env },
  });
  return JSON.parse(out) as T;
}

interface Caught {
  name: string;
  message: string;
  code: string;
}

vulkan('a device that fails', () => {
  test('lost: every use is a DeviceError that says so, and the CPU goes on', () => {
    const { first, later, program, fresh, sum } = run<
      Record<'first' | 'later' | 'program' | 'fresh', Caught> & { sum: number }
    >(
      `const x = b.ones([1000], { device });
      const step = b.compile((x) => b.mul(x, 2));
      step(x).dataSync();
      const lose = () => { for (let i = 0; i < 100; i++) b.exp(x).dataSync(); };
      const first = caught(lose);
      const later = caught(() => b.add(x, 1).dataSync());
      const program = caught(() => step(x).dataSync());
      const fresh = caught(() => b.tensor([1, 2], { device }));
      x.dispose();
      say({ first, later, program, fresh, sum: b.sum(b.ones([10])).item() });`,
      { BRASA_VULKAN_PRETEND: 'lost=20' },
    );
    for (const error of [first, later, program, fresh]) {
      expect(error).toMatchObject({ name: 'DeviceError', code: 'ERR_BRASA_DEVICE' });
      expect(error.message).toContain(`${device} is lost (vkQueueSubmit`);
      expect(error.message).toContain("others, as 'cpu', go on");
    }
    expect(sum).toBe(10);
  });

  test('out of memory: an OutOfMemoryError with the size, and what was freed serves again', () => {
    const { eager, program, after } = run<{ eager: Caught; program: Caught; after: number }>(
      `const kept = [];
      const fill = () => { for (let i = 0; i < 100; i++) kept.push(b.ones([1024, 1024], { device })); };
      const eager = caught(fill);
      const step = b.compile((x) => b.matmul(b.matmul(x, x), x));
      const program = caught(() => step(kept[0]));
      for (const x of kept) x.dispose();
      say({ eager, program, after: b.sum(step(b.zeros([256, 256], { device })), null).item() });`,
      { BRASA_VULKAN_PRETEND: 'memory=128' },
    );
    expect(eager).toMatchObject({ name: 'OutOfMemoryError', code: 'ERR_BRASA_OUT_OF_MEMORY' });
    expect(eager.message).toContain(`no memory for (1024,1024) f32 on ${device}`);
    expect(program).toMatchObject({ name: 'OutOfMemoryError' });
    expect(after).toBe(0);
  });

  test('a feature that is not there: no such device, and why', () => {
    const { error, devices } = run<{ error: Caught; devices: string[] }>(
      'say({ error: caught(() => b.ones([2], { device })), devices: b.devices().map(({ id }) => id) });',
      { BRASA_VULKAN_PRETEND: 'no-i64' },
    );
    expect(devices).toEqual(['cpu']);
    expect(error).toMatchObject({ name: 'DeviceError' });
    expect(error.message).toMatch(/cannot be used: it has no 64-bit integers; there is: cpu/);
  });
});

vulkan('which devices there are', () => {
  test('without a driver: why, and what to do', () => {
    const error = run<Caught>('say(caught(() => b.ones([2], { device })));', { VK_ICD_FILENAMES: '/none' });
    expect(error).toMatchObject({ name: 'DeviceError' });
    expect(error.message).toContain(
      'is not available: no Vulkan driver: install that of the GPU (Mesa: mesa-vulkan-drivers)',
    );
  });

  /** The driver of the first device; a copy of its description under another name makes it two. */
  const driver = () => {
    const folders = ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d'].filter((path) => existsSync(path));
    const files = folders.flatMap((path) => readdirSync(path).map((file) => join(path, file)));
    return files.find((file) => /lvp|lavapipe/.test(file));
  };
  test.skipIf(driver() === undefined)('two: by their numbers, apart', () => {
    const twin = join(folder, 'twin.json');
    writeFileSync(twin, readFileSync(driver()!));
    const found = run<{ ids: string[]; types: string[]; moved: number[]; apart: Caught; plain: Caught }>(
      `const x = b.tensor([1, 2], { device: 'vulkan:0' });
      const y = b.tensor([3, 4], { device: 'vulkan:1' });
      const list = b.devices().filter(({ id }) => id.startsWith('vulkan'));
      say({
        ids: list.map(({ id }) => id),
        types: list.map(({ type }) => type),
        moved: Array.from(b.add(x.to('vulkan:1'), y).dataSync()),
        apart: caught(() => b.add(x, y)),
        plain: caught(() => b.ones([1], { device: 'vulkan' })),
      });`,
      { VK_ICD_FILENAMES: `${driver()}:${twin}` },
    );
    expect(found).toMatchObject({ ids: ['vulkan:0', 'vulkan:1'], types: ['cpu', 'cpu'], moved: [4, 6] });
    expect(found.apart).toMatchObject({ name: 'DeviceError' });
    expect(found.apart.message).toContain("operands are on vulkan:0 and vulkan:1: move one with .to('vulkan:0')");
    expect(found.plain.message).toMatch(/'vulkan' is a GPU, and here is only .* which computes on the CPU/);
  });
});

vulkan('what is made is destroyed', () => {
  test('2,000 programs and as many plans leave nothing of the driver and no memory', () => {
    const { before, after } = run<Record<'before' | 'after', { objects: number; bytes: number; blocks: number }>>(
      `const state = () => {
        const { liveBytes: bytes, liveBlocks: blocks } = b.memoryStats(device);
        return { objects: b.devices().find(({ id }) => id === device).objects, bytes, blocks };
      };
      const turn = () => new Promise(setImmediate);
      const x = b.ones([64, 8], { device });
      const w = b.ones([8, 8], { device });
      const once = () => b.scope(() => {
        const step = b.compile((x) => b.sum(b.softmax(b.matmul(b.exp(x), w), 1)));
        step(x);
        step(x).item();
      });
      for (let i = 0; i < 20; i++) once();
      const settle = async () => { for (let i = 0; i < 10; i++) { gc(); await turn(); } b.ones([1], { device }).dispose(); };
      await settle();
      const before = state();
      for (let i = 0; i < 2000; i++) { once(); if (i % 100 === 0) await settle(); }
      await settle();
      say({ before, after: state() });`,
    );
    expect(before.objects).toBeGreaterThan(0);
    expect(after).toEqual(before);
  });

  test('2,000 devices, each with programs, leave nothing of the driver', () => {
    const { objects, sums, cached } = run<{ objects: number[]; sums: number[]; cached: number }>(
      `const objects = () => b.devices().find(({ id }) => id === device).objects;
      const sums = new Set();
      const once = () => {
        const step = b.compile((x) => b.sum(b.exp(x)));
        b.scope(() => { sums.add(step(b.ones([8], { device })).item()); });
        step.dispose();
        b.closeDevice(device);
      };
      once();
      const before = objects();
      for (let i = 0; i < 1999; i++) once();
      say({ objects: [before, objects()], sums: [...sums], cached: b.memoryStats(device).cachedBytes });`,
    );
    expect(objects).toEqual([0, 0]);
    expect(sums).toHaveLength(1);
    expect(sums[0]).toBeCloseTo(8 * Math.E, 4);
    expect(cached).toBe(0);
  });

  test('a device in use is not closed, and one that was lost serves again once it was', () => {
    const { held, program, cpu, lost, sum } = run<
      Record<'held' | 'program' | 'cpu' | 'lost', Caught> & { sum: number }
    >(
      `let x = b.ones([1000], { device });
      const held = caught(() => b.closeDevice(device));
      const step = b.compile((x) => b.exp(x));
      const lost = caught(() => { for (let i = 0; i < 100; i++) b.scope(() => { step(x).dataSync(); }); });
      x.dispose();
      const program = caught(() => b.closeDevice(device));
      step.dispose();
      b.closeDevice(device);
      x = b.ones([10], { device });
      say({ held, program, lost, cpu: caught(() => b.closeDevice('cpu')), sum: b.sum(x).item() });`,
      { BRASA_VULKAN_PRETEND: 'lost=20' },
    );
    for (const error of [held, program]) {
      expect(error).toMatchObject({ name: 'DeviceError' });
      expect(error.message).toContain(`[closeDevice] ${device} is in use`);
    }
    expect(lost.message).toContain('is lost');
    expect(cpu.message).toBe('[closeDevice] cpu is never closed');
    expect(sum).toBe(10);
  });

  test('workers that use the device and end leave nothing', () => {
    const { before, after } = run<Record<'before' | 'after', number>>(
      `import { Worker } from 'node:worker_threads';
      const objects = () => b.devices().find(({ id }) => id === device).objects;
      const code = \`import('${dist}').then((b) => {
        const x = b.randn([100, 10], { device: '${device}' });
        b.compile((x) => b.sum(b.exp(x)))(x).item();
      })\`;
      const work = () => new Promise((done, fail) => new Worker(code, { eval: true }).once('exit', done).once('error', fail));
      for (let i = 0; i < 2; i++) await work();
      const before = objects();
      for (let i = 0; i < 10; i++) await work();
      say({ before, after: objects() });`,
    );
    expect(after).toBe(before);
  });
});

vulkan('the pipeline cache', () => {
  const body = 'say(Array.from(b.exp(b.zeros([3], { device })).dataSync()));';
  const home = (name: string) => ({ XDG_CACHE_HOME: join(folder, name), BRASA_VULKAN_CACHE: '1' });
  const files = (name: string) =>
    readdirSync(join(folder, name, 'brasa')).map((file) => join(folder, name, 'brasa', file));

  test('is a file a device, found again and left as it is by what compiles nothing new', () => {
    expect(run(body, home('plain'))).toEqual([1, 1, 1]);
    const [file, ...rest] = files('plain');
    expect(rest).toEqual([]);
    expect(file).toMatch(/vulkan-[0-9a-f]{32}$/);
    const { mtimeMs } = statSync(file!);
    expect(run(body, home('plain'))).toEqual([1, 1, 1]);
    expect(statSync(file!).mtimeMs).toBe(mtimeMs);
    run(`${body} process.exit();`, home('exit'));
    expect(readFileSync(files('exit')[0]!).equals(readFileSync(file!))).toBe(true);
  });

  test('damaged or foreign, is ignored and written anew', () => {
    run(body, home('bad'));
    const file = files('bad')[0]!;
    const good = readFileSync(file);
    const flipped = (at: number) => good.map((byte, i) => (i === at ? byte ^ 1 : byte));
    const cases = { empty: Buffer.alloc(0), short: good.subarray(0, -1), long: Buffer.concat([good, Buffer.of(0)]) };
    for (const bytes of [...Object.values(cases), flipped(3), flipped(12), flipped(30), flipped(good.length - 1)]) {
      writeFileSync(file, bytes);
      expect(run(body, home('bad'))).toEqual([1, 1, 1]);
      expect(files('bad')).toEqual([file]);
      expect(readFileSync(file).equals(good)).toBe(true);
    }
  });

  test('is not written with BRASA_VULKAN_CACHE=0, nor where that cannot be', () => {
    run(body, { ...home('off'), BRASA_VULKAN_CACHE: '0' });
    expect(() => files('off')).toThrow(/ENOENT/);
    expect(run(body, { ...home('null'), XDG_CACHE_HOME: '/dev/null' })).toEqual([1, 1, 1]);
  });
});
