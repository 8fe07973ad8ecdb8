// 3 x 3 convolution with stride 1 by Winograd's F(4 x 4, 3 x 3) (Lavin & Gray 2015, arXiv 1509.09308): each 6 x 6 patch d of the
// source gives 4 x 4 pixels with 36 multiplications a channel pair where the sum over taps needs 144.
//
//   y = A^T [ (G w G^T) * (B^T d B) ] A       * summed over channels: 36 matrix products, one for each place of the patch
//
// Polynomials are evaluated at 0, +-1/sqrt 2, +-sqrt 2 and infinity, where rounding grows least. With h = 1 / sqrt 2:
//
//         1  0 -5/2  0   1  0           1     0    0              1  0   0    0
//         0 -2h -2   h   1  0         -2/3 -2h/3 -1/3             1  h  1/2  h/2
//   B^T = 0  2h -2  -h   1  0     G = -2/3  2h/3 -1/3         A = 1 -h  1/2 -h/2
//         0 -h -1/2 2h   1  0          1/6   h/3  1/3             1 2h   2   4h
//         0  h -1/2 -2h  1  0          1/6  -h/3  1/3             1 -2h  2  -4h
//         0  1   0 -5/2  0  1           0     0    1              0  0   0    1
//
// A block is some rows of patches; its transformed patches v and products m stay in the thread's cache. The gradient of the input is
// the same convolution of g with the taps turned round.
import { elementwiseTile } from "./elementwise";
import { block, DEPTH, multiply, PACKED_A, PANEL, placeRows } from "./gemm";
import { madd } from "./simd";
import { takeTile } from "./turns";

/** Patches of an image, and the pixels on the other side that each of them stands for. Steps are in bytes; pixels have no gaps. */
@unmanaged
export class Patches {
  source: u32;
  height: u32;
  width: u32;
  /** Channels of the source, and on the other side; multiples of 4. */
  length: u32;
  columns: u32;
  images: u32;
  outHeight: u32;
  outWidth: u32;
  padding: u32;
  /** Rows of patches in a block. */
  rows: u32;
}

/** Arguments of the command. */
@unmanaged
class Winograd extends Patches {
  /** G w G^T as [36][panel][length][16 columns], places APART bytes further than that. */
  weight: u32;
  out: u32;
  /** Columns of a tile, and of a product. */
  tileColumns: u32;
  productColumns: u32;
  /** 0, or a fused program for finished pixels. */
  epilogue: u32;
}

/** Pixels on a side of what a patch gives; of the patch; its places. */
const SIDE: u32 = 4;
export const PLACES: u32 = 36;
/** 1 / sqrt 2 */
export const H: f32 = 0.70710678;

// Scratch, from where the tables of gemm.ts end: addresses of up to 36 pixels, a 6 x 6 of vectors between two passes, zeros for
// pixels outside of the image, room for pixels that nobody wants, then v and m.
export const POINTS: usize = PACKED_A;
/** Bytes from one row of a patch to the next, in POINTS and in STAGE. */
export const POINT_ROW: usize = 32;
export const STAGE: usize = POINTS + 256;
export const STAGE_ROW: usize = 96;
export const ZEROS: usize = STAGE + 576 + 64;
export const MOST_CHANNELS: usize = 2048;
const DROPPED: usize = ZEROS + 4 * MOST_CHANNELS;
export const PATCHES: usize = DROPPED + 4 * MOST_CHANNELS;
/** Bytes between the places of a patch: without them all of them would fall into one set of the cache. */
export const APART: usize = 64;

/** Rows of patches of an image, and patches of a row. */
// @ts-ignore: decorator
@inline
export function patchesOf(pixels: u32): u32 {
  return (pixels + SIDE - 1) / SIDE;
}

export function winograd(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Winograd>(args), rows = p.images * patchesOf(p.outHeight);
  const down = (rows + p.rows - 1) / p.rows, across = (p.columns + p.tileColumns - 1) / p.tileColumns;
  memory.fill(scratch + ZEROS, 0, 4 * MOST_CHANNELS);
  for (let t = takeTile(); t < down * across; t = takeTile()) {
    const row = t / across * p.rows, left = (t % across) * p.tileColumns;
    tile(p, row, min(rows, row + p.rows), left, min(p.columns, left + p.tileColumns), scratch);
  }
}

/** Rows [begin, end) of patches, counted through all images, and columns [first, last). */
function tile(p: Winograd, begin: u32, end: u32, first: u32, last: u32, scratch: usize): void {
  const across = patchesOf(p.outWidth), patches = (end - begin) * across, place = (<usize>(patches * p.length) << 2) + APART;
  const products = scratch + PATCHES + PLACES * place;
  let v = scratch + PATCHES;
  for (let row = begin; row < end; row++) {
    for (let column: u32 = 0; column < across; column++, v += <usize>p.length << 2) {
      patchPoints(p, row, column, scratch);
      transformPatch(scratch, 0, p.length, v, place, 64);
    }
  }
  for (let left = first; left < last; left += p.productColumns) {
    const columns = min(p.productColumns, last - left), apart = (<usize>(patches * columns) << 2) + APART;
    multiplyPlaces(p, patches, left, columns, products, scratch);
    let m = products;
    for (let row = begin; row < end; row++) {
      for (let column: u32 = 0; column < across; column++, m += <usize>columns << 2) {
        pixelPoints(p, p.out, row, column, left, <u32>(scratch + DROPPED), scratch);
        transformProducts(scratch, columns, m, apart);
      }
    }
  }
  if (p.epilogue) elementwiseTile(p.epilogue, firstPixel(p, begin), firstPixel(p, end), first, last, scratch + PATCHES);
}

/** The first pixel that row `row` of patches gives. */
function firstPixel(p: Winograd, row: u32): u32 {
  const down = patchesOf(p.outHeight);
  return (row / down * p.outHeight + row % down * SIDE) * p.outWidth;
}

/** m = v weight for the places of a patch, columns [left, left + columns). */
function multiplyPlaces(p: Winograd, patches: u32, left: u32, columns: u32, products: usize, scratch: usize): void {
  const work = block(scratch), length = p.length, panel = <usize>length << 6, panels = (p.columns + PANEL - 1) / PANEL;
  const blocks = (length + DEPTH - 1) / DEPTH, row = <usize>columns << 2;
  for (let place: u32 = 0; place < PLACES; place++) {
    const v = scratch + PATCHES + <usize>place * ((<usize>(patches * length) << 2) + APART);
    const m = products + <usize>place * (<usize>patches * row + APART);
    const weight = <usize>p.weight + <usize>(place * panels + left / PANEL) * panel + place * APART;
    for (let i: u32 = 0; i < blocks; i++) {
      const begin = length * i / blocks, end = length * (i + 1) / blocks;
      work.rows = patches;
      work.columns = columns;
      work.length = end - begin;
      work.accumulate = i > 0;
      work.b = weight + (<usize>begin << 6);
      work.bStep = 64;
      work.bPanel = panel;
      placeRows(scratch, v + (<usize>begin << 2), <usize>length << 2, m, row);
      multiply(scratch);
    }
  }
}

/** Addresses of the source pixels of a patch: in the image, or among zeros. What lies above or to the left wraps to large numbers. */
export function patchPoints(p: Patches, row: u32, column: u32, scratch: usize): void {
  const down = patchesOf(p.outHeight), image = row / down, top = (row % down) * SIDE - p.padding, left = column * SIDE - p.padding;
  const pixel = p.length << 2, zeros = i32x4.splat(<i32>(scratch + ZEROS)), width = i32x4.splat(p.width);
  const lanes = i32x4(0, 1, 2, 3), x0 = i32x4.add(i32x4.splat(left), lanes), x1 = i32x4.add(x0, i32x4.splat(4));
  const inside0 = i32x4.lt_u(x0, width), inside1 = i32x4.lt_u(x1, width);
  let line = p.source + ((image * p.height + top) * p.width + left) * pixel;
  const step0 = i32x4.mul(lanes, i32x4.splat(pixel)), step1 = i32x4.add(step0, i32x4.splat(pixel << 2));
  for (let i: u32 = 0, to = scratch + POINTS; i < 6; i++, to += POINT_ROW) {
    const here = top + i < p.height;
    v128.store(to, here ? v128.bitselect(i32x4.add(i32x4.splat(line), step0), zeros, inside0) : zeros);
    v128.store(to, here ? v128.bitselect(i32x4.add(i32x4.splat(line), step1), zeros, inside1) : zeros, 16);
    line += p.width * pixel;
  }
}

/** Addresses of the pixels of a patch on the other side, from channel `left` on; `outside` for those that are not there. */
export function pixelPoints(p: Patches, first: u32, row: u32, column: u32, left: u32, outside: u32, scratch: usize): void {
  const down = patchesOf(p.outHeight), image = row / down, top = (row % down) * SIDE, pixel = p.columns << 2;
  const lanes = i32x4(0, 1, 2, 3), nowhere = i32x4.splat(outside);
  const inside = i32x4.lt_u(i32x4.add(i32x4.splat(column * SIDE), lanes), i32x4.splat(p.outWidth));
  let line = first + ((image * p.outHeight + top) * p.outWidth + column * SIDE) * pixel + (left << 2);
  const step = i32x4.mul(lanes, i32x4.splat(pixel));
  for (let i: u32 = 0, to = scratch + POINTS; i < SIDE; i++, to += POINT_ROW) {
    const here = top + i < p.outHeight;
    v128.store(to, here ? v128.bitselect(i32x4.add(i32x4.splat(line), step), nowhere, inside) : nowhere);
    line += p.outWidth * pixel;
  }
}

/** The pixel at `column` bytes of row `row` of POINTS. */
// @ts-ignore: decorator
@inline
function pointAt(points: usize, row: usize): usize {
  return <usize>load<u32>(points + row * POINT_ROW);
}

/** B^T of six vectors. */
// @ts-ignore: decorator
@inline
function sourcePass(d0: v128, d1: v128, d2: v128, d3: v128, d4: v128, d5: v128, to: usize, step: usize): void {
  const most = f32x4.splat(-2.5), half = f32x4.splat(-0.5), h = f32x4.splat(H);
  v128.store(to, madd(most, d2, f32x4.add(d0, d4)));
  v128.store(to + step * 5, madd(most, d3, f32x4.add(d1, d5)));
  const even1 = f32x4.sub(d4, f32x4.add(d2, d2)), odd1 = f32x4.mul(h, f32x4.sub(d3, f32x4.add(d1, d1)));
  v128.store(to + step, f32x4.add(even1, odd1));
  v128.store(to + step * 2, f32x4.sub(even1, odd1));
  const even2 = madd(half, d2, d4), odd2 = f32x4.mul(h, f32x4.sub(f32x4.add(d3, d3), d1));
  v128.store(to + step * 3, f32x4.add(even2, odd2));
  v128.store(to + step * 4, f32x4.sub(even2, odd2));
}

/**
 * v = B^T d B for channels [begin, end) of the patch at POINTS. Places are `place` bytes apart, sixteen channels and the next sixteen
 * `panel` bytes.
 */
export function transformPatch(scratch: usize, begin: u32, end: u32, to: usize, place: usize, panel: usize): void {
  const points = scratch + POINTS, stage = scratch + STAGE;
  for (let c = <usize>begin << 2, last = <usize>end << 2, step: usize = 0; c < last; c += 16) {
    for (let i: usize = 0, row = points; i < 6 * STAGE_ROW; i += STAGE_ROW, row += POINT_ROW) {
      const p0 = <usize>load<u32>(row) + c, p1 = <usize>load<u32>(row, 4) + c, p2 = <usize>load<u32>(row, 8) + c;
      const p3 = <usize>load<u32>(row, 12) + c, p4 = <usize>load<u32>(row, 16) + c, p5 = <usize>load<u32>(row, 20) + c;
      sourcePass(v128.load(p0), v128.load(p1), v128.load(p2), v128.load(p3), v128.load(p4), v128.load(p5), stage + i, 16);
    }
    for (let j: usize = 0, out = to; j < STAGE_ROW; j += 16, out += place) {
      const at = stage + j, d0 = v128.load(at), d1 = v128.load(at, 96), d2 = v128.load(at, 192), d3 = v128.load(at, 288);
      sourcePass(d0, d1, d2, d3, v128.load(at, 384), v128.load(at, 480), out, place * 6);
    }
    step += 16;
    to += step & 63 ? 16 : panel - 48;
  }
}

/** A^T of six vectors, to four addresses. */
// @ts-ignore: decorator
@inline
function resultPass(m0: v128, m1: v128, m2: v128, m3: v128, m4: v128, m5: v128, y0: usize, y1: usize, y2: usize, y3: usize): void {
  const half = f32x4.splat(0.5), h = f32x4.splat(H), four = f32x4.splat(4);
  const even1 = f32x4.add(m1, m2), even2 = f32x4.add(m3, m4), odd1 = f32x4.sub(m1, m2), odd2 = f32x4.sub(m3, m4);
  v128.store(y0, f32x4.add(f32x4.add(m0, even1), even2));
  v128.store(y1, f32x4.mul(h, f32x4.add(odd1, f32x4.add(odd2, odd2))));
  v128.store(y2, madd(half, even1, f32x4.add(even2, even2)));
  v128.store(y3, madd(h, madd(half, odd1, f32x4.mul(four, odd2)), m5));
}

/** y = A^T m A for `columns` channels of a patch, to the pixels at POINTS. */
function transformProducts(scratch: usize, columns: u32, from: usize, place: usize): void {
  const points = scratch + POINTS, stage = scratch + STAGE, bytes = <usize>columns << 2;
  const place2 = place * 2, place3 = place * 3, place4 = place * 4, place5 = place * 5;
  for (let c: usize = 0; c < bytes; c += 16) {
    for (let to = stage, end = stage + 6 * 64, at = from + c; to < end; to += 64, at += place * 6) {
      const m0 = v128.load(at), m1 = v128.load(at + place), m2 = v128.load(at + place2), m3 = v128.load(at + place3);
      resultPass(m0, m1, m2, m3, v128.load(at + place4), v128.load(at + place5), to, to + 16, to + 32, to + 48);
    }
    for (let j: usize = 0, to = points; j < 64; j += 16, to += 4) {
      const at = stage + j, m0 = v128.load(at), m1 = v128.load(at, 64), m2 = v128.load(at, 128), m3 = v128.load(at, 192);
      const m4 = v128.load(at, 256), m5 = v128.load(at, 320);
      resultPass(m0, m1, m2, m3, m4, m5, pointAt(to, 0) + c, pointAt(to, 1) + c, pointAt(to, 2) + c, pointAt(to, 3) + c);
    }
  }
}

/** Arguments of the weight's transform. Steps are in bytes. */
@unmanaged
class WinogradWeight {
  weight: u32;
  out: u32;
  length: u32;
  columns: u32;
  step: u32;
  columnStep: u32;
  /** First of the nine taps and the step to the next: backwards for the gradient of the input. */
  firstTap: i32;
  tapStep: i32;
}

/** Channels of the source in a tile of the weight's transform. */
const WEIGHT_TILE: u32 = 64;

/** G w G^T in panels: [36][panel][length][16]. A tile is one panel, some channels of the source. */
export function winogradWeight(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<WinogradWeight>(args), panels = (p.columns + PANEL - 1) / PANEL, blocks = (p.length + WEIGHT_TILE - 1) / WEIGHT_TILE;
  const panel = <usize>p.length << 6, place = panel * panels + APART;
  for (let t = takeTile(); t < panels * blocks; t = takeTile()) {
    const column = t / blocks * PANEL, first = (t % blocks) * WEIGHT_TILE, last = min(p.length, first + WEIGHT_TILE);
    for (let k = first; k < last; k += 4) {
      const to = <usize>p.out + panel * (column / PANEL) + (<usize>k << 6);
      for (let i: u32 = 0; i < PANEL; i += 4) transformFilters(p, k, column + i, to + (<usize>i << 2), place, scratch);
    }
  }
}

/** Four channels of the source from `k` on, four columns from `column` on; zeros where there are no columns. */
function transformFilters(p: WinogradWeight, k: u32, column: u32, to: usize, place: usize, scratch: usize): void {
  const filters = scratch + STAGE, rows = scratch + PATCHES;
  if (column < p.columns) loadFilters(p, <usize>(p.weight + k * p.step + column * p.columnStep + p.firstTap), filters);
  else memory.fill(filters, 0, 576);
  for (let w = filters; w < filters + 576; w += 144, to += 64) {
    for (let i: usize = 0; i < 48; i += 16) { // columns of w
      weightPass(v128.load(w + i), v128.load(w + i, 48), v128.load(w + i, 96), rows + i, 48);
    }
    for (let row = rows, out = to; row < rows + 288; row += 48, out += place * 6) {
      weightPass(v128.load(row), v128.load(row, 16), v128.load(row, 32), out, place);
    }
  }
}

/** Nine taps of four columns for each of four channels: [channel][tap][4 columns]. */
function loadFilters(p: WinogradWeight, from: usize, to: usize): void {
  const step: usize = p.columnStep == 4 ? p.step : p.columnStep;
  for (const end = to + 144; to < end; to += 16, from += p.tapStep) {
    const a = v128.load(from), b = v128.load(from + step), c = v128.load(from + step * 2), d = v128.load(from + step * 3);
    if (p.columnStep == 4) storeFilters(a, b, c, d, to);
    else {
      const low01 = v128.shuffle<f32>(a, b, 0, 4, 1, 5), high01 = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
      const low23 = v128.shuffle<f32>(c, d, 0, 4, 1, 5), high23 = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
      const first = v128.shuffle<i64>(low01, low23, 0, 2), second = v128.shuffle<i64>(low01, low23, 1, 3);
      storeFilters(first, second, v128.shuffle<i64>(high01, high23, 0, 2), v128.shuffle<i64>(high01, high23, 1, 3), to);
    }
  }
}

// @ts-ignore: decorator
@inline
function storeFilters(a: v128, b: v128, c: v128, d: v128, to: usize): void {
  v128.store(to, a);
  v128.store(to, b, 144);
  v128.store(to, c, 288);
  v128.store(to, d, 432);
}

/** G of three vectors. */
// @ts-ignore: decorator
@inline
function weightPass(w0: v128, w1: v128, w2: v128, to: usize, step: usize): void {
  const h = f32x4.splat(H / 3), third = f32x4.splat(1.0 / 3), sixth = f32x4.splat(1.0 / 6), most = f32x4.splat(-2.0 / 3);
  const odd2 = f32x4.mul(h, w1), odd1 = f32x4.add(odd2, odd2);
  const even1 = madd(most, w0, f32x4.mul(f32x4.neg(third), w2)), even2 = madd(sixth, w0, f32x4.mul(third, w2));
  v128.store(to, w0);
  v128.store(to + step, f32x4.sub(even1, odd1));
  v128.store(to + step * 2, f32x4.add(even1, odd1));
  v128.store(to + step * 3, f32x4.add(even2, odd2));
  v128.store(to + step * 4, f32x4.sub(even2, odd2));
  v128.store(to + step * 5, w2);
}
