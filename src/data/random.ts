// Counter-based random numbers for shuffles and augmentations: what is drawn depends on seed and place alone, never on which
// worker asks or when.

import { philox } from "../tape/philox.ts";

/** A stream of uniform draws in [0, 1). */
export type Uniform = () => number;

/** The data's own half of the key, so that no stream of the tape repeats one of these. */
const DATA = 1;

/** Streams of the data pipeline: view i of a picture draws from `view + i`. */
export const streams = { view: 0, batch: 1 << 16, shuffle: 2 << 16, replace: 3 << 16 };

/** The stream that belongs to (seed, stream, epoch, index). Draws have 32 bits. */
export function randomStream(seed: number, stream: number, epoch: number, index: number): Uniform {
  const counter = Uint32Array.of(0, stream, epoch, index);
  const words = new Uint32Array(4);
  let used = 4;
  return () => {
    if (used === 4) {
      philox(counter, seed, DATA, words);
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
