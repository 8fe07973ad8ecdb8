// Values in half precision (`--precision f16`): what modules compute, and the gradients of that, is stored as float16, and products may
// round their operands to it. Everything is still computed in float32, and stays so where it is stored outside of modules (losses, and
// what optimisers do), in statistics and other sums, softmax, normalize, gradients of weights, indices and results. Mixed precision as in
// Micikevicius et al. 2018, arXiv 1710.03740; which ops round is PyTorch's choice for autocast but for layer norm and residual sums, which
// are rounded here too.
import { viewsRead, writes } from "./assign.ts";
import type { Buffer, Draft, Step } from "./program.ts";
import type { Node } from "./tensor.ts";

/** How many of its outputs an op rounds; behind them come statistics and sums. */
const ROUNDED: Readonly<Record<string, number>> = {
  matmul: 1,
  conv2d: 1,
  conv2dInputGrad: 1,
  attention: 1,
  attentionGrad: 3,
  batchNorm: 1,
  batchNormGrad: 1,
  layerNorm: 1,
  layerNormGrad: 1,
  maxPool: 1,
  maxPoolGrad: 1,
  avgPool: 1,
  avgPoolGrad: 1,
  concat: 1,
  pad: 1,
  gather: 1,
  scatterAdd: 1,
};

const PRODUCTS = new Set(["matmul", "conv2d", "conv2dInputGrad", "conv2dWeightGrad", "attention", "attentionGrad"]);

/** Whether a node was traced in a module's forward pass or in the gradient of one. */
const inModule = ({ scope }: Node) => !!scope?.module && scope.pass !== "update" && !scope.single;

/** How an output of a node is stored, as far as the node alone tells. Vectors are float32: scales, shifts and statistics. */
export function storedAs(node: Node, index: number): "f16" | undefined {
  const rounds = node.op.kind === "elementwise" || index < (ROUNDED[node.op.name] ?? 0);
  return rounds && inModule(node) && node.shapes[index].length > 1 ? "f16" : undefined;
}

/** In which precision a node may read its operands. */
export const readsAs = (node: Node): "f16" | undefined => (PRODUCTS.has(node.op.name) && inModule(node) ? "f16" : undefined);

/** Steps that pass numbers on, one by one or in sums of a few: where the result is to be exact, so are the operands. */
const PASSING = new Set(["elementwise", "copy", "concat", "pad", "gather", "scatterAdd", "updateSlice"]);

/** Which input of an op says where something is. */
const INDEX: Readonly<Record<string, number>> = { gather: 1, scatterAdd: 1, updateSlice: 2 };

/** Buffers that no step may find rounded: `roots`, indices, and what their numbers are passed on from. */
export function exactBuffers({ steps }: Draft, roots: Iterable<Buffer>): ReadonlySet<Buffer> {
  const exact = new Set(roots);
  for (const step of steps) if (step.op in INDEX) exact.add(step.inputs[INDEX[step.op]].buffer);
  const isExact = (buffer: Buffer) => buffer.kind === "parameter" || exact.has(buffer);
  for (const step of steps.toReversed()) for (const buffer of passedOn(step, isExact)) exact.add(buffer);
  return exact;
}

/** What a step passes on to results that have to be exact. */
function passedOn(step: Step, isExact: (buffer: Buffer) => boolean): Buffer[] {
  if (PASSING.has(step.op)) {
    return writes(step).some(({ buffer }) => isExact(buffer)) ? viewsRead(step).map(({ buffer }) => buffer) : [];
  }
  const { epilogue } = step;
  return epilogue?.outputs.some(({ view }) => isExact(view.buffer)) ? epilogue.inputs.map(({ buffer }) => buffer) : [];
}

/** Gives float32 back to what leaves the program or reaches the optimiser, such as gradients of weights. */
export function keepExact(draft: Draft): Draft {
  const updates = draft.steps.filter(({ scope }) => scope?.pass === "update").flatMap(viewsRead);
  const exact = exactBuffers(
    draft,
    [...draft.outputs, ...updates].map(({ buffer }) => buffer),
  );
  for (const buffer of exact) buffer.dtype = undefined;
  for (const { outputs, epilogue } of draft.steps) {
    // A product that nobody reads but its epilogue shares the memory of what that stores.
    const stored = epilogue?.outputs.map(({ view }) => view.buffer) ?? [];
    if (stored.length && !stored.includes(outputs[0].buffer)) outputs[0].buffer.dtype = stored[0].dtype;
  }
  return draft;
}
