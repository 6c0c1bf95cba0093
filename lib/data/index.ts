import '../methods.js';

export { type Collated, collate } from './collate.js';
export { ConcatDataset, type Dataset, MapDataset, Subset, TensorDataset } from './dataset.js';
export { DataLoader, type DataLoaderOptions, type DataLoaderState } from './loader.js';
export { mnist, type MnistOptions } from './mnist.js';
export { Random } from './random.js';
export { RandomSampler, type Sampler, SequentialSampler, WeightedRandomSampler } from './sampler.js';
export { randomSplit, type SplitOptions, trainTestSplit } from './split.js';
export { normalize, randomCrop, randomHorizontalFlip, type Transform } from './transforms.js';
