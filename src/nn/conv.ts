import type { ConvOptions } from "../tape/ops/conv.ts";
import type { Parameter, Tensor } from "../tape/tensor.ts";
import { type Initializer, kaimingUniform, parameter, uniform, zeros } from "./init.ts";
import { Module } from "./module.ts";

/** Convolution over images in NHWC. The weight is [out, k, k, in / groups]; checkpoints hold [out, in / groups, k, k]. */
export class Conv2d extends Module {
  weight: Parameter;
  bias?: Parameter;
  readonly options: ConvOptions;

  constructor(inputs: number, outputs: number, kernel: number, options: ConvOptions & { bias?: boolean; init?: Initializer } = {}) {
    super();
    const { bias = true, init, ...rest } = options;
    const fanIn = (kernel * kernel * inputs) / (rest.groups ?? 1);
    this.weight = parameter([outputs, kernel, kernel, inputs / (rest.groups ?? 1)], init ?? kaimingUniform, { layout: "OHWI" });
    if (bias) this.bias = parameter([outputs], init ? zeros : uniform(1 / Math.sqrt(fanIn)));
    this.options = rest;
  }

  /** [b, h, w, in] -> [b, h', w', out] */
  forward(x: Tensor): Tensor {
    const y = x.conv2d(this.weight, this.options);
    return this.bias ? y.add(this.bias) : y;
  }
}
