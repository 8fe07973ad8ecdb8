// Declaring operations. An op is a shape rule and a vector-Jacobian product (VJP) in terms of other ops; each backend has a
// kernel under the same name. Elementwise ops need only their name and VJP.
import { scope } from "./scope.ts";
import { broadcast, type Shape, sameShape } from "./shape.ts";
import { type Attributes, type Node, type Parameter, Tensor } from "./tensor.ts";

/** What a VJP may use: the op's inputs, outputs and attributes. */
export interface Saved {
  inputs: readonly Tensor[];
  outputs: readonly Tensor[];
  attrs: Attributes;
}

/** Gradients of the inputs, one each; undefined where there is none (indices, states). `g[i]` is undefined for unused outputs. */
export type Vjp = (g: readonly (Tensor | undefined)[], saved: Saved) => readonly (Tensor | undefined)[];

export interface Op {
  readonly name: string;
  /** elementwise: fused by lowering. leaf: no inputs. view: the same numbers in the same order. kernel: everything else. */
  readonly kind: "elementwise" | "leaf" | "view" | "kernel";
  readonly shape: (inputs: readonly Shape[], attrs: Attributes) => readonly Shape[];
  readonly vjp?: Vjp;
}

export const ops = new Map<string, Op>();

export function defineOp(op: Omit<Op, "kind"> & { kind?: Op["kind"] }): Op {
  const complete: Op = { kind: "kernel", ...op };
  ops.set(op.name, complete);
  return complete;
}

let nodes = 0;

/** Appends a node to the tape and returns its outputs. Throws a ShapeError if the inputs do not fit. `again`: see Node. */
export function apply(name: string, inputs: readonly Tensor[], attrs: Attributes = {}, again = false): Tensor[] {
  const op = ops.get(name);
  if (!op) throw new TypeError(`Cannot trace "${name}": no such operation`);
  const values = inputs.map((t) => t.value);
  const shapes = op.shape(
    values.map((t) => t.shape),
    attrs,
  );
  const node: Node = { id: nodes++, op, inputs: values, attrs, shapes, scope: scope(), again };
  return shapes.map((shape, index) => new Tensor(node, index, shape));
}

/** `apply` for an op with one output. */
export const apply1 = (name: string, inputs: readonly Tensor[], attrs?: Attributes): Tensor => apply(name, inputs, attrs)[0];

type Operand = Tensor | number;

defineOp({ name: "constant", kind: "leaf", shape: () => [[]] }); // attrs: value
defineOp({ name: "input", kind: "leaf", shape: (_, { shape }) => [shape as Shape] }); // attrs: shape, slot
defineOp({ name: "parameter", kind: "leaf", shape: (_, { parameter }) => [(parameter as Parameter).shape] });
defineOp({ name: "array", kind: "leaf", shape: (_, { shape }) => [shape as Shape] }); // attrs: shape, data: Float32Array

/** A scalar that is the same in every run. */
export const constant = (value: number): Tensor => apply1("constant", [], { value });

/** Numbers that are the same in every run, such as a resampling matrix. */
export function array(data: Float32Array, shape: Shape): Tensor {
  return apply1("array", [], { data, shape });
}

export const tensor = (x: Operand): Tensor => (typeof x === "number" ? constant(x) : x);

/** Sums a gradient back to the shape of an operand that was broadcast. */
export function sumTo(g: Tensor, shape: Shape): Tensor {
  if (sameShape(g.shape, shape)) return g;
  const lead = g.rank - shape.length;
  const axes = g.shape.map((_, i) => i).filter((i) => i < lead || (shape[i - lead] === 1 && g.shape[i] !== 1));
  return axes.length ? g.sum(axes).reshape(shape) : g.reshape(shape);
}

/** The common shape of several operands. */
export const broadcastAll = (op: string, shapes: readonly Shape[]): Shape => shapes.reduce((a, b) => broadcast(op, a, b));

function method(name: string, body: (this: Tensor, ...args: never[]) => unknown): void {
  Object.defineProperty(Tensor.prototype, name, { value: body, writable: true, configurable: true });
}

/** Declares an elementwise op of one operand: `vjp(g, x, y)` is the gradient of x. */
export function unary(name: string, vjp?: (g: Tensor, x: Tensor, y: Tensor) => Tensor): void {
  defineOp({
    name,
    kind: "elementwise",
    shape: ([x]) => [x],
    vjp: vjp && (([g], { inputs, outputs }) => [g && vjp(g, inputs[0], outputs[0])]),
  });
  method(name, function (this: Tensor) {
    return apply1(name, [this]);
  });
}

/** Declares an elementwise op of two operands with broadcasting: `vjp(g, a, b, y)` gives both gradients. */
export function binary(name: string, vjp?: (g: Tensor, a: Tensor, b: Tensor, y: Tensor) => [Tensor | undefined, Tensor | undefined]): void {
  defineOp({
    name,
    kind: "elementwise",
    shape: ([a, b]) => [broadcast(name, a, b)],
    vjp:
      vjp &&
      (([g], { inputs, outputs }) =>
        (g ? vjp(g, inputs[0], inputs[1], outputs[0]) : []).map((part, i) => part && sumTo(part, inputs[i].shape))),
  });
  method(name, function (this: Tensor, other: Operand) {
    return apply1(name, [this, tensor(other)]);
  });
}

/** Attaches a composed operation, written with other ops, as a method. */
export function composed(name: string, body: (x: Tensor, ...args: never[]) => unknown): void {
  method(name, function (this: Tensor, ...args: never[]) {
    return body(this, ...args);
  });
}
