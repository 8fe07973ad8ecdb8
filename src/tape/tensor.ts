// A Tensor is one output of a node of the tape. It holds no numbers: a backend computes them when the program runs.
// Everything is float32; indices and labels are whole numbers stored as float32, exact up to 2^24.
import type { Op } from "./op.ts";
import type { Scope } from "./scope.ts";
import { type Shape, size } from "./shape.ts";

export type Attribute = number | string | boolean | readonly number[] | Float32Array | Parameter;
export type Attributes = Readonly<Record<string, Attribute>>;

/** One traced operation. Nodes are numbered in the order in which they were traced and never change. */
export interface Node {
  readonly id: number;
  readonly op: Op;
  readonly inputs: readonly Tensor[];
  readonly attrs: Attributes;
  readonly shapes: readonly Shape[]; // one for each output
  /** Where it was traced. */
  readonly scope?: Scope;
  /** True for the copy of a node that computes it again: it is never merged with the first. */
  readonly again?: boolean;
}

/** A value on the tape. Operations are methods, declared in `ops/`. */
export class Tensor {
  readonly shape: Shape;
  readonly index: number;
  protected readonly source: Node | undefined;

  constructor(source: Node | undefined, index: number, shape: Shape) {
    this.source = source;
    this.index = index;
    this.shape = shape;
  }

  /** The node that produces this value. */
  get node(): Node {
    return this.source as Node;
  }

  /** The tensor on the tape that this one stands for: itself, or a parameter's present value. */
  get value(): Tensor {
    return this;
  }

  get size(): number {
    return size(this.shape);
  }

  get rank(): number {
    return this.shape.length;
  }
}

/** How a parameter's axes are ordered in memory against its official PyTorch shape. */
export type Layout = "plain" | "OHWI"; // OHWI: a convolution's weight, [out, in, kh, kw] in checkpoints

/**
 * State that outlives a step: a weight, a running statistic, a queue. Within a trace it reads as its present value, so an
 * assignment is seen by every later operation; the last assigned value is stored when the step ends.
 */
export class Parameter extends Tensor {
  readonly layout: Layout;
  /** False for buffers and frozen weights: `grad` and the optimiser leave them alone. */
  trainable: boolean;
  #data: Float32Array | undefined;
  /** The tape's reading of this parameter, set by the trace. */
  current: Tensor | undefined;
  static read: (parameter: Parameter) => Tensor;

  /** Without numbers, zeros are made when they are first asked for. */
  constructor(shape: Shape, data?: Float32Array, options: { trainable?: boolean; layout?: Layout } = {}) {
    super(undefined, 0, shape);
    if (data && data.length !== size(shape))
      throw new RangeError(`Cannot make a parameter ${JSON.stringify(shape)} of ${data.length} numbers: expected ${size(shape)}`);
    this.#data = data;
    this.trainable = options.trainable ?? true;
    this.layout = options.layout ?? "plain";
  }

  /** The numbers, row-major in `shape`. A backend may replace them by a view of its own memory. */
  get data(): Float32Array {
    this.#data ??= new Float32Array(size(this.shape));
    return this.#data;
  }

  set data(numbers: Float32Array) {
    this.#data = numbers;
  }

  override get node(): Node {
    return this.value.node;
  }

  override get value(): Tensor {
    return Parameter.read(this);
  }

  /** The shape that official PyTorch checkpoints use. */
  get officialShape(): Shape {
    const [o, h, w, i] = this.shape;
    return this.layout === "OHWI" ? [o, i, h, w] : this.shape;
  }
}
