// Copies of a block of B in panels of 16 columns ([panel][k][16], zeros beyond the last column) and of a transposed A in pairs of
// rows ([pair][k][2]). Steps are in bytes; `panel` is the distance between panels, `to` the first row to write in panel 0.
import { PANEL } from "./gemm";

/** B[k, columns] with any steps. */
export function packB(from: usize, kStep: usize, columnStep: usize, k: u32, columns: u32, to: usize, panel: usize): void {
  let column: u32 = 0;
  if (columnStep == 4) {
    for (; column + 4 * PANEL <= columns; column += 4 * PANEL, to += panel << 2, from += PANEL << 4) packWide(from, kStep, k, to, panel);
  }
  for (; column < columns; column += PANEL, to += panel, from += columnStep << 4) {
    const width = min(PANEL, columns - column);
    if (columnStep == 4) packColumns(from, kStep, k, width, to);
    else if (kStep == 4) packRows(from, columnStep, k, width, to);
    else packStrided(from, kStep, columnStep, k, width, to);
  }
}

/** Four panels of a B whose rows are contiguous: longer runs of memory than one after the other. */
function packWide(from: usize, kStep: usize, k: u32, to: usize, panel: usize): void {
  const to1 = to + panel, to2 = to1 + panel, to3 = to2 + panel;
  for (let i: usize = 0, end = <usize>k << 6; i != end; i += 64, from += kStep) {
    copy16(from, to + i);
    copy16(from + 64, to1 + i);
    copy16(from + 128, to2 + i);
    copy16(from + 192, to3 + i);
  }
}

// @ts-ignore: decorator
@inline
function copy16(from: usize, to: usize): void {
  const b0 = v128.load(from), b1 = v128.load(from, 16), b2 = v128.load(from, 32), b3 = v128.load(from, 48);
  v128.store(to, b0);
  v128.store(to, b1, 16);
  v128.store(to, b2, 32);
  v128.store(to, b3, 48);
}

/** One panel of a B whose rows are contiguous. */
function packColumns(from: usize, kStep: usize, k: u32, width: u32, to: usize): void {
  if (width != PANEL) {
    packStrided(from, kStep, 4, k, width, to);
    return;
  }
  for (const end = to + (<usize>k << 6); to != end; to += 64, from += kStep) copy16(from, to);
}

/** One panel of a B whose columns are contiguous: blocks of 4 x 4, transposed. */
function packRows(from: usize, columnStep: usize, k: u32, width: u32, to: usize): void {
  const whole = k & ~3;
  for (let column: u32 = 0; column < PANEL; column += 4, to += 16, from += columnStep << 2) {
    const full = column + 4 <= width;
    if (full) transpose4(from, columnStep, whole, to);
    const done = full ? whole : 0;
    packFour(from + (<usize>done << 2), columnStep, k - done, column < width ? min<u32>(width - column, 4) : 0, to + (<usize>done << 6));
  }
}

/** Four columns of k floats, k divisible by 4, into rows that are 64 bytes apart. */
function transpose4(from: usize, columnStep: usize, k: u32, to: usize): void {
  let p0 = from, p1 = from + columnStep, p2 = p1 + columnStep, p3 = p2 + columnStep;
  for (const end = to + (<usize>k << 6); to != end; to += 256) {
    const r0 = v128.load(p0), r1 = v128.load(p1), r2 = v128.load(p2), r3 = v128.load(p3);
    const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5), high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
    const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5), high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
    v128.store(to, v128.shuffle<i64>(low01, low23, 0, 2));
    v128.store(to, v128.shuffle<i64>(low01, low23, 1, 3), 64);
    v128.store(to, v128.shuffle<i64>(high01, high23, 0, 2), 128);
    v128.store(to, v128.shuffle<i64>(high01, high23, 1, 3), 192);
    p0 += 16;
    p1 += 16;
    p2 += 16;
    p3 += 16;
  }
}

/** k rows of four columns, of which `width` are there. */
function packFour(from: usize, columnStep: usize, k: u32, width: u32, to: usize): void {
  for (const end = to + (<usize>k << 6); to != end; to += 64, from += 4) {
    v128.store(to, f32x4.splat(0));
    for (let i: u32 = 0; i < width; i++) store<f32>(to + (<usize>i << 2), load<f32>(from + <usize>i * columnStep));
  }
}

/** One panel, element by element. */
function packStrided(from: usize, kStep: usize, columnStep: usize, k: u32, width: u32, to: usize): void {
  for (const end = to + (<usize>k << 6); to != end; to += 64, from += kStep) {
    for (let i: u32 = 0; i < PANEL; i++) store<f32>(to + (<usize>i << 2), i < width ? load<f32>(from + <usize>i * columnStep) : 0);
  }
}

/** Rows of A in pairs; an odd last row stands alone beside a zero. Pair p starts at to + p k 8. */
export function packPairs(from: usize, kStep: usize, rowStep: usize, k: u32, rows: u32, to: usize): void {
  const pair = <usize>k << 3;
  let row: u32 = 0;
  if (rowStep == 4) {
    // Sixteen rows at a time use up a cache line: lines that are a power of two apart would not stay for the next.
    for (; row + 16 <= rows; row += 16, from += 64, to += pair << 3) packSixteen(from, kStep, pair, to);
    for (; row + 4 <= rows; row += 4, from += 16, to += pair << 1) {
      for (let p = from, out = to, end = to + pair; out != end; out += 8, p += kStep) storeFour(v128.load(p), out, pair);
    }
  }
  for (; row < rows; row += 2, from += rowStep << 1, to += pair) {
    const single = row + 1 == rows;
    for (let p = from, out = to, end = to + pair; out != end; out += 8, p += kStep) {
      store<f32>(out, load<f32>(p));
      store<f32>(out, single ? 0 : load<f32>(p + rowStep), 4);
    }
  }
}

function packSixteen(from: usize, kStep: usize, pair: usize, to: usize): void {
  const next = pair << 1, to1 = to + next, to2 = to1 + next, to3 = to2 + next;
  for (let i: usize = 0; i != pair; i += 8, from += kStep) {
    const a0 = v128.load(from), a1 = v128.load(from, 16), a2 = v128.load(from, 32), a3 = v128.load(from, 48);
    storeFour(a0, to + i, pair);
    storeFour(a1, to1 + i, pair);
    storeFour(a2, to2 + i, pair);
    storeFour(a3, to3 + i, pair);
  }
}

/** One k of two pairs. */
// @ts-ignore: decorator
@inline
function storeFour(four: v128, to: usize, pair: usize): void {
  v128.store64_lane(to, four, 0);
  v128.store64_lane(to + pair, four, 1);
}
