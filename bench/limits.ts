/** What the machine can do at most, measured by limits.cpp, which is compiled here when it is first needed. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Case, Unit } from './case.js';

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const source = path('limits.cpp');
const program = path('../build/bench/limits');

export type Limit = 'fma' | 'vnni' | 'bf16' | 'read' | 'triad' | 'touch';
const rows: readonly (readonly [Limit, string, Unit])[] = [
  ['fma', 'fused multiply-add, f32', 'GFLOP/s'],
  ['vnni', 'dot products, u8 x i8', 'GOP/s'],
  ['bf16', 'dot products, bf16', 'GFLOP/s'],
  ['read', 'reading 256 MB', 'GB/s'],
  ['triad', 'a = b + c s over 384 MB', 'GB/s'],
  ['touch', 'first touch of 64 MB', 'GB/s'],
];

let ready: boolean | null = null;

function compile(): boolean {
  if (existsSync(program) && statSync(program).mtimeMs > statSync(source).mtimeMs) return true;
  mkdirSync(path('../build/bench'), { recursive: true });
  try {
    execFileSync('g++', ['-std=gnu++17', '-O3', '-march=native', '-pthread', source, '-o', program], { stdio: 'pipe' });
    return true;
  } catch (error) {
    process.stderr.write(
      `bench: no limits, g++ does not compile them here: ${(error as Error).message.split('\n')[0]}\n`,
    );
    return false;
  }
}

/** GFLOP/s, GOP/s or GB/s; null where there is no compiler or no such instruction. */
export function measureLimit(name: Limit, threads: number): number | null {
  ready ??= compile();
  return (ready && Number(execFileSync(program, [name, String(threads)], { encoding: 'utf8' }))) || null;
}

export const limits = (threads: readonly number[]): Case[] =>
  rows.flatMap(([name, label, unit]) =>
    threads.map((count) => ({
      group: 'limits',
      name: `${label} (${count} thread${count > 1 ? 's' : ''})`,
      threads: count,
      async measure(bench) {
        const value = bench.limit(name, count);
        if (value === null) throw new Error('there is no compiler, or no such instruction');
        return { unit, value, rivals: [] };
      },
    })),
  );
