// Matrix products C[m, n] = A[m, k] B[k, n], and whatever else is one when its operands are read in the right way (convolutions
// and their gradients). A workgroup computes a tile of C: it brings panels of A and B into its own memory, `depth` of k at a
// time, and each thread keeps `down` rows x `across` columns of the tile in registers. Sums run along k one after the other, so that a
// product has the same bits with every tile.
import type { Elementwise } from "../src/tape/program.ts";
import { ending } from "./ending.ts";
import type { Kernel } from "./kernel.ts";

export interface Tile {
  readonly rows: number;
  readonly columns: number;
  /** Of k, at a time; a multiple of 4. */
  readonly depth: number;
  /** Rows and columns of a thread; multiples of 4. */
  readonly down: number;
  readonly across: number;
}

/** Where a product's operands come from. */
export interface Operands {
  readonly name: string;
  readonly reads: readonly string[];
  /** Of `reads`, those that the code reads as fours. */
  readonly fours: readonly string[];
  readonly params: readonly string[];
  /** Declares `fn left(batch: u32, row: u32, k: u32) -> f32` and `fn right(batch: u32, k: u32, column: u32) -> f32`. */
  readonly code: string;
  /** Along which index neighbours of an operand lie side by side in memory. */
  readonly leftAlong: "k" | "row";
  readonly rightAlong: "k" | "column";
  /**
   * Whether the code declares `left4` and `right4` too: from a place that is a multiple of 4, four neighbours along that index, of which
   * there are a multiple of 4.
   */
  readonly leftFours: boolean;
  readonly rightFours: boolean;
}

export const lanesOf = ({ rows, columns, down, across }: Tile): number => (rows / down) * (columns / across);

/** Bytes of workgroup memory that a tile may take. */
export const bytesOf = ({ rows, columns, depth }: Tile): number => 4 * (rows + columns) * (depth + 4);

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

/** One side of a tile: the rows of A, or the columns of B. */
interface Side {
  readonly name: "left" | "right";
  /** Its panel lies in fours along k, each row or column with a gap behind it so that lanes do not meet in a bank; else in fours along it. */
  readonly alongK: boolean;
  /** Rows or columns of the tile, and of a thread, which are `step` apart. */
  readonly extent: number;
  readonly each: number;
  readonly step: number;
  readonly depth: number;
  /** In the code: the thread's number along this side, the side's first place, and how many there are. */
  readonly lane: string;
  readonly first: string;
  readonly most: string;
  readonly whole: boolean;
}

const leftOf = ({ rows, depth, down }: Tile, { leftAlong, leftFours }: Operands): Side => ({
  ...{ name: "left", alongK: leftAlong === "k", extent: rows, each: down, step: rows / down, depth },
  ...{ lane: "down", first: "first_row", most: "p.m", whole: leftFours },
});

const rightOf = ({ columns, depth, across }: Tile, { rightAlong, rightFours }: Operands): Side => ({
  ...{ name: "right", alongK: rightAlong === "k", extent: columns, each: across, step: columns / across, depth },
  ...{ lane: "across", first: "first_column", most: "p.n", whole: rightFours },
});

const panelFours = ({ alongK, extent, depth }: Side) => (alongK ? extent * (depth / 4 + 1) : (depth * extent) / 4);

/** Declares a side's panel, and `fn left_four(batch, place, k, end)`: four neighbours, zeros where there are none. */
function declarations(side: Side): string {
  const { name, alongK, most, whole } = side;
  const call = (f: string, place: string, k: string) => (name === "left" ? `${f}(batch, ${place}, ${k})` : `${f}(batch, ${k}, ${place})`);
  const one = alongK ? call(name, "place", "k + j") : call(name, "place + j", "k");
  const [bound, count] = alongK ? [`place < ${most}`, "end - min(k, end)"] : ["k < end", `${most} - min(place, ${most})`];
  return `
var<workgroup> ${name}_panel: array<vec4f, ${panelFours(side)}>;
fn ${name}_four(batch: u32, place: u32, k: u32, end: u32) -> vec4f {
  var four = vec4f();
  ${
    whole
      ? `if (place < ${most} && k < end) { four = ${call(`${name}4`, "place", "k")}; }`
      : `if (${bound}) { for (var j = 0u; j < min(4u, ${count}); j++) { four[j] = ${one}; } }`
  }
  return four;
}`;
}

/** What lanes bring of a panel: statements that read from the operand into registers, and that store these in the panel. */
function bring({ name, alongK, extent, depth, first }: Side, lanes: number): { read: string[]; store: string[] } {
  const [read, store]: string[][] = [[], []];
  for (const i of range((extent * depth) / 4 / lanes)) {
    const e = `(lane + ${i * lanes}u)`;
    const inner = alongK ? depth / 4 : extent / 4;
    const [place, k] = alongK ? [`${e} / ${inner}u`, `4u * (${e} % ${inner}u)`] : [`4u * (${e} % ${inner}u)`, `${e} / ${inner}u`];
    read.push(`let ${name}${i} = ${name}_four(batch, ${first} + ${place}, begin + ${k}, end);`);
    const at = alongK ? `${e} / ${inner}u * ${inner + 1}u + ${e} % ${inner}u` : e;
    store.push(`${name}_panel[${at}] = ${name}${i};`);
  }
  return { read, store };
}

/** The four number q of a thread's `each` fours of a panel, for k = 4 k4 .. 4 k4 + 3. */
const fetch = ({ name, alongK, extent, step, depth, lane }: Side, q: number) =>
  alongK
    ? `${name}_panel[(${lane} + ${q * step}u) * ${depth / 4 + 1}u + k4]`
    : `${name}_panel[(4u * k4 + ${q % 4}u) * ${extent / 4}u + ${lane} + ${(q >> 2) * step}u]`;

/** Row or column number i of a thread. */
const placeOf = ({ alongK, step, lane, first }: Side, i: string) =>
  alongK ? `${first} + ${lane} + ${i} * ${step}u` : `${first} + 4u * (${lane} + ${i} / 4u * ${step}u) + ${i} % 4u`;

/** The inner loop: four of k at a time, all sums of the thread unrolled in registers. */
function multiply(left: Side, right: Side): string {
  const lines = range(left.each).map((q) => `let a${q} = ${fetch(left, q)};`);
  const a = (i: number, j: number) => (left.alongK ? `a${i}[${j}]` : `a${4 * (i >> 2) + j}[${i % 4}]`);
  for (const c of range(right.each / 4)) {
    const b = range(4).map((q) => `b${4 * c + q}`);
    for (const q of range(4)) lines.push(`let ${b[q]} = ${fetch(right, 4 * c + q)};`);
    for (const j of range(4)) {
      const four = right.alongK ? `vec4f(${b.map((name) => `${name}[${j}]`).join(", ")})` : b[j];
      for (const i of range(left.each)) lines.push(`sum${i}_${c} = fma(vec4f(${a(i, j)}), ${four}, sum${i}_${c});`);
    }
  }
  return `for (var k4 = 0u; k4 < ${left.depth / 4}u; k4++) {
        ${lines.join("\n        ")}
      }`;
}

/** Numbers that a product's kernel takes beside its operands' and its ending's. */
export const productParams = ["m", "n", "k", "tiles_down", "tiles_across", "parts", "part"].map((name) => `${name}: u32`);

/** Which tile a group computes, and of which batch; or, if k is cut, of which part of k. */
export const placeOfGroup = ({ rows, columns }: Pick<Tile, "rows" | "columns">): string => `
  let tile = group % (p.tiles_down * p.tiles_across);
  let first_row = tile / p.tiles_across * ${rows}u;
  let first_column = tile % p.tiles_across * ${columns}u;
  let slice = group / (p.tiles_down * p.tiles_across);
  let batch = slice / p.parts;
  let start = slice % p.parts * p.part;
  let end = min(p.k, start + p.part);`;

/**
 * A tile of the product for each group. With `parts`, k is cut into parts of `part` and `y` is [m, parts, n]: sums to be added up by
 * `sumParts`, which then takes the epilogue.
 */
export function product(operands: Operands, tile: Tile, epilogue: Elementwise | undefined, parts: boolean): Kernel {
  const { rows, columns, depth, down, across } = tile;
  const lanes = lanesOf(tile);
  const end = ending(parts ? undefined : epilogue);
  const [left, right] = [leftOf(tile, operands), rightOf(tile, operands)];
  const [a, b] = [bring(left, lanes), bring(right, lanes)];
  const sums = range(down).flatMap((i) => range(across / 4).map((c) => `sum${i}_${c}`));
  return {
    name: `${operands.name} ${rows}x${columns}x${depth}`,
    reads: [...operands.reads, ...end.reads],
    writes: end.writes,
    fours: operands.fours,
    params: [...productParams, ...operands.params, ...end.params],
    lanes,
    code: `${operands.code}
${end.code}${declarations(left)}${declarations(right)}
fn run(group: u32, lane: u32) {${placeOfGroup(tile)}
  let down = lane / ${columns / across}u;
  let across = lane % ${columns / across}u;
  ${sums.map((name) => `var ${name} = vec4f();`).join(" ")}
  // Panels are on their way from far memory while those before them are multiplied; behind the last ones come zeros that nobody uses.
  for (var begin = start; begin < end + ${depth}u; begin += ${depth}u) {
    ${[...a.read, ...b.read].join("\n    ")}
    if (begin > start) {
      ${multiply(left, right)}
    }
    workgroupBarrier();
    ${[...a.store, ...b.store].join("\n    ")}
    workgroupBarrier();
  }
  var sums = array<vec4f, ${sums.length}>(${sums.join(", ")});
  for (var i = 0u; i < ${down}u; i++) {
    let row = ${placeOf(left, "i")};
    if (row >= p.m) { continue; }
    for (var j = 0u; j < ${across}u; j++) {
      let column = ${placeOf(right, "j")};
      if (column < p.n) { finish(${parts ? "row * p.parts + slice" : "slice * p.m + row"}, column, sums[i * ${across / 4}u + j / 4u][j % 4u]); }
    }
  }
}`,
  };
}

/** Adds up the parts [m, parts, n] of a product that was cut along k, in their order, and ends the step. */
export function sumParts(epilogue: Elementwise | undefined): Kernel {
  const end = ending(epilogue);
  return {
    name: "sum of parts",
    reads: ["x", ...end.reads],
    writes: end.writes,
    params: ["m: u32", "n: u32", "parts: u32", ...end.params],
    batches: true,
    lanes: 64,
    code: `${end.code}
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.m * p.n) { return; }
  let first = i / p.n * p.parts * p.n + i % p.n;
  var sum = x(first);
  for (var part = 1u; part < p.parts; part++) { sum += x(first + part * p.n); }
  finish(i / p.n, i % p.n, sum);
}`,
  };
}
