import type { Tensor } from "../tape/tensor.ts";
import type { Initializer } from "./init.ts";
import { Linear } from "./linear.ts";
import { Module } from "./module.ts";

/** The feed-forward half of a transformer block: fc2(gelu(fc1(x))). */
export class Mlp extends Module {
  fc1: Linear;
  fc2: Linear;

  constructor(dim: number, hidden: number, options: { init?: Initializer } = {}) {
    super();
    this.fc1 = new Linear(dim, hidden, options);
    this.fc2 = new Linear(hidden, dim, options);
  }

  /** [..., dim] -> [..., dim] */
  forward(x: Tensor): Tensor {
    return this.fc2.forward(this.fc1.forward(x).gelu());
  }
}

/** A feed-forward half with a gate: w3(silu(a) b), where a and b are the halves of w12(x). Shazeer 2020, arXiv 2002.05202. */
export class SwiGlu extends Module {
  w12: Linear;
  w3: Linear;

  constructor(dim: number, hidden: number, options: { init?: Initializer } = {}) {
    super();
    this.w12 = new Linear(dim, 2 * hidden, options);
    this.w3 = new Linear(hidden, dim, options);
  }

  /** [..., dim] -> [..., dim] */
  forward(x: Tensor): Tensor {
    const [a, b] = this.w12.forward(x).split(-1, 2);
    return this.w3.forward(a.mul(a.sigmoid()).mul(b));
  }
}
