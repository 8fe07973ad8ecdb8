// What operators use to translate a node of a traced forward pass: names of its inputs in the order of axes that suits them, numbers
// of what is fixed, and sizes as far as they depend on the batch.
import { official } from "../nn/module.ts";
import { type Shape, strides } from "../tape/shape.ts";
import { type Readers, readersOf } from "../tape/simplify.ts";
import type { Node, Parameter, Tensor } from "../tape/tensor.ts";
import type { Host } from "../tape/trace.ts";
import type { Attribute, OnnxNode, OnnxTensor } from "./onnx.ts";
import { type Size, sizeOf, sizesOf, type Twins } from "./twins.ts";

/** Where an axis of [b, h, w, c] lies in [b, c, h, w]. */
export const channelsFirstAxis = [0, 2, 3, 1];
const toFirst = [0, 3, 1, 2];

/** Moves axes of numbers. */
function permuted({ data, shape }: Host, axes: readonly number[]): Host {
  const out = axes.map((axis) => shape[axis]);
  const [from, to] = [strides(shape), strides(out)];
  const moved = new Float32Array(data.length);
  for (let i = 0; i < moved.length; i++) {
    let at = 0;
    for (let axis = 0; axis < out.length; axis++) at += (Math.floor(i / to[axis]) % out[axis]) * from[axes[axis]];
    moved[i] = data[at];
  }
  return { data: moved, shape: out };
}

/** Nodes and numbers under names of their own. */
class Writer {
  readonly nodes: OnnxNode[] = [];
  readonly tensors = new Map<string, OnnxTensor>();
  readonly #counts = new Map<string, number>();

  /** "Conv", "Conv_1", ... */
  fresh(stem: string): string {
    const count = this.#counts.get(stem) ?? 0;
    this.#counts.set(stem, count + 1);
    return count ? `${stem}_${count}` : stem;
  }

  store(name: string, tensor: OnnxTensor): string {
    if (!this.tensors.has(name)) this.tensors.set(name, tensor);
    return name;
  }
}

/** How numbers are stored: as they lie in memory, with channels first, as a convolution's weight, or as channels beside a map. */
type Form = "plain" | "first" | "kernel" | "channels";

/** Names of a value in both orders, as far as somebody asked for them. */
interface Value {
  plain?: string;
  first?: string;
}

export const keyOf = (t: Tensor): string => `${t.node.id}.${t.index}`;

export interface Sources {
  twins: Twins;
  /** Nodes that depend neither on the images nor on how many there are. */
  fixed: ReadonlySet<Node>;
  /** The numbers that they give, by `keyOf`; parameters have their own. */
  folded: ReadonlyMap<string, Host>;
  names: ReadonlyMap<Parameter, string>;
  /** The name of the images, [batch, c, h, w]. */
  images: string;
}

export class Translation {
  readonly writer = new Writer();
  readonly #twins: Twins;
  readonly #fixed: ReadonlySet<Node>;
  readonly #folded: ReadonlyMap<string, Host>;
  readonly #names: ReadonlyMap<Parameter, string>;
  readonly #readers: Readers;
  readonly #values = new Map<string, Value>();
  readonly #forms = new Map<string, string>();
  /** Additions that a product before them took over, and what stands for their results. */
  readonly #absorbed = new Map<Node, Tensor>();
  readonly #images: string;
  /** The name of the number of images, once somebody asked for it. */
  #batch: string | undefined;

  constructor({ twins, fixed, folded, names, images }: Sources) {
    this.#twins = twins;
    this.#images = images;
    this.#fixed = fixed;
    this.#folded = folded;
    this.#names = names;
    this.#readers = readersOf(twins.graph);
  }

  /** Whether a product before this addition has added its bias already; then what it added to stands for the sum. */
  isAbsorbed(node: Node): boolean {
    const stand = this.#absorbed.get(node);
    if (stand) this.set(node, 0, this.#value(stand));
    return stand !== undefined;
  }

  /** Says under which names an output of a node is known. */
  set(node: Node, index: number, value: Value): void {
    this.#values.set(`${node.id}.${index}`, value);
  }

  #value(t: Tensor): Value {
    return this.#values.get(keyOf(t)) as Value;
  }

  /** Gives a value a name of its own. */
  name(t: Tensor, name: string): void {
    const from = t.rank === 4 ? this.first(t) : this.plain(t);
    this.writer.nodes.push({ op: "Identity", inputs: [from], outputs: [name], attributes: {} });
  }

  /** Adds a node and gives the names of its outputs. */
  add(op: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}, outputs = 1): string[] {
    const names = Array.from({ length: outputs }, () => this.writer.fresh(op));
    this.writer.nodes.push({ op, inputs, outputs: names, attributes });
    return names;
  }

  /** A list of whole numbers, such as axes. */
  ints(values: readonly number[], shape: Shape = [values.length]): string {
    return this.writer.store(`ints[${shape}](${values})`, { shape, data: BigInt64Array.from(values, BigInt) });
  }

  scalar(value: number): string {
    return this.writer.store(String(value), { shape: [], data: Float32Array.of(value) });
  }

  isFixed(t: Tensor): boolean {
    return this.#fixed.has(t.node);
  }

  /** Numbers of a value that is fixed. */
  numbers(t: Tensor): Host {
    const { op, attrs, shapes } = t.node;
    if (op.name === "parameter") return { data: (attrs.parameter as Parameter).data, shape: shapes[0] };
    return this.#folded.get(keyOf(t)) as Host;
  }

  /** The name of a fixed value's numbers in some form: a parameter's own name where it is the official form. */
  stored(t: Tensor, form: Form): string {
    const key = `${keyOf(t)} ${form}`;
    const known = this.#forms.get(key);
    if (known) return known;
    const parameter = t.node.op.name === "parameter" ? (t.node.attrs.parameter as Parameter) : undefined;
    const name = parameter && this.#names.get(parameter);
    const own = form === (parameter?.layout === "OHWI" ? "kernel" : "plain");
    const stem = name === undefined ? "constant" : own ? name : `${name}.${form}`;
    const stored = this.writer.store(this.writer.fresh(stem), this.#in(form, t, parameter));
    this.#forms.set(key, stored);
    return stored;
  }

  #in(form: Form, t: Tensor, parameter: Parameter | undefined): Host {
    const host = this.numbers(t);
    if (form === "plain") return { data: host.data, shape: t.shape };
    if (form === "channels") return { data: host.data, shape: [t.size, 1, 1] };
    if (form === "first") return permuted(host, toFirst);
    return parameter?.layout === "OHWI" ? official(parameter) : permuted(host, toFirst);
  }

  /** The name of a value as it lies in memory. */
  plain(t: Tensor): string {
    if (this.isFixed(t)) return t.rank === 0 ? this.scalar(this.numbers(t).data[0]) : this.stored(t, "plain");
    const value = this.#value(t);
    if (value.plain === undefined) [value.plain] = this.add("Transpose", [value.first as string], { perm: channelsFirstAxis });
    return value.plain;
  }

  /** The name of a value of four axes with channels first. */
  first(t: Tensor): string {
    if (this.isFixed(t)) return this.stored(t, "first");
    const value = this.#value(t);
    if (value.first === undefined) [value.first] = this.add("Transpose", [value.plain as string], { perm: toFirst });
    return value.first;
  }

  /** Whether a value exists with channels first only, so that it is best used so. */
  isFirst(t: Tensor): boolean {
    if (this.isFixed(t)) return false;
    const { plain, first } = this.#value(t);
    return first !== undefined && plain === undefined;
  }

  /** The name of an operand beside maps with channels first; undefined where it has no place there. */
  besideFirst(t: Tensor): (() => string) | undefined {
    if (t.rank === 4) return () => this.first(t);
    if (t.rank === 0) return () => this.plain(t);
    return t.rank === 1 && this.isFixed(t) ? () => this.stored(t, "channels") : undefined;
  }

  /** Sizes of a shape in a node's attributes, as far as they depend on the batch. */
  sizes(node: Node, attribute: string): Size[] {
    return sizesOf(node.attrs[attribute] as Shape, this.#twin(node).attrs[attribute] as Shape, node.op.name);
  }

  /** A whole number in a node's attributes. */
  size(node: Node, attribute: string): Size {
    return sizeOf(node.attrs[attribute] as number, this.#twin(node).attrs[attribute] as number, node.op.name);
  }

  #twin(node: Node): Node {
    return this.#twins.twin.get(node) as Node;
  }

  /** The number of images, as a list of one. */
  batch(times: number): string {
    if (this.#batch === undefined) [this.#batch] = this.add("Shape", [this.#images], { start: 0, end: 1 });
    return times === 1 ? this.#batch : this.add("Mul", [this.#batch, this.ints([times])])[0];
  }

  /**
   * The bias that is added to a node's result, if nothing else reads that: one number a channel, perhaps behind a reshape that keeps
   * the channels. The addition then gives what it would have added to.
   */
  absorbBias(node: Node): Tensor | undefined {
    let at = node;
    for (;;) {
      const [reader, ...others] = this.#readers.get(at) ?? [];
      if (!reader || others.length || this.#twins.graph.outputs.some((t) => t.node === at)) return undefined;
      const channels = at.shapes[0][at.shapes[0].length - 1];
      if (reader.op.name === "reshape" && reader.shapes[0][reader.shapes[0].length - 1] === channels) {
        at = reader;
        continue;
      }
      if (reader.op.name !== "add") return undefined;
      const [sum, bias] = reader.inputs[0].node === at ? reader.inputs : [...reader.inputs].reverse();
      if (!this.isFixed(bias) || bias.rank !== 1 || bias.size !== channels) return undefined;
      this.#absorbed.set(reader, sum);
      return bias;
    }
  }
}
