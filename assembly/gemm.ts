// The heart of every product: C[rows, columns] (+)= A[rows, k] B[k, columns] for one block of k, two rows by sixteen columns at a time.
// B comes in panels of 16 columns. A is read where it lies: each row is a list of runs of equal length (one run for a matrix, one for
// each tap of a convolution), so only a transposed A needs packing. Sums go along k in order, so tiles may be cut anywhere.
import { madd } from "./simd";

/** Columns of a panel of B; rows come in pairs. */
export const PANEL: u32 = 16;
/** A tile is computed in blocks of at most so many rows. */
export const BLOCK_ROWS: u32 = 128;
/** The largest number of columns of a tile. */
export const TILE_COLUMNS: u32 = 512;
/** The largest depth of a block: a panel of B, 16 floats deep each, stays in L1. */
export const DEPTH: u32 = 320;
/** The most runs that a row may have in one block. */
export const RUNS: u32 = 64;

// A thread's scratch, in bytes.
const OUTS: usize = 256; // the Block itself lies below
const SPARE: usize = OUTS + 4 * <usize>BLOCK_ROWS + 64; // two rows of 16 columns
const NOWHERE: usize = SPARE + 128; // what the missing row of an odd block is written to
const RUN_TABLE: usize = NOWHERE + 4 * <usize>TILE_COLUMNS;
export const PACKED_A: usize = RUN_TABLE + 4 * <usize>(BLOCK_ROWS * RUNS);
export const PACKED_B: usize = PACKED_A + 4 * <usize>(BLOCK_ROWS * DEPTH) + 64; // copies of rows run over by less than a vector
/** Scratch from here on is free for epilogues. */
export const FREE: usize = PACKED_B + 4 * <usize>(TILE_COLUMNS * DEPTH);

/** One product, at the start of a thread's scratch. Steps are in bytes. */
@unmanaged
export class Block {
  rows: u32;
  columns: u32;
  /** Runs of a row of A, the floats in each and the step between them. */
  runs: u32;
  length: u32;
  aStep: usize;
  /** First panel of B, the step along k, the step to the next panel. */
  b: usize;
  bStep: usize;
  bPanel: usize;
  /** Whether C has the sum of earlier blocks. */
  accumulate: bool;
}

// @ts-ignore: decorator
@inline
export function block(scratch: usize): Block {
  return changetype<Block>(scratch);
}

/** Row `row` of C starts at `address`. Of an odd number of rows the last is computed twice and once thrown away. */
// @ts-ignore: decorator
@inline
export function setOut(scratch: usize, row: u32, address: usize): void {
  store<u32>(scratch + OUTS + (<usize>row << 2), <u32>address);
  store<u32>(scratch + OUTS + (<usize>row << 2), <u32>(scratch + NOWHERE), 4);
}

// @ts-ignore: decorator
@inline
export function outAt(scratch: usize, row: u32): usize {
  return <usize>load<u32>(scratch + OUTS + (<usize>row << 2));
}

/** Where the table has run `run` of rows 2 pair and 2 pair + 1: two addresses. */
// @ts-ignore: decorator
@inline
export function runAt(scratch: usize, runs: u32, pair: u32, run: u32): usize {
  return scratch + RUN_TABLE + (<usize>(pair * runs + run) << 3);
}

/** Run `run` of row `row` of A starts at `address`. Rows in order: an odd last row is its own partner. */
// @ts-ignore: decorator
@inline
export function setRun(scratch: usize, runs: u32, row: u32, run: u32, address: usize): void {
  const at = runAt(scratch, runs, row >> 1, run);
  store<u32>(at, <u32>address, 4);
  if (!(row & 1)) store<u32>(at, <u32>address);
}

/** Rows of A where they lie, `aRow` bytes apart, and rows of C. */
export function placeRows(scratch: usize, a: usize, aRow: usize, c: usize, cRow: usize): void {
  const work = block(scratch);
  work.runs = 1;
  work.aStep = 4;
  for (let row: u32 = 0; row < work.rows; row++, a += aRow, c += cRow) {
    setRun(scratch, 1, row, 0, a);
    setOut(scratch, row, c);
  }
}

/** Rows of A that packPairs has written, and rows of C. */
export function placePairs(scratch: usize, a: usize, c: usize, cRow: usize): void {
  const work = block(scratch), pair = <usize>work.length << 3;
  work.runs = 1;
  work.aStep = 8;
  for (let row: u32 = 0; row < work.rows; row++, c += cRow) {
    setRun(scratch, 1, row, 0, a + <usize>(row >> 1) * pair + (<usize>(row & 1) << 2));
    setOut(scratch, row, c);
  }
}

/** Rows of A that are the columns of panels [panel][length][16], `panel` bytes apart, and rows of C. */
export function placePanelRows(scratch: usize, a: usize, panel: usize, c: usize, cRow: usize): void {
  const work = block(scratch);
  work.runs = 1;
  work.aStep = 64;
  for (let row: u32 = 0; row < work.rows; row++, c += cRow) {
    setRun(scratch, 1, row, 0, a + <usize>(row / PANEL) * panel + (<usize>(row % PANEL) << 2));
    setOut(scratch, row, c);
  }
}

/** Panels of B that packB has written or will write: [panel][length][16]. */
export function placePanels(scratch: usize, b: usize): void {
  const work = block(scratch);
  work.b = b;
  work.bStep = 64;
  work.bPanel = <usize>work.length << 6;
}

/** C (+)= A B as the block at the start of `scratch` says. */
export function multiply(scratch: usize): void {
  const work = block(scratch), rows = work.rows, runs = work.runs, spare = scratch + SPARE;
  for (let column: u32 = 0; column < work.columns; column += PANEL) {
    const b = work.b + <usize>(column / PANEL) * work.bPanel, width = min(PANEL, work.columns - column);
    for (let row: u32 = 0; row < rows; row += 2) {
      const out = scratch + OUTS + (<usize>row << 2), a = runAt(scratch, runs, row >> 1, 0);
      const c0 = <usize>load<u32>(out) + (<usize>column << 2), c1 = <usize>load<u32>(out, 4) + (<usize>column << 2);
      if (width == PANEL) {
        multiply2x16(a, runs, work.length, work.aStep, b, work.bStep, c0, c1, work.accumulate);
      } else {
        multiply2x16(a, runs, work.length, work.aStep, b, work.bStep, spare, spare + 64, false);
        put(spare, c0, width, work.accumulate);
        put(spare + 64, c1, width, work.accumulate);
      }
    }
  }
}

/** c[width] (+)= spare */
function put(spare: usize, c: usize, width: u32, accumulate: bool): void {
  for (const end = c + (<usize>width << 2); c < end; c += 4, spare += 4) {
    store<f32>(c, accumulate ? load<f32>(c) + load<f32>(spare) : load<f32>(spare));
  }
}

/**
 * Two rows of C by 16 columns. Node 20 keeps about 14 vectors in registers, so this shape, not unrolled, is its fastest: 65 of the
 * 66 GFLOP/s that 128-bit SIMD can do at 4.1 GHz. C is loaded, then added, then stored, so that engines which pair vectors can.
 */
function multiply2x16(a: usize, runs: u32, length: u32, aStep: usize, b: usize, bStep: usize, c0: usize, c1: usize, accumulate: bool): void {
  let c00 = f32x4.splat(0), c01 = c00, c02 = c00, c03 = c00, c10 = c00, c11 = c00, c12 = c00, c13 = c00;
  const last = a + (<usize>runs << 3);
  do {
    let a0 = <usize>load<u32>(a), a1 = <usize>load<u32>(a, 4), left = length;
    do {
      const b0 = v128.load(b), b1 = v128.load(b, 16), b2 = v128.load(b, 32), b3 = v128.load(b, 48);
      const x = v128.load32_splat(a0), y = v128.load32_splat(a1);
      c00 = madd(x, b0, c00);
      c01 = madd(x, b1, c01);
      c02 = madd(x, b2, c02);
      c03 = madd(x, b3, c03);
      c10 = madd(y, b0, c10);
      c11 = madd(y, b1, c11);
      c12 = madd(y, b2, c12);
      c13 = madd(y, b3, c13);
      a0 += aStep;
      a1 += aStep;
      b += bStep;
    } while (--left);
    a += 8;
  } while (a != last);
  if (accumulate) {
    c00 = f32x4.add(v128.load(c0), c00);
    c01 = f32x4.add(v128.load(c0, 16), c01);
    c02 = f32x4.add(v128.load(c0, 32), c02);
    c03 = f32x4.add(v128.load(c0, 48), c03);
    c10 = f32x4.add(v128.load(c1), c10);
    c11 = f32x4.add(v128.load(c1, 16), c11);
    c12 = f32x4.add(v128.load(c1, 32), c12);
    c13 = f32x4.add(v128.load(c1, 48), c13);
  }
  v128.store(c0, c00);
  v128.store(c0, c01, 16);
  v128.store(c0, c02, 32);
  v128.store(c0, c03, 48);
  v128.store(c1, c10);
  v128.store(c1, c11, 16);
  v128.store(c1, c12, 32);
  v128.store(c1, c13, 48);
}
