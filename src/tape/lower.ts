// Lowering: from a trace to a program of steps over buffers.
//
//   simplify   drop unused nodes, merge equal ones             simplify.ts
//   fuse       chains of elementwise ops become one step       fuse.ts
//   epilogues  a chain moves into the product that it follows  epilogue.ts
//   emit       steps in an order, moving ops as strides        here
//   in place   new values of parameters over the old ones      assign.ts
//   precision  what is stored in half precision, if asked      precision.ts
//   halves     where large activations wait, if asked          half.ts
//   parts      written where they are joined, if asked         parts.ts
//   postpone   sums that can wait for others, if asked         postpone.ts
//   plan       offsets of all intermediates in one arena       plan.ts
import { storeAssigned } from "./assign.ts";
import { attachEpilogues } from "./epilogue.ts";
import { fuse, type Group, type Item, isConstant } from "./fuse.ts";
import { keepHalves } from "./half.ts";
import { writeParts } from "./parts.ts";
import { type Placement, plan } from "./plan.ts";
import { postpone } from "./postpone.ts";
import { keepExact, readsAs, storedAs } from "./precision.ts";
import type { Buffer, Draft, Elementwise, Instruction, Program, View } from "./program.ts";
import { type Shape, size } from "./shape.ts";
import { type Graph, type Readers, readersOf, readersOfOutput, simplify } from "./simplify.ts";
import { type Node, type Parameter, Tensor } from "./tensor.ts";
import type { Trace } from "./trace.ts";
import { collapse, collapseRows, contiguous, isContiguous, movers, reshaped, stretched } from "./view.ts";

/** Ops of which a backend's kernels can do more than every backend's. */
export interface Abilities {
  /** Run a chain on their first output before it is stored. */
  readonly carry?: readonly string[];
  /** Write outputs that are parts of larger tensors. */
  readonly writeParts?: readonly string[];
  /** Run at once what could run one after the other. */
  readonly gather?: readonly string[];
}

/** Makes the program of a trace. */
export function lower(trace: Trace, placement?: Placement, { carry, writeParts: inParts, gather }: Abilities = {}): Program {
  const half = trace.precision === "f16";
  let draft = new Lowering(simplify(trace), half, carry).run();
  if (half) draft = keepExact(draft);
  if (trace.activations === "f16") draft = keepHalves(draft);
  if (inParts) draft = writeParts(draft, inParts);
  if (gather) draft = postpone(draft, gather);
  return plan(draft, placement);
}

const key = (t: Tensor) => `${t.node.id}.${t.index}`;

class Lowering {
  readonly #graph: Graph;
  readonly #half: boolean; // store values in half precision where they may be
  readonly #items: Map<Node, Item>;
  readonly #draft: Draft = { steps: [], buffers: [], outputs: [] };
  readonly #emitted = new Set<Item>();
  readonly #storage = new Map<string, View>(); // of kernels, groups and leaves, by node and output
  readonly #copies = new Map<string, View>(); // contiguous copies of moved tensors
  readonly #parameters = new Map<Parameter, Buffer>();
  readonly #readers: Readers;
  readonly #leaving: Set<string>;

  constructor(graph: Graph, half: boolean, carry?: readonly string[]) {
    this.#graph = graph;
    this.#half = half;
    this.#readers = readersOf(graph);
    this.#leaving = new Set([...graph.outputs, ...graph.assigned.map(([, value]) => value)].map(key));
    this.#items = fuse(graph, this.#readers);
    attachEpilogues(graph, this.#items, this.#readers, carry);
  }

  run(): Draft {
    for (const node of this.#graph.nodes) {
      const item = this.#items.get(node);
      // A group runs when its last member's turn comes, unless something needs it before.
      if (item && node === (item.kernel ?? item.group?.nodes.at(-1))) this.#emit(item);
    }
    for (const output of this.#graph.outputs) this.#draft.outputs.push(this.#owned(output));
    const values = this.#graph.assigned.map(([parameter, value]) => ({ buffer: this.#parameter(parameter), value: this.#owned(value) }));
    return storeAssigned(this.#draft, values, (shape) => contiguous(this.#buffer({ kind: "arena", size: size(shape) }), shape));
  }

  #buffer(of: Omit<Buffer, "id">): Buffer {
    const buffer = { ...of, id: this.#draft.buffers.length };
    this.#draft.buffers.push(buffer);
    return buffer;
  }

  #parameter(parameter: Parameter): Buffer {
    const known = this.#parameters.get(parameter);
    if (known) return known;
    const buffer = this.#buffer({ kind: "parameter", size: parameter.size, parameter });
    this.#parameters.set(parameter, buffer);
    return buffer;
  }

  /** A new arena buffer for an output. */
  #store(node: Node, index: number): View {
    const shape = node.shapes[index];
    const dtype = this.#half ? storedAs(node, index) : undefined;
    const view = contiguous(this.#buffer({ kind: "arena", size: size(shape), dtype }), shape);
    this.#storage.set(`${node.id}.${index}`, view);
    return view;
  }

  /** Where a tensor's numbers are, emitting what computes them first. */
  #view(t: Tensor): View {
    const known = this.#storage.get(key(t)) ?? this.#copies.get(key(t));
    if (known) return known;
    const { node } = t;
    if (isLeaf(node)) return this.#leaf(node);
    const item = this.#items.get(node);
    if (item) {
      this.#emit(item);
      return this.#storage.get(key(t)) as View;
    }
    const input = node.inputs[0];
    if (isConstant(input)) return stretched(this.#constant(input), t.shape);
    if (node.op.name !== "reshape") return movers[node.op.name](this.#view(input), node.attrs, t.index, t.shape);
    return reshaped(this.#view(input), t.shape) ?? (reshaped(this.#dense(input), t.shape) as View);
  }

  #leaf(node: Node): View {
    const { attrs } = node;
    const shape = node.shapes[0];
    if (node.op.name === "constant") return this.#constant(new Tensor(node, 0, shape));
    let buffer: Buffer;
    if (node.op.name === "parameter") buffer = this.#parameter(attrs.parameter as Parameter);
    else if (node.op.name === "input") buffer = this.#buffer({ kind: "input", size: size(shape), slot: attrs.slot as number });
    else buffer = this.#buffer({ kind: "array", size: size(shape), data: arrayData(node) });
    const view = contiguous(buffer, shape);
    this.#storage.set(`${node.id}.0`, view);
    return view;
  }

  /** A constant that something other than a chain reads. */
  #constant(t: Tensor): View {
    const known = this.#storage.get(key(t));
    if (known) return known;
    const view = contiguous(this.#buffer({ kind: "array", size: 1, data: Float32Array.of(t.node.attrs.value as number) }), []);
    this.#storage.set(key(t), view);
    return view;
  }

  /** A tensor in row-major order without gaps, copied if it is not. */
  #dense(t: Tensor): View {
    const view = this.#view(t);
    return isContiguous(view) ? { ...view, strides: contiguous(view.buffer, view.shape).strides } : this.#copy(t, view);
  }

  #copy(t: Tensor, view: View): View {
    const to = contiguous(this.#buffer({ kind: "arena", size: t.size, dtype: view.buffer.dtype }), t.shape);
    const { shape, views } = collapse(t.shape, [view, to]);
    this.#draft.steps.push({
      op: "copy",
      inputs: [views[0]],
      outputs: [{ ...views[1], shape }],
      attrs: {},
      label: t.node.op.name,
      scope: t.node.scope,
    });
    this.#copies.set(key(t), to);
    return to;
  }

  /** A dense tensor that no later step changes: a copy, if it is a parameter or an input. */
  #owned(t: Tensor): View {
    const view = this.#dense(t);
    return view.buffer.kind === "arena" ? view : this.#copy(t, view);
  }

  #emit(item: Item): void {
    if (this.#emitted.has(item)) return;
    this.#emitted.add(item);
    if (item.kernel) this.#emitKernel(item.kernel, item.group);
    else if (item.group) {
      const body = this.#chain(item.group);
      this.#draft.steps.push({
        op: "elementwise",
        inputs: body.inputs,
        outputs: body.outputs.map((o) => o.view),
        attrs: {},
        body,
        label: names(item.group),
        scope: item.group.nodes[0].scope,
      });
    }
  }

  #emitKernel(node: Node, group: Group | undefined): void {
    const inputs = node.inputs.map((t, i) => (readsStrided(node, i, this.#view(t)) ? this.#view(t) : this.#dense(t)));
    const ahead = group && this.#inputsOf(group).filter((t) => t.node !== node && !rootIs(t, node));
    for (const t of ahead ?? []) this.#view(t);
    const outputs = node.shapes.map((_, i) => this.#store(node, i));
    const epilogue = group && this.#chain(group, node);
    const label = group ? `${node.op.name} + ${names(group)}` : node.op.name;
    const precision = this.#half ? readsAs(node) : undefined;
    this.#draft.steps.push({ op: node.op.name, inputs, outputs, attrs: node.attrs, epilogue, precision, label, scope: node.scope });
  }

  /** Values that a group reads from outside, each once. */
  #inputsOf({ nodes }: Group): Tensor[] {
    const inside = new Set(nodes);
    const outside = nodes.flatMap((node) => node.inputs.filter((t) => !inside.has(t.node) && !isConstant(t)));
    return [...new Map(outside.map((t) => [key(t), t])).values()];
  }

  /** The fused program of a group. Behind a kernel, input 0 is the kernel's output as rows of its last axis. */
  #chain(group: Group, kernel?: Node): Elementwise {
    const { shape } = group;
    let sources = this.#inputsOf(group);
    if (kernel) sources = [...sources.filter((t) => rootIs(t, kernel)), ...sources.filter((t) => !rootIs(t, kernel))];
    const inputs = sources.map((t) => stretched(this.#view(t), shape));
    const kept = group.nodes.filter((node) => this.#isRead(node, group));
    const stored = kept.map((node) => this.#store(node, 0));
    const keepsProduct = kernel && this.#isReadBesides(kernel, group);
    const { code, registers, at } = encode(group.nodes, sources, kept);
    const outputs = stored.map((view, i) => ({ view, register: at[i] }));
    if (kernel && keepsProduct) outputs.push({ view: this.#storage.get(`${kernel.id}.0`) as View, register: 0 });
    return layOut(shape, inputs, outputs, code, registers, kernel ? collapseRows : collapse);
  }

  #isRead(node: Node, group: Group): boolean {
    return this.#leaving.has(`${node.id}.0`) || (this.#readers.get(node) ?? []).some((reader) => !group.nodes.includes(reader));
  }

  /** Whether a kernel's first output is read by more than its epilogue, directly or reshaped. */
  #isReadBesides(node: Node, group: Group): boolean {
    if (this.#leaving.has(`${node.id}.0`)) return true;
    return readersOfOutput(node, 0, this.#readers).some((reader) =>
      reader.op.name === "reshape" ? this.#isReadBesides(reader, group) : !group.nodes.includes(reader),
    );
  }
}

const isLeaf = (node: Node) => node.op.kind === "leaf";

const names = ({ nodes }: Group) => nodes.map((node) => node.op.name).join(" ");

/** Whether a tensor is a node's output, perhaps reshaped. */
export function rootIs(t: Tensor, node: Node): boolean {
  return t.node === node || (t.node.op.name === "reshape" && rootIs(t.node.inputs[0], node));
}

/** Kernels that read rows at any distance, so that a projection need not be cut apart first. */
function readsStrided(node: Node, input: number, view: View): boolean {
  const rows = view.strides.at(-1) === 1 && view.strides.every((step) => step >= 0);
  if (node.op.name === "attention") return rows;
  return node.op.name === "attentionGrad" && rows && input >= 1 && input <= 3;
}

function arrayData(node: Node): Float32Array {
  if (node.op.name === "iota") return Float32Array.from({ length: node.attrs.n as number }, (_, i) => i);
  return node.attrs.data as Float32Array;
}

/** Instructions of a chain, with registers given back when their value has been read for the last time. */
function encode(
  nodes: readonly Node[],
  sources: readonly Tensor[],
  kept: readonly Node[],
): { code: Instruction[]; registers: number; at: number[] } {
  const lastRead = new Map<string, number>();
  for (const [i, node] of nodes.entries()) for (const t of node.inputs) lastRead.set(key(t), i);
  for (const node of kept) lastRead.set(`${node.id}.0`, nodes.length);
  const register = new Map(sources.map((t, i) => [key(t), i]));
  const free: number[] = [];
  let registers = sources.length;
  const code: Instruction[] = [];
  const take = () => free.pop() ?? registers++;
  for (const [i, node] of nodes.entries()) {
    const from = node.inputs.map((t) => {
      const known = register.get(key(t));
      if (known !== undefined) return known;
      const to = take();
      register.set(key(t), to);
      code.push({ op: "constant", to, from: [], value: t.node.attrs.value as number });
      return to;
    });
    // Inputs keep their registers: a backend may read them in place.
    for (const name of new Set(node.inputs.map(key))) {
      const done = register.get(name) as number;
      if (lastRead.get(name) === i && done >= sources.length) free.push(done);
    }
    const to = take();
    register.set(`${node.id}.0`, to);
    code.push({ op: node.op.name, to, from });
  }
  return { code, registers, at: kept.map((node) => register.get(`${node.id}.0`) as number) };
}

function layOut(
  shape: Shape,
  inputs: View[],
  outputs: { view: View; register: number }[],
  code: Instruction[],
  registers: number,
  join: typeof collapse,
): Elementwise {
  const dense = outputs.map(({ view }) => reshaped(view, shape) as View);
  const flat = join(shape, [...inputs, ...dense]);
  return {
    shape: flat.shape,
    inputs: flat.views.slice(0, inputs.length),
    code,
    outputs: outputs.map(({ register }, i) => ({ view: flat.views[inputs.length + i], register })),
    registers,
  };
}
