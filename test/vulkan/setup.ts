/**
 * The tests of the vulkan project: those of the CPU, with tensors made on Vulkan unless a test says otherwise, under the validation
 * layers, which must stay silent. A CPU driver (lavapipe) serves where there is no GPU.
 */
process.env.BRASA_VULKAN_VALIDATION ??= '1'; // before the library is opened
import { afterAll, beforeEach, expect } from 'vitest';
import { devices, whyMissing } from '../../lib/core/device.js';

const reason = whyMissing('vulkan');
const device = devices().find(({ id }) => id.startsWith('vulkan'))?.id;
if (device === undefined) {
  console.log(`no Vulkan device here, its tests are skipped: ${reason}`);
  beforeEach(({ skip }) => skip());
} else {
  process.env.BRASA_DEVICE = device;
}

afterAll(() => {
  expect(devices().find(({ id }) => id === device)?.messages ?? 0, 'messages of the validation layers').toBe(0);
});
