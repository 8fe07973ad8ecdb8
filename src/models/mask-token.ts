import type { Parameter, Tensor } from "../tape/tensor.ts";

/** Puts the mask token in the place of hidden patches. x [b, ..., dim], mask [b, ...] (1: hidden), token [1, 1, dim] -> like x */
export function withMaskToken(token: Parameter | undefined, x: Tensor, mask: Tensor): Tensor {
  if (!token) throw new TypeError("Cannot hide patches: expected a backbone with a mask token (maskToken: true)");
  const hidden = mask.reshape([...x.shape.slice(0, -1), 1]);
  return x.mul(hidden.rsub(1)).add(hidden.mul(token.reshape([token.size])));
}
