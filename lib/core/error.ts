/** The error classes. Every error that brasa throws on purpose is one of them, with a stable `code`. */
import { home } from '../place.js';
import { debugLevel } from './debug.js';

/** Frames of this package at the top of a stack say nothing to a user: the stack starts at the user's line. */
const homePath = decodeURIComponent(home.pathname);

function trimStack(error: Error): void {
  if (debugLevel > 0) return;
  // Deep enough to reach the user below our own frames.
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = limit + 40;
  Error.captureStackTrace(error, BrasaError);
  Error.stackTraceLimit = limit;
  if (!error.stack) return;
  const lines = error.stack.split('\n');
  const first = lines.findIndex((line) => /^\s+at /.test(line));
  if (first < 0) return;
  // Built-in frames between ours (Array.map) are skipped with them.
  const ours = (line: string) => line.includes(home.href) || line.includes(homePath) || line.endsWith('(<anonymous>)');
  let user = first;
  while (user < lines.length && ours(lines[user]!)) user++;
  if (user < lines.length) error.stack = [...lines.slice(0, first), ...lines.slice(user, user + limit)].join('\n');
}

export interface BrasaErrorOptions {
  /** The op that refused: the message then begins with `[op]`. */
  op?: string;
  cause?: unknown;
}

export class BrasaError extends Error {
  readonly code: string;
  /** The op that refused, if it was one. */
  declare readonly op?: string;
  constructor(message: string, code: string, options: BrasaErrorOptions = {}) {
    super(
      options.op ? `[${options.op}] ${message}` : message,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.code = code;
    if (options.op) this.op = options.op;
    this.name = new.target.name;
    trimStack(this);
  }
}

/** Sizes that do not fit: `[matmul] inner sizes differ: (2,3) x (4,5)`. */
export class ShapeError extends BrasaError {
  constructor(message: string, options?: BrasaErrorOptions) {
    super(message, 'ERR_BRASA_SHAPE', options);
  }
}
/** An element type that an op or device does not take. */
export class DTypeError extends BrasaError {
  constructor(message: string, options?: BrasaErrorOptions) {
    super(message, 'ERR_BRASA_DTYPE', options);
  }
}
/** An unknown, absent or failed device, or operands on different ones. */
export class DeviceError extends BrasaError {
  constructor(message: string, options?: BrasaErrorOptions) {
    super(message, 'ERR_BRASA_DEVICE', options);
  }
}
/** An index or dim outside its range. */
export class IndexError extends BrasaError {
  constructor(message: string, options?: BrasaErrorOptions) {
    super(message, 'ERR_BRASA_INDEX', options);
  }
}
/** No memory left on a device, after its cache was emptied. */
export class OutOfMemoryError extends BrasaError {
  constructor(message: string, options?: BrasaErrorOptions) {
    super(message, 'ERR_BRASA_OUT_OF_MEMORY', options);
  }
}
/** A file that is truncated, corrupt, hostile or of another format. */
export class FormatError extends BrasaError {
  constructor(message: string, options?: BrasaErrorOptions) {
    super(message, 'ERR_BRASA_FORMAT', options);
  }
}
/** A tensor used after `dispose()`, after its `using` block or its scope. */
export class DisposedError extends BrasaError {
  constructor(message: string, options?: BrasaErrorOptions) {
    super(message, 'ERR_BRASA_DISPOSED', options);
  }
}
/** A gradient that cannot be had: no graph, a freed graph, a value modified in place. */
export class GradError extends BrasaError {
  constructor(message: string, options?: BrasaErrorOptions) {
    super(message, 'ERR_BRASA_GRAD', options);
  }
}
/** Something that a traced function cannot do, such as reading a value. */
export class TraceError extends BrasaError {
  constructor(message: string, options?: BrasaErrorOptions) {
    super(message, 'ERR_BRASA_TRACE', options);
  }
}
/** Any other argument of the wrong kind or value. */
export class ArgumentError extends BrasaError {
  constructor(message: string, options?: BrasaErrorOptions) {
    super(message, 'ERR_BRASA_ARGUMENT', options);
  }
}

/** A value as a message shows it, whatever it is. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`;
  if (typeof value === 'function') return 'a function';
  try {
    return typeof value === 'object' ? JSON.stringify(value) : String(value);
  } catch {
    return Array.isArray(value) ? 'an array' : `a ${typeof value}`;
  }
}

/** Refuses what is no options object. */
export function checkOptions(options: unknown, op: string): void {
  if (typeof options === 'object' && options !== null && !Array.isArray(options)) return;
  throw new ArgumentError(`options are an object, as { keepDim: true }, got ${describe(options)}`, { op });
}
