/**
 * A small generator of its own for data: shuffles and augmentations draw from `new Random(seed, epoch, index)`, so that
 * what sample i of epoch e looks like depends on nothing else: no worker count, no order of work, no global state.
 * xoshiro128** (Blackman and Vigna), seeded through murmur3's mixer.
 */
export class Random {
  readonly #state: Uint32Array;

  constructor(...seeds: number[]) {
    let h = 0x9e3779b9;
    for (const seed of seeds) h = mix(mix(h ^ (seed >>> 0)) + Math.floor(seed / 2 ** 32) + 0x9e3779b9);
    this.#state = Uint32Array.from({ length: 4 }, (_, i) => mix(h + Math.imul(i + 1, 0x9e3779b9)));
    if (this.#state.every((word) => word === 0)) this.#state[0] = 1;
  }

  /** 32 uniform bits as an unsigned integer. */
  bits(): number {
    const s = this.#state as Uint32Array & [number, number, number, number];
    const result = Math.imul(rotate(Math.imul(s[1], 5), 7), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 11);
    return result;
  }

  /** Uniform in [0, 1), with 53 bits. */
  uniform(): number {
    return ((this.bits() >>> 5) * 2 ** 26 + (this.bits() >>> 6)) / 2 ** 53;
  }

  /** A uniform integer in [0, n). */
  integer(n: number): number {
    return Math.floor(this.uniform() * n);
  }

  /** The integers 0 … n-1 in random order (Fisher and Yates). */
  permutation(n: number): Int32Array {
    const order = Int32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const swap = order[i]!;
      order[i] = order[j]!;
      order[j] = swap;
    }
    return order;
  }
}

// murmur3's 32-bit finalizer.
function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function rotate(x: number, k: number): number {
  return (x << k) | (x >>> (32 - k));
}
