// 3 x 3 convolution with stride 1 by Winograd's F(2 x 2, 3 x 3) (Lavin & Gray 2015, arXiv 1509.09308): each 4 x 4 patch d of the
// source gives 2 x 2 pixels with 16 multiplications a channel pair where the sum over taps needs 36.
//
//   y = A^T [ (G w G^T) * (B^T d B) ] A       * summed over channels: 16 matrix products, one for each place of the patch
//
// A block is some rows of patches; its transformed patches v and products m stay in the thread's cache. The gradient of the input is
// the same convolution of g with the taps turned round.
import { elementwiseTile } from "./elementwise";
import { block, DEPTH, multiply, PACKED_A, PANEL, placeRows } from "./gemm";
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
  /** G w G^T as [16][panel][length][16 columns]. */
  weight: u32;
  out: u32;
  /** Columns of a product. */
  tileColumns: u32;
  /** 0, or a fused program for finished pixels. */
  epilogue: u32;
}

// Scratch, from where the tables of gemm.ts end: four addresses, a 4 x 4 of vectors between two passes, zeros for pixels outside of
// the image, room for pixels that nobody wants, then v and m.
export const POINTS: usize = PACKED_A;
export const STAGE: usize = POINTS + 64;
export const ZEROS: usize = STAGE + 256;
export const MOST_CHANNELS: usize = 2048;
const DROPPED: usize = ZEROS + 4 * MOST_CHANNELS;
export const PATCHES: usize = DROPPED + 4 * MOST_CHANNELS;
/** Bytes between the places of a patch: without them all 16 would fall into one set of the cache. */
export const APART: usize = 64;

export function winograd(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Winograd>(args), rows = p.images * ((p.outHeight + 1) >> 1);
  memory.fill(scratch + ZEROS, 0, 4 * MOST_CHANNELS);
  for (let row = takeTile() * p.rows; row < rows; row = takeTile() * p.rows) patchRows(p, row, min(rows, row + p.rows), scratch);
}

/** Rows [begin, end) of patches, counted through all images. */
function patchRows(p: Winograd, begin: u32, end: u32, scratch: usize): void {
  const across = (p.outWidth + 1) >> 1, patches = (end - begin) * across, place = (<usize>(patches * p.length) << 2) + APART;
  const products = scratch + PATCHES + (place << 4);
  let v = scratch + PATCHES;
  for (let row = begin; row < end; row++) {
    for (let column: u32 = 0; column < across; column++, v += <usize>p.length << 2) {
      patchPoints(p, row, column, scratch);
      transformPatch(scratch, 0, p.length, v, place, 64);
    }
  }
  for (let left: u32 = 0; left < p.columns; left += p.tileColumns) {
    const columns = min(p.tileColumns, p.columns - left), apart = (<usize>(patches * columns) << 2) + APART;
    multiplyPlaces(p, patches, left, columns, products, scratch);
    let m = products;
    for (let row = begin; row < end; row++) {
      for (let column: u32 = 0; column < across; column++, m += <usize>columns << 2) {
        pixelPoints(p, p.out, row, column, left, <u32>(scratch + DROPPED), scratch);
        transformProducts(scratch, columns, m, apart);
      }
    }
    if (p.epilogue) {
      const rest = products + (apart << 4);
      elementwiseTile(p.epilogue, firstPixel(p, begin), firstPixel(p, end), left, left + columns, rest);
    }
  }
}

/** The first pixel that row `row` of patches gives. */
function firstPixel(p: Winograd, row: u32): u32 {
  const down = (p.outHeight + 1) >> 1;
  return (row / down * p.outHeight + row % down * 2) * p.outWidth;
}

/** m = v weight for the 16 places of a patch, columns [left, left + columns). */
function multiplyPlaces(p: Winograd, patches: u32, left: u32, columns: u32, products: usize, scratch: usize): void {
  const work = block(scratch), length = p.length, panel = <usize>length << 6, panels = (p.columns + PANEL - 1) / PANEL;
  const blocks = (length + DEPTH - 1) / DEPTH, row = <usize>columns << 2;
  for (let place: u32 = 0; place < 16; place++) {
    const v = scratch + PATCHES + <usize>place * ((<usize>(patches * length) << 2) + APART);
    const m = products + <usize>place * (<usize>patches * row + APART);
    const weight = <usize>p.weight + <usize>(place * panels + left / PANEL) * panel;
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

/** Addresses of the 16 source pixels of a patch: in the image, or among zeros. What lies above or to the left wraps to large numbers. */
export function patchPoints(p: Patches, row: u32, column: u32, scratch: usize): void {
  const down = (p.outHeight + 1) >> 1, image = row / down, top = (row % down) * 2 - p.padding, left = column * 2 - p.padding;
  const pixel = p.length << 2, lanes = i32x4(0, 1, 2, 3), zeros = i32x4.splat(<i32>(scratch + ZEROS));
  const inside = i32x4.lt_u(i32x4.add(i32x4.splat(left), lanes), i32x4.splat(p.width));
  const first = p.source + ((image * p.height + top) * p.width + left) * pixel;
  let line = i32x4.add(i32x4.splat(first), i32x4.mul(lanes, i32x4.splat(pixel)));
  for (let i: u32 = 0; i < 4; i++) {
    v128.store(scratch + POINTS + (<usize>i << 4), top + i < p.height ? v128.bitselect(line, zeros, inside) : zeros);
    line = i32x4.add(line, i32x4.splat(p.width * pixel));
  }
}

/** Addresses of the four pixels of a patch on the other side, from channel `left` on; `outside` for those that are not there. */
export function pixelPoints(p: Patches, first: u32, row: u32, column: u32, left: u32, outside: u32, scratch: usize): void {
  const down = (p.outHeight + 1) >> 1, image = row / down, top = (row % down) * 2, pixel = p.columns << 2, line = p.outWidth * pixel;
  const insideX = i32x4.lt_u(i32x4.add(i32x4.splat(column * 2), i32x4(0, 1, 0, 1)), i32x4.splat(p.outWidth));
  const insideY = i32x4.lt_u(i32x4.add(i32x4.splat(top), i32x4(0, 0, 1, 1)), i32x4.splat(p.outHeight));
  const at = first + ((image * p.outHeight + top) * p.outWidth + column * 2) * pixel + (left << 2);
  const line1 = i32x4.mul(i32x4.splat(line), i32x4(0, 0, 1, 1)), pixel1 = i32x4.mul(i32x4.splat(pixel), i32x4(0, 1, 0, 1));
  const points = i32x4.add(i32x4.splat(at), i32x4.add(line1, pixel1));
  v128.store(scratch + POINTS, v128.bitselect(points, i32x4.splat(outside), v128.and(insideX, insideY)));
}

/** B^T of four vectors: d0 - d2, d1 + d2, d2 - d1, d1 - d3. */
// @ts-ignore: decorator
@inline
function sourcePass(d0: v128, d1: v128, d2: v128, d3: v128, to: usize, step: usize): void {
  v128.store(to, f32x4.sub(d0, d2));
  v128.store(to + step, f32x4.add(d1, d2));
  v128.store(to + (step << 1), f32x4.sub(d2, d1));
  v128.store(to + (step << 1) + step, f32x4.sub(d1, d3));
}

/**
 * v = B^T d B for channels [begin, end) of the patch at POINTS. Places are `place` bytes apart, sixteen channels and the next sixteen
 * `panel` bytes.
 */
export function transformPatch(scratch: usize, begin: u32, end: u32, to: usize, place: usize, panel: usize): void {
  const points = scratch + POINTS, stage = scratch + STAGE;
  for (let c = <usize>begin << 2, last = <usize>end << 2, step: usize = 0; c < last; c += 16) {
    for (let i: usize = 0; i < 64; i += 16) {
      const p0 = <usize>load<u32>(points + i) + c, p1 = <usize>load<u32>(points + i, 4) + c;
      const p2 = <usize>load<u32>(points + i, 8) + c, p3 = <usize>load<u32>(points + i, 12) + c;
      sourcePass(v128.load(p0), v128.load(p1), v128.load(p2), v128.load(p3), stage + (i << 2), 16);
    }
    for (let j: usize = 0, out = to; j < 64; j += 16, out += place) {
      const at = stage + j;
      sourcePass(v128.load(at), v128.load(at, 64), v128.load(at, 128), v128.load(at, 192), out, place << 2);
    }
    step += 16;
    to += step & 63 ? 16 : panel - 48;
  }
}

/** y = A^T m A for `columns` channels of a patch, to the four pixels at POINTS. */
function transformProducts(scratch: usize, columns: u32, from: usize, place: usize): void {
  const y0 = <usize>load<u32>(scratch + POINTS), y1 = <usize>load<u32>(scratch + POINTS, 4);
  const y2 = <usize>load<u32>(scratch + POINTS, 8), y3 = <usize>load<u32>(scratch + POINTS, 12);
  const stage = scratch + STAGE, place2 = place << 1, place3 = place2 + place;
  for (let c: usize = 0, bytes = <usize>columns << 2; c < bytes; c += 16) {
    for (let i: usize = 0, at = from + c; i < 128; i += 32, at += place << 2) {
      const m1 = v128.load(at + place), m2 = v128.load(at + place2);
      v128.store(stage + i, f32x4.add(f32x4.add(v128.load(at), m1), m2));
      v128.store(stage + i, f32x4.sub(f32x4.sub(m1, m2), v128.load(at + place3)), 16);
    }
    const a1 = v128.load(stage, 32), b1 = v128.load(stage, 48), a2 = v128.load(stage, 64), b2 = v128.load(stage, 80);
    v128.store(y0 + c, f32x4.add(f32x4.add(v128.load(stage), a1), a2));
    v128.store(y1 + c, f32x4.add(f32x4.add(v128.load(stage, 16), b1), b2));
    v128.store(y2 + c, f32x4.sub(f32x4.sub(a1, a2), v128.load(stage, 96)));
    v128.store(y3 + c, f32x4.sub(f32x4.sub(b1, b2), v128.load(stage, 112)));
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

/** G w G^T in panels: [16][panel][length][16]. */
export function winogradWeight(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<WinogradWeight>(args), fours = (p.columns + 15) >> 4 << 2, panel = <usize>p.length << 6;
  const place = panel * (fours >> 2);
  for (let four = thread; four < fours; four += threads) {
    const width = p.columns > four << 2 ? min<u32>(4, p.columns - (four << 2)) : 0;
    const to = <usize>p.out + panel * (four >> 2) + ((four & 3) << 4);
    for (let k: u32 = 0; k < p.length; k++) {
      const from = <usize>(p.weight + k * p.step + (four << 2) * p.columnStep + p.firstTap);
      loadTaps(p, from, width, scratch + STAGE);
      for (let i: usize = 0; i < 48; i += 16) { // columns of w
        const at = scratch + STAGE + i;
        weightPass(v128.load(at), v128.load(at, 48), v128.load(at, 96), scratch + PATCHES + i, 48);
      }
      for (let i: usize = 0, out = to + (<usize>k << 6); i < 4; i++, out += place << 2) {
        const at = scratch + PATCHES + i * 48;
        weightPass(v128.load(at), v128.load(at, 16), v128.load(at, 32), out, place);
      }
    }
  }
}

/** Nine taps of up to four columns as vectors. */
function loadTaps(p: WinogradWeight, from: usize, width: u32, to: usize): void {
  memory.fill(to, 0, 144);
  for (const end = to + 144; to < end; to += 16, from += p.tapStep) {
    if (width == 4 && p.columnStep == 4) {
      v128.store(to, v128.load(from));
      continue;
    }
    for (let i: u32 = 0; i < width; i++) store<f32>(to + (<usize>i << 2), load<f32>(from + <usize>(i * p.columnStep)));
  }
}

/** G of three vectors: w0, (w0 + w1 + w2) / 2, (w0 - w1 + w2) / 2, w2. */
// @ts-ignore: decorator
@inline
function weightPass(w0: v128, w1: v128, w2: v128, to: usize, step: usize): void {
  const half = f32x4.splat(0.5), outer = f32x4.mul(half, f32x4.add(w0, w2)), inner = f32x4.mul(half, w1);
  v128.store(to, w0);
  v128.store(to + step, f32x4.add(outer, inner));
  v128.store(to + (step << 1), f32x4.sub(outer, inner));
  v128.store(to + (step << 1) + step, w2);
}
