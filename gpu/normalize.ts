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

/** A kernel of a workgroup a row, the barriers of which all threads meet whatever `p` holds. */
const rowKernel = (kernel: Omit<Kernel, "code" | "batches"> & { body: string }): Kernel => ({
  ...kernel,
  batches: true,
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

/** Rows of a part of the gradient's sums: few enough to keep a GPU busy, enough that adding up the parts costs little. */
export const layerNormPart = (rows: number): number => Math.max(16, Math.ceil(rows / 1024));

/**
 * dx = rstd (g gamma - sum(g gamma) / n - u sum(g gamma u) / n), u = (x - mean) rstd, then the step's epilogue. And parts of
 * dgamma = sum(g u) and dbeta = sum(g) over rows, [parts, n] each: a workgroup goes over `part` rows, its threads own columns.
 */
export function layerNormGrad(n: number, epilogue: Elementwise | undefined): Kernel {
  const lanes = rowLanes(n);
  const end = ending(epilogue);
  /** For every column that this lane owns: `j` counts them, `i` is its place. */
  const eachOwn = (body: string) => `for (var j = 0u; j < OWN; j++) { let i = lane + j * LANES; if (i < p.n) {${body}} }`;
  return {
    name: "layer norm gradient",
    reads: ["g", "x", "gamma", "mean", "rstd", ...end.reads],
    writes: [...end.writes, "dgamma", "dbeta"],
    params: ["rows: u32", "n: u32", "part: u32", ...end.params],
    lanes,
    code: `${acrossLanes}${end.code}
const OWN = ${Math.ceil(n / lanes)}u;
fn run(group: u32, lane: u32) {
  var gammas: array<f32, OWN>;
  var betas: array<f32, OWN>;
  let first = group * p.part;
  for (var row = first; row < min(first + p.part, p.rows); row++) {
    let start = row * p.n;
    let center = mean(row);
    let scale = rstd(row);
    var sum = 0.0;
    var along = 0.0;
    ${eachOwn(`
      let slope = g(start + i);
      let unit = (x(start + i) - center) * scale;
      gammas[j] += slope * unit;
      betas[j] += slope;
      sum += slope * gamma(i);
      along += slope * gamma(i) * unit;
    `)}
    sum = sum_of(lane, sum) / f32(p.n);
    along = sum_of(lane, along) / f32(p.n);
    ${eachOwn(`
      let unit = (x(start + i) - center) * scale;
      finish(row, i, scale * (g(start + i) * gamma(i) - sum - unit * along));
    `)}
  }
  ${eachOwn(" set_dgamma(group * p.n + i, gammas[j]); set_dbeta(group * p.n + i, betas[j]); ")}
}`,
  };
}

/** Rows of a part of sums over rows, few enough to keep a GPU busy. */
export const partRows = (rows: number, n: number): number => Math.max(LINK, Math.ceil((rows * n) / 2 ** 16));

/** Rows whose sum is made on its own before it is added to the part's: two short chains of additions round less than a long one. */
const LINK = 16;

/**
 * Means and sums of squared deviations from them, [parts, n] each, of the columns of x [rows, n] within parts of `part` rows; those
 * of a few rows at a time are merged. Chan, Golub & LeVeque 1983, eq. 2.1. A thread a result.
 */
export const moments: Kernel = {
  name: "moments",
  reads: ["x"],
  writes: ["means", "squares"],
  params: ["rows: u32", "n: u32", "part: u32", "size: u32"],
  batches: true,
  lanes: 64,
  code: `
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.size) { return; }
  let c = i % p.n;
  let first = i / p.n * p.part;
  let end = min(first + p.part, p.rows);
  let center = x(first * p.n + c); // sums are of deviations from it, so that large means cost no digits
  var count = 0.0;
  var sum = 0.0;
  var square = 0.0;
  for (var row = first; row < end; row += ${LINK}u) {
    let last = min(row + ${LINK}u, end);
    let more = f32(last - row);
    var link = 0.0;
    for (var r = row; r < last; r++) { link += x(r * p.n + c) - center; }
    let mean = center + link / more;
    for (var r = row; r < last; r++) { let apart = x(r * p.n + c) - mean; square += apart * apart; }
    if (count > 0.0) {
      let apart = link / more - sum / count;
      square += apart * apart * count * more / (count + more);
    }
    sum += link;
    count += more;
  }
  set_means(i, center + sum / count);
  set_squares(i, square);
}`,
};

/** mean and variance [n] over all rows from the moments of parts. A workgroup a column. */
export const statistics: Kernel = {
  name: "batch statistics",
  reads: ["means", "squares"],
  writes: ["mean", "variance"],
  params: ["rows: u32", "n: u32", "part: u32", "parts: u32"],
  batches: true,
  lanes: 64,
  code: `${acrossLanes}
fn run(group: u32, lane: u32) {
  let center = means(group);
  var sum = 0.0;
  for (var i = lane; i < p.parts; i += LANES) { sum += (means(i * p.n + group) - center) * f32(min(p.part, p.rows - i * p.part)); }
  let middle = center + sum_of(lane, sum) / f32(p.rows);
  var square = 0.0;
  for (var i = lane; i < p.parts; i += LANES) {
    let apart = means(i * p.n + group) - middle;
    square += squares(i * p.n + group) + apart * apart * f32(min(p.part, p.rows - i * p.part));
  }
  square = sum_of(lane, square);
  if (lane == 0u) { set_mean(group, middle); set_variance(group, square / f32(p.rows)); }
}`,
};

/**
 * Parts of dgamma = sum(g u) and dbeta = sum(g) over rows, [parts, n] each, u = (x - mean) / sqrt(variance + eps). A thread a result.
 */
export const batchNormSums: Kernel = {
  name: "batch norm sums",
  reads: ["g", "x", "mean", "variance"],
  writes: ["dgamma", "dbeta"],
  params: ["rows: u32", "n: u32", "part: u32", "size: u32", "eps: f32"],
  batches: true,
  lanes: 64,
  code: `
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.size) { return; }
  let c = i % p.n;
  let first = i / p.n * p.part;
  let end = min(first + p.part, p.rows);
  let center = mean(c);
  let scale = 1.0 / sqrt(variance(c) + p.eps);
  var sums = vec2f();
  for (var row = first; row < end; row += ${LINK}u) {
    var link = vec2f();
    for (var r = row; r < min(row + ${LINK}u, end); r++) {
      let slope = g(r * p.n + c);
      link += vec2f(slope * (x(r * p.n + c) - center) * scale, slope);
    }
    sums += link;
  }
  set_dgamma(i, sums.x);
  set_dbeta(i, sums.y);
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
