// Writes ONNX models of one node, byte by byte. Field numbers are those of onnx/onnx.proto (ONNX 1.16, IR version 8); the wire
// format is protobuf's: a key is field << 3 | type, where type 0 is a varint and type 2 a length with that many bytes.

import type { Host } from "../../../src/tape/trace.ts";
import { type Job, outputSide, padding, permuted, values } from "../jobs.ts";

const FLOAT = 1; // TensorProto.DataType
const INT = 2; // AttributeProto.AttributeType
const INTS = 7;

function varint(value: number): number[] {
  const out: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) out.push((value % 128) | 128);
  return [...out, value];
}

const number = (field: number, value: number): Buffer => Buffer.from([...varint(field << 3), ...varint(value)]);
const bytes = (field: number, value: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from([...varint((field << 3) | 2), ...varint(value.length)]), value]);
const text = (field: number, value: string): Buffer => bytes(field, Buffer.from(value));
const message = (field: number, ...parts: Uint8Array[]): Buffer => bytes(field, Buffer.concat(parts));

/** ValueInfoProto: a float tensor's name and shape. */
function valueInfo(field: number, name: string, shape: readonly number[]): Buffer {
  const dims = shape.map((n) => message(1, number(1, n)));
  return message(field, text(1, name), message(2, message(1, number(1, FLOAT), message(2, ...dims))));
}

/** A node's attribute: an integer or a list of them. */
const attribute = (name: string, value: number | readonly number[]): Buffer =>
  typeof value === "number"
    ? message(5, text(1, name), number(3, value), number(20, INT))
    : message(5, text(1, name), ...value.map((one) => number(8, one)), number(20, INTS));

interface Node {
  readonly type: "MatMul" | "Gemm" | "Conv";
  /** Shapes of the inputs that a run brings. */
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  /** Inputs that the model holds. */
  readonly constants?: Readonly<Record<string, Host>>;
  readonly attributes?: Readonly<Record<string, number | readonly number[]>>;
  /** Shape of the output "y". */
  readonly output: readonly number[];
}

/** A model of one node, whose inputs are the run's in their order and then the constants. */
function oneNodeModel({ type, inputs, constants = {}, attributes = {}, output }: Node): Uint8Array {
  const names = [...Object.keys(inputs), ...Object.keys(constants)];
  const node = message(
    1,
    ...names.map((name) => text(1, name)),
    text(2, "y"),
    text(4, type),
    ...Object.entries(attributes).map(([name, value]) => attribute(name, value)),
  );
  const initializers = Object.entries(constants).map(([name, { shape, data }]) =>
    message(5, ...shape.map((n) => number(1, n)), number(2, FLOAT), text(8, name), bytes(9, new Uint8Array(data.buffer))),
  );
  const graph = message(
    7,
    node,
    text(2, "graph"),
    ...initializers,
    ...Object.entries(inputs).map(([name, shape]) => valueInfo(11, name, shape)),
    valueInfo(12, "y", output),
  );
  return Buffer.concat([number(1, 8), graph, message(8, text(1, ""), number(2, 17))]);
}

/** A job as a model: images are [n, c, h, w] in it and weights [o, i, kh, kw]; a known weight is a constant, which a runtime may lay out as it likes. */
export function onnxModel(job: Job): Uint8Array {
  if (job.op === "block") throw new Error("it does not train");
  const { a, b } = values(job);
  if (job.op === "matmul") {
    const operands: Pick<Node, "inputs" | "constants"> = job.weight
      ? { inputs: { a: a.shape }, constants: { b } }
      : { inputs: { a: a.shape, b: b.shape } };
    const output = [...a.shape.slice(0, -2), job.m, job.n];
    const transposes = { transA: Number(!!job.ta), transB: Number(!!job.tb) };
    const gemm = job.ta || job.tb;
    return oneNodeModel(gemm ? { type: "Gemm", ...operands, attributes: transposes, output } : { type: "MatMul", ...operands, output });
  }
  const { batch, outputs, kernel, stride } = job;
  const [pad, side] = [padding(job), outputSide(job)];
  const attributes = { kernel_shape: [kernel, kernel], pads: [pad, pad, pad, pad], strides: [stride, stride] };
  const constants = { b: permuted(b, [0, 3, 1, 2]) };
  const [n, h, w, c] = a.shape;
  return oneNodeModel({ type: "Conv", inputs: { a: [n, c, h, w] }, constants, attributes, output: [batch, outputs, side, side] });
}
