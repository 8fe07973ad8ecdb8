import { apply, defineOp } from "../op.ts";
import { ShapeError } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

// x [..., c], gamma [c], beta [c]; attrs: eps -> y, mean [c], biased variance [c] over all axes but the last
defineOp({
  name: "batchNorm",
  shape([x, gamma, beta]) {
    const c = x[x.length - 1];
    if (x.length < 2 || gamma[0] !== c || beta[0] !== c)
      throw new ShapeError("batchNorm", [x, gamma, beta], "scale and shift of the last axis' size");
    return [x, [c], [c]];
  },
  vjp([g], { inputs: [x, gamma], outputs: [, mean, variance], attrs }) {
    return g ? apply("batchNormGrad", [g, x, gamma, mean, variance], attrs) : [];
  },
});
defineOp({ name: "batchNormGrad", shape: ([, x, gamma]) => [x, gamma, gamma] }); // -> dx, dgamma, dbeta

/**
 * Batch normalisation with the statistics of this batch. x [..., c] -> y like x, mean [c], variance [c] (biased).
 * No gradient flows through the returned statistics: they are for running averages. Ioffe & Szegedy 2015, arXiv 1502.03167.
 */
export function batchNorm(x: Tensor, gamma: Tensor, beta: Tensor, eps: number): { y: Tensor; mean: Tensor; variance: Tensor } {
  const [y, mean, variance] = apply("batchNorm", [x, gamma, beta], { eps });
  return { y, mean, variance };
}

// x [..., c], gamma [c], beta [c]; attrs: eps -> y, mean [rows], 1 / sqrt(variance + eps) [rows]
defineOp({
  name: "layerNorm",
  shape([x, gamma, beta]) {
    const c = x[x.length - 1];
    if (gamma[0] !== c || beta[0] !== c) throw new ShapeError("layerNorm", [x, gamma, beta], "scale and shift of the last axis' size");
    return [x, x.slice(0, -1), x.slice(0, -1)];
  },
  vjp([g], { inputs: [x, gamma], outputs: [, mean, rstd] }) {
    return g ? apply("layerNormGrad", [g, x, gamma, mean, rstd]) : [];
  },
});
defineOp({ name: "layerNormGrad", shape: ([, x, gamma]) => [x, gamma, gamma] }); // -> dx, dgamma, dbeta

/** Layer normalisation over the last axis. Ba et al. 2016, arXiv 1607.06450. */
export const layerNorm = (x: Tensor, gamma: Tensor, beta: Tensor, eps: number): Tensor => apply("layerNorm", [x, gamma, beta], { eps })[0];
