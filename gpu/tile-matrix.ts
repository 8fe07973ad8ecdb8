// A tile of a product that subgroups multiply as matrices, on units that GPUs have for this (tensor cores). Operands are rounded as they
// are brought into workgroup memory; sums are float32 and go through workgroup memory, so that what lies beyond the product is left out.
// WGSL: https://dawn.googlesource.com/dawn/+/refs/heads/main/docs/dawn/features/subgroup_matrix.md
import { lengthOf, type Panel, type Side } from "./panel.ts";
import type { Core } from "./product.ts";

/** What subgroups of a GPU can multiply at once: [m, k] x [k, n], with sums in float32. */
export interface SubgroupMatrix {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Of the operands. */
  readonly type: "f16" | "f32";
  /** Threads of the largest subgroup. */
  readonly lanes: number;
}

export interface MatrixTile {
  readonly rows: number;
  readonly columns: number;
  /** Of k, at a time; at most rows and columns. */
  readonly depth: number;
  /** The tile is shared out among so many subgroups down and across. */
  readonly subgroups: readonly [down: number, across: number];
  readonly matrix: SubgroupMatrix;
}

const countOf = ({ subgroups: [down, across] }: MatrixTile) => down * across;
const sizeOf = ({ type }: SubgroupMatrix) => (type === "f16" ? 2 : 4);

/** If a driver's subgroups are smaller than the largest, there are more of them than needed: these only bring panels. */
export const lanesOf = (tile: MatrixTile): number => countOf(tile) * tile.matrix.lanes;

/** Lines begin at multiples of 16 bytes, as GPUs want it, and have a gap of as much behind them so that they do not meet in a bank. */
const panelOf = (side: Parameters<typeof lengthOf>[0], { type }: SubgroupMatrix): Panel =>
  type === "f16" ? { four: "vec4h", pitch: lengthOf(side) / 4 + 2 } : { four: "vec4f", pitch: lengthOf(side) / 4 + 1 };

/** Bytes of workgroup memory that a tile may take: two panels, and a matrix of sums for each subgroup. */
export function bytesOf(tile: MatrixTile): number {
  const { rows, columns, depth, matrix } = tile;
  const { pitch } = panelOf({ alongK: true, extent: rows, depth }, matrix); // those along rows and columns take less
  return 4 * sizeOf(matrix) * (rows + columns) * pitch + 4 * countOf(tile) * matrix.m * matrix.n;
}

/** Whether the tile can be cut into matrices, which begin at multiples of 16 bytes, and its panels evenly among lanes. */
export function divides(tile: MatrixTile): boolean {
  const { rows, columns, depth, subgroups, matrix } = tile;
  const whole = [rows / (subgroups[0] * matrix.m), columns / (subgroups[1] * matrix.n), depth / matrix.k];
  const aligned = [matrix.m, matrix.n, matrix.k].map((n) => n / 8);
  const each = [rows, columns].map((extent) => (extent * depth) / 4 / lanesOf(tile));
  return [...whole, ...aligned, ...each].every((n) => n >= 1 && Number.isInteger(n));
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

/** The matrix of a panel from a place on along the side, and from k on; both are multiples of 4. */
function load(side: Side, matrix: SubgroupMatrix, place: string): string {
  const { pitch } = panelOf(side, matrix);
  const [type, rowMajor] = side.name === "left" ? ["Left", side.alongK] : ["Right", !side.alongK];
  const at = side.alongK ? `(${place}) * ${pitch}u + k / 4u` : `k * ${pitch}u + (${place}) / 4u`;
  return `subgroupMatrixLoad<${type}, ${rowMajor ? "row_major" : "col_major"}>(&${side.name}_panel, ${at}, ${pitch}u)`; // counted in fours
}

export function matrixCore(tile: MatrixTile, { left, right }: { left: Side; right: Side }): Core {
  const { rows, columns, depth, subgroups, matrix } = tile;
  const { m, n, k, type } = matrix;
  const count = countOf(tile);
  const [blockRows, blockColumns] = [rows / subgroups[0], columns / subgroups[1]]; // of a subgroup
  const [down, across] = [blockRows / m, blockColumns / n]; // its matrices
  const sums = range(down).flatMap((i) => range(across).map((j) => `sum${i}_${j}`));
  const store = (sum: string) => `{ subgroupMatrixStore<row_major>(&sums, subgroup * ${m * n}u, ${sum}, ${n}u); }`;
  return {
    lanes: lanesOf(tile),
    subgroups: true,
    enables: [...(type === "f16" ? ["f16"] : []), "subgroups", "chromium_experimental_subgroup_matrix"],
    panel: (side) => panelOf(side, matrix),
    declarations: `
alias Left = subgroup_matrix_left<${type}, ${k}, ${m}>;
alias Right = subgroup_matrix_right<${type}, ${n}, ${k}>;
alias Sums = subgroup_matrix_result<f32, ${n}, ${m}>;
var<workgroup> sums: array<f32, ${count * m * n}>;`,
    // That a subgroup is of one mind is beyond what WGSL can see: its number decides what it does.
    head: "@diagnostic(off, chromium.subgroup_matrix_uniformity)\nfn run(group: u32, lane: u32, subgroup: u32)",
    begin: `let down = subgroup / ${subgroups[1]}u * ${blockRows}u;
  let across = subgroup % ${subgroups[1]}u * ${blockColumns}u;
  ${sums.map((name) => `var ${name} = Sums();`).join(" ")}`,
    multiply: `for (var k = 0u; subgroup < ${count}u && k < ${depth}u; k += ${k}u) {
        ${range(across)
          .map((j) => `let b${j} = ${load(right, matrix, `across + ${j * n}u`)};`)
          .join("\n        ")}
        ${range(down)
          .flatMap((i) => [
            `let a${i} = ${load(left, matrix, `down + ${i * m}u`)};`,
            ...range(across).map((j) => `sum${i}_${j} = subgroupMatrixMultiplyAccumulate(a${i}, b${j}, sum${i}_${j});`),
          ])
          .join("\n        ")}
      }`,
    finish: (place) => `for (var t = 0u; t < ${sums.length}u; t++) { // a matrix of each subgroup at a time
    if (subgroup < ${count}u) {
      switch t {
        ${sums.map((sum, t) => `${t < sums.length - 1 ? `case ${t}u` : "default"}: ${store(sum)}`).join("\n        ")}
      }
    }
    workgroupBarrier();
    for (var e = lane; e < ${count * m * n}u; e += LANES) {
      let owner = e / ${m * n}u;
      let row = first_row + owner / ${subgroups[1]}u * ${blockRows}u + t / ${across}u * ${m}u + e % ${m * n}u / ${n}u;
      let column = first_column + owner % ${subgroups[1]}u * ${blockColumns}u + t % ${across}u * ${n}u + e % ${n}u;
      if (row < p.m && column < p.n) { finish(${place}, column, sums[e]); }
    }
    workgroupBarrier();
  }`,
  };
}
