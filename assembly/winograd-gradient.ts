// Gradient of the weight of a 3 x 3 convolution with stride 1, by the transpose of F(4 x 4, 3 x 3) (winograd.ts):
//
//   dw = G^T [ sum over patches of (A g A^T) * (B^T d B) ] G        d 6 x 6 pixels of x, g 4 x 4 pixels
//
// For each of the 36 places of a patch the sum over patches is a matrix product [o, patches] [patches, c]. Rows of patches are cut
// into chunks with sums of their own, which the last step adds in order.
import { block, multiply, placePanelRows, placePanels } from "./gemm";
import {
  APART, H, MOST_CHANNELS, Patches, PATCHES, patchesOf, patchPoints, pixelPoints, PLACES, POINT_ROW, POINTS, STAGE, STAGE_ROW, transformPatch, ZEROS,
} from "./winograd";
import { madd } from "./simd";
import { takeTile } from "./turns";

/** Arguments of the command; `source` is x, the other side g. */
@unmanaged
class WinogradGrad extends Patches {
  g: u32;
  /** [chunks][36][columns][length] */
  parts: u32;
  chunks: u32;
  tileLength: u32;
  tileColumns: u32;
}

export function winogradGrad(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<WinogradGrad>(args), rows = p.images * patchesOf(p.outHeight);
  const across = (p.length + p.tileLength - 1) / p.tileLength, down = (p.columns + p.tileColumns - 1) / p.tileColumns;
  memory.fill(scratch + ZEROS, 0, 4 * MOST_CHANNELS);
  for (let t = takeTile(); t < p.chunks * across * down; t = takeTile()) {
    const left = (t % across) * p.tileLength, top = (t / across % down) * p.tileColumns, chunk = t / across / down;
    const begin = <u32>(<u64>rows * chunk / p.chunks), end = <u32>(<u64>rows * (chunk + 1) / p.chunks);
    for (let row = begin; row < end; row += p.rows) {
      addRows(p, chunk, row, min(end, row + p.rows), row > begin, top, left, scratch);
    }
  }
}

/** Adds rows [begin, end) of patches to a tile of a chunk's sums: columns from `top` on, channels of the source from `left` on. */
function addRows(p: WinogradGrad, chunk: u32, begin: u32, end: u32, more: bool, top: u32, left: u32, scratch: usize): void {
  const across = patchesOf(p.outWidth), patches = (end - begin) * across, work = block(scratch);
  const rows = min(p.tileColumns, p.columns - top), columns = min(p.tileLength, p.length - left);
  const panel = <usize>patches << 6, vPlace = panel * ((columns + 15) >> 4) + APART, qPlace = panel * ((rows + 15) >> 4) + APART;
  const v = scratch + PATCHES, q = v + PLACES * vPlace;
  let i: usize = 0;
  for (let row = begin; row < end; row++) {
    for (let column: u32 = 0; column < across; column++, i++) {
      patchPoints(p, row, column, scratch);
      transformPatch(scratch, left, left + columns, v + (i << 6), vPlace, panel);
      pixelPoints(p, p.g, row, column, top, <u32>(scratch + ZEROS), scratch);
      transformPixels(scratch, rows, q + (i << 6), qPlace, panel);
    }
  }
  work.rows = rows;
  work.columns = columns;
  work.length = patches;
  work.accumulate = more;
  for (let place: u32 = 0; place < PLACES; place++) {
    const out = <usize>p.parts + (<usize>(((chunk * PLACES + place) * p.columns + top) * p.length + left) << 2);
    placePanels(scratch, v + <usize>place * vPlace);
    placePanelRows(scratch, q + <usize>place * qPlace, panel, out, <usize>p.length << 2);
    multiply(scratch);
  }
}

/** A g A^T for `channels` channels of the pixels at POINTS, laid out as transformPatch does. */
function transformPixels(scratch: usize, channels: u32, to: usize, place: usize, panel: usize): void {
  const points = scratch + POINTS, stage = scratch + STAGE;
  for (let c: usize = 0, bytes = <usize>channels << 2; c < bytes; ) {
    for (let i: usize = 0; i < 4; i++) {
      const row = points + i * POINT_ROW, p0 = <usize>load<u32>(row) + c, p1 = <usize>load<u32>(row, 4) + c;
      const p2 = <usize>load<u32>(row, 8) + c, p3 = <usize>load<u32>(row, 12) + c;
      spread(v128.load(p0), v128.load(p1), v128.load(p2), v128.load(p3), stage + i * STAGE_ROW, 16);
    }
    for (let j: usize = 0, out = to; j < STAGE_ROW; j += 16, out += place) {
      const at = stage + j;
      spread(v128.load(at), v128.load(at, 96), v128.load(at, 192), v128.load(at, 288), out, place * 6);
    }
    c += 16;
    to += c & 63 ? 16 : panel - 48;
  }
}

/** A of four vectors. */
// @ts-ignore: decorator
@inline
function spread(g0: v128, g1: v128, g2: v128, g3: v128, to: usize, step: usize): void {
  const half = f32x4.splat(0.5), h = f32x4.splat(H), double = f32x4.splat(2);
  const even1 = madd(half, g2, g0), odd1 = f32x4.mul(h, madd(half, g3, g1));
  const even2 = madd(double, g2, g0), odd2 = f32x4.mul(h, f32x4.mul(double, madd(double, g3, g1)));
  v128.store(to, g0);
  v128.store(to + step, f32x4.add(even1, odd1));
  v128.store(to + step * 2, f32x4.sub(even1, odd1));
  v128.store(to + step * 3, f32x4.add(even2, odd2));
  v128.store(to + step * 4, f32x4.sub(even2, odd2));
  v128.store(to + step * 5, g3);
}

/** dw[columns, 3, 3, length] = G^T (sum of parts) G. args: parts, dw, chunks, columns, length */
export function winogradGradWeight(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const parts = <usize>load<u32>(args), dw = <usize>load<u32>(args, 4), chunks = load<u32>(args, 8), columns = load<u32>(args, 12);
  const row = <usize>load<u32>(args, 16) << 2, place = row * <usize>columns, stage = scratch + STAGE;
  for (let column = thread; column < columns; column += threads) {
    for (let c: usize = 0; c < row; c += 16) {
      const from = parts + <usize>column * row + c, to = dw + <usize>column * row * 9 + c;
      for (let i: usize = 0, at = from; i < STAGE_ROW; i += 16, at += place * 6) {
        const m0 = sum(at, chunks, place), m1 = sum(at + place, chunks, place), m2 = sum(at + place * 2, chunks, place);
        const m3 = sum(at + place * 3, chunks, place), m4 = sum(at + place * 4, chunks, place);
        gather(m0, m1, m2, m3, m4, sum(at + place * 5, chunks, place), stage + i, STAGE_ROW);
      }
      for (let j: usize = 0; j < 3; j++) {
        const at = stage + j * STAGE_ROW, m0 = v128.load(at), m1 = v128.load(at, 16), m2 = v128.load(at, 32), m3 = v128.load(at, 48);
        gather(m0, m1, m2, m3, v128.load(at, 64), v128.load(at, 80), to + j * row, row * 3);
      }
    }
  }
}

/** G^T of six vectors. */
// @ts-ignore: decorator
@inline
function gather(m0: v128, m1: v128, m2: v128, m3: v128, m4: v128, m5: v128, to: usize, step: usize): void {
  const third = f32x4.splat(1.0 / 3), h = f32x4.splat(H / 3), minus = f32x4.splat(-2);
  const even1 = f32x4.add(m1, m2), even2 = f32x4.add(m3, m4), odd1 = f32x4.sub(m1, m2), odd2 = f32x4.sub(m3, m4);
  v128.store(to, madd(third, madd(minus, even1, f32x4.mul(f32x4.splat(0.5), even2)), m0));
  v128.store(to + step, f32x4.mul(h, madd(minus, odd1, odd2)));
  v128.store(to + step * 2, madd(third, f32x4.sub(even2, even1), m5));
}

/** Four numbers, added over the chunks in order. */
function sum(at: usize, chunks: u32, place: usize): v128 {
  let total = v128.load(at);
  for (let i: u32 = 1; i < chunks; i++) {
    at += place * PLACES;
    total = f32x4.add(total, v128.load(at));
  }
  return total;
}
