// Softmax and normalisation: gpu/normalize.ts.
import * as kernels from "../../../gpu/normalize.ts";
import type { View } from "../../tape/program.ts";
import { size } from "../../tape/shape.ts";
import type { Emitter, Encode } from "./emitter.ts";
import { endingOf } from "./encode-elementwise.ts";
import { emitReduce } from "./encode-reduce.ts";
import { each, through } from "./windows.ts";

function rowsOf(x: View): { rows: number; n: number; size: number; lanes: number } {
  const n = x.shape.at(-1) as number;
  return { rows: size(x.shape) / n, n, size: size(x.shape), lanes: kernels.rowLanes(n) };
}

const softmax =
  (logarithm: boolean): Encode =>
  ({ inputs: [x], outputs: [y] }, out) => {
    const { rows, n, lanes } = rowsOf(x);
    out.dispatch(kernels.softmax(logarithm, lanes), [x, y], { n }, rows, [each(n), each(n)]);
  };

const softmaxGrad =
  (logarithm: boolean): Encode =>
  ({ inputs: [g, y], outputs: [dx] }, out) => {
    const { rows, n, lanes } = rowsOf(g);
    out.dispatch(kernels.softmaxGrad(logarithm, lanes), [g, y, dx], { n }, rows, [each(n), each(n), each(n)]);
  };

const layerNorm: Encode = ({ inputs: [x, gamma, beta], outputs: [y, mean, rstd], attrs }, out) => {
  const { rows, n, lanes } = rowsOf(x);
  const reaches = [each(n), undefined, undefined, each(n), each(1), each(1)];
  out.dispatch(kernels.layerNorm(lanes), [x, gamma, beta, y, mean, rstd], { n, eps: attrs.eps as number }, rows, reaches);
};

/** Rows of a part of sums over rows, few enough to keep a GPU busy. */
const partRows = (rows: number, n: number): number => Math.max(16, Math.ceil((rows * n) / 2 ** 16));

/** An operand of a kernel that sums over rows, and how many of its numbers belong to each row; 0: all of them to all rows. */
type OfRows = readonly [view: View, perRow: number];

/** Emits a kernel that sums over rows in parts, two sums at once, and adds up the parts. */
function emitSums(
  out: Emitter,
  kernel: (typeof kernels)["deviations"],
  reads: readonly OfRows[],
  writes: readonly [View, View],
  { rows, n }: { rows: number; n: number },
  params: Record<string, number> = {},
): void {
  const part = partRows(rows, n);
  const parts = Math.ceil(rows / part);
  const targets = parts === 1 ? writes : writes.map(() => out.temporary([parts, n]));
  const views = [...reads.map(([view]) => view), ...targets];
  const reaches = [...reads.map(([, perRow]) => (perRow ? through(64, n, part * perRow) : undefined)), each(64), each(64)];
  out.dispatch(kernel, views, { rows, n, part, size: parts * n, ...params }, Math.ceil((parts * n) / 64), reaches);
  if (parts > 1) for (const [i, y] of writes.entries()) emitReduce(out, "sum", targets[i], y, [1, parts, n]);
}

const layerNormGrad: Encode = ({ inputs: [g, x, gamma, mean, rstd], outputs: [dx, dgamma, dbeta] }, out) => {
  const { rows, n, lanes } = rowsOf(x);
  const reaches = [each(n), each(n), undefined, each(1), each(1), each(n)];
  out.dispatch(kernels.layerNormGrad(lanes), [g, x, gamma, mean, rstd, dx], { n }, rows, reaches);
  emitSums(
    out,
    kernels.layerNormSums,
    [
      [g, n],
      [x, n],
      [mean, 1],
      [rstd, 1],
    ],
    [dgamma, dbeta],
    { rows, n },
  );
};

const batchNorm: Encode = (step, out) => {
  const [x, gamma, beta] = step.inputs;
  const [, mean, variance] = step.outputs;
  const { rows, n, size } = rowsOf(x);
  const eps = step.attrs.eps as number;
  const [first, second] = [out.temporary([n]), out.temporary([n])];
  const center = { ...x, shape: [n], strides: [1] }; // the first row
  emitSums(
    out,
    kernels.deviations,
    [
      [x, n],
      [center, 0],
    ],
    [first, second],
    { rows, n },
  );
  out.dispatch(kernels.statistics, [center, first, second, mean, variance], { rows, n }, Math.ceil(n / 64));
  const end = endingOf(step);
  const views = [x, gamma, beta, mean, variance, ...end.views];
  const ofEnd = end.reaches((begin, elements) => [64 * begin, Math.min(64 * elements, size)]);
  const reaches = [each(64), undefined, undefined, undefined, undefined, ...ofEnd];
  out.dispatch(kernels.batchNormApply(step.epilogue), views, { n, size, eps, ...end.params }, Math.ceil(size / 64), reaches);
};

const batchNormGrad: Encode = ({ inputs: [g, x, gamma, mean, variance], outputs: [dx, dgamma, dbeta], attrs }, out) => {
  const { rows, n, size } = rowsOf(x);
  const eps = attrs.eps as number;
  emitSums(
    out,
    kernels.batchNormSums,
    [
      [g, n],
      [x, n],
      [mean, 0],
      [variance, 0],
    ],
    [dgamma, dbeta],
    { rows, n },
    { eps },
  );
  const views = [g, x, gamma, mean, variance, dgamma, dbeta, dx];
  const reaches = views.map(({ shape }) => (shape.length > 1 ? each(64) : undefined));
  out.dispatch(kernels.batchNormGradApply, views, { rows, n, size, eps }, Math.ceil(size / 64), reaches);
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
