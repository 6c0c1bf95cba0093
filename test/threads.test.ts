/** The number of threads: it may change at any time, and changes no bit of a result. */
import { afterAll, expect, test } from 'vitest';
import {
  compile,
  conv2d,
  crossEntropy,
  devices,
  exp,
  gradients,
  layerNorm,
  lstm,
  manualSeed,
  matmul,
  randint,
  randn,
  requiresGrad_,
  scaledDotProductAttention,
  setThreads,
  softmax,
  sum,
  type Tensor,
} from '../lib/index.js';

const before = devices()[0]!.threads;
afterAll(() => setThreads(before));

const leaf = (...shape: number[]): Tensor => requiresGrad_(randn(shape));
/** Kernels of every family, large enough for several tasks, and their gradients. */
const work: Record<string, () => Tensor[]> = {
  product: () => [matmul(randn([300, 700]), randn([700, 260]))],
  'long product': () => [matmul(randn([8, 20000]), randn([20000, 9]))],
  elementwise: () => [exp(randn([300_001]))],
  sum: () => [sum(randn([1000, 700])), sum(randn([1000, 700]), 0)],
  softmax: () => [softmax(randn([900, 333]))],
  'layer norm': () => {
    const inputs = [leaf(500, 300), leaf(300), leaf(300)] as const;
    return gradients(sum(exp(layerNorm(inputs[0], [300], inputs[1], inputs[2]))), inputs);
  },
  convolution: () => {
    const inputs = [leaf(3, 16, 40, 40), leaf(24, 16, 3, 3)] as const;
    return gradients(sum(exp(conv2d(inputs[0], inputs[1]).mul(0.1))), inputs);
  },
  attention: () => {
    const inputs = [leaf(2, 3, 300, 32), leaf(2, 3, 300, 32), leaf(2, 3, 300, 32)] as const;
    return gradients(sum(exp(scaledDotProductAttention(...inputs, { causal: true }))), inputs);
  },
  lstm: () => {
    const inputs = [leaf(5, 40, 400), leaf(400, 100), leaf(40, 100), leaf(40, 100)] as const;
    return gradients(sum(exp(lstm(...inputs).output)), inputs);
  },
  'cross-entropy': () => {
    const x = leaf(400, 1000);
    return gradients(crossEntropy(x, randint(0, 1000, [400])), [x]);
  },
};

const bytesOf = (run: () => Tensor[]): Buffer[] => {
  manualSeed(5);
  return run().map(bytes);
};
const bytes = (y: Tensor): Buffer => {
  const data = y.dataSync();
  return Buffer.from(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength) as ArrayBuffer);
};

test.each(Object.keys(work))('%s: the same bytes with 1, 2 and 4 threads', (name) => {
  const [one, ...more] = [1, 2, 4].map((threads) => {
    setThreads(threads);
    expect(devices()[0]!.threads).toBe(threads);
    return bytesOf(work[name]!);
  });
  for (const other of more) expect(other.map((b, i) => b.equals(one![i]!))).toEqual(one!.map(() => true));
});

test('changes between runs of a program, also one in flight, do no harm', async () => {
  const a = randn([200, 200]);
  const step = compile((x: Tensor) => matmul(exp(x.mul(0.01)), a));
  const want = bytes(step(a));
  for (const threads of [1, 3, 2, 4, 1]) {
    const running = step.async(a);
    setThreads(threads);
    expect(bytes(await running).equals(want)).toBe(true);
    expect(bytes(step(a)).equals(want)).toBe(true);
  }
});

test('is refused when it is no number of threads', () => {
  for (const n of [0, -1, 1.5, 1025, Number.NaN, '2' as never])
    expect(() => setThreads(n)).toThrow(/ArgumentError|whole number from 1 to 1024/);
});
