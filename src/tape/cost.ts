// What a step of a program costs, from its shapes alone: the same for every backend.
import { viewsRead, writes } from "./assign.ts";
import type { Buffer, Elementwise, Step, View } from "./program.ts";
import { size } from "./shape.ts";

export interface Cost {
  /** Floating-point operations: a multiply-add counts two, a comparison or an exponential one. */
  readonly flops: number;
  /** Bytes of operands and results, each counted once: what moves if nothing is in a cache before and all of the step stays in one. */
  readonly bytes: number;
}

/** Operations an element of the first input in the textbook form of ops that are no products. */
const perElement: Readonly<Record<string, number>> = {
  sum: 1,
  max: 1,
  argmax: 1,
  softmax: 4,
  logSoftmax: 4,
  softmaxGrad: 4,
  logSoftmaxGrad: 4,
  batchNorm: 6,
  batchNormGrad: 9,
  layerNorm: 8,
  layerNormGrad: 12,
  scatterAdd: 1,
  maxPoolGrad: 1,
  avgPoolGrad: 1,
};

/** Operations of one op without its epilogue. */
function flopsOf({ op, inputs, outputs, attrs, body }: Step): number {
  const [a, b] = inputs.map(({ shape }) => shape);
  const out = outputs[0]?.shape ?? [];
  switch (op) {
    case "elementwise":
      return chainFlops(body);
    case "matmul":
      return 2 * size(out) * (a.at(attrs.ta ? -2 : -1) ?? 1);
    case "conv2d":
      return 2 * size(out) * size(b.slice(1));
    case "conv2dInputGrad":
      return 2 * size(a) * size(b.slice(1));
    case "conv2dWeightGrad":
      return 2 * size(b) * size(out.slice(1));
    case "attention": // q k^T and p v
      return 4 * size(a) * b[1];
    case "attentionGrad": // scores again, and four gradients; g, q, k, ...
      return 10 * size(b) * inputs[2].shape[1];
    case "maxPool":
    case "avgPool":
      return size(out) * (attrs.kernel as number) ** 2;
    default:
      return (perElement[op] ?? 0) * size(a ?? []);
  }
}

const chainFlops = (chain: Elementwise | undefined): number =>
  chain ? size(chain.shape) * chain.code.filter(({ op }) => op !== "constant").length : 0;

/** Numbers that a view is made of; those that it repeats count once. */
const distinct = ({ shape, strides }: View): number => shape.reduce((product, n, i) => (strides[i] === 0 ? product : product * n), 1);

/** Every place of memory that a list of views covers, once for each different view. */
function bytesOf(views: readonly View[]): number {
  const known = new Map<string, number>();
  const bytes = ({ dtype }: Buffer) => (dtype === "f16" ? 2 : 4);
  for (const view of views) known.set(`${view.buffer.id}:${view.offset}:${distinct(view)}`, bytes(view.buffer) * distinct(view));
  return [...known.values()].reduce((sum, bytes) => sum + bytes, 0);
}

/** What a step costs. */
export function cost(step: Step): Cost {
  return { flops: flopsOf(step) + chainFlops(step.epilogue), bytes: bytesOf(viewsRead(step)) + bytesOf(writes(step)) };
}
