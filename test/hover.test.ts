/** What an editor shows: the language server is asked for a hover over methods, in a project that uses the built package. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'brasa-hover-'));
const file = join(folder, 'user.ts');
const source = "import { tensor } from 'brasa';\nconst x = tensor([1, 2]);\nx.softmax(0);\nx.add(1);\nx.dataSync();\n";

/** A language server, asked one request at a time. */
class Server {
  #child = spawn(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '--lsp', '--stdio']);
  #buffer = Buffer.alloc(0);
  #waiting = new Map<number, (result: unknown) => void>();
  #id = 0;
  constructor() {
    this.#child.stdout.on('data', (chunk: Buffer) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      for (;;) {
        const head = this.#buffer.indexOf('\r\n\r\n');
        if (head < 0) return;
        const length = Number(/Content-Length: (\d+)/.exec(this.#buffer.toString('utf8', 0, head))![1]);
        if (this.#buffer.length < head + 4 + length) return;
        const message = JSON.parse(this.#buffer.toString('utf8', head + 4, head + 4 + length));
        this.#buffer = this.#buffer.subarray(head + 4 + length);
        // The server's own requests (configuration, registration) get an empty answer.
        if (message.method && message.id !== undefined) this.#send({ id: message.id, result: null });
        else this.#waiting.get(message.id)?.(message.result);
      }
    });
  }
  #send(message: object): void {
    const text = JSON.stringify({ jsonrpc: '2.0', ...message });
    this.#child.stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  }
  notify(method: string, params: object): void {
    this.#send({ method, params });
  }
  request(method: string, params: object): Promise<unknown> {
    const id = ++this.#id;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#send({ id, method, params });
    });
  }
  kill(): void {
    this.#child.kill();
  }
}

let server: Server;
beforeAll(async () => {
  writeFileSync(file, source);
  const paths = { brasa: [join(root, 'dist/index.d.ts')] };
  const compilerOptions = { module: 'nodenext', strict: true, noEmit: true, skipLibCheck: true, types: [], paths };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['user.ts'] }));
  server = new Server();
  await server.request('initialize', {
    processId: process.pid,
    rootUri: pathToFileURL(folder).href,
    capabilities: { textDocument: { hover: { contentFormat: ['markdown'] } } },
  });
  server.notify('initialized', {});
  server.notify('textDocument/didOpen', {
    textDocument: { uri: pathToFileURL(file).href, languageId: 'typescript', version: 1, text: source },
  });
});
afterAll(() => {
  server.kill();
  rmSync(folder, { recursive: true, force: true });
});

test.each([
  ['softmax', 2, /exp\(x\) \/ sum\(exp\(x\)\) along a dim/, /\(dim\?: number( \| undefined)?\) => Tensor/],
  ['add', 3, /x \+ y, elementwise/, /\(y: Operand\) => Tensor/],
  ['dataSync', 4, /row-major, copied/, /DataArray/],
])('hovering over %s shows its documentation and type', async (_name, line, doc, type) => {
  const hover = (await server.request('textDocument/hover', {
    textDocument: { uri: pathToFileURL(file).href },
    position: { line, character: 3 },
  })) as { contents: { value: string } } | null;
  const text = JSON.stringify(hover?.contents ?? '');
  expect(text).toMatch(doc);
  expect(text).toMatch(type);
});
