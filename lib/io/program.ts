/** Compiled functions in files: a safetensors file of the tensors that they hold, with the programs in its metadata. */
import { createHash } from 'node:crypto';
import { FormatError } from '../core/error.js';
import type { Tensor } from '../core/tensor.js';
import type { Compiled } from '../graph/compile.js';
import { loadedFunction } from '../graph/loaded.js';
import { describePrograms, files, restorePrograms, type Saved } from '../graph/saved.js';
import { bytes } from '../ops/read.js';
import { load, loadMetadata, save } from './file.js';

const FORMAT = 'brasa program';
const VERSION = '1';

/** SHA-256 of the programs and of each tensor's name, dtype, shape and bytes. */
function digest({ json, tensors }: Saved): string {
  const hash = createHash('sha256').update(json);
  for (const name of Object.keys(tensors).sort()) {
    const x = tensors[name]!;
    hash.update(JSON.stringify([name, x.dtype, x.shape])).update(bytes(x));
  }
  return hash.digest('hex');
}

files.save = (path, programs) => {
  const saved = describePrograms(programs);
  const metadata = { format: FORMAT, version: VERSION, sha256: digest(saved), program: saved.json };
  return save(path, saved.tensors, { metadata });
};

/**
 * The compiled function that save() wrote: nothing is traced, and the code of the model is not needed. It takes arguments of the forms
 * that were recorded, on the CPU, and owns its tensors: a cache that it writes goes on from the values in the file. (torch.export.load)
 * @throws FormatError for a file that is damaged, of another kind or version, or that asks for kernels this library has not
 * @throws DeviceError for a program of another device
 */
export async function loadProgram<A extends readonly unknown[] = Tensor[], R = Tensor>(
  path: string | URL,
): Promise<Compiled<A, R>> {
  const refuse = (why: string): never => {
    throw new FormatError(why, { op: 'loadProgram' });
  };
  const { format, version, sha256, program: json } = await loadMetadata(path);
  if (format !== FORMAT || json === undefined)
    refuse('there is no program in this file: write one by save() of compile()');
  if (version !== VERSION) refuse(`the file is of format ${version}, this version reads ${VERSION}: save it again`);
  // A file that is cut short while it is mapped would end the process.
  const tensors = await load(path, { device: 'cpu', mmap: false });
  const saved = { json: json!, tensors };
  if (digest(saved) !== sha256) refuse('its content is not what was saved: the hash differs');
  return loadedFunction<A, R>(restorePrograms(saved));
}
