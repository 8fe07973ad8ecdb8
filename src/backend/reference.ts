// The plain backend: every op as loops over float64, one node at a time, in the order of the trace. Slow and obvious;
// the tests compare the others with it.
import { size } from "../tape/shape.ts";
import { reachable } from "../tape/simplify.ts";
import type { Node, Parameter, Tensor } from "../tape/tensor.ts";
import type { Trace } from "../tape/trace.ts";
import type { Backend, Executable } from "./backend.ts";
import { kernels, type Numbers } from "./reference-kernels.ts";

/** Runs a trace node by node. */
export class ReferenceExecutable implements Executable {
  readonly arenaBytes: number;
  readonly steps: number;
  readonly #trace: Trace;
  readonly #order: Node[];

  constructor(trace: Trace) {
    this.#trace = trace;
    this.#order = reachable(trace);
    this.steps = this.#order.length;
    this.arenaBytes = 8 * this.#order.reduce((sum, node) => sum + node.shapes.reduce((n, s) => n + size(s), 0), 0);
  }

  async run(inputs: readonly Float32Array[]): Promise<Float32Array[]> {
    const values = this.#evaluate(inputs);
    const read = (t: Tensor) => Float32Array.from(values(t));
    const stored = [...this.#trace.assigned].map(([parameter, value]) => [parameter, read(value)] as const);
    for (const [parameter, data] of stored) parameter.data = data;
    return this.#trace.outputs.map(read);
  }

  /** The outputs in full precision, for finite differences; parameters keep their values. */
  exact(inputs: readonly Float32Array[]): Numbers[] {
    return this.#trace.outputs.map(this.#evaluate(inputs));
  }

  #evaluate(inputs: readonly Float32Array[]): (t: Tensor) => Numbers {
    const values = new Map<Node, Numbers[]>();
    for (const node of this.#order) values.set(node, evaluate(node, values, inputs));
    return (t) => (values.get(t.node) as Numbers[])[t.index];
  }

  dispose(): void {}
}

function evaluate(node: Node, values: Map<Node, Numbers[]>, inputs: readonly Float32Array[]): Numbers[] {
  const { op, attrs } = node;
  if (op.name === "input") return [Float64Array.from(inputs[attrs.slot as number])];
  if (op.name === "parameter") return [Float64Array.from((attrs.parameter as Parameter).data)];
  if (op.name === "array") return [Float64Array.from(attrs.data as Float32Array)];
  const args = node.inputs.map((t) => (values.get(t.node) as Numbers[])[t.index]);
  if (op.kind === "view") return [args[0]];
  const kernel = kernels[op.name];
  if (!kernel) throw new TypeError(`Cannot run "${op.name}" on the reference backend: it has no kernel there`);
  const outputs = node.shapes.map((s) => new Float64Array(size(s)));
  kernel({ inputs: args, outputs, shapes: node.inputs.map((t) => t.shape), outShapes: node.shapes, attrs });
  return outputs;
}

/** A backend of plain loops in float64, for tests. */
export class ReferenceBackend implements Backend {
  readonly name = "reference";

  load(trace: Trace): Executable {
    return new ReferenceExecutable(trace);
  }

  async read(parameter: Parameter): Promise<Float32Array> {
    return parameter.data.slice();
  }

  async write(parameter: Parameter, data: Float32Array): Promise<void> {
    parameter.data = data.slice();
  }

  async close(): Promise<void> {}
}
