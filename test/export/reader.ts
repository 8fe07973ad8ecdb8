// Reads ONNX files and runs their graphs with this library's own operations, so that tests see what a reader of the file sees.
import { array } from "../../src/tape/op.ts";
import { concat } from "../../src/tape/ops/move.ts";
import { layerNorm } from "../../src/tape/ops/normalize.ts";
import { type Shape, size } from "../../src/tape/shape.ts";
import type { Tensor } from "../../src/tape/tensor.ts";

type Field = { number: number; value: bigint | Uint8Array };

/** Protobuf's fields in their order. Throws where lengths do not fit. */
export function fieldsOf(bytes: Uint8Array): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      if (at >= bytes.length || shift > 63n) throw new RangeError(`a varint ends beyond byte ${at}`);
      value |= BigInt(bytes[at] & 127) << shift;
      if (bytes[at++] < 128) return BigInt.asUintN(64, value);
    }
  };
  const take = (n: number) => {
    if (at + n > bytes.length) throw new RangeError(`${n} bytes from ${at} end beyond ${bytes.length}`);
    at += n;
    return bytes.subarray(at - n, at);
  };
  while (at < bytes.length) {
    const key = Number(varint());
    const type = key & 7;
    if (type !== 0 && type !== 2 && type !== 5) throw new RangeError(`wire type ${type}`);
    fields.push({ number: key >> 3, value: type === 0 ? varint() : take(type === 2 ? Number(varint()) : 4) });
  }
  return fields;
}

const all = (fields: Field[], number: number) => fields.filter((field) => field.number === number).map(({ value }) => value);
const messages = (fields: Field[], number: number) => all(fields, number).map((value) => fieldsOf(value as Uint8Array));
const texts = (fields: Field[], number: number) => all(fields, number).map((value) => new TextDecoder().decode(value as Uint8Array));
const integers = (fields: Field[], number: number) => all(fields, number).map((value) => Number(BigInt.asIntN(64, value as bigint)));

export interface ReadNode {
  op: string;
  inputs: string[];
  outputs: string[];
  attributes: Record<string, number | number[]>;
}

export interface ReadTensor {
  shape: number[];
  /** int64 rather than float32. */
  whole: boolean;
  data: Float32Array;
}

export interface ReadModel {
  opset: number;
  nodes: ReadNode[];
  tensors: Map<string, ReadTensor>;
  inputs: Record<string, (number | string)[]>;
  outputs: Record<string, (number | string)[]>;
  metadata: Record<string, string>;
}

function attribute(fields: Field[]): [string, number | number[]] {
  const [type] = integers(fields, 20);
  if (type === 7) return [texts(fields, 1)[0], integers(fields, 8)];
  if (type === 2) return [texts(fields, 1)[0], integers(fields, 3)[0]];
  const four = Uint8Array.from(all(fields, 2)[0] as Uint8Array);
  return [texts(fields, 1)[0], new Float32Array(four.buffer)[0]];
}

function tensor(fields: Field[]): [string, ReadTensor] {
  const shape = integers(fields, 1);
  const raw = Uint8Array.from(all(fields, 9)[0] as Uint8Array);
  const whole = integers(fields, 2)[0] === 7;
  const data = whole ? Float32Array.from(new BigInt64Array(raw.buffer), Number) : new Float32Array(raw.buffer);
  if (data.length !== size(shape)) throw new RangeError(`${texts(fields, 8)[0]} has ${data.length} numbers for ${shape}`);
  return [texts(fields, 8)[0], { shape, whole, data }];
}

function value(fields: Field[]): [string, (number | string)[]] {
  const [type] = messages(messages(fields, 2)[0], 1);
  const dims = messages(messages(type, 2)[0], 1);
  return [texts(fields, 1)[0], dims.map((dim) => integers(dim, 1)[0] ?? texts(dim, 2)[0])];
}

export function readOnnx(bytes: Uint8Array): ReadModel {
  const file = fieldsOf(bytes);
  const [graph] = messages(file, 7);
  return {
    opset: integers(messages(file, 8)[0], 2)[0],
    nodes: messages(graph, 1).map((node) => ({
      op: texts(node, 4)[0],
      inputs: texts(node, 1),
      outputs: texts(node, 2),
      attributes: Object.fromEntries(messages(node, 5).map(attribute)),
    })),
    tensors: new Map(messages(graph, 5).map(tensor)),
    inputs: Object.fromEntries(messages(graph, 11).map(value)),
    outputs: Object.fromEntries(messages(graph, 12).map(value)),
    metadata: Object.fromEntries(messages(file, 14).map((entry) => [texts(entry, 1)[0], texts(entry, 2)[0]])),
  };
}

/** A value of the graph: numbers, or whole numbers that are known while tracing. */
type Value = Tensor | number[];
type Run = (inputs: Value[], attributes: ReadNode["attributes"], outputs: number) => Value[];

const onTensors =
  (f: (x: Tensor[], a: Record<string, number>, lists: Record<string, number[]>) => Tensor): Run =>
  (inputs, attributes) => [f(inputs as Tensor[], attributes as Record<string, number>, attributes as Record<string, number[]>)];

const channelsLast = (x: Tensor) => x.permute([0, 2, 3, 1]);
const channelsFirst = (x: Tensor) => x.permute([0, 3, 1, 2]);
const flipLast = (x: Tensor, flip: unknown) => (flip ? x.t() : x);

/** Sizes for a reshape: 0 keeps one. */
const reshaped = (x: Tensor, sizes: number[]) => x.reshape(sizes.map((n, i) => (n === 0 ? x.shape[i] : n)));

function sliced(x: Tensor, [begin]: number[], [end]: number[], [axis]: number[], [step]: number[] = [1]): Tensor {
  if (step === -1) return x.flip(axis);
  return x.slice(axis, begin, Math.min(end, x.shape[axis]));
}

function padded(x: Tensor, amounts: number[], value: Tensor): Tensor {
  const amount = value.node.attrs.data as Float32Array;
  return x.pad(amounts.slice(0, x.rank), amounts.slice(x.rank), amount[0]);
}

function stretched(x: Tensor, shape: number[]): Tensor {
  const lead = shape.length - x.rank;
  return x.expand(shape.map((n, i) => (n === 1 && i >= lead ? x.shape[i - lead] : n)));
}

const broadcast = (op: "add" | "sub" | "mul" | "div" | "maximum" | "minimum" | "greater" | "greaterEqual" | "equal"): Run =>
  onTensors(([a, b]) => a[op](b));
const plain = (op: "neg" | "exp" | "log" | "sqrt" | "abs" | "floor" | "tanh" | "sigmoid" | "relu" | "softmax" | "logSoftmax"): Run =>
  onTensors(([x]) => x[op]());

/** Abramowitz and Stegun's 7.1.26 is too coarse here; erf follows from the exact gelu: gelu(x) = x (1 + erf(x / sqrt 2)) / 2. */
const erf = (x: Tensor): Tensor => {
  const y = x.mul(Math.SQRT2);
  return x
    .abs()
    .less(1e-4)
    .where(x.mul(2 / Math.sqrt(Math.PI)), y.gelu().mul(2).div(y).sub(1));
};

const runs: Readonly<Record<string, Run>> = {
  Add: broadcast("add"),
  Sub: broadcast("sub"),
  Div: broadcast("div"),
  Max: broadcast("maximum"),
  Min: broadcast("minimum"),
  Greater: broadcast("greater"),
  GreaterOrEqual: broadcast("greaterEqual"),
  Equal: broadcast("equal"),
  Mul: ([a, b]) => (Array.isArray(a) ? [a.map((n, i) => n * (b as number[])[i])] : [a.mul(b as Tensor)]),
  Neg: plain("neg"),
  Exp: plain("exp"),
  Log: plain("log"),
  Sqrt: plain("sqrt"),
  Abs: plain("abs"),
  Floor: plain("floor"),
  Tanh: plain("tanh"),
  Sigmoid: plain("sigmoid"),
  Relu: plain("relu"),
  Softmax: plain("softmax"),
  LogSoftmax: plain("logSoftmax"),
  Reciprocal: onTensors(([x]) => x.sub(x).add(1).div(x)),
  Erf: onTensors(([x]) => erf(x)),
  Where: onTensors(([condition, a, b]) => condition.where(a, b)),
  Cast: onTensors(([x]) => x),
  Identity: (inputs) => inputs,
  Shape: ([x], { start, end }) => [[...(x as Tensor).shape.slice(start as number, end as number)]],
  Concat: (parts, { axis }) => [Array.isArray(parts[0]) ? (parts as number[][]).flat() : concat(parts as Tensor[], axis as number)],
  Reshape: ([x, sizes]) => [reshaped(x as Tensor, sizes as number[])],
  Expand: ([x, shape]) => [stretched(x as Tensor, shape as number[])],
  Transpose: ([x], { perm }) => [(x as Tensor).permute(perm as number[])],
  Slice: ([x, ...rest]) => [sliced(x as Tensor, ...(rest as [number[], number[], number[], number[]]))],
  Split: ([x], { axis }, outputs) => (x as Tensor).split(axis as number, outputs),
  Pad: ([x, amounts, value]) => [padded(x as Tensor, amounts as number[], value as Tensor)],
  Gather: ([x, index]) => [(x as Tensor).gather(array(Float32Array.from(index as number[]), shapeOf(index as number[])))],
  ReduceSum: ([x, axes]) => [(x as Tensor).sum(axes as number[], true)],
  ReduceMax: ([x], { axes }) => [(x as Tensor).max(axes as number[], true)],
  ArgMax: onTensors(([x]) => x.argmax()),
  LayerNormalization: onTensors(([x, scale, shift], { epsilon }) => layerNorm(x, scale, shift, epsilon)),
  MatMul: onTensors(([a, b]) => a.matmul(b)),
  Gemm: onTensors(([a, b, c], { transA, transB }) => {
    const product = flipLast(a, transA).matmul(flipLast(b, transB));
    return c ? product.add(c) : product;
  }),
  Conv: onTensors(([x, w, b], { group }, { strides, pads, dilations }) => {
    const options = { stride: strides[0], padding: pads[0], dilation: dilations[0], groups: group };
    const y = channelsLast(x).conv2d(channelsLast(w), options);
    return channelsFirst(b ? y.add(b) : y);
  }),
  MaxPool: onTensors(([x], _, { kernel_shape, strides, pads }) =>
    channelsFirst(channelsLast(x).maxPool({ kernel: kernel_shape[0], stride: strides[0], padding: pads[0] })),
  ),
  AveragePool: onTensors(([x], _, { kernel_shape, strides, pads }) =>
    channelsFirst(channelsLast(x).avgPool({ kernel: kernel_shape[0], stride: strides[0], padding: pads[0] })),
  ),
};

/** Shapes of lists of whole numbers that are no plain lists. */
const shapes = new WeakMap<number[], Shape>();
const shapeOf = (list: number[]): Shape => shapes.get(list) ?? [list.length];

/** Runs a graph inside a trace. Throws if it uses a name before it is made, or makes one twice. */
export function runGraph({ nodes, tensors, outputs }: ReadModel, inputs: Record<string, Tensor>): Record<string, Tensor> {
  const values = new Map<string, Value>(Object.entries(inputs));
  for (const [name, { shape, whole, data }] of tensors) {
    const list = Array.from(data);
    if (whole) shapes.set(list, shape);
    values.set(name, whole ? list : array(data, shape));
  }
  for (const { op, inputs: names, outputs: made, attributes } of nodes) {
    const given = names.map((name) => {
      const value = values.get(name);
      if (value === undefined) throw new RangeError(`${op} uses ${name} before it is made`);
      return value;
    });
    const results = runs[op](given, attributes, made.length);
    for (const [i, name] of made.entries()) {
      if (values.has(name)) throw new RangeError(`${name} is made twice`);
      values.set(name, results[i]);
    }
  }
  return Object.fromEntries(Object.keys(outputs).map((name) => [name, values.get(name) as Tensor]));
}
