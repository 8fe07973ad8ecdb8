// ONNX files: a graph of nodes over named values, and its numbers. Field numbers are those of onnx/onnx.proto (github.com/onnx/onnx).
import { writeAtomically } from "../checkpoint/atomic.ts";
import type { Shape } from "../tape/shape.ts";
import { Message } from "./protobuf.ts";

/** Operators are those of this version: the first with LayerNormalization, and the newest that every runtime in use knows. */
const OPSET = 17;
const IR_VERSION = 8;

/** An attribute: a whole number, a list of them, or a float. */
export type Attribute = number | readonly number[] | { readonly float: number };

export interface OnnxNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** Numbers in the file: float32, or int64 for shapes, axes and indices. */
export interface OnnxTensor {
  readonly shape: Shape;
  readonly data: Float32Array | BigInt64Array;
}

/** A value that goes in or comes out, float32; a size may be a name, such as "batch". */
export interface OnnxValue {
  readonly name: string;
  readonly shape: readonly (number | string)[];
}

export interface OnnxModel {
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly tensors: ReadonlyMap<string, OnnxTensor>;
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  /** For people and tools: how images are prepared, where the weights came from. */
  readonly metadata: Readonly<Record<string, string>>;
}

const dataType = { float: 1, int64: 7 }; // TensorProto.DataType
const attributeType = { float: 1, int: 2, ints: 7 }; // AttributeProto.AttributeType

function attributeMessage(name: string, value: Attribute): Message {
  const message = new Message().text(1, name);
  if (typeof value === "number") return message.integer(3, value).integer(20, attributeType.int);
  if ("float" in value) return message.float(2, value.float).integer(20, attributeType.float);
  for (const one of value) message.integer(8, one);
  return message.integer(20, attributeType.ints);
}

function nodeMessage({ op, inputs, outputs, attributes }: OnnxNode): Message {
  const message = new Message();
  for (const name of inputs) message.text(1, name);
  for (const name of outputs) message.text(2, name);
  message.text(3, outputs[0]).text(4, op);
  for (const [name, value] of Object.entries(attributes)) message.message(5, attributeMessage(name, value));
  return message;
}

function tensorMessage(name: string, { shape, data }: OnnxTensor): Message {
  const message = new Message();
  for (const n of shape) message.integer(1, n);
  return message
    .integer(2, data instanceof Float32Array ? dataType.float : dataType.int64)
    .text(8, name)
    .bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

function valueMessage({ name, shape }: OnnxValue): Message {
  const sizes = new Message();
  for (const n of shape) sizes.message(1, typeof n === "number" ? new Message().integer(1, n) : new Message().text(2, n));
  const tensor = new Message().integer(1, dataType.float).message(2, sizes);
  return new Message().text(1, name).message(2, new Message().message(1, tensor));
}

/** Protobuf's own limit: lengths are signed 32-bit numbers in its readers. */
const MOST_BYTES = 2 ** 31 - 1;

/**
 * The file's bytes in pieces, in order. Throws a RangeError if they would be more than a protobuf file can hold (2 GiB), which
 * `where` (a path) begins.
 */
export function encodeOnnx(model: OnnxModel, where = model.name): Message {
  const graph = new Message();
  for (const node of model.nodes) graph.message(1, nodeMessage(node));
  graph.text(2, model.name);
  for (const [name, tensor] of model.tensors) graph.message(5, tensorMessage(name, tensor));
  for (const value of model.inputs) graph.message(11, valueMessage(value));
  for (const value of model.outputs) graph.message(12, valueMessage(value));
  const file = new Message().integer(1, IR_VERSION).text(2, "autodidact").message(7, graph);
  file.message(8, new Message().text(1, "").integer(2, OPSET));
  for (const [name, value] of Object.entries(model.metadata)) file.message(14, new Message().text(1, name).text(2, value));
  if (file.length > MOST_BYTES)
    throw new RangeError(
      `Cannot write ${where}: the model has ${(file.length / 1e9).toFixed(1)} GB and an ONNX file holds 2.1 GB at most (weights in files beside it are not written); .safetensors and .pth have no limit`,
    );
  return file;
}

/** Writes a model to a file; what stood there before stays until the new one is whole. */
export const writeOnnx = (path: string, model: OnnxModel): Promise<void> => writeAtomically(path, encodeOnnx(model, path).chunks());
