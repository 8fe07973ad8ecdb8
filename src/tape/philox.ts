// Counter-based random numbers on the host: every draw is a pure function of (seed, stream, step, index), the same numbers
// that `uniform` in ops/random.ts draws on the tape. Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".

/** Upper 32 bits of the product of two unsigned 32-bit words. */
function high(x: number, y: number): number {
  const [a, b, c, d] = [x >>> 16, x & 0xffff, y >>> 16, y & 0xffff];
  const middle = b * c + ((b * d) >>> 16); // below 2^32
  return a * c + Math.floor(middle / 65536) + Math.floor(((middle & 0xffff) + a * d) / 65536);
}

/** Philox 4x32-10 of four 32-bit words under a key of two; four words of `out`. Table 2 and figure 2 there. */
export function philox(counter: Uint32Array, key0: number, key1: number, out: Uint32Array): void {
  let [a, b, c, d] = [counter[0], counter[1], counter[2], counter[3]];
  let [k, l] = [key0 >>> 0, key1 >>> 0];
  for (let round = 0; round < 10; round++) {
    const h0 = high(a >>> 0, 0xd2511f53);
    const h1 = high(c >>> 0, 0xcd9e8d57);
    const l0 = Math.imul(a, 0xd2511f53);
    const l1 = Math.imul(c, 0xcd9e8d57);
    a = h1 ^ b ^ k;
    b = l1;
    c = h0 ^ d ^ l;
    d = l0;
    k = (k + 0x9e3779b9) >>> 0;
    l = (l + 0xbb67ae85) >>> 0;
  }
  out[0] = a;
  out[1] = b;
  out[2] = c;
  out[3] = d;
}

/** Draws one after the other from the stream (seed, stream, step): counter (draw / 4, stream, step, 0), key (seed, 0). */
export class Random {
  readonly #seed: number;
  readonly #counter: Uint32Array;
  readonly #words = new Uint32Array(4);
  #used = 4;
  #spare: number | undefined;

  constructor(seed: number, stream: number, step = 0) {
    this.#seed = seed;
    this.#counter = Uint32Array.of(0, stream, step, 0);
  }

  /** A whole number in [0, 2^32). */
  word(): number {
    if (this.#used === 4) {
      philox(this.#counter, this.#seed, 0, this.#words);
      this.#counter[0]++;
      this.#used = 0;
    }
    return this.#words[this.#used++];
  }

  /** Uniform in [0, 1), a multiple of 2^-24: exact in float32. */
  uniform(): number {
    return (this.word() >>> 8) / 16777216;
  }

  /** A whole number in [0, n). */
  below(n: number): number {
    return Math.floor((this.word() / 4294967296) * n);
  }

  /** Standard normal, by Box and Muller's transform, which gives two at a time. */
  normal(): number {
    const spare = this.#spare;
    this.#spare = undefined;
    if (spare !== undefined) return spare;
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.#spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }
}
