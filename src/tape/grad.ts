import { constant } from "./op.ts";
import { remembering } from "./recompute.ts";
import { withScope } from "./scope.ts";
import { type Node, Parameter, Tensor } from "./tensor.ts";
import { leaf } from "./trace.ts";

/**
 * Gradients of a scalar with respect to parameters or other tensors on the tape, as nodes on the same tape.
 * A parameter that the loss does not reach gets undefined, as `None` in PyTorch: the optimiser leaves it alone.
 */
export function grad(loss: Tensor, wrt: readonly Tensor[]): (Tensor | undefined)[] {
  if (loss.size !== 1) throw new RangeError(`Cannot differentiate ${JSON.stringify(loss.shape)}: expected a scalar`);
  const targets = wrt.map((t) => (t instanceof Parameter ? leaf(t) : t));
  const reach = reaching(loss.node, new Set(targets.map((t) => t.node)));
  const gradients = new Map<Node, (Tensor | undefined)[]>();
  const accumulate = (t: Tensor, g: Tensor) => {
    const slots = gradients.get(t.node) ?? new Array<Tensor | undefined>(t.node.shapes.length).fill(undefined);
    const before = slots[t.index];
    slots[t.index] = before ? before.add(g) : g;
    gradients.set(t.node, slots);
  };
  const saved = remembering();
  accumulate(loss, constant(1).reshape(loss.shape));
  for (const node of [...reach].sort((a, b) => b.id - a.id)) {
    const g = gradients.get(node);
    if (!g || node.op.name === "stopGradient" || node.inputs.length === 0) continue;
    const { vjp } = node.op;
    if (!vjp) throw new TypeError(`Cannot differentiate through "${node.op.name}": it has no gradient; put stopGradient() before it`);
    const { module = "", single } = node.scope ?? {};
    withScope({ module, pass: "backward", ...(single && { single }) }, () => {
      const parts = vjp(g, { inputs: node.inputs.map(saved), outputs: outputs(node).map(saved), attrs: node.attrs });
      node.inputs.forEach((input, i) => {
        const part = parts[i];
        if (part && reach.has(input.node)) accumulate(input, part);
      });
    });
  }
  return targets.map((t) => gradients.get(t.node)?.[t.index]);
}

/** Nodes between the targets and the loss: everything that the loss uses and that depends on a target. */
function reaching(from: Node, targets: ReadonlySet<Node>): Set<Node> {
  const order: Node[] = [];
  const seen = new Set<Node>([from]);
  const stack = [from];
  while (stack.length) {
    const node = stack.pop() as Node;
    order.push(node);
    if (node.op.name === "stopGradient") continue;
    for (const { node: input } of node.inputs) {
      if (!seen.has(input)) {
        seen.add(input);
        stack.push(input);
      }
    }
  }
  const reach = new Set<Node>();
  for (const node of order.sort((a, b) => a.id - b.id)) {
    if (targets.has(node) || (node.op.name !== "stopGradient" && node.inputs.some((input) => reach.has(input.node)))) reach.add(node);
  }
  return reach;
}

const outputs = (node: Node): Tensor[] => node.shapes.map((shape, index) => new Tensor(node, index, shape));
