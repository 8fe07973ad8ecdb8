// Every operation of a forward pass in terms of ONNX operators (version 17, github.com/onnx/onnx, docs/Operators.md).
import type { Node, Tensor } from "../tape/tensor.ts";
import type { Attribute } from "./onnx.ts";
import { channelsFirstAxis, type Translation } from "./translation.ts";
import type { Size } from "./twins.ts";

/** Translates a node: adds what computes it, and says under which names its outputs are known. */
export type Operator = (to: Translation, node: Node) => void;

const FLOAT = 1; // TensorProto.DataType
const BOOL = 9;
/** Beyond the end of every axis. */
const END = 2 ** 31 - 1;

const input = ({ inputs }: Node) => inputs[0];
const axisOf = (axis: number, first: boolean) => (first ? channelsFirstAxis[axis] : axis);

/** Runs `f` on a tensor in the order that it has, and keeps that order for the result. */
function inOrder(to: Translation, node: Node, f: (name: string, first: boolean) => string[]): void {
  const x = input(node);
  const first = to.isFirst(x);
  f(first ? to.first(x) : to.plain(x), first).forEach((name, i) => to.set(node, i, first ? { first: name } : { plain: name }));
}

/** Operands in one order: channels first if one has it and the others can. */
function elementwise(f: (to: Translation, names: string[]) => string): Operator {
  return (to, node) => {
    const beside = node.inputs.map((t) => to.besideFirst(t));
    const first = node.shapes[0].length === 4 && node.inputs.some((t) => to.isFirst(t)) && beside.every((name) => name !== undefined);
    const names = first ? beside.map((name) => (name as () => string)()) : node.inputs.map((t) => to.plain(t));
    const result = f(to, names);
    to.set(node, 0, first ? { first: result } : { plain: result });
  };
}

const direct = (op: string): Operator => elementwise((to, names) => to.add(op, names)[0]);

/** A comparison as 0 and 1. */
const comparison = (op: string): Operator => elementwise((to, names) => to.add("Cast", to.add(op, names), { to: FLOAT })[0]);

/** Numbers for ONNX's Reshape, where one size may be left to what remains. */
function reshapeSizes(sizes: readonly Size[], op: string): number[] {
  if (sizes.filter((n) => typeof n !== "number").length > 1)
    throw new RangeError(`Cannot export "${op}": expected no more than one size that depends on the batch`);
  return sizes.map((n) => (typeof n === "number" ? n : -1));
}

const reshape: Operator = (to, node) => {
  const target = to.ints(reshapeSizes(to.sizes(node, "shape"), "reshape"));
  to.set(node, 0, { plain: to.add("Reshape", [to.plain(input(node)), target])[0] });
};

const permute: Operator = (to, node) => {
  const x = input(node);
  const axes = node.attrs.axes as number[];
  const first = to.isFirst(x);
  const perm = first ? axes.map((axis) => channelsFirstAxis[axis]) : axes;
  const name = first ? to.first(x) : to.plain(x);
  to.set(node, 0, { plain: perm.every((axis, i) => axis === i) ? name : to.add("Transpose", [name], { perm })[0] });
};

/** Axes that are already long enough are 1, which stretches to anything. */
const expand: Operator = (to, node) => {
  const x = input(node);
  const lead = node.shapes[0].length - x.rank;
  const sizes = to.sizes(node, "shape").map((n, i) => (i >= lead && x.shape[i - lead] === node.shapes[0][i] ? 1 : n));
  const shape = sizes.every((n) => typeof n === "number")
    ? to.ints(sizes as number[])
    : to.add(
        "Concat",
        sizes.map((n) => (typeof n === "number" ? to.ints([n]) : to.batch(n.batch))),
        { axis: 0 },
      )[0];
  to.set(node, 0, { plain: to.add("Expand", [to.plain(x), shape])[0] });
};

const slice: Operator = (to, node) =>
  inOrder(to, node, (x, first) => {
    const axis = axisOf(node.attrs.axis as number, first);
    const whole = node.attrs.end === input(node).shape[node.attrs.axis as number];
    const [begin, end] = [to.size(node, "begin"), whole ? END : to.size(node, "end")];
    if (typeof begin !== "number" || typeof end !== "number")
      throw new RangeError('Cannot export "slice": expected bounds that do not depend on the batch');
    return to.add("Slice", [x, to.ints([begin]), to.ints([end]), to.ints([axis])]);
  });

const flip: Operator = (to, node) =>
  inOrder(to, node, (x, first) => {
    const axis = axisOf(node.attrs.axis as number, first);
    return to.add("Slice", [x, to.ints([-1]), to.ints([-END]), to.ints([axis]), to.ints([-1])]);
  });

const split: Operator = (to, node) =>
  inOrder(to, node, (x, first) => to.add("Split", [x], { axis: axisOf(node.attrs.axis as number, first) }, node.shapes.length));

const pad: Operator = (to, node) =>
  inOrder(to, node, (x, first) => {
    const order = (list: number[]) => (first ? [list[0], list[3], list[1], list[2]] : list);
    const amounts = [...order(node.attrs.before as number[]), ...order(node.attrs.after as number[])];
    return to.add("Pad", [x, to.ints(amounts), to.scalar(node.attrs.value as number)]);
  });

const concat: Operator = (to, node) => {
  const first = node.shapes[0].length === 4 && node.inputs.every((t) => to.isFixed(t) || to.isFirst(t));
  const names = node.inputs.map((t) => (first ? to.first(t) : to.plain(t)));
  const [name] = to.add("Concat", names, { axis: axisOf(node.attrs.axis as number, first) });
  to.set(node, 0, first ? { first: name } : { plain: name });
};

const gather: Operator = (to, node) => {
  const [x, index] = node.inputs;
  if (!to.isFixed(index)) throw new RangeError('Cannot export "gather": expected indices that do not depend on the images');
  const last = x.shape[0] - 1;
  const rows = Array.from(to.numbers(index).data, (row) => Math.min(last, Math.max(0, row)));
  to.set(node, 0, { plain: to.add("Gather", [to.plain(x), to.ints(rows, index.shape)], { axis: 0 })[0] });
};

const sum: Operator = (to, node) =>
  inOrder(to, node, (x, first) => {
    const axes = (node.attrs.axes as number[]).map((axis) => axisOf(axis, first));
    return to.add("ReduceSum", [x, to.ints(axes)], { keepdims: 1 });
  });

const max: Operator = (to, node) =>
  inOrder(to, node, (x, first) => {
    const axes = (node.attrs.axes as number[]).map((axis) => axisOf(axis, first));
    return to.add("ReduceMax", [x], { axes, keepdims: 1 });
  });

const overLastAxis =
  (op: string): Operator =>
  (to, node) =>
    to.set(node, 0, { plain: to.add(op, [to.plain(input(node))], { axis: -1 })[0] });

const argmax: Operator = (to, node) => {
  const index = to.add("ArgMax", [to.plain(input(node))], { axis: -1, keepdims: 0 });
  to.set(node, 0, { plain: to.add("Cast", index, { to: FLOAT })[0] });
};

const layerNorm: Operator = (to, node) => {
  const names = node.inputs.map((t) => to.plain(t));
  to.set(node, 0, { plain: to.add("LayerNormalization", names, { axis: -1, epsilon: { float: node.attrs.eps as number } })[0] });
};

/** Gemm for matrices, with a bias that follows; MatMul for batches of them. */
const matmul: Operator = (to, node) => {
  const [a, b] = node.inputs;
  const { ta, tb } = node.attrs;
  if (a.rank === 2 && b.rank === 2) {
    const bias = to.absorbBias(node);
    const names = [to.plain(a), to.plain(b), ...(bias ? [to.stored(bias, "plain")] : [])];
    return to.set(node, 0, { plain: to.add("Gemm", names, { transA: Number(!!ta), transB: Number(!!tb) })[0] });
  }
  const side = (t: Tensor, transposed: unknown) => {
    if (!transposed) return to.plain(t);
    const axes = t.shape.map((_, i) => i);
    return to.add("Transpose", [to.plain(t)], { perm: [...axes.slice(0, -2), t.rank - 1, t.rank - 2] })[0];
  };
  to.set(node, 0, { plain: to.add("MatMul", [side(a, ta), side(b, tb)])[0] });
};

/** softmax(scale q k^T) v, head by head. */
const attention: Operator = (to, node) => {
  const { heads, scale } = node.attrs as { heads: number; scale: number };
  const split = to.ints([0, 0, heads, input(node).shape[2] / heads]); // 0 keeps a size
  const perHead = (t: Tensor, perm: number[]) => to.add("Transpose", to.add("Reshape", [to.plain(t), split]), { perm })[0];
  const [q, k, v] = node.inputs;
  const scores = to.add("MatMul", [perHead(q, [0, 2, 1, 3]), perHead(k, [0, 2, 3, 1])]);
  const weights = to.add("Softmax", to.add("Mul", [scores[0], to.scalar(scale)]), { axis: -1 });
  const mixed = to.add("MatMul", [weights[0], perHead(v, [0, 2, 1, 3])]);
  const joined = to.add("Transpose", mixed, { perm: [0, 2, 1, 3] });
  to.set(node, 0, { plain: to.add("Reshape", [joined[0], to.ints([0, 0, input(node).shape[2]])])[0] });
};

const conv2d: Operator = (to, node) => {
  const [x, weight] = node.inputs;
  const { stride, padding, dilation, groups } = node.attrs as Record<string, number>;
  const [, rows, columns] = weight.shape;
  if (!to.isFixed(weight)) throw new RangeError('Cannot export "conv2d": expected a weight that does not depend on the images');
  const bias = to.absorbBias(node);
  const names = [to.first(x), to.stored(weight, "kernel"), ...(bias ? [to.stored(bias, "plain")] : [])];
  const attributes = { ...window(rows, columns, stride, padding), dilations: [dilation, dilation], group: groups };
  to.set(node, 0, { first: to.add("Conv", names, attributes)[0] });
};

const window = (rows: number, columns: number, stride: number, padding: number): Record<string, Attribute> => ({
  kernel_shape: [rows, columns],
  strides: [stride, stride],
  pads: [padding, padding, padding, padding],
});

const pool =
  (op: string, attributes: Record<string, Attribute>): Operator =>
  (to, node) => {
    const { kernel, stride, padding } = node.attrs as Record<string, number>;
    const [name] = to.add(op, [to.first(input(node))], { ...window(kernel, kernel, stride, padding), ...attributes });
    to.set(node, 0, { first: name });
  };

/** By the name of the operation on the tape. */
export const operators: Readonly<Record<string, Operator>> = {
  neg: direct("Neg"),
  exp: direct("Exp"),
  log: direct("Log"),
  sqrt: direct("Sqrt"),
  abs: direct("Abs"),
  floor: direct("Floor"),
  tanh: direct("Tanh"),
  sigmoid: direct("Sigmoid"),
  relu: direct("Relu"),
  add: direct("Add"),
  sub: direct("Sub"),
  mul: direct("Mul"),
  div: direct("Div"),
  maximum: direct("Max"),
  minimum: direct("Min"),
  rsqrt: elementwise((to, [x]) => to.add("Reciprocal", to.add("Sqrt", [x]))[0]),
  square: elementwise((to, [x]) => to.add("Mul", [x, x])[0]),
  gelu: elementwise((to, [x]) => {
    const erf = to.add("Erf", to.add("Div", [x, to.scalar(Math.SQRT2)]));
    const twice = to.add("Mul", [x, to.add("Add", [erf[0], to.scalar(1)])[0]]);
    return to.add("Mul", [twice[0], to.scalar(0.5)])[0];
  }),
  greater: comparison("Greater"),
  greaterEqual: comparison("GreaterOrEqual"),
  equal: comparison("Equal"),
  where: elementwise((to, [condition, a, b]) => to.add("Where", [to.add("Cast", [condition], { to: BOOL })[0], a, b])[0]),
  stopGradient: (to, node) => inOrder(to, node, (x) => [x]),
  reshape,
  permute,
  expand,
  slice,
  flip,
  split,
  pad,
  concat,
  gather,
  sum,
  max,
  argmax,
  softmax: overLastAxis("Softmax"),
  logSoftmax: overLastAxis("LogSoftmax"),
  layerNorm,
  matmul,
  attention,
  conv2d,
  maxPool: pool("MaxPool", {}),
  avgPool: pool("AveragePool", { count_include_pad: 1 }),
};
