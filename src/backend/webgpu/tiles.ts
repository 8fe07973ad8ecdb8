// Which tile a product is computed in. Any tile gives the same bits; which one is fast depends on the GPU and on the product's class.
import { bytesOf, lanesOf, type Operands, type Tile } from "../../../gpu/product.ts";

/** Sizes of a product: `batch` times [m, k] x [k, n]. */
export interface Sizes {
  readonly batch: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

const tile = (rows: number, columns: number, depth: number, down: number, across: number): Tile => ({ rows, columns, depth, down, across });

/** Tiles that are worth a try, by name. Depths divide 32. */
export const tiles: Readonly<Record<string, Tile>> = {
  "32x32x16": tile(32, 32, 16, 4, 4),
  "64x64x16": tile(64, 64, 16, 8, 8),
  "64x64x16 by 4": tile(64, 64, 16, 4, 4),
  "128x64x16": tile(128, 64, 16, 8, 8),
  "128x128x8": tile(128, 128, 8, 8, 8),
  "128x128x16": tile(128, 128, 16, 8, 8),
};

/** Tiles of 64 x 64 of a product of each amount: below the first number there are few, below the second some, else many. */
const AMOUNTS = { few: 256, some: 2048, many: Number.POSITIVE_INFINITY } as const;
export type Amount = keyof typeof AMOUNTS;

/** The tile of each amount where nobody has measured. */
const usual: Readonly<Record<Amount, string>> = { few: "32x32x16", some: "64x64x16", many: "128x128x8" };

/** What a tile is chosen by: which way the operands lie, such as "k column", and how many results there are. */
export type ShapeClass = `${Operands["leftAlong"]} ${Operands["rightAlong"]}, ${Amount}`;

/** The class of a product, of which there are `parts` if k is cut. */
export function classOf({ batch, m, n }: Sizes, parts: number, { leftAlong, rightAlong }: Operands): ShapeClass {
  const count = batch * parts * Math.ceil(m / 64) * Math.ceil(n / 64);
  const amount = (Object.keys(AMOUNTS) as Amount[]).find((name) => count < AMOUNTS[name]) as Amount;
  return `${leftAlong} ${rightAlong}, ${amount}`;
}

/** Names of tiles by class, as measured on a GPU; classes that are missing take the usual one. */
export type TileTable = Readonly<Partial<Record<ShapeClass, string>>>;

/** What a device lets a workgroup have. */
export interface Room {
  readonly maxComputeInvocationsPerWorkgroup: number;
  readonly maxComputeWorkgroupStorageSize: number;
}

/** Whether a device can run a tile. */
export const fits = (tile: Tile, room: Room): boolean =>
  lanesOf(tile) <= room.maxComputeInvocationsPerWorkgroup && bytesOf(tile) <= room.maxComputeWorkgroupStorageSize;

export type ChooseTile = (of: ShapeClass) => Tile;

/** Chooses by a table, among the tiles that fit. */
export function tileChooser(room: Room, table: TileTable = {}): ChooseTile {
  return (of) => {
    const names = [table[of], usual[of.split(", ")[1] as Amount], usual.few];
    return names.map((name) => tiles[name ?? ""]).find((tile) => tile && fits(tile, room)) ?? tiles[usual.few];
  };
}
