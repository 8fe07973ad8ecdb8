// Counter-based random numbers for shuffles and augmentations: what is drawn depends on seed and place alone, never on which
// worker asks or when.

const high = (a: number, b: number): number => {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  return (aHigh * bHigh + Math.floor((aLow * bHigh + middle) / 65536)) >>> 0;
};

/** Philox 4x32-10 of four 32-bit words under two. Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". */
export function philox(counter: Uint32Array, k: number, l: number): Uint32Array {
  let [a, b, c, d] = counter;
  for (let round = 0; round < 10; round++) {
    const [h0, l0, h1, l1] = [high(0xd2511f53, a), Math.imul(0xd2511f53, a), high(0xcd9e8d57, c), Math.imul(0xcd9e8d57, c)];
    [a, b, c, d] = [(h1 ^ b ^ k) >>> 0, l1 >>> 0, (h0 ^ d ^ l) >>> 0, l0 >>> 0];
    k = (k + 0x9e3779b9) >>> 0;
    l = (l + 0xbb67ae85) >>> 0;
  }
  return Uint32Array.of(a, b, c, d);
}

/** A stream of uniform draws in [0, 1). */
export type Uniform = () => number;

/** The data's own half of the key, so that no stream of the tape repeats one of these. */
const DATA = 1;

/** Streams of the data pipeline: view i of a picture draws from `view + i`. */
export const streams = { view: 0, batch: 1 << 16, shuffle: 2 << 16, replace: 3 << 16 };

/** The stream that belongs to (seed, stream, epoch, index). Draws have 32 bits. */
export function randomStream(seed: number, stream: number, epoch: number, index: number): Uniform {
  const counter = Uint32Array.of(0, stream, epoch, index);
  let words: Uint32Array = counter;
  let used = 4;
  return () => {
    if (used === 4) {
      words = philox(counter, seed, DATA);
      counter[0]++;
      used = 0;
    }
    return words[used++] / 4294967296;
  };
}

/** A whole number of [0, n). */
export const whole = (uniform: Uniform, n: number): number => Math.floor(uniform() * n);

/** A number of [low, high). */
export const between = (uniform: Uniform, low: number, high: number): number => low + (high - low) * uniform();

/** A random order of 0 .. n - 1 (Fisher and Yates). */
export function permutation(uniform: Uniform, n: number): Uint32Array {
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = whole(uniform, i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
