// What an attention map says: where most of its mass lies, how that meets an object, how spread it is.

/**
 * The places with the largest values of a map that together hold `mass` of it: 1 there, 0 elsewhere. The place that crosses the limit
 * is in. github.com/facebookresearch/dino, visualize_attention.py.
 *
 * @param map Values of 0 or more, in any shape.
 * @param mass Share of their sum, in (0, 1].
 */
export function massMask(map: Float32Array, mass: number): Uint8Array {
  if (!(mass > 0 && mass <= 1))
    throw new RangeError(`Cannot keep ${mass} of the mass: expected a share above 0 and at most 1, such as 0.6`);
  const order = Uint32Array.from(map.keys()).sort((a, b) => map[a] - map[b]);
  const sum = map.reduce((total, value) => total + value, 0);
  const mask = new Uint8Array(map.length);
  let below = 0;
  for (const at of order) {
    below += map[at] / sum;
    if (below > 1 - mass) mask[at] = 1;
  }
  return mask;
}

/** Overlap of two masks of one length: what both have over what either has; 0 where neither has anything. */
export function jaccard(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [both, either] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    if (a[i] && b[i]) both++;
    if (a[i] || b[i]) either++;
  }
  return either ? both / either : 0;
}

/** Entropy of a map in bits, its values taken as shares of their sum. github.com/microsoft/esvit, analyze_models.py. */
export function entropy(map: Float32Array): number {
  const sum = map.reduce((total, value) => total + value, 0);
  return map.reduce((bits, value) => (value > 0 ? bits - (value / sum) * Math.log2(value / sum) : bits), 0);
}

/** The parts of a tensor along its first axis, such as the heads of [heads, rows, columns], in place. */
export function partsOf(data: Float32Array, count: number): Float32Array[] {
  const n = data.length / count;
  return Array.from({ length: count }, (_, i) => data.subarray(i * n, (i + 1) * n));
}

/** Mean of maps of one length, such as the heads of a picture. */
export const meanMap = (maps: readonly Float32Array[]): Float32Array =>
  maps[0].map((_, at) => maps.reduce((sum, map) => sum + map[at], 0) / maps.length);

/** A map [height, width] with each place repeated over a square of `cell`. */
export function enlarge<T extends Float32Array | Uint8Array>(map: T, width: number, cell: number): T {
  const side = width * cell;
  const large = new (map.constructor as new (length: number) => T)(map.length * cell * cell);
  for (let at = 0; at < large.length; at++) {
    const [y, x] = [Math.floor(at / side), at % side];
    large[at] = map[Math.floor(y / cell) * width + Math.floor(x / cell)];
  }
  return large;
}
