import '../methods.js';

export { writeFileAtomic } from './atomic.js';
export {
  decodeSafetensors,
  encodeSafetensors,
  load,
  type LoadOptions,
  loadMetadata,
  save,
  type SaveOptions,
  type TensorRecord,
} from './file.js';
export { readIdx } from './idx.js';
export { loadNpy, loadNpz, saveNpy, saveNpz } from './npy.js';
