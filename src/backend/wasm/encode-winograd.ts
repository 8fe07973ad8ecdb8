// 3 x 3 convolutions with stride 1 by Winograd's F(4 x 4, 3 x 3): where it serves, and its blocks.
import { WINOGRAD, WINOGRAD_GRAD, WINOGRAD_GRAD_WEIGHT, WINOGRAD_WEIGHT } from "../../../assembly/opcodes.ts";
import type { Step, View } from "../../tape/program.ts";
import type { Shape } from "../../tape/shape.ts";
import type { Attributes } from "../../tape/tensor.ts";
import type { Emitter } from "./emitter.ts";
import { epilogue } from "./encode-matmul.ts";

// As in winograd.ts.
const MOST_CHANNELS = 2048;
const SIDE = 4;
const PLACES = 36;
const APART = 64;

/** Bytes that a channel of a patch has in all places. */
const EACH = 4 * PLACES;
const MOST_PATCHES = 128; // of a block, as BLOCK_ROWS in gemm.ts
const PATCH_BYTES = 2 ** 19; // transformed patches of a block: half of a usual second cache
const FEWEST_PATCHES = 32; // of a block with many channels, so that the weight is not read too often
const LARGE = 2 ** 17; // channel pairs whose transformed weight is as large as a third cache: twice as many patches
const MOST_PATCH_BYTES = 5 * 2 ** 20; // what a thread's scratch has for them
const GRAD_PATCH_BYTES = 5 * 2 ** 19; // of both sides for the gradient of the weight; a row of 128 patches takes more and still fits
const PRODUCT_BYTES = 2 ** 19; // of a block, for as many columns as fit

/** A convolution as the transform sees it. */
export interface Winograd {
  readonly source: View;
  readonly weight: View;
  readonly padding: number;
  /** Steps of the weight in bytes: along source channels, along result channels, to the next tap, to the first one. */
  readonly step: number;
  readonly columnStep: number;
  readonly tapStep: number;
  readonly firstTap: number;
}

const patchesOf = (pixels: number) => Math.ceil(pixels / SIDE);

/** Products of channels, a pixel each, from which the transform is chosen: below, time is short and its rounding is not worth it. */
const FEWEST_PRODUCTS = 9 * 2 ** 20;
/** Images from which it is chosen where a network learns: it flips a ReLU now and then, and among few images that shows in a gradient. */
const FEWEST_IMAGES = 16;
/** Patches from which the transform of the weight pays, and the share of their pixels that has to be in the image. */
const FEWEST_OF_ALL = 16;
const FULL = 1 / 3;

/**
 * Whether the transform is possible: enough channels on both sides, whole vectors, one row of patches in a thread's scratch. And
 * whether it pays: work enough, patches enough and full enough.
 */
export function servesWinograd(
  length: number,
  columns: number,
  [images, height, width]: Shape,
  padding: number,
  { algorithm }: Attributes,
  { learns }: Emitter,
): boolean {
  const fits = (n: number) => n % 4 === 0 && n >= 16 && n <= MOST_CHANNELS;
  const across = patchesOf(width);
  const patches = images * patchesOf(height) * across;
  const pixels = images * height * width;
  const worth = pixels * length * columns >= FEWEST_PRODUCTS && (images >= FEWEST_IMAGES || !learns);
  const pays = worth && patches >= FEWEST_OF_ALL && pixels >= FULL * SIDE ** 2 * patches;
  const possible = padding >= 0 && padding <= 2 && EACH * across * length <= MOST_PATCH_BYTES && across <= MOST_PATCHES;
  return fits(length) && fits(columns) && possible && (algorithm ? algorithm === "winograd" : pays);
}

const TILES = 8; // wanted
const FEWEST_COLUMNS = 64; // of a tile: each transforms its patches itself

/** Columns of a part when `columns` are cut into about `parts` of them. */
const cut = (columns: number, parts: number) => 16 * Math.ceil(columns / Math.max(1, Math.ceil(parts)) / 16);

/** Emits the transform of the weight and the convolution as a step. */
export function emitWinograd({ source, weight, padding, step, columnStep, tapStep, firstTap }: Winograd, of: Step, out: Emitter): void {
  const [images, height, width, length] = source.shape;
  const result = of.outputs[0];
  const [, outHeight, outWidth, columns] = result.shape;
  const across = patchesOf(outWidth);
  const fewest = length * columns < LARGE ? FEWEST_PATCHES : 2 * FEWEST_PATCHES;
  const wanted = Math.max(fewest, PATCH_BYTES / (EACH * length));
  const patches = Math.min(MOST_PATCHES, wanted, MOST_PATCH_BYTES / (EACH * length));
  const rows = Math.max(1, Math.floor(patches / across));
  const down = Math.ceil((images * patchesOf(outHeight)) / rows);
  const tileColumns = cut(columns, Math.min(TILES / down, columns / FEWEST_COLUMNS));
  const productColumns = cut(tileColumns, (EACH * rows * across * tileColumns) / PRODUCT_BYTES);
  const bytes = PLACES * (64 * Math.ceil(columns / 16) * length + APART);
  const start = out.temporary(bytes);
  const transformed = { start, end: start + bytes };
  out.emit(WINOGRAD_WEIGHT, { reads: [out.range(weight)], writes: [transformed] }, [
    ...[out.address(weight), start, length, columns, step, columnStep, firstTap, tapStep],
  ]);
  const { program, reads, writes } = epilogue(of, out);
  out.emit(WINOGRAD, { reads: [out.range(source), transformed, ...reads], writes: [out.range(result), ...writes] }, [
    ...[out.address(source), height, width, length, columns, images, outHeight, outWidth, padding, rows],
    ...[start, out.address(result), tileColumns, productColumns, program],
  ]);
}

const TILE = 128; // channels of a tile on either side, as BLOCK_ROWS in gemm.ts
const GRAD_TILES = 16; // wanted where chunks have so many patches: their sums have to be written and read again
const CHUNK_PATCHES = 256;
const FEW_TILES = 4; // wanted where chunks of half as many are needed for it

/** The least size of parts that cut `n` into no more parts than `most` does. */
const even = (n: number, most: number) => Math.ceil(n / Math.ceil(n / most));

/** Emits the gradient of the weight: sums for each place of a patch in chunks, then the weight. */
export function emitWinogradGrad(x: View, g: View, padding: number, of: Step, out: Emitter): void {
  const [images, height, width, length] = x.shape;
  const [, outHeight, outWidth, columns] = g.shape;
  const across = patchesOf(outWidth);
  const down = images * patchesOf(outHeight);
  const tileLength = Math.min(TILE, length);
  const tileColumns = Math.min(TILE, columns);
  const patches = Math.min(256, GRAD_PATCH_BYTES / (EACH * (tileLength + tileColumns)));
  const tiles = Math.ceil(length / TILE) * Math.ceil(columns / TILE);
  const whole = (down * across) / CHUNK_PATCHES;
  const chunks = Math.max(1, Math.floor(Math.min(GRAD_TILES / tiles, Math.max(whole, Math.min(FEW_TILES / tiles, 2 * whole)))));
  const rows = even(down / chunks, Math.max(1, Math.floor(patches / across)));
  const bytes = EACH * chunks * columns * length;
  const start = out.temporary(bytes);
  const parts = { start, end: start + bytes };
  out.emit(WINOGRAD_GRAD, { reads: [out.range(x), out.range(g)], writes: [parts] }, [
    ...[out.address(x), height, width, length, columns, images, outHeight, outWidth, padding, rows],
    ...[out.address(g), start, chunks, tileLength, tileColumns],
  ]);
  const result = of.outputs[0];
  const words = [start, out.address(result), chunks, columns, length];
  out.emit(WINOGRAD_GRAD_WEIGHT, { reads: [parts], writes: [out.range(result)] }, words);
}
