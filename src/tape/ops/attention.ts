import { apply, defineOp } from "../op.ts";
import { ShapeError } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

// q [b, n, heads d], k, v [b, m, heads d]; attrs: heads, scale -> out like q, log-sum-exp of the scores [b, heads, n]
defineOp({
  name: "attention",
  shape([q, k, v], { heads }) {
    const fits =
      q.length === 3 && k.length === 3 && q[0] === k[0] && q[2] === k[2] && k.every((n, i) => n === v[i]) && q[2] % (heads as number) === 0;
    if (!fits) throw new ShapeError("attention", [q, k, v], `q [b, n, c] and k, v [b, m, c] with c divisible by ${heads} heads`);
    return [q, [q[0], heads as number, q[1]]];
  },
  vjp([g], { inputs: [q, k, v], outputs: [out, lse], attrs }) {
    return g ? apply("attentionGrad", [g, q, k, v, out, lse], attrs) : [];
  },
});
defineOp({ name: "attentionGrad", shape: ([, q, k, v]) => [q, k, v] }); // -> dq, dk, dv

/**
 * softmax(scale q k^T) v for every head, without storing the n x m matrix. Heads lie side by side in the last axis.
 * Vaswani et al. 2017, eq. 1, arXiv 1706.03762; tiled as in Dao et al. 2022, arXiv 2205.14135.
 * q [b, n, heads d], k and v [b, m, heads d] -> [b, n, heads d]
 */
export const attention = (q: Tensor, k: Tensor, v: Tensor, options: { heads: number; scale: number }): Tensor =>
  apply("attention", [q, k, v], options)[0];

/** The attention matrix itself, for pictures. q [b, n, heads d], k [b, m, heads d] -> [b, heads, n, m] */
export function attentionMap(q: Tensor, k: Tensor, { heads, scale }: { heads: number; scale: number }): Tensor {
  const perHead = (x: Tensor) => x.reshape([x.shape[0], x.shape[1], heads, -1]).permute([0, 2, 1, 3]);
  return perHead(q).matmul(perHead(k).t()).mul(scale).softmax();
}
