// Convolution over NHWC as a product that is never laid out: row r is a pixel of a grid, its runs are the source pixels under each
// tap (or zeros outside the image), columns are output channels.
//
//   y[pixel, o] = sum over taps, c of x[pixel stride + tap, c] weight[o, tap, c]
//
// The gradient of the input is the same sum with images and channels exchanged. With a stride, input pixels fall into stride^2
// phases; all pixels of a phase see the same few taps, so nothing is multiplied by the zeros between them.
import { elementwiseTile } from "./elementwise";
import { BLOCK_ROWS, block, DEPTH, FREE, multiply, outAt, PACKED_A, PACKED_B, RUNS, setOut, setRun } from "./gemm";
import { packB } from "./pack";

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

/** A pixel of the grid: where it is in the source. */
@unmanaged
export class Pixel {
  address: u32;
  y: i32;
  x: i32;
}

export const TAP: usize = 12;
export const PIXEL: usize = 12;
export const PHASE: usize = 24;

// Scratch behind the packed blocks: zeros for what lies outside, the pixels of a block.
export const ZEROS: usize = FREE;
export const PIXELS: usize = ZEROS + 4 * <usize>DEPTH;
const REST: usize = PIXELS + PIXEL * <usize>max(BLOCK_ROWS, DEPTH);

export function conv(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Conv>(args);
  const across = (p.columns + p.tileColumns - 1) / p.tileColumns;
  memory.fill(scratch + ZEROS, 0, 4 * <usize>DEPTH);
  let before: u32 = 0; // tiles of earlier phases
  for (let i: u32 = 0; i < p.phases; i++) {
    const phase = changetype<Phase>(<usize>p.firstPhase + <usize>i * PHASE);
    const rows = p.images * phase.rows * phase.columns, down = (rows + p.tileRows - 1) / p.tileRows;
    const tiles = p.groups * across * down;
    for (let t = (thread + threads - (before % threads)) % threads; t < tiles; t += threads) {
      const row = (t % down) * p.tileRows, place = t / down, left = (place % across) * p.tileColumns;
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
export function placePixels(p: Conv, phase: Phase, row: u32, rows: u32, channel: u32, outChannel: u32, scratch: usize): void {
  let x = row % phase.columns, y = row / phase.columns % phase.rows, image = row / phase.columns / phase.rows;
  let at = scratch + PIXELS;
  for (let i: u32 = 0; i < rows; i++, at += PIXEL) {
    const pixel = changetype<Pixel>(at);
    pixel.y = <i32>(y * p.stride);
    pixel.x = <i32>(x * p.stride);
    pixel.address = p.source + ((image * p.height + pixel.y) * p.width + pixel.x) * p.pixel + (channel << 2);
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
}

/** Where a pixel lies under a tap: in the image, or among zeros. */
// @ts-ignore: decorator
@inline
export function under(p: Conv, tap: Tap, pixel: Pixel, scratch: usize): usize {
  const inside = <u32>(pixel.y + tap.y) < p.height && <u32>(pixel.x + tap.x) < p.width;
  return inside ? <usize>(pixel.address + (tap.y * p.width + tap.x) * p.pixel) : scratch + ZEROS;
}

/** Runs of A: source pixels where they lie. */
function placeTaps(p: Conv, tap: usize, count: u32, length: u32, scratch: usize): void {
  const work = block(scratch), rows = work.rows;
  work.runs = count;
  work.length = length;
  work.aStep = 4;
  for (let i: u32 = 0; i < count; i++, tap += TAP) {
    let pixel = scratch + PIXELS;
    for (let row: u32 = 0; row < rows; row++, pixel += PIXEL) {
      setRun(scratch, count, row, i, under(p, changetype<Tap>(tap), changetype<Pixel>(pixel), scratch));
    }
  }
}

/** Runs of A, copied into one a row. */
function copyTaps(p: Conv, tap: usize, count: u32, length: u32, scratch: usize): void {
  const work = block(scratch), rows = work.rows;
  work.runs = 1;
  work.length = count * length;
  work.aStep = 4;
  let to = scratch + PACKED_A, pixel = scratch + PIXELS;
  for (let row: u32 = 0; row < rows; row++, pixel += PIXEL) {
    setRun(scratch, 1, row, 0, to);
    for (let i: u32 = 0; i < count; i++) {
      const from = under(p, changetype<Tap>(tap + <usize>i * TAP), changetype<Pixel>(pixel), scratch);
      for (let c: usize = 0; c < <usize>length << 2; c += 4, to += 4) store<f32>(to, load<f32>(from + c));
    }
  }
}
