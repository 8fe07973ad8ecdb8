// Kernels over whole rows: softmax, layer norm and their gradients; and the sums of batch norm. x [rows, n]; a workgroup a row.
import type { Elementwise } from "../src/tape/program.ts";
import { ending } from "./ending.ts";
import type { Kernel } from "./kernel.ts";

/** Sums and maxima over the threads of a workgroup; every thread gets the result. */
const acrossLanes = `
var<workgroup> partial: array<f32, LANES>;
fn sum_of(lane: u32, value: f32) -> f32 {
  workgroupBarrier(); // nobody still reads the last result
  partial[lane] = value;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] += partial[lane + half]; }
  }
  workgroupBarrier();
  return partial[0];
}
fn max_of(lane: u32, value: f32) -> f32 {
  workgroupBarrier();
  partial[lane] = value;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] = larger(partial[lane], partial[lane + half]); }
  }
  workgroupBarrier();
  return partial[0];
}
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn larger(a: f32, b: f32) -> f32 { return select(a, b, b > a || is_nan(b)); }
`;

/** Threads of a row's workgroup: more for long rows. */
export const rowLanes = (n: number): number => (n >= 1024 ? 256 : 64);

const rowKernel = (kernel: Omit<Kernel, "code"> & { body: string }): Kernel => ({
  ...kernel,
  code: `${acrossLanes}
fn run(group: u32, lane: u32) {
  let start = group * p.n;
${kernel.body}
}`,
});

/** y = exp(x - max) / sum, or its logarithm. */
export const softmax = (logarithm: boolean, lanes: number): Kernel =>
  rowKernel({
    name: logarithm ? "log softmax" : "softmax",
    reads: ["x"],
    writes: ["y"],
    params: ["n: u32"],
    lanes,
    body: `
  var top = x(start + min(lane, p.n - 1u));
  for (var i = lane + LANES; i < p.n; i += LANES) { top = larger(top, x(start + i)); }
  top = max_of(lane, top);
  var sum = 0.0;
  for (var i = lane; i < p.n; i += LANES) { sum += exp(x(start + i) - top); }
  sum = sum_of(lane, sum);
  ${logarithm ? "let shift = top + log(sum);" : ""}
  for (var i = lane; i < p.n; i += LANES) { set_y(start + i, ${logarithm ? "x(start + i) - shift" : "exp(x(start + i) - top) / sum"}); }`,
  });

/** dx = y (g - sum(g y)) of softmax; g - exp(y) sum(g) of its logarithm. */
export const softmaxGrad = (logarithm: boolean, lanes: number): Kernel =>
  rowKernel({
    name: logarithm ? "log softmax gradient" : "softmax gradient",
    reads: ["g", "y"],
    writes: ["dx"],
    params: ["n: u32"],
    lanes,
    body: `
  var sum = 0.0;
  for (var i = lane; i < p.n; i += LANES) { sum += g(start + i)${logarithm ? "" : " * y(start + i)"}; }
  sum = sum_of(lane, sum);
  for (var i = lane; i < p.n; i += LANES) {
    set_dx(start + i, ${logarithm ? "g(start + i) - exp(y(start + i)) * sum" : "y(start + i) * (g(start + i) - sum)"});
  }`,
  });

/** y = (x - mean) rstd gamma + beta; mean [rows], rstd [rows] = 1 / sqrt(variance + eps). */
export const layerNorm = (lanes: number): Kernel =>
  rowKernel({
    name: "layer norm",
    reads: ["x", "gamma", "beta"],
    writes: ["y", "mean", "rstd"],
    params: ["n: u32", "eps: f32"],
    lanes,
    body: `
  var sum = 0.0;
  for (var i = lane; i < p.n; i += LANES) { sum += x(start + i); }
  let center = sum_of(lane, sum) / f32(p.n);
  sum = 0.0;
  for (var i = lane; i < p.n; i += LANES) { let apart = x(start + i) - center; sum += apart * apart; }
  let scale = 1.0 / sqrt(sum_of(lane, sum) / f32(p.n) + p.eps);
  for (var i = lane; i < p.n; i += LANES) { set_y(start + i, (x(start + i) - center) * scale * gamma(i) + beta(i)); }
  if (lane == 0u) { set_mean(group, center); set_rstd(group, scale); }`,
  });

/** dx = rstd (g gamma - sum(g gamma) / n - u sum(g gamma u) / n), u = (x - mean) rstd. */
export const layerNormGrad = (lanes: number): Kernel =>
  rowKernel({
    name: "layer norm gradient",
    reads: ["g", "x", "gamma", "mean", "rstd"],
    writes: ["dx"],
    params: ["n: u32"],
    lanes,
    body: `
  let center = mean(group);
  let scale = rstd(group);
  var sum = 0.0;
  var along = 0.0;
  for (var i = lane; i < p.n; i += LANES) {
    let value = g(start + i) * gamma(i);
    sum += value;
    along += value * (x(start + i) - center) * scale;
  }
  sum = sum_of(lane, sum) / f32(p.n);
  along = sum_of(lane, along) / f32(p.n);
  for (var i = lane; i < p.n; i += LANES) {
    set_dx(start + i, scale * (g(start + i) * gamma(i) - sum - (x(start + i) - center) * scale * along));
  }`,
  });

/**
 * For each column c of x [rows, n] and each part of \`part\` rows: sums over the rows of the part of what \`terms\` says, [parts, n] each.
 * A thread a result.
 */
const columnSums = (name: string, reads: string[], terms: Record<string, string>, params: string[] = []): Kernel => ({
  name,
  reads,
  writes: Object.keys(terms),
  params: ["rows: u32", "n: u32", "part: u32", "size: u32", ...params],
  batches: true,
  lanes: 64,
  code: `
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.size) { return; }
  let c = i % p.n;
  let first = i / p.n * p.part;
  ${Object.keys(terms)
    .map((sum) => `var total_${sum} = 0.0;`)
    .join(" ")}
  for (var row = first; row < min(first + p.part, p.rows); row++) {
    let at = row * p.n + c;
    ${Object.entries(terms)
      .map(([sum, term]) => `total_${sum} += ${term};`)
      .join("\n    ")}
  }
  ${Object.keys(terms)
    .map((sum) => `set_${sum}(i, total_${sum});`)
    .join(" ")}
}`,
});

/** Parts of dgamma = sum(g u) and dbeta = sum(g) over rows. */
export const layerNormSums = columnSums("layer norm sums", ["g", "x", "mean", "rstd"], {
  dgamma: "g(at) * (x(at) - mean(row)) * rstd(row)",
  dbeta: "g(at)",
});

/** Parts of sum(x - mean) and sum((x - mean)^2) over rows; mean [n] is some row-independent centre. */
export const deviations = columnSums("deviations", ["x", "center"], {
  first: "x(at) - center(c)",
  second: "(x(at) - center(c)) * (x(at) - center(c))",
});

/** Parts of dgamma = sum(g u) and dbeta = sum(g) over rows, u = (x - mean) / sqrt(variance + eps). */
export const batchNormSums = columnSums(
  "batch norm sums",
  ["g", "x", "mean", "variance"],
  { dgamma: "g(at) * (x(at) - mean(c)) / sqrt(variance(c) + p.eps)", dbeta: "g(at)" },
  ["eps: f32"],
);

/** mean and variance [n] of x from the sums of its deviations from `center`. */
export const statistics: Kernel = {
  name: "batch statistics",
  reads: ["center", "first", "second"],
  writes: ["mean", "variance"],
  params: ["rows: u32", "n: u32"],
  lanes: 64,
  code: `
fn run(group: u32, lane: u32) {
  let c = group * LANES + lane;
  if (c >= p.n) { return; }
  let shift = first(c) / f32(p.rows);
  set_mean(c, center(c) + shift);
  set_variance(c, max(second(c) / f32(p.rows) - shift * shift, 0.0));
}`,
};

/** y = (x - mean) / sqrt(variance + eps) gamma + beta for each element, then the step's epilogue. */
export function batchNormApply(epilogue: Elementwise | undefined): Kernel {
  const end = ending(epilogue);
  return {
    name: "batch norm",
    reads: ["x", "gamma", "beta", "mean", "variance", ...end.reads],
    writes: end.writes,
    params: ["n: u32", "size: u32", "eps: f32", ...end.params],
    lanes: 64,
    code: `${end.code}
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.size) { return; }
  let c = i % p.n;
  finish(i / p.n, c, (x(i) - mean(c)) / sqrt(variance(c) + p.eps) * gamma(c) + beta(c));
}`,
  };
}

/** dx = gamma rstd (g - dbeta / rows - u dgamma / rows) */
export const batchNormGradApply: Kernel = {
  name: "batch norm gradient",
  reads: ["g", "x", "gamma", "mean", "variance", "dgamma", "dbeta"],
  writes: ["dx"],
  params: ["rows: u32", "n: u32", "size: u32", "eps: f32"],
  lanes: 64,
  code: `
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.size) { return; }
  let c = i % p.n;
  let scale = 1.0 / sqrt(variance(c) + p.eps);
  let unit = (x(i) - mean(c)) * scale;
  set_dx(i, gamma(c) * scale * (g(i) - (dbeta(c) + unit * dgamma(c)) / f32(p.rows)));
}`,
};
