import type { Parameter, Tensor } from "../tape/tensor.ts";
import { constant, parameter } from "./init.ts";
import { Module } from "./module.ts";

/** Multiplies every channel by a number of its own, which begins small. Touvron et al. 2021, arXiv 2103.17239. */
export class LayerScale extends Module {
  gamma: Parameter;

  constructor(dim: number, initial: number) {
    super();
    this.gamma = parameter([dim], constant(initial));
  }

  /** [..., dim] -> [..., dim] */
  forward(x: Tensor): Tensor {
    return x.mul(this.gamma);
  }
}
