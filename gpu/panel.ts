// What a workgroup brings of a product's operands into its own memory before it multiplies: of the rows of A and of the columns of B
// that its tile needs, `depth` of k at a time, a panel of lines of neighbours.
import type { Operands, Tile } from "./product.ts";

/** One side of a tile: rows of A, or columns of B. */
export interface Side {
  readonly name: "left" | "right";
  /** Neighbours lie along k, and the panel has a line for each row or column; else they lie along these, in a line for each k. */
  readonly alongK: boolean;
  /** Rows or columns of the tile. */
  readonly extent: number;
  readonly depth: number;
  /** In the code: the side's first place, and how many there are. */
  readonly first: string;
  readonly most: string;
  /** Whether its operand can be read in fours. */
  readonly fours: boolean;
}

type Shape = Pick<Side, "alongK" | "extent" | "depth">;

/** Lines of a side's panel, and numbers in each. */
export const linesOf = ({ alongK, extent, depth }: Shape): number => (alongK ? extent : depth);
export const lengthOf = ({ alongK, extent, depth }: Shape): number => (alongK ? depth : extent);

/** Both sides of a tile. */
export const sidesOf = ({ rows, columns, depth }: Tile, operands: Operands): { left: Side; right: Side } => ({
  left: {
    ...{ name: "left", alongK: operands.leftAlong === "k", extent: rows, depth },
    ...{ first: "first_row", most: "p.m", fours: operands.leftFours },
  },
  right: {
    ...{ name: "right", alongK: operands.rightAlong === "k", extent: columns, depth },
    ...{ first: "first_column", most: "p.n", fours: operands.rightFours },
  },
});

/** A panel as it lies in workgroup memory, in fours. */
export interface Panel {
  readonly four: "vec4f" | "vec4h";
  /** Fours from the beginning of a line to that of the next one. */
  readonly pitch: number;
}

/** Declares a side's panel, and `fn left_four(batch, place, k, end)` or `fn right_four(...)`: four neighbours of an operand, zeros where there are none. */
export function declarations(side: Side, { four, pitch }: Panel): string {
  const { name, alongK, most, fours } = side;
  const call = (f: string, place: string, k: string) => (name === "left" ? `${f}(batch, ${place}, ${k})` : `${f}(batch, ${k}, ${place})`);
  const one = alongK ? call(name, "place", "k + j") : call(name, "place + j", "k");
  const [bound, count] = alongK ? [`place < ${most}`, "end - min(k, end)"] : ["k < end", `${most} - min(place, ${most})`];
  return `
var<workgroup> ${name}_panel: array<${four}, ${linesOf(side) * pitch}>;
fn ${name}_four(batch: u32, place: u32, k: u32, end: u32) -> vec4f {
  var four = vec4f();
  ${
    fours
      ? `if (place < ${most} && k < end) { four = ${call(`${name}4`, "place", "k")}; }`
      : `if (${bound}) { for (var j = 0u; j < min(4u, ${count}); j++) { four[j] = ${one}; } }`
  }
  return four;
}`;
}

/** What each lane brings of a panel: statements that read from the operand into registers, and that store these in the panel. */
export function bring(side: Side, { four, pitch }: Panel, lanes: number): { read: string[]; store: string[] } {
  const { name, alongK, first } = side;
  const [read, store]: string[][] = [[], []];
  const inner = lengthOf(side) / 4;
  for (let i = 0; i < (linesOf(side) * inner) / lanes; i++) {
    const e = `(lane + ${i * lanes}u)`;
    const [line, at] = [`${e} / ${inner}u`, `${e} % ${inner}u`];
    const [place, k] = alongK ? [line, `4u * (${at})`] : [`4u * (${at})`, line];
    read.push(`let ${name}${i} = ${four}(${name}_four(batch, ${first} + ${place}, begin + ${k}, end));`);
    store.push(`${name}_panel[${line} * ${pitch}u + ${at}] = ${name}${i};`);
  }
  return { read, store };
}
