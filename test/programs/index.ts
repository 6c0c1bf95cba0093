/** Training programs in reduced sizes: what compile() and every device must run as eager on the CPU and PyTorch do. */
import { autoencoder } from './autoencoder.js';
import { cnn } from './cnn.js';
import { gan, gradientPenalty } from './gan.js';
import { gpt } from './gpt.js';
import { lstm } from './lstm.js';
import { mixture } from './mixture.js';
import { mlp } from './mlp.js';
import type { TrainingProgram } from './program.js';
import { resnet } from './resnet.js';
import { vae } from './vae.js';

export const programs = {
  mlp,
  cnn,
  resnet,
  gpt,
  lstm,
  vae,
  gan,
  autoencoder,
  gradientPenalty,
  mixture,
} satisfies Record<string, TrainingProgram>;
