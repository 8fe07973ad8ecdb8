// A tile of a product whose sums lie in the registers of threads: each keeps `down` rows x `across` columns. Sums run along k one after the
// other, so that a product has the same bits with every such tile.
import { lengthOf, type Panel, type Side } from "./panel.ts";
import type { Core } from "./product.ts";

export interface ThreadTile {
  readonly rows: number;
  readonly columns: number;
  /** Of k, at a time; a multiple of 4. */
  readonly depth: number;
  /** Rows and columns of a thread; multiples of 4. */
  readonly down: number;
  readonly across: number;
}

export const lanesOf = ({ rows, columns, down, across }: ThreadTile): number => (rows / down) * (columns / across);

/** Bytes of workgroup memory that a tile may take. */
export const bytesOf = ({ rows, columns, depth }: ThreadTile): number => 4 * (rows + columns) * (depth + 4);

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

/** A side with what a thread has of it. */
interface Strip extends Side {
  /** Rows or columns of a thread, which are `step` apart. */
  readonly each: number;
  readonly step: number;
  /** In the code: the thread's number along this side. */
  readonly lane: string;
}

/** Lines along k have a gap behind them so that lanes do not meet in a bank. */
const panelOf = (side: Side): Panel => ({ four: "vec4f", pitch: lengthOf(side) / 4 + (side.alongK ? 1 : 0) });

/** The four number q of a thread's `each` fours of a panel, for k = 4 k4 .. 4 k4 + 3. */
const fetch = (strip: Strip, q: number) =>
  strip.alongK
    ? `${strip.name}_panel[(${strip.lane} + ${q * strip.step}u) * ${panelOf(strip).pitch}u + k4]`
    : `${strip.name}_panel[(4u * k4 + ${q % 4}u) * ${panelOf(strip).pitch}u + ${strip.lane} + ${(q >> 2) * strip.step}u]`;

/** Row or column number i of a thread. */
const placeOf = ({ alongK, step, lane, first }: Strip, i: string) =>
  alongK ? `${first} + ${lane} + ${i} * ${step}u` : `${first} + 4u * (${lane} + ${i} / 4u * ${step}u) + ${i} % 4u`;

/** The inner loop: four of k at a time, all sums of the thread unrolled in registers. */
function multiply(left: Strip, right: Strip): string {
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

export function threadCore(tile: ThreadTile, sides: { left: Side; right: Side }): Core {
  const { rows, columns, down, across } = tile;
  const left: Strip = { ...sides.left, each: down, step: rows / down, lane: "down" };
  const right: Strip = { ...sides.right, each: across, step: columns / across, lane: "across" };
  const sums = range(down).flatMap((i) => range(across / 4).map((c) => `sum${i}_${c}`));
  return {
    lanes: lanesOf(tile),
    panel: panelOf,
    head: "fn run(group: u32, lane: u32)",
    begin: `let down = lane / ${columns / across}u;
  let across = lane % ${columns / across}u;
  ${sums.map((name) => `var ${name} = vec4f();`).join(" ")}`,
    multiply: multiply(left, right),
    finish: (place) => `var sums = array<vec4f, ${sums.length}>(${sums.join(", ")});
  for (var i = 0u; i < ${down}u; i++) {
    let row = ${placeOf(left, "i")};
    if (row >= p.m) { continue; }
    for (var j = 0u; j < ${across}u; j++) {
      let column = ${placeOf(right, "j")};
      if (column < p.n) { finish(${place}, column, sums[i * ${across / 4}u + j / 4u][j % 4u]); }
    }
  }`,
  };
}
