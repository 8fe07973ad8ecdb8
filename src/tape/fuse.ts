// Groups elementwise nodes into chains that run as one step.
//
// Every node has a level: the number of unfusable edges on the longest way to it, views not counted. An elementwise node is then moved to the
// latest level at which its readers still find it, so that what only the backward pass reads is computed there, from
// what is stored anyway. Elementwise neighbours of one shape on one level form a group. All other edges go to a higher level,
// so groups never wait for each other in a circle.
import { type Shape, sameShape } from "./shape.ts";
import type { Graph, Readers } from "./simplify.ts";
import type { Node, Tensor } from "./tensor.ts";
import { movers } from "./view.ts";

/** Instructions of one step at most; longer chains are cut. */
const LONGEST = 48;

/** What is emitted as a whole: a kernel, with the group that it carries as epilogue, or a group. */
export interface Item {
  readonly kernel?: Node;
  group?: Group;
  readonly level: number;
}

export interface Group {
  /** Elementwise nodes of one shape, in order. */
  readonly nodes: readonly Node[];
  readonly shape: Shape;
}

export const isElementwise = (node: Node): boolean => node.op.kind === "elementwise";
export const isConstant = (t: Tensor): boolean => t.node.op.name === "constant";
/** Ops that lowering answers with a view of their input. */
export const isMove = (node: Node): boolean => node.op.name === "reshape" || node.op.name in movers;

const fuses = (from: Node, to: Node) => isElementwise(from) && isElementwise(to) && sameShape(from.shapes[0], to.shapes[0]);
const length = (from: Node, to: Node) => (fuses(from, to) || isMove(to) ? 0 : 1);

function levels(graph: Graph, readers: Readers): Map<Node, number> {
  const level = new Map<Node, number>();
  for (const node of graph.nodes) {
    level.set(node, Math.max(0, ...node.inputs.map((t) => (level.get(t.node) as number) + length(t.node, node))));
  }
  const kept = new Set(graph.outputs.map((t) => t.node));
  for (const node of [...graph.nodes].reverse()) {
    const readBy = readers.get(node);
    if (!(isElementwise(node) || isMove(node)) || kept.has(node) || !readBy) continue;
    level.set(node, Math.min(...readBy.map((reader) => (level.get(reader) as number) - length(node, reader))));
  }
  return level;
}

/** The groups and kernels of a graph. Views and leaves belong to none. */
export function fuse(graph: Graph, readers: Readers): Map<Node, Item> {
  const level = levels(graph, readers);
  const parent = new Map<Node, Node>();
  const find = (node: Node): Node => {
    let root = node;
    while (parent.get(root) !== root) root = parent.get(root) as Node;
    parent.set(node, root);
    return root;
  };
  for (const node of graph.nodes) {
    if (!isElementwise(node)) continue;
    parent.set(node, node);
    for (const { node: input } of node.inputs) {
      if (fuses(input, node) && level.get(input) === level.get(node)) parent.set(find(input), find(node));
    }
  }
  const members = new Map<Node, Node[]>();
  for (const node of parent.keys()) members.set(find(node), [...(members.get(find(node)) ?? []), node]);

  const items = new Map<Node, Item>();
  for (const nodes of members.values()) {
    for (let i = 0; i < nodes.length; i += LONGEST) {
      const part = nodes.slice(i, i + LONGEST);
      const item: Item = { group: { nodes: part, shape: part[0].shapes[0] }, level: level.get(part[0]) as number };
      for (const node of part) items.set(node, item);
    }
  }
  for (const node of graph.nodes) {
    if (node.op.kind === "kernel" && !isMove(node)) items.set(node, { kernel: node, level: level.get(node) as number });
  }
  return items;
}
