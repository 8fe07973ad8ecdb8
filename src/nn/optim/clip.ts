import { tensor } from "../../tape/op.ts";
import type { Tensor } from "../../tape/tensor.ts";
import { norm } from "./optimizer.ts";

type Gradients = readonly (Tensor | undefined)[];

/** min(1, limit / (length + 1e-6)): the factor of `clip_grad_norm_`. */
const factor = (length: Tensor, limit: number): Tensor => tensor(limit).div(length.add(1e-6)).minimum(1);

/** Shortens every gradient that is longer than `limit` by itself, as DINO does. */
export const clipEach = (gradients: Gradients, limit: number): Gradients => gradients.map((g) => g?.mul(factor(norm(g), limit)));

/** Length of all gradients together; a scalar. */
export const globalNorm = (gradients: Gradients): Tensor =>
  gradients
    .filter((g) => g !== undefined)
    .map((g) => g.square().sum())
    .reduce((a, b) => a.add(b))
    .sqrt();

/** Shortens all gradients by one factor if together they are longer than `limit`. */
export function clipGlobal(gradients: Gradients, limit: number): Gradients {
  if (gradients.every((g) => g === undefined)) return gradients;
  const scale = factor(globalNorm(gradients), limit);
  return gradients.map((g) => g?.mul(scale));
}
