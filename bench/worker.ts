/** A child process that answers one line of JSON to each line of JSON. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export type Json = Record<string, unknown>;

export class Worker {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  #complaint = '';

  private constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv) {
    this.#child = spawn(command, args, { env: { ...process.env, ...env }, stdio: 'pipe' });
    this.#child.on('error', (error) => {
      this.#complaint += error.message;
    });
    this.#child.stdin.on('error', () => {}); // a dead child is reported by #answer
    this.#child.stderr.on('data', (text) => {
      this.#complaint = (this.#complaint + text).slice(-2000);
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** The child, and its first line: what it is. Throws where it cannot start. */
  static async start(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<[Worker, Json]> {
    const worker = new Worker(command, args, env);
    return [worker, await worker.#answer()];
  }

  ask(request: Json): Promise<Json> {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    return this.#answer();
  }

  close(): void {
    this.#child.stdin.end();
  }

  async #answer(): Promise<Json> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(this.#complaint.trim().split('\n').at(-1) || 'the worker ended without a word');
    const answer = JSON.parse(value) as Json;
    if (answer.error !== undefined) throw new Error(String(answer.error));
    return answer;
  }
}
