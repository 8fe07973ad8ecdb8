// Matrix products C[m, n] = A[m, k] B[k, n], and whatever else is one when its operands are read in the right way (convolutions
// and their gradients). A workgroup computes a tile of C: it brings panels of A and B into its own memory, `depth` of k at a
// time, and multiplies these in one of two ways: by its threads, or as matrices by its subgroups.
import type { Elementwise } from "../src/tape/program.ts";
import { ending } from "./ending.ts";
import type { Kernel } from "./kernel.ts";
import { bring, declarations, type Panel, type Side, sidesOf } from "./panel.ts";
import * as matrix from "./tile-matrix.ts";
import * as threads from "./tile-threads.ts";

export type Tile = threads.ThreadTile | matrix.MatrixTile;

/** How a workgroup multiplies panels: statements of WGSL. */
export interface Core {
  readonly lanes: number;
  readonly enables?: readonly string[];
  readonly subgroups?: boolean;
  /** Of each side. */
  readonly panel: (side: Side) => Panel;
  readonly declarations?: string;
  /** Of `run`. */
  readonly head: string;
  /** Declares each thread's places and sums. */
  readonly begin: string;
  /** Adds the product of the panels to the sums. */
  readonly multiply: string;
  /** Passes sums to `finish`; `place` is the WGSL of what it takes for a row. */
  finish(place: string): string;
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

export const isMatrix = (tile: Tile): tile is matrix.MatrixTile => "matrix" in tile;

export const lanesOf = (tile: Tile): number => (isMatrix(tile) ? matrix.lanesOf(tile) : threads.lanesOf(tile));

/** Bytes of workgroup memory that a tile may take. */
export const bytesOf = (tile: Tile): number => (isMatrix(tile) ? matrix.bytesOf(tile) : threads.bytesOf(tile));

/** Numbers that a product's kernel takes beside its operands' and its ending's. */
const productParams = ["m", "n", "k", "tiles_down", "tiles_across", "parts", "part"].map((name) => `${name}: u32`);

/** Which tile a group computes, and of which batch; or, if k is cut, of which part of k. */
const placeOfGroup = ({ rows, columns }: Pick<Tile, "rows" | "columns">): string => `
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
  const { rows, columns, depth } = tile;
  const end = ending(parts ? undefined : epilogue);
  const { left, right } = sidesOf(tile, operands);
  const core = isMatrix(tile) ? matrix.matrixCore(tile, { left, right }) : threads.threadCore(tile, { left, right });
  const [a, b] = [left, right].map((side) => bring(side, core.panel(side), core.lanes));
  return {
    name: `${operands.name} ${rows}x${columns}x${depth}`,
    reads: [...operands.reads, ...end.reads],
    writes: end.writes,
    fours: operands.fours,
    params: [...productParams, ...operands.params, ...end.params],
    enables: core.enables,
    subgroups: core.subgroups,
    lanes: core.lanes,
    code: `${operands.code}
${end.code}${core.declarations ?? ""}${declarations(left, core.panel(left))}${declarations(right, core.panel(right))}
${core.head} {${placeOfGroup(tile)}
  ${core.begin}
  // Panels are on their way from far memory while those before them are multiplied; behind the last ones come zeros that nobody uses.
  for (var begin = start; begin < end + ${depth}u; begin += ${depth}u) {
    ${[...a.read, ...b.read].join("\n    ")}
    if (begin > start) {
      ${core.multiply}
    }
    workgroupBarrier();
    ${[...a.store, ...b.store].join("\n    ")}
    workgroupBarrier();
  }
  ${core.finish(parts ? "row * p.parts + slice" : "slice * p.m + row")}
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
