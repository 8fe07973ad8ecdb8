// Attention without the matrix of scores, forward and backward. Dao et al. 2022, arXiv 2205.14135.
//
// Everywhere a workgroup owns 16 rows (queries, or keys for their gradients) and walks over the rows of the other side in tiles that all
// of them share. Four lanes share a row: each keeps every fourth of its numbers, and what it multiplies with a tile is one part of four.
import type { Kernel } from "./kernel.ts";

const ROWS = 16;
const PARTS = 4;
const LANES = ROWS * PARTS;
/** Rows of a tile. */
const TILE = 16;

const tokens = ["heads: u32", "n: u32", "m: u32"];
const steps = (...names: string[]) => names.flatMap((name) => [`${name}_batch: u32`, `${name}_row: u32`]);

/** Groups of a kernel whose rows are `n` in number. */
export const attentionGroups = (batch: number, heads: number, n: number): number => batch * heads * Math.ceil(n / ROWS);

/** `rows`: how the number of rows is called. Names the group's place, this lane's row and its part of a row of D numbers. */
const place = (rows: string) => `
  let blocks = (p.${rows} + ${ROWS - 1}u) / ${ROWS}u;
  let head = group / blocks % p.heads;
  let sample = group / blocks / p.heads;
  let row = group % blocks * ${ROWS}u + lane / ${PARTS}u;
  let mine = lane / ${PARTS}u * ${PARTS}u; // the first of the lanes that share this row
  let live = row < p.${rows};`;

/** For every number of a row that this lane keeps: `i` counts them, `c` is its place. */
const eachOwn = (body: string) => `for (var i = 0u; i < OWN; i++) { let c = lane % ${PARTS}u + ${PARTS}u * i; if (c < D) { ${body} } }`;

/** Where element c of row `at` of an operand is, whose rows and samples have steps; the element; and what stores it. */
const placeIn = (name: string, at: string, c = "c") => `sample * p.${name}_batch + ${at} * p.${name}_row + head * D + ${c}`;
const element = (name: string, at: string, c?: string) => `${name}(${placeIn(name, at, c)})`;
const store = (name: string, value: string) => `set_${name}(${placeIn(name, "row")}, ${value});`;

/** Brings rows begin .. begin + TILE - 1 of operands into workgroup memory, zeros behind the last. */
const load = (rows: string, operands: Record<string, string>) => `
    for (var e = lane; e < ${TILE}u * D; e += LANES) {
      let at = begin + e / D;
${Object.entries(operands)
  .map(([tile, name]) => `      ${tile}[e] = 0.0;\n      if (at < p.${rows}) { ${tile}[e] = ${element(name, "at", "e % D")}; }`)
  .join("\n")}
    }
    workgroupBarrier();`;

/** Each lane's parts of the products of its row with every row of a tile, for all lanes to read. */
const multiply = (into: string, own: string, tile: string) => `
    for (var t = 0u; t < ${TILE}u; t++) {
      var dot = 0.0;
      ${eachOwn(`dot += ${own}[i] * ${tile}[t * D + c];`)}
      ${into}[t * LANES + lane] = dot;
    }`;

/** The sum of the parts of all lanes that share this row: of its product with row t of a tile, or of what lies elsewhere. */
const sumOf = (parts: string, first = "t * LANES + mine") =>
  `(${parts}[${first}] + ${parts}[${first} + 1u] + ${parts}[${first} + 2u] + ${parts}[${first} + 3u])`;

const head = (d: number, tiles: readonly string[], products: readonly string[]) => `
const D = ${d}u;
const OWN = ${Math.ceil(d / PARTS)}u;
${tiles.map((name) => `var<workgroup> ${name}: array<f32, ${TILE * d}>;`).join("\n")}
${products.map((name) => `var<workgroup> ${name}: array<f32, ${TILE * LANES}>;`).join("\n")}`;

/** A row's share of numbers, from an operand or zeros. */
const own = (name: string, from?: string) =>
  `var ${name}: array<f32, OWN>;${from ? ` if (live) { ${eachOwn(`${name}[i] = ${from};`)} }` : ""}`;

/** y [b, n, heads d] = softmax(scale q k^T) v with a running maximum, and the log-sum-exp of each row of scores [b, heads, n]. */
export const attention = (d: number): Kernel => ({
  name: `attention ${d}`,
  reads: ["q", "k", "v"],
  writes: ["y", "lse"],
  params: [...tokens, "scale: f32", ...steps("q", "k", "v", "y")],
  lanes: LANES,
  code: `${head(d, ["keys", "values"], ["products"])}
fn run(group: u32, lane: u32) {${place("n")}
  ${own("query", `p.scale * ${element("q", "row")}`)}
  ${own("mean")}
  var top = -3.0e38;
  var sum = 0.0;
  for (var begin = 0u; begin < p.m; begin += ${TILE}u) {${load("m", { keys: "k", values: "v" })}${multiply("products", "query", "keys")}
    workgroupBarrier();
    var scores: array<f32, ${TILE}>;
    var high = top;
    for (var t = 0u; t < ${TILE}u; t++) {
      scores[t] = select(-3.0e38, ${sumOf("products")}, begin + t < p.m);
      high = max(high, scores[t]);
    }
    let shrink = exp(top - high);
    top = high;
    sum *= shrink;
    ${eachOwn("mean[i] *= shrink;")}
    for (var t = 0u; t < ${TILE}u; t++) {
      let weight = exp(scores[t] - high);
      sum += weight;
      ${eachOwn("mean[i] += weight * values[t * D + c];")}
    }
    workgroupBarrier();
  }
  if (!live) { return; }
  ${eachOwn(store("y", "mean[i] / sum"))}
  if (lane == mine) { set_lse((sample * p.heads + head) * p.n + row, top + log(sum)); }
}`,
});

/**
 * dq [b, n, heads d] = scale sum over keys of P (g . v - along) k, where P = exp(scale q . k - lse); and along [b, heads, n] = g . y, what
 * the gradient of a softmax takes from every score of a row.
 */
export const attentionQueryGrad = (d: number): Kernel => ({
  name: `attention gradient, queries ${d}`,
  reads: ["g", "q", "k", "v", "y", "lse"],
  writes: ["dq", "along"],
  params: [...tokens, "scale: f32", ...steps("g", "q", "k", "v", "y", "dq")],
  lanes: LANES,
  code: `${head(d, ["keys", "values"], ["scores", "slopes"])}
fn run(group: u32, lane: u32) {${place("n")}
  ${own("query", element("q", "row"))}
  ${own("slope", element("g", "row"))}
  ${own("gradient")}
  let statistic = (sample * p.heads + head) * p.n + min(row, p.n - 1u);
  let log_sum = lse(statistic);
  var part = 0.0;
  if (live) { ${eachOwn(`part += slope[i] * ${element("y", "row")};`)} }
  slopes[lane] = part;
  workgroupBarrier();
  let taken = ${sumOf("slopes", "mine")};
  if (live && lane == mine) { set_along(statistic, taken); }
  for (var begin = 0u; begin < p.m; begin += ${TILE}u) {${load("m", { keys: "k", values: "v" })}${multiply("scores", "query", "keys")}${multiply("slopes", "slope", "values")}
    workgroupBarrier();
    for (var t = 0u; t < min(${TILE}u, p.m - begin); t++) {
      let weight = exp(p.scale * ${sumOf("scores")} - log_sum);
      let change = p.scale * weight * (${sumOf("slopes")} - taken);
      ${eachOwn("gradient[i] += change * keys[t * D + c];")}
    }
    workgroupBarrier();
  }
  if (live) { ${eachOwn(store("dq", "gradient[i]"))} }
}`,
});

/** dk, dv [b, m, heads d]: dv = sum over queries of P g, dk = scale sum of P (g . v - along) q. */
export const attentionKeyGrad = (d: number): Kernel => ({
  name: `attention gradient, keys ${d}`,
  reads: ["g", "q", "k", "v", "lse", "along"],
  writes: ["dk", "dv"],
  params: [...tokens, "scale: f32", ...steps("g", "q", "k", "v", "dk", "dv")],
  lanes: LANES,
  code: `${head(d, ["queries", "slopes"], ["scores", "rises"])}
fn run(group: u32, lane: u32) {${place("m")}
  ${own("key", element("k", "row"))}
  ${own("value", element("v", "row"))}
  ${own("key_gradient")}
  ${own("value_gradient")}
  let statistics = (sample * p.heads + head) * p.n;
  for (var begin = 0u; begin < p.n; begin += ${TILE}u) {${load("n", { queries: "q", slopes: "g" })}${multiply("scores", "key", "queries")}${multiply("rises", "value", "slopes")}
    workgroupBarrier();
    for (var t = 0u; t < min(${TILE}u, p.n - begin); t++) {
      let weight = exp(p.scale * ${sumOf("scores")} - lse(statistics + begin + t));
      let change = p.scale * weight * (${sumOf("rises")} - along(statistics + begin + t));
      ${eachOwn("key_gradient[i] += change * queries[t * D + c]; value_gradient[i] += weight * slopes[t * D + c];")}
    }
    workgroupBarrier();
  }
  if (!live) { return; }
  ${eachOwn(`${store("dk", "key_gradient[i]")} ${store("dv", "value_gradient[i]")}`)}
}`,
});
