import { attention, attentionMap } from "../tape/ops/attention.ts";
import type { Tensor } from "../tape/tensor.ts";
import type { Initializer } from "./init.ts";
import { Linear } from "./linear.ts";
import { Module } from "./module.ts";

/** Multi-head self-attention with one projection for queries, keys and values. Vaswani et al. 2017, arXiv 1706.03762. */
export class Attention extends Module {
  qkv: Linear;
  proj: Linear;
  readonly heads: number;

  constructor(dim: number, heads: number, options: { init?: Initializer; qkvInit?: Initializer } = {}) {
    super();
    if (dim % heads) throw new RangeError(`Cannot split ${dim} features into ${heads} heads: expected a multiple of ${heads}`);
    this.qkv = new Linear(dim, 3 * dim, { init: options.qkvInit ?? options.init });
    this.proj = new Linear(dim, dim, { init: options.init });
    this.heads = heads;
  }

  /** [b, n, dim] -> [b, n, dim] */
  forward(x: Tensor): Tensor {
    const [q, k, v] = this.qkv.forward(x).split(2, 3);
    return this.proj.forward(attention(q, k, v, this.#options(q)));
  }

  /** The attention of every token to every token. [b, n, dim] -> [b, heads, n, n] */
  map(x: Tensor): Tensor {
    const [q, k] = this.qkv.forward(x).split(2, 3);
    return attentionMap(q, k, this.#options(q));
  }

  #options(q: Tensor): { heads: number; scale: number } {
    return { heads: this.heads, scale: (q.shape[2] / this.heads) ** -0.5 };
  }
}
