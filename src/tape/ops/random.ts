import { apply1, defineOp } from "../op.ts";
import { type Shape, ShapeError } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

// key [4] = seed and step in halves of 16 bits (low, high, low, high); attrs: shape, stream
defineOp({
  name: "uniform",
  kind: "kernel",
  shape([key], { shape }) {
    if (key.length !== 1 || key[0] !== 4)
      throw new ShapeError("draw from a key", [key], "a key of 4 numbers: seed and step in halves of 16 bits");
    return [shape as Shape];
  },
});

/**
 * Uniform draws in [0, 1) with 24 bits, a pure function of (seed, step, stream, element): Philox 4x32-10, counter
 * (element / 4, stream, step, 0), key (seed, 0). Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
 */
export const uniform = (key: Tensor, stream: number, shape: Shape): Tensor => apply1("uniform", [key], { shape, stream });

/** Zeroes elements with probability `rate` and divides the others by 1 - rate. */
export function dropout(x: Tensor, key: Tensor, stream: number, rate: number): Tensor {
  return rate === 0 ? x : x.mul(uniform(key, stream, x.shape).greaterEqual(rate)).div(1 - rate);
}

/** Drops whole samples of a residual branch (stochastic depth). Huang et al. 2016, arXiv 1603.09382. x [b, ...] */
export function dropPath(x: Tensor, key: Tensor, stream: number, rate: number): Tensor {
  const perSample = [x.shape[0], ...x.shape.slice(1).map(() => 1)];
  return rate === 0 ? x : x.mul(uniform(key, stream, perSample).greaterEqual(rate)).div(1 - rate);
}
