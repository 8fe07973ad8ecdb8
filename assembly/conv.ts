// Convolution over NHWC as a product that is never laid out: row r is a pixel of a grid, its runs are the source pixels under each
// tap (or zeros outside the image), columns are output channels.
//
//   y[pixel, o] = sum over taps, c of x[pixel stride + tap, c] weight[o, tap, c]
//
// The gradient of the input is the same sum with images and channels exchanged. With a stride, input pixels fall into stride^2
// phases; all pixels of a phase see the same few taps, so nothing is multiplied by the zeros between them.
import { elementwiseTile } from "./elementwise";
import { BLOCK_ROWS, block, DEPTH, FREE, multiply, outAt, PACKED_A, PACKED_B, RUNS, runAt, setOut } from "./gemm";
import { packB } from "./pack";
import { takeTile } from "./turns";

/** Shorter runs are copied side by side into one: the loop over taps would cost more than the copy. */
const SHORT: u32 = 12;

/** Arguments of the command. Steps are in bytes; a pixel's step is all of its channels. */
@unmanaged
export class Conv {
  source: u32;
  weight: u32;
  out: u32;
  images: u32;
  height: u32;
  width: u32;
  pixel: u32;
  /** Source pixels between neighbours of the grid. */
  stride: u32;
  outHeight: u32;
  outWidth: u32;
  outPixel: u32;
  /** Pixels of the output between neighbours of the grid. */
  outStride: u32;
  /** Floats of a run, columns of a group. */
  length: u32;
  columns: u32;
  weightK: u32;
  weightColumn: u32;
  groups: u32;
  /** From one group to the next. */
  weightGroup: u32;
  tileRows: u32;
  tileColumns: u32;
  /** 0, or a fused program for finished tiles of [pixels, channels]. */
  epilogue: u32;
  phases: u32;
  firstPhase: u32;
}

/** Output pixels (row outStride + top, column outStride + left) for a grid of rows x columns. */
@unmanaged
export class Phase {
  rows: u32;
  columns: u32;
  top: u32;
  left: u32;
  taps: u32;
  firstTap: u32;
}

/** A source pixel relative to the grid's, and its weights relative to the first. */
@unmanaged
export class Tap {
  y: i32;
  x: i32;
  weight: u32;
}

export const TAP: usize = 12;
export const PHASE: usize = 24;

// Scratch behind the packed blocks: zeros for what lies outside; of each pixel of a block its source address, row and column.
const ZEROS: usize = FREE;
const ADDRESSES: usize = ZEROS + 4 * <usize>DEPTH;
const YS: usize = ADDRESSES + 4 * <usize>BLOCK_ROWS;
const XS: usize = YS + 4 * <usize>BLOCK_ROWS;
const REST: usize = XS + 4 * <usize>BLOCK_ROWS;
/** A row that is outside of every image. */
const OUTSIDE: i32 = -(1 << 30);

export function conv(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Conv>(args);
  const across = (p.columns + p.tileColumns - 1) / p.tileColumns;
  memory.fill(scratch + ZEROS, 0, 4 * <usize>DEPTH);
  let before: u32 = 0, t = takeTile(); // tiles of earlier phases; the tile at hand, counted through all phases
  for (let i: u32 = 0; i < p.phases; i++) {
    const phase = changetype<Phase>(<usize>p.firstPhase + <usize>i * PHASE);
    const rows = p.images * phase.rows * phase.columns, down = (rows + p.tileRows - 1) / p.tileRows;
    const tiles = p.groups * across * down;
    for (; t < before + tiles; t = takeTile()) {
      const at = t - before, row = (at % down) * p.tileRows, place = at / down, left = (place % across) * p.tileColumns;
      tile(p, phase, place / across, row, min(rows, row + p.tileRows), left, min(p.columns, left + p.tileColumns), scratch);
    }
    before += tiles;
  }
}

/** Rows [top, bottom) of a phase's grid, columns [left, right) of a group. */
function tile(p: Conv, phase: Phase, group: u32, top: u32, bottom: u32, left: u32, right: u32, scratch: usize): void {
  const work = block(scratch), length = p.length, channel = group * p.columns + left;
  if (!phase.taps) {
    clear(p, phase, top, bottom, channel, right - left, scratch);
    return;
  }
  work.columns = right - left;
  work.b = scratch + PACKED_B;
  work.bStep = 64;
  // A block of k is several taps, or a part of the channels of one.
  const parts = (length + DEPTH - 1) / DEPTH, fit = min(RUNS, max<u32>(1, DEPTH / length));
  const steps = (phase.taps + fit - 1) / fit, taps = (phase.taps + steps - 1) / steps;
  const weight = <usize>p.weight + <usize>group * p.weightGroup + <usize>left * p.weightColumn;
  for (let first: u32 = 0; first < phase.taps; first += taps) {
    const count = min(taps, phase.taps - first), firstTap = <usize>phase.firstTap + <usize>first * TAP;
    for (let part: u32 = 0; part < parts; part++) {
      const begin = length * part / parts, end = length * (part + 1) / parts;
      packWeight(p, firstTap, count, weight + <usize>begin * p.weightK, end - begin, scratch);
      work.accumulate = first + part > 0;
      for (let row = top; row < bottom; row += BLOCK_ROWS) {
        const rows = min(BLOCK_ROWS, bottom - row);
        work.rows = rows;
        placePixels(p, phase, row, rows, group * length + begin, channel, scratch);
        if (end - begin < SHORT && count > 1) copyTaps(p, firstTap, count, end - begin, scratch);
        else placeTaps(p, firstTap, count, end - begin, scratch);
        multiply(scratch);
        const last = first + count == phase.taps && part + 1 == parts;
        if (last && p.epilogue) elementwiseTile(p.epilogue, row, row + rows, channel, channel + work.columns, scratch + REST);
      }
    }
  }
}

/** Zeros for pixels that no tap reaches. */
function clear(p: Conv, phase: Phase, top: u32, bottom: u32, channel: u32, columns: u32, scratch: usize): void {
  for (let row = top; row < bottom; row += BLOCK_ROWS) {
    const rows = min(BLOCK_ROWS, bottom - row);
    placePixels(p, phase, row, rows, 0, channel, scratch);
    for (let i: u32 = 0; i < rows; i++) memory.fill(outAt(scratch, i), 0, <usize>columns << 2);
  }
}

/** Panels of the weights of `count` taps. */
function packWeight(p: Conv, tap: usize, count: u32, weight: usize, length: u32, scratch: usize): void {
  const work = block(scratch);
  work.bPanel = <usize>(count * length) << 6;
  for (let i: u32 = 0; i < count; i++, tap += TAP) {
    const from = weight + changetype<Tap>(tap).weight;
    packB(from, p.weightK, p.weightColumn, length, work.columns, work.b + (<usize>(i * length) << 6), work.bPanel);
  }
}

/** Pixels [row, row + rows) of a phase: where they are in the source, from `channel` on, and in the output, from `outChannel` on. */
function placePixels(p: Conv, phase: Phase, row: u32, rows: u32, channel: u32, outChannel: u32, scratch: usize): void {
  let x = row % phase.columns, y = row / phase.columns % phase.rows, image = row / phase.columns / phase.rows;
  for (let i: u32 = 0; i < rows; i++) {
    const at = scratch + (<usize>i << 2), sourceY = y * p.stride, sourceX = x * p.stride;
    store<i32>(at + YS, sourceY);
    store<i32>(at + XS, sourceX);
    store<u32>(at + ADDRESSES, p.source + ((image * p.height + sourceY) * p.width + sourceX) * p.pixel + (channel << 2));
    const line = image * p.outHeight + y * p.outStride + phase.top;
    setOut(scratch, i, <usize>p.out + <usize>(line * p.outWidth + x * p.outStride + phase.left) * p.outPixel + (<usize>outChannel << 2));
    if (++x == phase.columns) {
      x = 0;
      if (++y == phase.rows) {
        y = 0;
        image++;
      }
    }
  }
  for (let i = rows; i & 3; i++) store<i32>(scratch + YS + (<usize>i << 2), OUTSIDE); // placeTaps takes four
}

/** Runs of A: source pixels where they lie, zeros outside the image. Four rows, two entries of the table, at a time. */
function placeTaps(p: Conv, tap: usize, count: u32, length: u32, scratch: usize): void {
  const work = block(scratch), end = scratch + (<usize>work.rows << 2), pair = <usize>count << 3;
  work.runs = count;
  work.length = length;
  work.aStep = 4;
  const height = i32x4.splat(p.height), width = i32x4.splat(p.width), zeros = i32x4.splat(<i32>(scratch + ZEROS));
  for (let i: u32 = 0; i < count; i++, tap += TAP) {
    const place = changetype<Tap>(tap);
    const dy = i32x4.splat(place.y), dx = i32x4.splat(place.x), shift = i32x4.splat((place.y * p.width + place.x) * p.pixel);
    for (let at = scratch, to = runAt(scratch, count, 0, i); at < end; at += 16, to += pair << 1) {
      const y = i32x4.add(v128.load(at + YS), dy), x = i32x4.add(v128.load(at + XS), dx);
      const inside = v128.and(i32x4.lt_u(y, height), i32x4.lt_u(x, width));
      const from = v128.bitselect(i32x4.add(v128.load(at + ADDRESSES), shift), zeros, inside);
      v128.store64_lane(to, from, 0);
      v128.store64_lane(to + pair, from, 1);
    }
  }
}

/** Runs of A, copied into one a row: placeTaps finds them, and each pair of rows takes its place in the table after it is read. */
function copyTaps(p: Conv, tap: usize, count: u32, length: u32, scratch: usize): void {
  placeTaps(p, tap, count, length, scratch);
  const work = block(scratch), bytes = <usize>length << 2, row = bytes * count;
  work.runs = 1;
  work.length = count * length;
  let to = scratch + PACKED_A;
  for (let pair: u32 = 0; pair < (work.rows + 1) >> 1; pair++, to += row << 1) {
    const from = runAt(scratch, count, pair, 0), at = runAt(scratch, 1, pair, 0);
    copyRuns(from, count, bytes, to);
    copyRuns(from + 4, count, bytes, to + row);
    store<u32>(at, <u32>to);
    store<u32>(at, <u32>(to + row), 4);
  }
}

/** Copies the runs of one row one behind the other, in whole vectors: what is too much lies where the next run goes. */
function copyRuns(from: usize, count: u32, bytes: usize, to: usize): void {
  for (const end = from + (<usize>count << 3); from < end; from += 8, to += bytes) {
    const run = <usize>load<u32>(from);
    for (let c: usize = 0; c < bytes; c += 16) v128.store(to + c, v128.load(run + c));
  }
}
