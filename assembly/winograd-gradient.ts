// Gradient of the weight of a 3 x 3 convolution with stride 1, by the transpose of F(2 x 2, 3 x 3) (winograd.ts):
//
//   dw = G^T [ sum over patches of (A g A^T) * (B^T d B) ] G        d 4 x 4 pixels of x, g 2 x 2 pixels
//
// For each of the 16 places of a patch the sum over patches is a matrix product [o, patches] [patches, c]. Rows of patches are cut
// into chunks with sums of their own, which the last step adds in order.
import { block, multiply, placePairs, placePanels } from "./gemm";
import { APART, MOST_CHANNELS, Patches, PATCHES, patchPoints, pixelPoints, POINTS, STAGE, transformPatch, ZEROS } from "./winograd";
import { takeTile } from "./turns";

/** Arguments of the command; `source` is x, the other side g. */
@unmanaged
class WinogradGrad extends Patches {
  g: u32;
  /** [chunks][16][columns][length] */
  parts: u32;
  chunks: u32;
  tileLength: u32;
  tileColumns: u32;
}

export function winogradGrad(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<WinogradGrad>(args), rows = p.images * ((p.outHeight + 1) >> 1);
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
  const across = (p.outWidth + 1) >> 1, patches = (end - begin) * across, work = block(scratch);
  const rows = min(p.tileColumns, p.columns - top), columns = min(p.tileLength, p.length - left);
  const panel = <usize>patches << 6, vPlace = panel * ((columns + 15) >> 4) + APART, qPlace = (<usize>(patches * rows) << 2) + APART;
  const v = scratch + PATCHES, q = v + (vPlace << 4);
  let i: usize = 0;
  for (let row = begin; row < end; row++) {
    for (let column: u32 = 0; column < across; column++, i++) {
      patchPoints(p, row, column, scratch);
      transformPatch(scratch, left, left + columns, v + (i << 6), vPlace, panel);
      pixelPoints(p, p.g, row, column, top, <u32>(scratch + ZEROS), scratch);
      transformPixels(scratch, rows, q + (i << 3), qPlace, <usize>patches << 3);
    }
  }
  work.rows = rows;
  work.columns = columns;
  work.length = patches;
  work.accumulate = more;
  for (let place: u32 = 0; place < 16; place++) {
    const out = <usize>p.parts + (<usize>(((chunk * 16 + place) * p.columns + top) * p.length + left) << 2);
    placePanels(scratch, v + <usize>place * vPlace);
    placePairs(scratch, q + <usize>place * qPlace, out, <usize>p.length << 2);
    multiply(scratch);
  }
}

/** A g A^T for `channels` channels of the four pixels at POINTS, in pairs of channels that are `pair` bytes apart. */
function transformPixels(scratch: usize, channels: u32, to: usize, place: usize, pair: usize): void {
  const g0 = <usize>load<u32>(scratch + POINTS), g1 = <usize>load<u32>(scratch + POINTS, 4);
  const g2 = <usize>load<u32>(scratch + POINTS, 8), g3 = <usize>load<u32>(scratch + POINTS, 12), stage = scratch + STAGE;
  for (let c: usize = 0, bytes = <usize>channels << 2; c < bytes; c += 16, to += pair << 1) {
    spread(v128.load(g0 + c), v128.load(g1 + c), stage);
    spread(v128.load(g2 + c), v128.load(g3 + c), stage + 64);
    for (let j: usize = 0, out = to; j < 64; j += 16, out += place) {
      const a = v128.load(stage + j), b = v128.load(stage + j, 64), row = place << 2;
      storePairs(a, out, pair);
      storePairs(f32x4.add(a, b), out + row, pair);
      storePairs(f32x4.sub(a, b), out + (row << 1), pair);
      storePairs(f32x4.neg(b), out + (row << 1) + row, pair);
    }
  }
}

/** A of two vectors: a, a + b, a - b, -b. */
// @ts-ignore: decorator
@inline
function spread(a: v128, b: v128, to: usize): void {
  v128.store(to, a);
  v128.store(to, f32x4.add(a, b), 16);
  v128.store(to, f32x4.sub(a, b), 32);
  v128.store(to, f32x4.neg(b), 48);
}

// @ts-ignore: decorator
@inline
function storePairs(four: v128, to: usize, pair: usize): void {
  v128.store64_lane(to, four, 0);
  v128.store64_lane(to + pair, four, 1);
}

/** dw[columns, 3, 3, length] = G^T (sum of parts) G. args: parts, dw, chunks, columns, length */
export function winogradGradWeight(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const parts = <usize>load<u32>(args), dw = <usize>load<u32>(args, 4), chunks = load<u32>(args, 8), columns = load<u32>(args, 12);
  const row = <usize>load<u32>(args, 16) << 2, place = row * <usize>columns, stage = scratch + STAGE;
  for (let column = thread; column < columns; column += threads) {
    for (let c: usize = 0; c < row; c += 16) {
      const from = parts + <usize>column * row + c, to = dw + <usize>column * row * 9 + c;
      for (let i: usize = 0; i < 4; i++) {
        const at = from + i * (place << 2);
        const m0 = sum(at, chunks, place), m1 = sum(at + place, chunks, place);
        const m2 = sum(at + place * 2, chunks, place), m3 = sum(at + place * 3, chunks, place);
        gather(m0, m1, m2, m3, stage + (i << 4), 64);
      }
      for (let j: usize = 0; j < 3; j++) {
        const at = stage + (j << 6);
        gather(v128.load(at), v128.load(at, 16), v128.load(at, 32), v128.load(at, 48), to + j * row, row * 3);
      }
    }
  }
}

/** G^T of four vectors: m0 + (m1 + m2) / 2, (m1 - m2) / 2, (m1 + m2) / 2 + m3. */
// @ts-ignore: decorator
@inline
function gather(m0: v128, m1: v128, m2: v128, m3: v128, to: usize, step: usize): void {
  const half = f32x4.splat(0.5), middle = f32x4.mul(half, f32x4.add(m1, m2));
  v128.store(to, f32x4.add(m0, middle));
  v128.store(to + step, f32x4.mul(half, f32x4.sub(m1, m2)));
  v128.store(to + (step << 1), f32x4.add(middle, m3));
}

/** Four numbers, added over the chunks in order. */
function sum(at: usize, chunks: u32, place: usize): v128 {
  let total = v128.load(at);
  for (let i: u32 = 1; i < chunks; i++) {
    at += place << 4;
    total = f32x4.add(total, v128.load(at));
  }
  return total;
}
