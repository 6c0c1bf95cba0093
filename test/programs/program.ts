/** What a training program is, and its data and first weights: a formula that golden/programs.py repeats for PyTorch. */
import { type DType, noGrad, type Tensor, tensor } from 'brasa';
import type { Module } from 'brasa/nn';

/** Where a program runs, and in which precision. */
export interface Place {
  dtype: DType;
  device: string;
}

export interface Training {
  /** One step of training: the losses before it. */
  step(...batch: Tensor[]): Tensor | Tensor[];
  /** The data of step i. */
  batch(i: number): Tensor[];
}

/** Makes model, optimizer and data anew. */
export type TrainingProgram = (place: Place) => Training;

/** 24 bits of a hash of (seed, i): f32 holds them exactly. The mixing function is Wellons' lowbias32. */
function bits(seed: number, i: number): number {
  let h = Math.imul(seed, 0x9e3779b1) + Math.imul(i + 1, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return ((h ^ (h >>> 16)) >>> 0) >>> 8;
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Numbers within `scale` of `mean`, rounded to f32 so that every precision starts from the same. */
export function reals(seed: number, shape: readonly number[], { dtype, device }: Place, scale = 1, mean = 0): Tensor {
  const values = Float32Array.from({ length: sizeOf(shape) }, (_, i) => mean + scale * (bits(seed, i) / 2 ** 23 - 1));
  return tensor(values, { shape, dtype, device });
}

/** Integers from 0 to n - 1. */
export function integers(seed: number, n: number, shape: readonly number[], { device }: Place): Tensor {
  return tensor(
    Int32Array.from({ length: sizeOf(shape) }, (_, i) => bits(seed, i) % n),
    { shape, device },
  );
}

/** The model at its place, with weights of the formula: within 1 / sqrt(fan in); norms near 1, biases near 0. */
export function initialised<M extends Module>(model: M, place: Place, seed = 1000): M {
  model.to(place.dtype).to(place.device);
  noGrad(() => {
    for (const [k, [name, p]] of model.namedParameters().entries()) {
      const scale = p.ndim > 1 ? 1 / Math.sqrt(p.size / p.shape[0]!) : 0.1;
      p.copy_(reals(seed + k, p.shape, place, scale, p.ndim === 1 && name.endsWith('weight') ? 1 : 0));
    }
  });
  return model;
}

/** `count` losses of a program, in order; `step` is its step, or that compiled. */
export function losses({ batch }: Training, step: Training['step'], count: number): number[] {
  const found: number[] = [];
  for (let i = 0; found.length < count; i++) found.push(...[step(...batch(i))].flat().map((loss) => loss.item()));
  return found;
}
