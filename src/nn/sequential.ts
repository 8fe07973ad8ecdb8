import type { Tensor } from "../tape/tensor.ts";
import { Module } from "./module.ts";

/** A module of one tensor to one tensor. */
export interface Layer extends Module {
  forward(x: Tensor): Tensor;
}

/** Layers in a row, named by their index. A function (`(x) => x.relu()`) has no parameters but counts, as in PyTorch. */
export class Sequential extends Module {
  readonly layers: readonly (Layer | ((x: Tensor) => Tensor))[];

  constructor(...layers: (Layer | ((x: Tensor) => Tensor))[]) {
    super();
    this.layers = layers;
  }

  protected override fields(): Iterable<[string, unknown]> {
    return this.layers.map((layer, i): [string, unknown] => [String(i), layer]);
  }

  forward(x: Tensor): Tensor {
    return this.layers.reduce((y, layer) => (typeof layer === "function" ? layer(y) : layer.forward(y)), x);
  }
}
