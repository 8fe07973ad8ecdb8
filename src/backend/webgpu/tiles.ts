// Which tile a product is computed in, which depends on the GPU and on the product's class. Threads compute the same bits in any tile.
// Subgroups round in their own way, and are asked only where operands may be rounded, and only for tiles that were proved (prove.ts).
import { bytesOf, isMatrix, lanesOf, type Operands, type Tile } from "../../../gpu/product.ts";
import { divides, type MatrixTile, type SubgroupMatrix } from "../../../gpu/tile-matrix.ts";
import type { ThreadTile } from "../../../gpu/tile-threads.ts";
import type { OpenDevice } from "./device.ts";

/** Sizes of a product: `batch` times [m, k] x [k, n]. */
export interface Sizes {
  readonly batch: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

const tile = (rows: number, columns: number, depth: number, down: number, across: number): ThreadTile => ({
  ...{ rows, columns, depth, down, across },
});

/** Tiles of threads that are worth a try, by name. Depths divide 32. */
export const tiles: Readonly<Record<string, ThreadTile>> = {
  "32x32x16": tile(32, 32, 16, 4, 4),
  "64x64x16": tile(64, 64, 16, 8, 8),
  "64x64x16 by 4": tile(64, 64, 16, 4, 4),
  "128x64x16": tile(128, 64, 16, 8, 8),
  "128x128x8": tile(128, 128, 8, 8, 8),
  "128x128x16": tile(128, 128, 16, 8, 8),
};

const shared = (rows: number, columns: number, depth: number, down: number, across: number): Omit<MatrixTile, "matrix"> => ({
  ...{ rows, columns, depth, subgroups: [down, across] },
});

/** Tiles of subgroups that are worth a try, by name, whatever the size of a GPU's matrices. */
const sharedTiles: Readonly<Record<string, Omit<MatrixTile, "matrix">>> = {
  "matrices 32x32x32": shared(32, 32, 32, 2, 2),
  "matrices 64x64x32": shared(64, 64, 32, 2, 2),
  "matrices 128x64x32": shared(128, 64, 32, 2, 2),
  "matrices 128x128x32": shared(128, 128, 32, 2, 2),
  "matrices 128x128x32 by 8": shared(128, 128, 32, 2, 4),
  "matrices 256x128x32": shared(256, 128, 32, 4, 2),
};

/** All tiles, by name; those of subgroups where there are matrices. */
export const allTiles = (matrix?: SubgroupMatrix): Readonly<Record<string, Tile>> => ({
  ...tiles,
  ...(matrix && Object.fromEntries(Object.entries(sharedTiles).map(([name, tile]) => [name, { ...tile, matrix }]))),
});

/** Tiles of 64 x 64 of a product of each amount: below the first number there are few, below the second some, else many. */
const AMOUNTS = { few: 256, some: 2048, many: Number.POSITIVE_INFINITY } as const;
export type Amount = keyof typeof AMOUNTS;

/** The tile of each amount where nobody has measured. */
const usual: Readonly<Record<Amount, string>> = { few: "32x32x16", some: "64x64x16", many: "128x128x8" };

/** A class of products whose operands are read in float32: which way they lie, such as "k column", and how many results there are. */
export type SingleClass = `${Operands["leftAlong"]} ${Operands["rightAlong"]}, ${Amount}`;

/** What a tile is chosen by: such a class, or the one whose operands may be rounded to half precision. */
export type ShapeClass = SingleClass | `${SingleClass}, f16`;

/** The class of a product, of which there are `parts` if k is cut. `precision`: that of its step. */
export function classOf({ batch, m, n }: Sizes, parts: number, { leftAlong, rightAlong }: Operands, precision?: "f16"): ShapeClass {
  const count = batch * parts * Math.ceil(m / 64) * Math.ceil(n / 64);
  const amount = (Object.keys(AMOUNTS) as Amount[]).find((name) => count < AMOUNTS[name]) as Amount;
  const single: SingleClass = `${leftAlong} ${rightAlong}, ${amount}`;
  return precision ? `${single}, ${precision}` : single;
}

const singleOf = (of: ShapeClass) => of.replace(", f16", "") as SingleClass;

/** Names of tiles by class, as measured on a GPU; classes that are missing take the usual one, in half precision that of single precision. */
export type TileTable = Readonly<Partial<Record<ShapeClass, string>>>;

/** A table without tiles of subgroups that are not proved. `proofs`: of each that was tried what is wrong with it, or "". */
export const trusted = (table: TileTable, proofs: Readonly<Record<string, string>>): TileTable =>
  Object.fromEntries(Object.entries(table).filter(([, name]) => name in tiles || proofs[name] === ""));

/** What a device lets a workgroup have. */
export interface Room {
  readonly maxComputeInvocationsPerWorkgroup: number;
  readonly maxComputeWorkgroupStorageSize: number;
  /** Absent where subgroups multiply no matrices. */
  readonly matrix?: SubgroupMatrix;
}

export function roomOf({ device, adapter }: Pick<OpenDevice, "device" | "adapter">): Room {
  const { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupStorageSize } = device.limits;
  const given = (["subgroups", "chromium-experimental-subgroup-matrix", "shader-f16"] as GPUFeatureName[]).every((f) =>
    device.features.has(f),
  );
  return { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupStorageSize, matrix: given ? adapter.matrix : undefined };
}

/** Whether a device can run a tile. */
export const fits = (tile: Tile, room: Room): boolean =>
  lanesOf(tile) <= room.maxComputeInvocationsPerWorkgroup &&
  bytesOf(tile) <= room.maxComputeWorkgroupStorageSize &&
  (!isMatrix(tile) || divides(tile));

/** Tiles that a device can run, by name. */
export const tilesThatFit = (room: Room): Readonly<Record<string, Tile>> =>
  Object.fromEntries(Object.entries(allTiles(room.matrix)).filter(([, tile]) => fits(tile, room)));

export type ChooseTile = (of: ShapeClass) => Tile;

/** Chooses by a table, among the tiles that fit; those of subgroups for half precision only. */
export function tileChooser(room: Room, table: TileTable = {}): ChooseTile {
  const fitting = tilesThatFit(room);
  return (of) => {
    const single = singleOf(of);
    const names = [table[of], table[single], usual[single.split(", ")[1] as Amount], usual.few];
    const serves = (tile: Tile | undefined) => tile !== undefined && (of !== single || !isMatrix(tile));
    return names.map((name) => fitting[name ?? ""]).find(serves) ?? tiles[usual.few];
  };
}
