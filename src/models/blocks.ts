// What families of blocks in a row share.
import type { Layer } from "../nn/sequential.ts";
import type { Tensor } from "../tape/tensor.ts";

/** The output of every layer, each fed by the one before. */
export function outputs(layers: readonly Pick<Layer, "forward">[], x: Tensor): Tensor[] {
  let y = x;
  return layers.map((layer) => {
    y = layer.forward(y);
    return y;
  });
}

/** Stochastic depth of each block: none in the first, `rate` in the last, on a line between. Huang et al. 2016, arXiv 1603.09382. */
export const dropPaths = (rate: number, depth: number): number[] =>
  Array.from({ length: depth }, (_, i) => (rate * i) / Math.max(1, depth - 1));
