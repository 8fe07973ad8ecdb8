// Gradient of a convolution's weight, dw[o, tap, c] = sum over pixels of g[pixel, o] x[pixel stride + tap, c]: a product of
// [o, pixels] and [pixels, taps c]. The pixels are the long axis: they are cut into chunks, whose sums sumParts adds in order.
import { BLOCK_ROWS, block, DEPTH, FREE, multiply, PACKED_A, PACKED_B, PANEL, placePairs, placePanels } from "./gemm";
import { packPairs } from "./pack";
import { takeTile } from "./turns";

/** Arguments of the command. Steps are in bytes; a pixel's step is all of its channels. */
@unmanaged
class WeightGrad {
  x: u32;
  g: u32;
  /** [chunks, o, taps length] */
  out: u32;
  images: u32;
  height: u32;
  width: u32;
  pixel: u32;
  /** Size of g and source pixels between neighbours there. */
  rows: u32;
  columns: u32;
  stride: u32;
  /** Channels of g, and of x in a group. */
  channels: u32;
  length: u32;
  groups: u32;
  taps: u32;
  /** x { y, x }: source pixels relative to the grid's. */
  firstTap: u32;
  tileRows: u32;
  tileColumns: u32;
  chunks: u32;
}

const TAP: usize = 8;

// Scratch behind the packed blocks: zeros for what lies outside; of each pixel of a block its address in x, row and column there,
// and where it lies under the present tap.
const ZEROS: usize = FREE;
const ADDRESSES: usize = ZEROS + 4 * <usize>PANEL;
const YS: usize = ADDRESSES + 4 * <usize>DEPTH;
const XS: usize = YS + 4 * <usize>DEPTH;
const UNDER: usize = XS + 4 * <usize>DEPTH;

export function convWeightGrad(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<WeightGrad>(args), rows = p.channels / p.groups, columns = p.taps * p.length;
  const down = (rows + p.tileRows - 1) / p.tileRows, across = (columns + p.tileColumns - 1) / p.tileColumns;
  const tiles = p.groups * p.chunks * down * across;
  memory.fill(scratch + ZEROS, 0, 4 * <usize>PANEL);
  for (let t = takeTile(); t < tiles; t = takeTile()) {
    const top = (t % down) * p.tileRows, left = (t / down % across) * p.tileColumns, part = t / down / across;
    tile(p, part / p.chunks, part % p.chunks, top, min(rows, top + p.tileRows), left, min(columns, left + p.tileColumns), scratch);
  }
}

/** Output channels [top, bottom) of a group, columns [left, right) of [taps length], one chunk of the pixels. */
function tile(p: WeightGrad, group: u32, chunk: u32, top: u32, bottom: u32, left: u32, right: u32, scratch: usize): void {
  const work = block(scratch), channel = group * (p.channels / p.groups), width = p.taps * p.length;
  const pixels = <u64>(p.images * p.rows * p.columns);
  const begin = <u32>(pixels * chunk / p.chunks), end = <u32>(pixels * (chunk + 1) / p.chunks);
  const blocks = (end - begin + DEPTH - 1) / DEPTH;
  work.columns = right - left;
  for (let i: u32 = 0; i < blocks; i++) {
    const first = begin + <u32>(<u64>(end - begin) * i / blocks), last = begin + <u32>(<u64>(end - begin) * (i + 1) / blocks);
    work.length = last - first;
    placePanels(scratch, scratch + PACKED_B);
    work.accumulate = i > 0;
    placePixels(p, first, work.length, group, scratch);
    packTaps(p, left, right, scratch);
    for (let row = top; row < bottom; row += BLOCK_ROWS) {
      work.rows = min(BLOCK_ROWS, bottom - row);
      const g = <usize>p.g + (<usize>(first * p.channels + channel + row) << 2);
      packPairs(g, <usize>p.channels << 2, 4, work.length, work.rows, scratch + PACKED_A);
      const out = <usize>p.out + (<usize>((chunk * p.channels + channel + row) * width + left) << 2);
      placePairs(scratch, scratch + PACKED_A, out, <usize>width << 2);
      multiply(scratch);
    }
  }
}

/** Pixels [first, first + count) of g: their place in x, that group's channels. */
function placePixels(p: WeightGrad, first: u32, count: u32, group: u32, scratch: usize): void {
  let x = first % p.columns, y = first / p.columns % p.rows, image = first / p.columns / p.rows;
  for (let at = scratch, end = scratch + (<usize>count << 2); at < end; at += 4) {
    const py = y * p.stride, px = x * p.stride;
    store<u32>(at + ADDRESSES, p.x + ((image * p.height + py) * p.width + px) * p.pixel + (group * p.length << 2));
    store<u32>(at + YS, py);
    store<u32>(at + XS, px);
    if (++x == p.columns) {
      x = 0;
      if (++y == p.rows) {
        y = 0;
        image++;
      }
    }
  }
}

/** Panels of columns [left, right) of [taps, length] for the block's pixels. A panel may reach over several taps. */
function packTaps(p: WeightGrad, left: u32, right: u32, scratch: usize): void {
  const work = block(scratch);
  for (let column = left, panel = work.b; column < right; panel += work.bPanel) {
    const end = min(right, column + PANEL), used = end - column;
    if (used < PANEL) memory.fill(panel, 0, work.bPanel);
    for (let to = panel; column < end; ) {
      const tap = column / p.length, channel = column % p.length, count = min(p.length - channel, end - column);
      packTap(p, tap, channel, count, to, scratch);
      column += count;
      to += <usize>count << 2;
    }
  }
}

/** `count` channels of every pixel of the block under one tap; zeros outside the image. */
function packTap(p: WeightGrad, tap: u32, channel: u32, count: u32, to: usize, scratch: usize): void {
  const at = <usize>p.firstTap + <usize>tap * TAP;
  placeTap(p, load<i32>(at), load<i32>(at, 4), channel, scratch);
  const bytes = <usize>count << 2, asVector = count <= 4 && (to & 63) <= 48; // the columns behind are the next tap's, written later
  let pixel = scratch + UNDER;
  for (const end = to + block(scratch).bPanel; to < end; to += 64, pixel += 4) {
    const from = <usize>load<u32>(pixel);
    if (count == PANEL) {
      const x0 = v128.load(from), x1 = v128.load(from, 16), x2 = v128.load(from, 32), x3 = v128.load(from, 48);
      v128.store(to, x0);
      v128.store(to, x1, 16);
      v128.store(to, x2, 32);
      v128.store(to, x3, 48);
    } else if (asVector) {
      v128.store(to, v128.load(from));
    } else {
      for (let i: usize = 0; i < bytes; i += 4) store<f32>(to + i, load<f32>(from + i));
    }
  }
}

/** Where the block's pixels lie under the tap (dy, dx), from `channel` on: in x, or among zeros. Four at a time. */
function placeTap(p: WeightGrad, dy: i32, dx: i32, channel: u32, scratch: usize): void {
  const height = i32x4.splat(p.height), width = i32x4.splat(p.width), zeros = i32x4.splat(<i32>(scratch + ZEROS));
  const down = i32x4.splat(dy), right = i32x4.splat(dx), shift = i32x4.splat((dy * p.width + dx) * p.pixel + (channel << 2));
  for (let at = scratch, end = scratch + (<usize>block(scratch).length << 2); at < end; at += 16) {
    const y = i32x4.add(v128.load(at + YS), down), x = i32x4.add(v128.load(at + XS), right);
    const inside = v128.and(i32x4.lt_u(y, height), i32x4.lt_u(x, width));
    v128.store(at + UNDER, v128.bitselect(i32x4.add(v128.load(at + ADDRESSES), shift), zeros, inside));
  }
}
