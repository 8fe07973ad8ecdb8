// Softmax and normalisation: gpu/normalize.ts.
import * as kernels from "../../../gpu/normalize.ts";
import type { View } from "../../tape/program.ts";
import { size } from "../../tape/shape.ts";
import type { Emitter, Encode } from "./emitter.ts";
import { endingOf } from "./encode-elementwise.ts";
import { emitReduce } from "./encode-reduce.ts";

function rowsOf(x: View): { rows: number; n: number; size: number; lanes: number } {
  const n = x.shape.at(-1) as number;
  return { rows: size(x.shape) / n, n, size: size(x.shape), lanes: kernels.rowLanes(n) };
}

const softmax =
  (logarithm: boolean): Encode =>
  ({ inputs: [x], outputs: [y] }, out) => {
    const { rows, n, lanes } = rowsOf(x);
    out.dispatch(kernels.softmax(logarithm, lanes), [x, y], { n }, rows);
  };

const softmaxGrad =
  (logarithm: boolean): Encode =>
  ({ inputs: [g, y], outputs: [dx] }, out) => {
    const { rows, n, lanes } = rowsOf(g);
    out.dispatch(kernels.softmaxGrad(logarithm, lanes), [g, y, dx], { n }, rows);
  };

const layerNorm: Encode = ({ inputs: [x, gamma, beta], outputs: [y, mean, rstd], attrs }, out) => {
  const { rows, n, lanes } = rowsOf(x);
  out.dispatch(kernels.layerNorm(lanes), [x, gamma, beta, y, mean, rstd], { n, eps: attrs.eps as number }, rows);
};

/** Rows of a part of sums over rows, few enough to keep a GPU busy. */
const partRows = (rows: number, n: number): number => Math.max(16, Math.ceil((rows * n) / 2 ** 16));

/** Emits a kernel that sums over rows in parts, two sums at once, and adds up the parts. */
function emitSums(
  out: Emitter,
  kernel: (typeof kernels)["deviations"],
  reads: readonly View[],
  writes: readonly [View, View],
  { rows, n }: { rows: number; n: number },
  params: Record<string, number> = {},
): void {
  const part = partRows(rows, n);
  const parts = Math.ceil(rows / part);
  const targets = parts === 1 ? writes : writes.map(() => out.temporary([parts, n]));
  out.dispatch(kernel, [...reads, ...targets], { rows, n, part, size: parts * n, ...params }, Math.ceil((parts * n) / 64));
  if (parts > 1) for (const [i, y] of writes.entries()) emitReduce(out, "sum", targets[i], y, [1, parts, n]);
}

const layerNormGrad: Encode = ({ inputs: [g, x, gamma, mean, rstd], outputs: [dx, dgamma, dbeta] }, out) => {
  const { rows, n, lanes } = rowsOf(x);
  out.dispatch(kernels.layerNormGrad(lanes), [g, x, gamma, mean, rstd, dx], { n }, rows);
  emitSums(out, kernels.layerNormSums, [g, x, mean, rstd], [dgamma, dbeta], { rows, n });
};

const batchNorm: Encode = (step, out) => {
  const [x, gamma, beta] = step.inputs;
  const [, mean, variance] = step.outputs;
  const { rows, n, size } = rowsOf(x);
  const eps = step.attrs.eps as number;
  const [first, second] = [out.temporary([n]), out.temporary([n])];
  emitSums(out, kernels.deviations, [x, x], [first, second], { rows, n }); // from the first row
  out.dispatch(kernels.statistics, [x, first, second, mean, variance], { rows, n }, Math.ceil(n / 64));
  const end = endingOf(step);
  const views = [x, gamma, beta, mean, variance, ...end.views];
  out.dispatch(kernels.batchNormApply(step.epilogue), views, { n, size, eps, ...end.params }, Math.ceil(size / 64));
};

const batchNormGrad: Encode = ({ inputs: [g, x, gamma, mean, variance], outputs: [dx, dgamma, dbeta], attrs }, out) => {
  const { rows, n, size } = rowsOf(x);
  const eps = attrs.eps as number;
  emitSums(out, kernels.batchNormSums, [g, x, mean, variance], [dgamma, dbeta], { rows, n }, { eps });
  const views = [g, x, gamma, mean, variance, dgamma, dbeta, dx];
  out.dispatch(kernels.batchNormGradApply, views, { rows, n, size, eps }, Math.ceil(size / 64));
};

export const normalizeEncoders: Record<string, Encode> = {
  softmax: softmax(false),
  logSoftmax: softmax(true),
  softmaxGrad: softmaxGrad(false),
  logSoftmaxGrad: softmaxGrad(true),
  layerNorm,
  layerNormGrad,
  batchNorm,
  batchNormGrad,
};
