import type { Parameter, Tensor } from "../tape/tensor.ts";
import { type Initializer, kaimingUniform, ones, parameter, uniform, zeros } from "./init.ts";
import { Module } from "./module.ts";

/** y = x W^T + b. W [out, in]. */
export class Linear extends Module {
  weight: Parameter;
  bias?: Parameter;

  constructor(inputs: number, outputs: number, options: { bias?: boolean; init?: Initializer; biasInit?: Initializer } = {}) {
    super();
    this.weight = parameter([outputs, inputs], options.init ?? kaimingUniform);
    if (options.bias ?? true) this.bias = parameter([outputs], options.biasInit ?? (options.init ? zeros : uniform(1 / Math.sqrt(inputs))));
  }

  /** [..., in] -> [..., out] */
  forward(x: Tensor): Tensor {
    const y = x.matmul(this.weight.t());
    return this.bias ? y.add(this.bias) : y;
  }
}

/**
 * A linear layer whose rows have a length of their own: y = x W^T, W_i = g_i v_i / |v_i|, no bias.
 * Salimans & Kingma 2016, arXiv 1602.07868; names as PyTorch's `weight_norm` gives them. weight_g [out, 1], weight_v [out, in]
 */
export class WeightNormLinear extends Module {
  weight_g: Parameter;
  weight_v: Parameter;

  constructor(inputs: number, outputs: number, options: { init?: Initializer } = {}) {
    super();
    this.weight_g = parameter([outputs, 1], ones);
    this.weight_v = parameter([outputs, inputs], options.init ?? kaimingUniform);
  }

  /** [..., in] -> [..., out] */
  forward(x: Tensor): Tensor {
    return x.matmul(this.weight_v.normalize().mul(this.weight_g).t());
  }
}
