// Parts of the forward pass whose values are not kept for the backward pass but computed again there, from what went into the
// part: less memory for more time. Chen et al. 2016, "Training deep nets with sublinear memory cost", arXiv 1604.06174.
import { apply } from "./op.ts";
import { scope, withScope } from "./scope.ts";
import { type Node, Tensor } from "./tensor.ts";

/** An output that is this much smaller than the node's largest (statistics of a norm) is kept: it costs nothing. */
const SMALL = 16;

const results = new WeakSet<Node>();
let parts = 0;

/**
 * Runs a part of the forward pass, such as a block of a network, whose inner values are to be forgotten; what it returns is kept.
 * Random numbers repeat exactly, since they are functions of key, stream and element; assignments happen once. Inside another
 * such part it changes nothing.
 *
 *     const y = recompute(() => block.forward(x))
 */
export function recompute<T>(f: () => T): T {
  if (scope().part !== undefined) return f();
  const result = withScope({ part: parts++ }, f);
  for (const { node } of tensorsIn(result)) results.add(node);
  return result;
}

function tensorsIn(x: unknown): Tensor[] {
  if (x instanceof Tensor) return [x];
  return typeof x === "object" && x !== null ? Object.values(x).flatMap(tensorsIn) : [];
}

function isForgotten({ node, size }: Tensor): boolean {
  if (node.scope?.part === undefined || node.op.kind === "leaf" || results.has(node)) return false;
  const largest = Math.max(...node.shapes.map((shape) => shape.reduce((a, b) => a * b, 1)));
  return size * SMALL > largest;
}

/** Finds for each value of the forward pass where the backward pass reads it: the value itself, or a copy of what computes it. */
export function remembering(): (t: Tensor) => Tensor {
  const copies = new Map<Node, Tensor[]>();
  const read = (t: Tensor): Tensor => {
    if (!isForgotten(t)) return t;
    const { node } = t;
    const known = copies.get(node);
    if (known) return known[t.index];
    const inputs = node.inputs.map(read);
    const { module, single } = node.scope ?? {};
    const copy = withScope({ module, part: undefined, ...(single && { single }) }, () => apply(node.op.name, inputs, node.attrs, true));
    copies.set(node, copy);
    return copy[t.index];
  };
  return read;
}
