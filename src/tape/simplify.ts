// The first pass of lowering: keeps what is used and computes equal things once.
import type { Attributes, Node, Parameter } from "./tensor.ts";
import { Tensor } from "./tensor.ts";
import type { Trace } from "./trace.ts";

/** The nodes that a program needs, each after its inputs, and the values that leave it. */
export interface Graph {
  readonly nodes: readonly Node[];
  readonly outputs: readonly Tensor[];
  readonly assigned: readonly (readonly [Parameter, Tensor])[];
}

/** The nodes that read each node. */
export type Readers = ReadonlyMap<Node, readonly Node[]>;

export function readersOf(graph: Graph): Readers {
  const readers = new Map<Node, Node[]>();
  for (const node of graph.nodes) {
    for (const { node: input } of node.inputs) {
      const list = readers.get(input);
      if (list) list.push(node);
      else readers.set(input, [node]);
    }
  }
  return readers;
}

/** The nodes that read one output of a node. */
export const readersOfOutput = (node: Node, index: number, readers: Readers): readonly Node[] =>
  (readers.get(node) ?? []).filter((reader) => reader.inputs.some((t) => t.node === node && t.index === index));

/** Drops nodes that nothing reads and merges nodes with the same op, inputs and attributes. */
export function simplify(trace: Trace): Graph {
  const known = new Map<string, Node>();
  const arrays: Arrays = new Map();
  const merged = new Map<Node, Node>();
  const rewrite = (t: Tensor) => new Tensor(merged.get(t.node), t.index, t.shape);
  const nodes: Node[] = [];
  for (const node of reachable(trace)) {
    const inputs = node.inputs.map(rewrite);
    const key = signature(node, inputs, arrays);
    const same = known.get(key);
    merged.set(node, same ?? { ...node, inputs });
    if (same) continue;
    known.set(key, merged.get(node) as Node);
    nodes.push(merged.get(node) as Node);
  }
  return {
    nodes,
    outputs: trace.outputs.map(rewrite),
    assigned: [...trace.assigned].map(([parameter, value]) => [parameter, rewrite(value)] as const),
  };
}

/** The nodes that outputs and assignments need, in the order of the trace. */
export function reachable(trace: Pick<Trace, "outputs" | "assigned">): Node[] {
  const seen = new Set<Node>();
  const stack = [...trace.outputs, ...trace.assigned.values()].map((t) => t.node);
  while (stack.length) {
    const node = stack.pop() as Node;
    if (seen.has(node)) continue;
    seen.add(node);
    for (const input of node.inputs) stack.push(input.node);
  }
  return [...seen].sort((a, b) => a.id - b.id);
}

const identities = new WeakMap<object, number>();
let objects = 0;

/** A number for each array or parameter, so that attributes compare by identity. */
function identity(x: object): number {
  if (!identities.has(x)) identities.set(x, objects++);
  return identities.get(x) as number;
}

/** Arrays seen so far, by length. */
type Arrays = Map<number, Float32Array[]>;

function signature(node: Node, inputs: readonly Tensor[], arrays: Arrays): string {
  return `${node.again ? "again " : ""}${node.op.name}(${inputs.map((t) => `${t.node.id}.${t.index}`)})${describe(node.attrs, arrays)}`;
}

function describe(attrs: Attributes, arrays: Arrays): string {
  const plain = (x: Attributes[string]) => {
    if (x instanceof Float32Array) return `@${identity(first(x, arrays))}`;
    return typeof x === "object" && !Array.isArray(x) ? `@${identity(x)}` : JSON.stringify(x);
  };
  return Object.entries(attrs)
    .map(([name, value]) => `${name}:${plain(value)}`)
    .join();
}

/** Of arrays with the same numbers the first: a network that is called twice makes its tables anew. */
function first(data: Float32Array, arrays: Arrays): Float32Array {
  const alike = arrays.get(data.length) ?? [];
  arrays.set(data.length, alike);
  const same = alike.find((other) => other.every((x, i) => x === data[i]));
  if (!same) alike.push(data);
  return same ?? data;
}
