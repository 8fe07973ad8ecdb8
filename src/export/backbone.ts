// A backbone as an ONNX model: images in, features out.
import type { Backbone } from "../models/backbone.ts";
import { withContext } from "../nn/module.ts";
import type { Parameter, Tensor } from "../tape/tensor.ts";
import { translate } from "./graph.ts";
import type { OnnxModel, OnnxValue } from "./onnx.ts";
import { traceTwins } from "./twins.ts";

export interface OnnxOptions {
  /** Side of the images. */
  size: number;
  /** Of the graph, for people. */
  name?: string;
  /** Also gives the last map, as the output "map". */
  map?: boolean;
  /** Kept in the file. */
  metadata?: Readonly<Record<string, string>>;
}

/**
 * Translates a backbone in evaluation mode. Input "images" [batch, 3, size, size], normalised as in training; outputs "features"
 * [batch, features] and, if asked for, "map" [batch, c, h, w]; any batch. Weights keep their official names and shapes where the graph
 * uses them as they are. Throws a RangeError if the network does what ONNX cannot say.
 */
export async function onnxModel(
  backbone: Backbone,
  { size, name = "backbone", map = false, metadata = {} }: OnnxOptions,
): Promise<OnnxModel> {
  const pass = (images: Tensor): Record<string, Tensor> =>
    withContext({ training: false }, () => ({ features: backbone.forward(images), ...(map && { map: backbone.map(images) }) }));
  const twins = await traceTwins(pass, [size, size, 3]);
  const names = new Map<Parameter, string>();
  for (const [parameterName, parameter] of backbone.namedParameters()) names.set(parameter, parameterName);
  const outputs = ["features", ...(map ? ["map"] : [])];
  const { nodes, tensors } = await translate(twins, names, "images", outputs);
  const [, h, w, c] = twins.graph.outputs[outputs.length - 1].shape;
  const shapes: Readonly<Record<string, OnnxValue["shape"]>> = { features: ["batch", backbone.features], map: ["batch", c, h, w] };
  return {
    name,
    nodes,
    tensors,
    inputs: [{ name: "images", shape: ["batch", 3, size, size] }],
    outputs: outputs.map((output) => ({ name: output, shape: shapes[output] })),
    metadata,
  };
}
