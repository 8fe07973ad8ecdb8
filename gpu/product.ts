// Matrix products C[m, n] = A[m, k] B[k, n], and whatever else is one when its operands are read in the right way (convolutions
// and their gradients). A workgroup computes a tile of C: it brings panels of A and B into its own memory, `depth` of k at a
// time, and each thread keeps `down` rows x `across` columns of the tile in registers.
import type { Elementwise } from "../src/tape/program.ts";
import { ending } from "./ending.ts";
import type { Kernel } from "./kernel.ts";

export interface Tile {
  readonly rows: number;
  readonly columns: number;
  /** Of k, at a time; a multiple of 4. */
  readonly depth: number;
  /** Rows and columns of a thread; `across` is a multiple of 4. */
  readonly down: number;
  readonly across: number;
}

/** Where a product's operands come from. */
export interface Operands {
  readonly name: string;
  readonly reads: readonly string[];
  readonly params: readonly string[];
  /** Declares `fn left(batch: u32, row: u32, k: u32) -> f32` and `fn right(batch: u32, k: u32, column: u32) -> f32`. */
  readonly code: string;
  /** Along which index neighbours of an operand lie side by side in memory. */
  readonly leftAlong: "k" | "row";
  readonly rightAlong: "k" | "column";
}

export const lanesOf = ({ rows, columns, down, across }: Tile): number => (rows / down) * (columns / across);

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

/** Statements that bring one panel into workgroup memory, four numbers at a time; `e` counts the fours. */
function panels({ rows, columns, depth }: Tile, { leftAlong, rightAlong }: Operands): string {
  const fours = (n: number) => n / 4;
  const left =
    leftAlong === "k" ? `let row = e / ${fours(depth)}u; let k = e % ${fours(depth)}u;` : `let row = e % ${rows}u; let k = e / ${rows}u;`;
  const right =
    rightAlong === "column"
      ? `let k = e / ${fours(columns)}u; let column = e % ${fours(columns)}u;`
      : `let k = e % ${depth}u; let column = e / ${depth}u;`;
  return `
    for (var e = lane; e < ${rows * fours(depth)}u; e += LANES) {
      ${left}
      left_panel[row * ${fours(depth)}u + k] = left_four(batch, first_row + row, begin + 4u * k, end);
    }
    for (var e = lane; e < ${depth * fours(columns)}u; e += LANES) {
      ${right}
      right_panel[k * ${fours(columns)}u + column] = right_four(batch, begin + k, first_column + 4u * column, end);
    }`;
}

/** The inner loop: four of k at a time, all sums of the thread unrolled in registers. */
function multiply({ rows, columns, depth, down, across }: Tile): string {
  const down_step = rows / down;
  const across_step = columns / across;
  const fours = across / 4;
  const lines: string[] = [];
  for (const i of range(down)) lines.push(`let a${i} = left_panel[(down + ${i * down_step}u) * ${depth / 4}u + k];`);
  for (const j of range(4)) {
    for (const c of range(fours)) {
      lines.push(`let b${j}_${c} = right_panel[(4u * k + ${j}u) * ${columns / 4}u + across + ${c * across_step}u];`);
    }
    for (const i of range(down)) {
      for (const c of range(fours)) lines.push(`sum${i}_${c} = fma(vec4f(a${i}[${j}]), b${j}_${c}, sum${i}_${c});`);
    }
  }
  return `
    for (var k = 0u; k < ${depth / 4}u; k++) {
      ${lines.join("\n      ")}
    }`;
}

/**
 * A tile of the product for each group. With `parts`, k is cut into parts of `part` and `y` is [parts, m, n]: sums to be added up by
 * `sumParts`, which then takes the epilogue.
 */
export function product(operands: Operands, tile: Tile, epilogue: Elementwise | undefined, parts: boolean): Kernel {
  const { rows, columns, depth, down, across } = tile;
  const end = ending(parts ? undefined : epilogue);
  const sums = range(down).flatMap((i) => range(across / 4).map((c) => `sum${i}_${c}`));
  return {
    name: `${operands.name} ${rows}x${columns}`,
    reads: [...operands.reads, ...end.reads],
    writes: end.writes,
    params: [
      "m: u32",
      "n: u32",
      "k: u32",
      "tiles_down: u32",
      "tiles_across: u32",
      "parts: u32",
      "part: u32",
      ...operands.params,
      ...end.params,
    ],
    lanes: lanesOf(tile),
    code: `${operands.code}
${end.code}
fn left_four(batch: u32, row: u32, k: u32, end: u32) -> vec4f {
  var four = vec4f();
  if (row < p.m) { for (var j = 0u; j < min(4u, end - min(k, end)); j++) { four[j] = left(batch, row, k + j); } }
  return four;
}
fn right_four(batch: u32, k: u32, column: u32, end: u32) -> vec4f {
  var four = vec4f();
  if (k < end) { for (var j = 0u; j < min(4u, p.n - min(column, p.n)); j++) { four[j] = right(batch, k, column + j); } }
  return four;
}
var<workgroup> left_panel: array<vec4f, ${(rows * depth) / 4}>;
var<workgroup> right_panel: array<vec4f, ${(depth * columns) / 4}>;
fn run(group: u32, lane: u32) {
  let tile = group % (p.tiles_down * p.tiles_across);
  let first_row = tile / p.tiles_across * ${rows}u;
  let first_column = tile % p.tiles_across * ${columns}u;
  let slice = group / (p.tiles_down * p.tiles_across); // of the batch or, if k is cut, of k
  let batch = slice / p.parts;
  let start = slice % p.parts * p.part;
  let end = min(p.k, start + p.part);
  let down = lane / ${columns / across}u;
  let across = lane % ${columns / across}u;
  ${sums.map((name) => `var ${name} = vec4f();`).join(" ")}
  for (var begin = start; begin < end; begin += ${depth}u) {${panels(tile, operands)}
    workgroupBarrier();${multiply(tile)}
    workgroupBarrier();
  }
  var sums = array<vec4f, ${sums.length}>(${sums.join(", ")});
  for (var i = 0u; i < ${down}u; i++) {
    let row = first_row + down + i * ${rows / down}u;
    if (row >= p.m) { break; }
    for (var j = 0u; j < ${across}u; j++) {
      let column = first_column + 4u * (across + j / 4u * ${columns / across}u) + j % 4u;
      if (column < p.n) { finish(slice * p.m + row, column, sums[i * ${across / 4}u + j / 4u][j % 4u]); }
    }
  }
}`,
  };
}

/** Adds up the parts [parts, m, n] of a product that was cut along k, in their order, and ends the step. */
export function sumParts(epilogue: Elementwise | undefined): Kernel {
  const end = ending(epilogue);
  return {
    name: "sum of parts",
    reads: ["x", ...end.reads],
    writes: end.writes,
    params: ["m: u32", "n: u32", "parts: u32", ...end.params],
    lanes: 64,
    code: `${end.code}
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.m * p.n) { return; }
  var sum = x(i);
  for (var part = 1u; part < p.parts; part++) { sum += x(part * p.m * p.n + i); }
  finish(i / p.n, i % p.n, sum);
}`,
  };
}
