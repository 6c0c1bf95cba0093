/** Whether sums may be taken in whatever order their parts arrive in. */
import { flag } from './cells.js';
import { ArgumentError, describe } from './error.js';

const mode = { deterministic: true };

/**
 * Whether results are the same bytes at every run on a device: so they are unless this is set to false, which lets a GPU add floats
 * atomically, as they arrive, in scatterAdd and indexAdd, and with them in the gradients of gather, indexSelect and embedding. Sums then
 * differ by rounding from run to run. It holds from now on, for this thread of JavaScript; compiled functions follow: they are compiled
 * again. The CPU, and devices without such additions (Vulkan's need VK_EXT_shader_atomic_float), keep their order all the same.
 * (torch.use_deterministic_algorithms, whose default is false)
 */
export function setDeterministic(on: boolean): void {
  if (typeof on !== 'boolean') {
    throw new ArgumentError(`takes true or false, got ${describe(on)}`, { op: 'setDeterministic' });
  }
  mode.deterministic = on;
}

/** What setDeterministic() has set. (torch.are_deterministic_algorithms_enabled) */
export function isDeterministic(): boolean {
  return flag(mode, 'deterministic', mode.deterministic);
}
