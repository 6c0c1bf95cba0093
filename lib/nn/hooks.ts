// Hooks without a Proxy: the first one gives the module a `forward` of its own, and the last one takes it away when it goes.

import type { Module } from './module.js';

// biome-ignore lint/suspicious/noExplicitAny: hooks fit modules of any signature
export type ForwardPreHook = (module: Module, inputs: any[]) => unknown;
// biome-ignore lint/suspicious/noExplicitAny: hooks fit modules of any signature
export type ForwardHook = (module: Module, inputs: any[], output: any) => unknown;

interface Hook {
  before?: ForwardPreHook;
  after?: ForwardHook;
}

/** The hooks of a module, in order, and how to give it back its own `forward`. */
interface Interception {
  hooks: Set<Hook>;
  restore: () => void;
}

const interceptions = new WeakMap<Module, Interception>();

export function hasHooks(module: Module): boolean {
  return interceptions.has(module);
}

/** Adds a hook to a module; returns a function that takes it away. */
export function addHook(module: Module, hook: Hook): () => void {
  const interception = interceptions.get(module) ?? intercept(module);
  interceptions.set(module, interception);
  interception.hooks.add(hook);
  return () => {
    if (!interception.hooks.delete(hook) || interception.hooks.size > 0) return;
    interceptions.delete(module);
    interception.restore();
  };
}

function intercept(module: Module): Interception {
  const hooks = new Set<Hook>();
  const { forward } = module;
  const own = Object.getOwnPropertyDescriptor(module, 'forward');
  const value = (...given: unknown[]): unknown => {
    const list = [...hooks]; // a hook may take itself away
    let inputs = given;
    for (const { before } of list) {
      const replaced = before?.(module, inputs);
      if (replaced !== undefined) inputs = Array.isArray(replaced) ? replaced : [replaced];
    }
    let output = forward.apply(module, inputs);
    for (const { after } of list) output = after?.(module, inputs, output) ?? output;
    return output;
  };
  Object.defineProperty(module, 'forward', { value, configurable: true, writable: true, enumerable: false });
  const restore = () => {
    if (own) Object.defineProperty(module, 'forward', own);
    else delete (module as Partial<Module>).forward;
  };
  return { hooks, restore };
}
