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
