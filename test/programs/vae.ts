/** A variational autoencoder (Kingma & Welling 2013); the noise is given. */
import { binaryCrossEntropyWithLogits, type Tensor } from 'brasa';
import { Linear, Module } from 'brasa/nn';
import { Adam } from 'brasa/optim';
import { initialised, type Place, reals, type Training } from './program.js';

class VAE extends Module {
  encoder: Linear;
  mean: Linear;
  logVariance: Linear;
  decoder: Linear;
  out: Linear;

  constructor(inputs: number, hidden: number, latent: number) {
    super();
    this.encoder = new Linear(inputs, hidden);
    this.mean = new Linear(hidden, latent);
    this.logVariance = new Linear(hidden, latent);
    this.decoder = new Linear(latent, hidden);
    this.out = new Linear(hidden, inputs);
  }

  /** (B, inputs), noise (B, latent) -> logits (B, inputs), mean and log of the variance (B, latent) */
  forward(x: Tensor, noise: Tensor): [Tensor, Tensor, Tensor] {
    const h = this.encoder.forward(x).relu();
    const mean = this.mean.forward(h);
    const logVariance = this.logVariance.forward(h);
    const z = mean.add(logVariance.mul(0.5).exp().mul(noise));
    return [this.out.forward(this.decoder.forward(z).relu()), mean, logVariance];
  }
}

export function vae(place: Place): Training {
  const model = initialised(new VAE(24, 16, 4), place);
  const optimizer = new Adam(model.parameters(), { lr: 0.003, weightDecay: 0.01 });
  const pixels = [0, 1].map((k) => reals(k, [8, 24], place, 0.5, 0.5));

  return {
    batch: (i) => [pixels[i % 2]!, reals(20 + i, [8, 4], place, 2)],
    step(x: Tensor, noise: Tensor) {
      optimizer.zeroGrad();
      const [logits, mean, logVariance] = model.forward(x, noise);
      const reconstruction = binaryCrossEntropyWithLogits(logits, x, { reduction: 'sum' });
      const divergence = mean.square().add(logVariance.exp()).sub(logVariance).sub(1).sum().mul(0.5);
      const loss = reconstruction.add(divergence).div(x.shape[0]!);
      loss.backward();
      optimizer.step();
      return loss;
    },
  };
}
