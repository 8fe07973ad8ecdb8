// From a traced forward pass to a graph of ONNX operators. What depends on weights alone is computed once and stored; maps are kept
// with channels first, as ONNX's convolutions have them, and turned round only where an operator asks for channels last.
import { ReferenceBackend } from "../backend/reference.ts";
import type { Node, Parameter } from "../tape/tensor.ts";
import type { Host } from "../tape/trace.ts";
import type { OnnxNode, OnnxTensor } from "./onnx.ts";
import { type Operator, operators } from "./operators.ts";
import { keyOf, Translation } from "./translation.ts";
import { independent, type Twins } from "./twins.ts";

export interface Translated {
  readonly nodes: readonly OnnxNode[];
  readonly tensors: ReadonlyMap<string, OnnxTensor>;
}

/**
 * Translates a forward pass. `names` are those of its parameters; `images` is the name of what comes in, [batch, c, h, w];
 * `outputs` are the names of what the pass gives, in its order, [..., c] with channels first where it has four axes.
 */
export async function translate(
  twins: Twins,
  names: ReadonlyMap<Parameter, string>,
  images: string,
  outputs: readonly string[],
): Promise<Translated> {
  const fixed = fixedNodes(twins);
  const translation = new Translation({ twins, fixed, folded: await fold(twins, fixed), names, images });
  for (const node of twins.graph.nodes) {
    if (node.op.name === "input") translation.set(node, 0, { first: images });
    else if (!fixed.has(node) && !translation.isAbsorbed(node)) operatorOf(node)(translation, node);
  }
  twins.graph.outputs.forEach((t, i) => translation.name(t, outputs[i]));
  return translation.writer;
}

function operatorOf({ op }: Node): Operator {
  const operator = operators[op.name];
  if (!operator) throw new RangeError(`Cannot export "${op.name}" to ONNX: expected the operations of a backbone in evaluation mode`);
  return operator;
}

/** Nodes that depend neither on the images nor on how many there are. */
function fixedNodes({ graph, twin }: Twins): Set<Node> {
  const fixed = new Set<Node>();
  for (const node of graph.nodes) {
    const leaf = node.op.kind === "leaf";
    const same = independent(node, twin.get(node) as Node);
    if (leaf && node.op.name !== "input" && !same)
      throw new RangeError("Cannot export this network: it has numbers that depend on the batch");
    if (node.op.name !== "input" && same && (leaf || node.inputs.every((t) => fixed.has(t.node)))) fixed.add(node);
  }
  return fixed;
}

/** The numbers of every fixed value that another node reads, in float64 until they are stored. */
async function fold({ graph }: Twins, fixed: ReadonlySet<Node>): Promise<Map<string, Host>> {
  const read = [...graph.nodes.filter((node) => !fixed.has(node)).flatMap(({ inputs }) => inputs), ...graph.outputs];
  const wanted = new Map(read.filter((t) => fixed.has(t.node) && t.node.op.name !== "parameter").map((t) => [keyOf(t), t]));
  const tensors = [...wanted.values()];
  const values = await new ReferenceBackend().load({ inputs: [], outputs: tensors, assigned: new Map() }).run([]);
  return new Map(tensors.map((t, i) => [keyOf(t), { data: values[i], shape: t.shape }]));
}
