// A forward pass whose batch is not known: traced with two batches, so that what depends on the batch shows by comparison.
import type { Backend, Executable } from "../backend/backend.ts";
import { type Shape, sameShape } from "../tape/shape.ts";
import { type Graph, simplify } from "../tape/simplify.ts";
import type { Node, Tensor } from "../tape/tensor.ts";
import { compile, type Trace } from "../tape/trace.ts";

/** A size of a tensor: the same for every batch, or so many times the batch. */
export type Size = number | { readonly batch: number };

/** Two batches that are no size of any network's own, so that no two sizes agree by chance. */
const BATCHES = [1009, 1013] as const;

/** The same forward pass for two batches: a graph, and for each of its nodes the one of the other batch. */
export interface Twins {
  readonly graph: Graph;
  readonly twin: ReadonlyMap<Node, Node>;
}

/** A backend that keeps what it is given to run. */
class Recorder implements Backend {
  readonly name = "recorder";
  trace: Trace | undefined;

  load(trace: Trace): Executable {
    this.trace = trace;
    return {
      arenaBytes: 0,
      steps: 0,
      run: () => Promise.reject(new TypeError("Cannot run a trace that is only recorded")),
      dispose: () => {},
    };
  }

  async read(): Promise<Float32Array> {
    throw new TypeError("Cannot read parameters of a trace that is only recorded");
  }

  async write(): Promise<void> {
    throw new TypeError("Cannot write parameters of a trace that is only recorded");
  }

  async close(): Promise<void> {}
}

/** Traces `f` on images [b, ...image] for both batches. */
export async function traceTwins(f: (images: Tensor) => Record<string, Tensor>, image: Shape): Promise<Twins> {
  const graphs: Graph[] = [];
  for (const batch of BATCHES) {
    const recorder = new Recorder();
    await compile(f, recorder).prepare({ data: new Float32Array(0), shape: [batch, ...image] });
    graphs.push(simplify(recorder.trace as Trace));
  }
  const [graph, other] = graphs;
  if (graph.assigned.length) throw new RangeError("Cannot export a pass that changes its parameters: expected evaluation mode");
  const same = graph.nodes.length === other.nodes.length && graph.nodes.every((node, i) => node.op === other.nodes[i].op);
  if (!same) throw new RangeError("Cannot export this network: it computes other things for other batches");
  return { graph, twin: new Map(graph.nodes.map((node, i) => [node, other.nodes[i]])) };
}

/** A number that may depend on the batch, by what it was for either. */
export function sizeOf(one: number, other: number, op: string): Size {
  if (one === other) return one;
  const times = one / BATCHES[0];
  if (Number.isInteger(times) && times * BATCHES[1] === other) return { batch: times };
  throw new RangeError(
    `Cannot export "${op}": a size of ${one} for a batch of ${BATCHES[0]} and ${other} for ${BATCHES[1]} is no multiple of it`,
  );
}

/** Sizes of a shape, by what it was for either batch. */
export const sizesOf = (one: Shape, other: Shape, op: string): Size[] => one.map((n, i) => sizeOf(n, other[i], op));

const isNumbers = (x: unknown): x is ArrayLike<number> => Array.isArray(x) || x instanceof Float32Array;

/** Whether a node is the same for every batch, but for where its inputs come from. */
export function independent(node: Node, twin: Node): boolean {
  const equal = (a: unknown, b: unknown): boolean =>
    isNumbers(a) && isNumbers(b) ? a.length === b.length && Array.prototype.every.call(a, (x, i) => x === b[i]) : a === b;
  return (
    node.shapes.every((shape, i) => sameShape(shape, twin.shapes[i])) &&
    Object.entries(node.attrs).every(([name, value]) => equal(value, twin.attrs[name]))
  );
}
