// Attention whose scores have a term of their own for every pair of tokens: where they lie to each other, and who may see whom.
import type { Tensor } from "../tape/tensor.ts";

export interface BiasedAttentionOptions {
  heads: number;
  scale: number;
  /** Added to the scores. [g, heads, n, m], where g divides the batch: sample i takes number i mod g. */
  bias: Tensor;
}

/** [b, n, heads d] -> [b, heads, n, d] */
const perHead = (x: Tensor, heads: number) => x.reshape([x.shape[0], x.shape[1], heads, -1]).permute([0, 2, 1, 3]);

/** softmax(scale q k^T + bias) for every head. q [b, n, heads d], k [b, m, heads d] -> [b, heads, n, m] */
export function biasedAttentionMap(q: Tensor, k: Tensor, { heads, scale, bias }: BiasedAttentionOptions): Tensor {
  const scores = perHead(q, heads).matmul(perHead(k, heads).t()).mul(scale);
  const grouped = scores.reshape([-1, ...bias.shape]).add(bias);
  return grouped.reshape(scores.shape).softmax();
}

/** softmax(scale q k^T + bias) v. q [b, n, heads d], k and v [b, m, heads d] -> [b, n, heads d] */
export function biasedAttention(q: Tensor, k: Tensor, v: Tensor, options: BiasedAttentionOptions): Tensor {
  return biasedAttentionMap(q, k, options).matmul(perHead(v, options.heads)).permute([0, 2, 1, 3]).reshape(q.shape);
}
