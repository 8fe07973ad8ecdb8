// Moves elementwise chains into the kernel that they follow: they then run on each finished tile while it is in cache.
import { type Group, type Item, isConstant, isElementwise, isMove } from "./fuse.ts";
import { size } from "./shape.ts";
import { type Graph, type Readers, readersOfOutput } from "./simplify.ts";
import type { Node, Tensor } from "./tensor.ts";

/** Whether a kernel of every backend runs a chain on its first output. With a stride the gradient of an image comes in pieces that are not rows. */
const carries = ({ op: { name }, attrs }: Node): boolean =>
  name === "matmul" || name === "conv2d" || name === "batchNorm" || (name === "conv2dInputGrad" && attrs.stride === 1);

/**
 * Gives kernels the chain that reads them, where everything else that the chain reads is there before the kernel. `more`: ops that can
 * carry one beside those that always can.
 */
export function attachEpilogues(graph: Graph, items: Map<Node, Item>, readers: Readers, more: readonly string[] = []): void {
  const order = new Map(graph.nodes.map((node, i) => [node, i]));
  // Ranks decide what may wait for what: a chain that rides on a kernel only reads what has a lower rank. A chain of its own needs nothing of
  // its level, kernels stand behind those.
  const before = (a: Item, b: Item) => a.level < b.level || (a.level === b.level && place(a) < place(b));
  const place = ({ kernel }: Item) => (kernel ? (order.get(kernel) as number) : -1);
  const products = graph.nodes.filter((node) => carries(node) || more.includes(node.op.name)).map((node) => items.get(node) as Item);
  for (const product of products.sort((a, b) => (before(a, b) ? 1 : -1))) {
    const node = product.kernel as Node;
    const followers = new Set(chainsAfter(node, 0, readers).map((reader) => items.get(reader) as Item));
    if (followers.size !== 1) continue;
    const [follower] = followers;
    const group = follower.group as Group;
    if (follower.kernel || !follower.group || !fits(group, node)) continue;
    const others = sourcesOf(group, node).flatMap(roots);
    const ready = others.every((root) => {
      const item = items.get(root);
      return !item || (item !== follower && before(item, product));
    });
    if (!ready) continue;
    product.group = group;
    for (const member of group.nodes) items.set(member, product);
  }
}

/** Elementwise nodes that read an output of a node, directly or reshaped. */
function chainsAfter(node: Node, index: number, readers: Readers): Node[] {
  return readersOfOutput(node, index, readers).flatMap((reader) =>
    reader.op.name === "reshape" ? chainsAfter(reader, 0, readers) : isElementwise(reader) ? [reader] : [],
  );
}

/** Values that a group reads from outside, other than the product. */
function sourcesOf(group: Group, product: Node): Tensor[] {
  const inside = new Set(group.nodes);
  const isProduct = (t: Tensor): boolean =>
    (t.node === product && t.index === 0) || (t.node.op.name === "reshape" && isProduct(t.node.inputs[0]));
  return group.nodes.flatMap((node) => node.inputs.filter((t) => !inside.has(t.node) && !isConstant(t) && !isProduct(t)));
}

/** The nodes that compute what a tensor is a view of. */
const roots = ({ node }: Tensor): Node[] => (isMove(node) ? node.inputs.flatMap(roots) : [node]);

/** Whether a group goes over rows of the product's width. Tensors that were moved are left to plain chains. */
function fits(group: Group, product: Node): boolean {
  const columns = product.shapes[0].at(-1) as number;
  if (group.shape.at(-1) !== columns || size(group.shape) !== size(product.shapes[0])) return false;
  return sourcesOf(group, product).every((t) => !isMoved(t));
}

const isMoved = ({ node }: Tensor): boolean => {
  const passes = node.op.name === "reshape" || node.op.name === "stopGradient";
  return passes ? isMoved(node.inputs[0]) : isMove(node);
};
