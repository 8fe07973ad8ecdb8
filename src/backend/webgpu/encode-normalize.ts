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

const threads = (n: number) => Math.ceil(n / 64);

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

/** Where sums over rows go that a kernel makes in parts: [parts, n], which `addParts` adds up, or the results themselves. */
const inParts = (out: Emitter, parts: number, results: readonly View[]): readonly View[] =>
  parts === 1 ? results : results.map(({ shape }) => out.temporary([parts, ...shape]));

function addParts(out: Emitter, parts: number, sums: readonly View[], results: readonly View[]): void {
  if (parts > 1) for (const [i, y] of results.entries()) emitReduce(out, "sum", sums[i], y, [1, parts, size(y.shape)]);
}

const layerNormGrad: Encode = (step, out) => {
  const [g, x, gamma, mean, rstd] = step.inputs;
  const results = step.outputs.slice(1);
  const { rows, n } = rowsOf(x);
  const part = kernels.layerNormPart(rows);
  const parts = Math.ceil(rows / part);
  const sums = inParts(out, parts, results);
  const end = endingOf(step);
  const views = [g, x, gamma, mean, rstd, ...end.views, ...sums];
  const ofEnd = end.reaches((begin, last) => [part * n * begin, Math.min(part * n * last, rows * n)]);
  const reaches = [each(part * n), each(part * n), undefined, each(part), each(part), ...ofEnd, each(n), each(n)];
  out.dispatch(kernels.layerNormGrad(n, step.epilogue), views, { rows, n, part, ...end.params }, parts, reaches);
  addParts(out, parts, sums, results);
};

const batchNorm: Encode = (step, out) => {
  const [x, gamma, beta] = step.inputs;
  const [, mean, variance] = step.outputs;
  const { rows, n, size } = rowsOf(x);
  const eps = step.attrs.eps as number;
  const part = kernels.partRows(rows, n);
  const parts = Math.ceil(rows / part);
  const [means, squares] = [out.temporary([parts, n]), out.temporary([parts, n])];
  const made = { rows, n, part, size: parts * n };
  out.dispatch(kernels.moments, [x, means, squares], made, threads(made.size), [through(64, n, part * n), each(64), each(64)]);
  out.dispatch(kernels.statistics, [means, squares, mean, variance], { rows, n, part, parts }, n);
  const end = endingOf(step);
  const views = [x, gamma, beta, mean, variance, ...end.views];
  const ofEnd = end.reaches((begin, elements) => [64 * begin, Math.min(64 * elements, size)]);
  const reaches = [each(64), undefined, undefined, undefined, undefined, ...ofEnd];
  out.dispatch(kernels.batchNormApply(step.epilogue), views, { n, size, eps, ...end.params }, threads(size), reaches);
};

const batchNormGrad: Encode = ({ inputs: [g, x, gamma, mean, variance], outputs: [dx, dgamma, dbeta], attrs }, out) => {
  const { rows, n, size } = rowsOf(x);
  const eps = attrs.eps as number;
  const part = kernels.partRows(rows, n);
  const parts = Math.ceil(rows / part);
  const sums = inParts(out, parts, [dgamma, dbeta]);
  const ofRows = through(64, n, part * n);
  const made = { rows, n, part, size: parts * n, eps };
  const sumsReach = [ofRows, ofRows, undefined, undefined, each(64), each(64)];
  out.dispatch(kernels.batchNormSums, [g, x, mean, variance, ...sums], made, threads(made.size), sumsReach);
  addParts(out, parts, sums, [dgamma, dbeta]);
  const views = [g, x, gamma, mean, variance, dgamma, dbeta, dx];
  const reaches = views.map(({ shape }) => (shape.length > 1 ? each(64) : undefined));
  out.dispatch(kernels.batchNormGradApply, views, { rows, n, size, eps }, threads(size), reaches);
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
