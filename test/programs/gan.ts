/** Two optimizers: a GAN (Goodfellow et al. 2014), and one whose critic's gradient is held near 1 (Gulrajani et al. 2017). */
import { binaryCrossEntropyWithLogits, gradients, leakyRelu, onesLike, type Tensor, tanh, zerosLike } from 'brasa';
import { Linear, Sequential } from 'brasa/nn';
import { Adam, RMSprop } from 'brasa/optim';
import { initialised, type Place, reals, type Training } from './program.js';

const generatorOf = (place: Place) =>
  initialised(new Sequential(new Linear(4, 16), leakyRelu, new Linear(16, 6)), place, 1000);

export function gan(place: Place): Training {
  const generator = generatorOf(place);
  const discriminator = initialised(new Sequential(new Linear(6, 16), leakyRelu, new Linear(16, 1)), place, 2000);
  const generatorOptimizer = new Adam(generator.parameters(), { lr: 0.01, betas: [0.5, 0.999] });
  const discriminatorOptimizer = new Adam(discriminator.parameters(), { lr: 0.005, betas: [0.5, 0.999] });

  return {
    batch: (i) => [reals(20 + i, [8, 6], place, 0.5, 1), reals(60 + i, [8, 4], place)],
    step(real: Tensor, noise: Tensor) {
      const fake = generator.forward(noise);
      discriminatorOptimizer.zeroGrad();
      const onReal = discriminator.forward(real);
      const onFake = discriminator.forward(fake.detach());
      const discriminatorLoss = binaryCrossEntropyWithLogits(onReal, onesLike(onReal)).add(
        binaryCrossEntropyWithLogits(onFake, zerosLike(onFake)),
      );
      discriminatorLoss.backward();
      discriminatorOptimizer.step();

      generatorOptimizer.zeroGrad();
      const fooled = discriminator.forward(fake);
      const generatorLoss = binaryCrossEntropyWithLogits(fooled, onesLike(fooled));
      generatorLoss.backward();
      generatorOptimizer.step();
      return [discriminatorLoss, generatorLoss];
    },
  };
}

export function gradientPenalty(place: Place): Training {
  const generator = generatorOf(place);
  const critic = initialised(
    new Sequential(new Linear(6, 16), tanh, new Linear(16, 16), tanh, new Linear(16, 1)),
    place,
    2000,
  );
  const generatorOptimizer = new RMSprop(generator.parameters(), { lr: 0.001 });
  const criticOptimizer = new RMSprop(critic.parameters(), { lr: 0.002, centered: true });

  return {
    batch: (i) => [
      reals(20 + i, [8, 6], place, 0.5, 1),
      reals(60 + i, [8, 4], place),
      reals(100 + i, [8, 1], place, 0.5, 0.5),
    ],
    step(real: Tensor, noise: Tensor, mix: Tensor) {
      const fake = generator.forward(noise);
      criticOptimizer.zeroGrad();
      const between = real
        .mul(mix)
        .add(fake.detach().mul(mix.neg().add(1)))
        .requiresGrad_();
      const [slope] = gradients(critic.forward(between).sum(), [between], { createGraph: true });
      const penalty = slope!.norm(1).sub(1).square().mean();
      const distance = critic.forward(real).mean().sub(critic.forward(fake.detach()).mean());
      const criticLoss = penalty.mul(10).sub(distance);
      criticLoss.backward();
      criticOptimizer.step();

      generatorOptimizer.zeroGrad();
      const generatorLoss = critic.forward(fake).mean().neg();
      generatorLoss.backward();
      generatorOptimizer.step();
      return [criticLoss, generatorLoss];
    },
  };
}
