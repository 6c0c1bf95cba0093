import { inspect } from 'node:util';

import { type DType, isDType, isFloat } from '../core/dtype.js';
import { ArgumentError, DTypeError } from '../core/error.js';
import { sameShape, show } from '../core/layout.js';
import { detach, isLeaf, requiresGrad_ } from '../core/leaf.js';
import { noGrad } from '../core/scope.js';
import { become, forgetGradient, pin, Tensor } from '../core/tensor.js';
import { flag } from '../core/cells.js';
import { copy_ } from '../ops/elementwise.js';
import { to } from '../ops/to.js';
import { addHook, type ForwardHook, type ForwardPreHook } from './hooks.js';

/** Name to tensor, in the order of the properties: what `stateDict()` gives, `save` writes and `load` reads. */
export type StateDict = Record<string, Tensor>;

/** What `loadStateDict` did not load, by name. */
export interface LoadReport {
  /** In the module, not in the state. */
  missing: string[];
  /** In the state, not in the module. */
  unexpected: string[];
  /** In both, with different shapes: `weight (2,3) is not (3,2)`. */
  mismatched: string[];
}

type Role = 'parameter' | 'buffer' | 'temporary';
const roles = new WeakMap<Tensor, Role>();

/**
 * Marks a tensor as trained: a Module that holds it in a property lists it in `parameters()`. Turns `requiresGrad` on.
 * A tensor that was computed from others is detached first. PyTorch: nn.Parameter.
 */
export function parameter(x: Tensor): Tensor {
  if (!isFloat(x.dtype)) throw new DTypeError(`only floats are trained, this is ${x.dtype}`, { op: 'parameter' });
  const leaf = isLeaf(x) ? x : detach(x);
  roles.set(requiresGrad_(leaf), 'parameter');
  return pin(leaf);
}

/**
 * Marks a tensor as state that is not trained (running statistics): it moves and is saved with the Module that holds it.
 * `persistent: false` keeps it out of `stateDict()`. PyTorch: register_buffer.
 */
export function buffer(x: Tensor, { persistent = true }: { persistent?: boolean } = {}): Tensor {
  roles.set(x, persistent ? 'buffer' : 'temporary');
  return pin(x);
}

/** Tensors and modules held in properties, in order of insertion; arrays and plain objects are looked into (`blocks.0`). */
function* members(holder: object, prefix = '', path: object[] = []): Generator<[string, Tensor | Module]> {
  for (const [key, value] of Object.entries(holder)) {
    if (value instanceof Tensor || value instanceof Module) {
      if (key.includes('.')) throw new ArgumentError(`property '${prefix}${key}' of a module has a '.' in its name`);
      yield [prefix + key, value];
    } else if (isContainer(value) && !path.includes(value)) {
      yield* members(value, `${prefix}${key}.`, [...path, value]);
    }
  }
}

function isContainer(value: unknown): value is object {
  if (Array.isArray(value)) return true;
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** Parameters and buffers here and below under every name they have; `path` stops at a module that holds itself. */
function* tensors(module: Module, prefix = '', path: Module[] = [module]): Generator<[string, Tensor]> {
  for (const [name, member] of members(module, prefix)) {
    if (member instanceof Tensor) {
      if (roles.has(member)) yield [name, member];
    } else if (!path.includes(member)) {
      yield* tensors(member, `${name}.`, [...path, member]);
    }
  }
}

/** Each tensor once, under its first name. */
function unique(entries: Iterable<[string, Tensor]>): [string, Tensor][] {
  const names = new Map<Tensor, string>();
  for (const [name, x] of entries) if (!names.has(x)) names.set(x, name);
  return Array.from(names, ([x, name]) => [name, x]);
}

/**
 * The base of layers and models. Parameters, buffers and layers are plain properties (also in arrays and plain objects;
 * `#private` fields are not seen); `forward` is defined and called. PyTorch: nn.Module.
 */
export abstract class Module {
  #training = true;
  /** Whether dropout drops and batch norm updates; set by `train()` and `eval()`. */
  get training(): boolean {
    return flag(this, 'training', this.#training);
  }
  set training(mode: boolean) {
    this.#training = mode;
  }

  // biome-ignore lint/suspicious/noExplicitAny: each module says its own signature
  abstract forward(...inputs: any[]): unknown;

  /** This module and all below, outermost first, each once; the root's name is ''. */
  namedModules(): [string, Module][] {
    const found = new Map<Module, string>();
    const visit = (module: Module, name: string) => {
      if (found.has(module)) return;
      found.set(module, name);
      for (const [key, child] of module.namedChildren()) visit(child, name ? `${name}.${key}` : key);
    };
    visit(this, '');
    return Array.from(found, ([module, name]) => [name, module]);
  }

  modules(): Module[] {
    return this.namedModules().map(([, module]) => module);
  }

  /** The modules directly held. */
  namedChildren(): [string, Module][] {
    return [...members(this)].filter((entry): entry is [string, Module] => entry[1] instanceof Module);
  }

  children(): Module[] {
    return this.namedChildren().map(([, module]) => module);
  }

  /** Trained tensors, here and below, each once under its first name. */
  namedParameters(): [string, Tensor][] {
    return unique(tensors(this)).filter(([, x]) => roles.get(x) === 'parameter');
  }

  parameters(): Tensor[] {
    return this.namedParameters().map(([, x]) => x);
  }

  /** Tensors marked by `buffer`, here and below, each once under its first name. */
  namedBuffers(): [string, Tensor][] {
    return unique(tensors(this)).filter(([, x]) => roles.get(x) !== 'parameter');
  }

  buffers(): Tensor[] {
    return this.namedBuffers().map(([, x]) => x);
  }

  /** The number of trained values; `trainable` leaves out frozen ones. */
  parameterCount({ trainable = false }: { trainable?: boolean } = {}): number {
    return this.parameters().reduce((sum, x) => (trainable && !x.requiresGrad ? sum : sum + x.size), 0);
  }

  /** Training mode for this module and all below. */
  train(mode = true): this {
    for (const module of this.modules()) module.training = mode;
    return this;
  }

  /** Evaluation mode: `train(false)`. */
  eval(): this {
    return this.train(false);
  }

  /**
   * Changes float parameters and buffers to a float dtype, or moves everything to a device; in place, so that optimizers keep
   * their parameters. Gradients go along.
   */
  to(target: DType | (string & {})): this {
    const typed = isDType(target);
    if (typed && !isFloat(target))
      throw new DTypeError(`a module is of a float type, not ${target}`, { op: 'Module.to' });
    noGrad(() => {
      for (const [, x] of unique(tensors(this))) {
        if (typed && !isFloat(x.dtype)) continue;
        become(x, to(x, target));
        if (x.gradient) x.gradient = pin(to(x.gradient, target));
      }
    });
    return this;
  }

  /** Calls `fn` with each module, inner ones first. */
  apply(fn: (module: Module) => void): this {
    const done = new Set<Module>();
    const visit = (module: Module) => {
      if (done.has(module)) return;
      done.add(module);
      module.children().forEach(visit);
      fn(module);
    };
    visit(this);
    return this;
  }

  /** Freezes (`false`) or frees all parameters. */
  requiresGrad_(value = true): this {
    for (const x of this.parameters()) requiresGrad_(x, value);
    return this;
  }

  /** Forgets the gradients. */
  zeroGrad(): void {
    for (const x of this.parameters()) forgetGradient(x);
  }

  /**
   * Parameters and persistent buffers by name, detached but sharing memory. Names are property names joined by dots
   * (PyTorch's, in camelCase: `bn.runningMean`). A tied tensor appears under each of its names.
   */
  stateDict(): StateDict {
    return Object.fromEntries(saved(this).map(([name, x]) => [name, detach(x)]));
  }

  /**
   * Copies values in, converting dtype and device. Missing, unexpected and mismatched names are an ArgumentError that lists
   * them, and nothing is loaded; with `strict: false` what fits is loaded and the rest reported.
   */
  loadStateDict(state: Readonly<StateDict>, { strict = true }: { strict?: boolean } = {}): LoadReport {
    const own = saved(this);
    const names = new Set(own.map(([name]) => name));
    const report: LoadReport = { missing: [], unexpected: [], mismatched: [] };
    const copies: [Tensor, Tensor][] = [];
    for (const [name, x] of own) {
      const value = Object.hasOwn(state, name) ? state[name] : undefined;
      if (!value) report.missing.push(name);
      else if (!sameShape(value.shape, x.shape))
        report.mismatched.push(`${name} ${show(value.shape)} is not ${show(x.shape)}`);
      else copies.push([x, value]);
    }
    report.unexpected = Object.keys(state).filter((name) => !names.has(name));
    if (strict) refuse(this, report);
    noGrad(() => {
      for (const [x, value] of copies) copy_(x, value);
    });
    return report;
  }

  /**
   * Runs before `forward`; what it returns, unless undefined, replaces the inputs (an array, or the one input).
   * Returns a function that takes the hook away.
   */
  registerForwardPreHook(hook: ForwardPreHook): () => void {
    return addHook(this, { before: hook });
  }

  /** Runs after `forward`; what it returns, unless undefined, replaces the output. Returns a function that takes it away. */
  registerForwardHook(hook: ForwardHook): () => void {
    return addHook(this, { after: hook });
  }

  /** What stands between the brackets when the module is printed. */
  extraRepr(): string {
    return '';
  }

  toString(): string {
    const name = this.constructor.name;
    const lines = this.namedChildren().map(([key, child]) => `(${key}): ${child}`.replaceAll('\n', '\n  '));
    const extra = this.extraRepr();
    if (lines.length === 0) return `${name}(${extra})`;
    return `${name}(\n  ${[...(extra ? [extra] : []), ...lines].join('\n  ')}\n)`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

function saved(module: Module): [string, Tensor][] {
  return [...tensors(module)].filter(([, x]) => roles.get(x) !== 'temporary');
}

function refuse(module: Module, report: LoadReport): void {
  const faults = Object.entries(report).filter(([, names]) => names.length > 0);
  if (faults.length === 0) return;
  const lines = faults.map(([fault, names]) => `${fault}: ${names.join(', ')}`);
  const message = `the state does not fit ${module.constructor.name}; ${lines.join('; ')}`;
  throw new ArgumentError(message, { op: 'loadStateDict' });
}
