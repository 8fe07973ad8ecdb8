// C[m, n] = A[m, k] B[k, n], batched, operands with any steps (a transpose is a swap of steps). Cut into tiles of rows x columns x
// chunk of k; a tile belongs to one thread. With more than one chunk, C is [chunks, m, n] and sumParts adds the chunks in order.
import { elementwiseTile } from "./elementwise";
import { BLOCK_ROWS, block, DEPTH, FREE, multiply, PACKED_A, PACKED_B, PANEL, placePairs, placePanels, placeRows } from "./gemm";
import { packB, packPairs } from "./pack";
import { takeTile } from "./turns";

/** Up to so many rows, panels of B are read where they lie: copying them would cost more than it saves. */
const FEW_ROWS: u32 = 8;

/** Arguments of the command. Steps are in bytes. */
@unmanaged
class Matmul {
  a: u32;
  b: u32;
  c: u32;
  m: u32;
  n: u32;
  k: u32;
  aRow: u32;
  aK: u32;
  bK: u32;
  bColumn: u32;
  /** The batch has two axes. */
  outer: u32;
  inner: u32;
  aOuter: u32;
  aInner: u32;
  bOuter: u32;
  bInner: u32;
  tileRows: u32;
  tileColumns: u32;
  chunks: u32;
  /** 0, or a fused program for finished tiles of C[batch m, n]. */
  epilogue: u32;
}

export function matmul(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Matmul>(args);
  const down = (p.m + p.tileRows - 1) / p.tileRows, across = (p.n + p.tileColumns - 1) / p.tileColumns;
  const tiles = p.outer * p.inner * p.chunks * down * across;
  for (let t = takeTile(); t < tiles; t = takeTile()) {
    const place = t / down, row = (t % down) * p.tileRows, column = (place % across) * p.tileColumns;
    const part = place / across;
    tile(p, part / p.chunks, part % p.chunks, row, min(p.m, row + p.tileRows), column, min(p.n, column + p.tileColumns), scratch);
  }
}

/** Rows [top, bottom) and columns [left, right) of one matrix of the batch, over one chunk of k. */
function tile(p: Matmul, index: u32, chunk: u32, top: u32, bottom: u32, left: u32, right: u32, scratch: usize): void {
  const outer = index / p.inner, inner = index % p.inner, columns = right - left;
  const a = <usize>p.a + <usize>outer * p.aOuter + <usize>inner * p.aInner;
  const b = <usize>p.b + <usize>outer * p.bOuter + <usize>inner * p.bInner + <usize>left * p.bColumn;
  const c = <usize>p.c + ((<usize>(index * p.chunks + chunk) * p.m * p.n + left) << 2);
  const begin = <u32>(<u64>p.k * chunk / p.chunks), end = <u32>(<u64>p.k * (chunk + 1) / p.chunks);
  const blocks = (end - begin + DEPTH - 1) / DEPTH, work = block(scratch);
  work.columns = columns;
  for (let i: u32 = 0; i < blocks; i++) {
    const k0 = begin + <u32>(<u64>(end - begin) * i / blocks), k1 = begin + <u32>(<u64>(end - begin) * (i + 1) / blocks);
    work.length = k1 - k0;
    work.accumulate = i > 0;
    placeB(p, b + <usize>k0 * p.bK, bottom - top, scratch);
    for (let row = top; row < bottom; row += BLOCK_ROWS) {
      work.rows = min(BLOCK_ROWS, bottom - row);
      placeA(p, a + <usize>row * p.aRow + <usize>k0 * p.aK, c + (<usize>row * p.n << 2), scratch);
      multiply(scratch);
      if (p.epilogue && i + 1 == blocks) {
        const first = index * p.m + row;
        elementwiseTile(p.epilogue, first, first + work.rows, left, right, scratch + FREE);
      }
    }
  }
}

/** Panels of B for the block: a copy, or B itself. */
function placeB(p: Matmul, b: usize, rows: u32, scratch: usize): void {
  const work = block(scratch);
  if (rows <= FEW_ROWS && p.bColumn == 4 && work.columns % PANEL == 0) {
    work.b = b;
    work.bStep = p.bK;
    work.bPanel = 64;
  } else {
    placePanels(scratch, scratch + PACKED_B);
    packB(b, p.bK, p.bColumn, work.length, work.columns, work.b, work.bPanel);
  }
}

/** Rows of A and C for the block: where they lie, or a copy in pairs if k is not contiguous. */
function placeA(p: Matmul, a: usize, c: usize, scratch: usize): void {
  const work = block(scratch), cRow = <usize>p.n << 2;
  if (p.aK == 4) {
    placeRows(scratch, a, p.aRow, c, cRow);
    return;
  }
  packPairs(a, p.aK, p.aRow, work.length, work.rows, scratch + PACKED_A);
  placePairs(scratch, scratch + PACKED_A, c, cRow);
}

/** y[rows, n] = the sum of parts[count, rows, n] in order. Tiles of 64 rows. args: parts, y, count, rows, n, epilogue or 0 */
export function sumParts(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const parts = <usize>load<u32>(args), y = <usize>load<u32>(args, 4), count = load<u32>(args, 8);
  const rows = load<u32>(args, 12), n = load<u32>(args, 16), epilogue = load<u32>(args, 20);
  const step = <usize>rows * n << 2;
  for (let row = thread * 64; row < rows; row += threads * 64) {
    const end = min(rows, row + 64);
    let at = <usize>row * n << 2;
    const stop = <usize>end * n << 2, whole = at + ((stop - at) & ~15);
    for (; at < whole; at += 16) {
      let sum = v128.load(parts + at);
      for (let i: u32 = 1; i < count; i++) sum = f32x4.add(sum, v128.load(parts + <usize>i * step + at));
      v128.store(y + at, sum);
    }
    for (; at < stop; at += 4) {
      let sum = load<f32>(parts + at);
      for (let i: u32 = 1; i < count; i++) sum += load<f32>(parts + <usize>i * step + at);
      store<f32>(y + at, sum);
    }
    if (epilogue) elementwiseTile(epilogue, row, end, 0, n, scratch);
  }
}
