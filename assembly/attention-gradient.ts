// Gradients of attention (Dao et al. 2022, arXiv 2205.14135, appendix B.4), from the saved log-sum-exp, with g = dL/dout:
//
//   p = exp(scale q k^T - lse)         dv = p^T g
//   delta = sum over d of g out        ds = scale p (g v^T - delta)        dq = ds k        dk = ds^T q
//
// One head of one image belongs to one thread. Scores are kept transposed, a block of keys by a block of queries: then p^T and
// ds^T are rows that need no packing, and only dq packs.
import { block, multiply, PACKED_A, placePairs, placePanels, placeRows } from "./gemm";
import { packB, packPairs } from "./pack";
import { decay4, hsum, madd } from "./simd";
import { takeTile } from "./turns";

/** Arguments of the command. Steps are in bytes; g, out, dq, dk and dv have no gaps. */
@unmanaged
class AttentionGrad {
  g: u32;
  q: u32;
  k: u32;
  v: u32;
  out: u32;
  lse: u32;
  dq: u32;
  dk: u32;
  dv: u32;
  batch: u32;
  heads: u32;
  n: u32;
  m: u32;
  d: u32;
  scale: f32;
  qBatch: u32;
  qRow: u32;
  kBatch: u32;
  kRow: u32;
  vBatch: u32;
  vRow: u32;
  /** Queries and keys of a block, at most 128. */
  block: u32;
}

/** Floats of a row of scores, and of the vectors that run along it. */
const WIDTH: u32 = 128;

// Scratch.
const LSE: usize = PACKED_A;
const DELTA: usize = LSE + 4 * <usize>WIDTH;
const P: usize = DELTA + 4 * <usize>WIDTH; // p^T
const DS: usize = P + 4 * <usize>(WIDTH * WIDTH); // g v^T, then ds, transposed
const PAIRS: usize = DS + 4 * <usize>(WIDTH * WIDTH); // ds packed
const PANELS: usize = PAIRS + 4 * <usize>(WIDTH * WIDTH); // five: q^T, g^T, q, g, k
const ROW: usize = 4 * <usize>WIDTH;

export function attentionGrad(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<AttentionGrad>(args);
  for (let t = takeTile(); t < p.batch * p.heads; t = takeTile()) head(p, t / p.heads, t % p.heads, scratch);
}

function head(p: AttentionGrad, image: u32, index: u32, scratch: usize): void {
  const side = <usize>(index * p.d) << 2, row = <usize>(p.heads * p.d) << 2;
  const q = <usize>p.q + <usize>image * p.qBatch + side, k = <usize>p.k + <usize>image * p.kBatch + side;
  const v = <usize>p.v + <usize>image * p.vBatch + side;
  const queries = <usize>(image * p.n) * row + side, keys = <usize>(image * p.m) * row + side;
  const slot = <usize>(p.block * ((p.d + 15) & ~15)) << 2;
  const qT = scratch + PANELS, gT = qT + slot, qPanels = gT + slot, gPanels = qPanels + slot;
  for (let i: u32 = 0; i < p.n; i += p.block) {
    const rows = min(p.block, p.n - i), at = queries + <usize>i * row, g = <usize>p.g + at, qAt = q + <usize>i * p.qRow;
    statistics(p, g, <usize>p.out + at, row, <usize>p.lse + (<usize>((image * p.heads + index) * p.n + i) << 2), rows, scratch);
    packB(qAt, 4, p.qRow, p.d, rows, qT, <usize>p.d << 6);
    packB(g, 4, row, p.d, rows, gT, <usize>p.d << 6);
    packB(qAt, p.qRow, 4, rows, p.d, qPanels, <usize>rows << 6);
    packB(g, row, 4, rows, p.d, gPanels, <usize>rows << 6);
    for (let j: u32 = 0; j < p.m; j += p.block) {
      const count = min(p.block, p.m - j), to = keys + <usize>j * row, kAt = k + <usize>j * p.kRow;
      scores(p, kAt, v + <usize>j * p.vRow, qT, gT, count, rows, scratch);
      product(scratch, count, p.d, rows, scratch + P, ROW, gPanels, <usize>p.dv + to, row, i > 0);
      product(scratch, count, p.d, rows, scratch + DS, ROW, qPanels, <usize>p.dk + to, row, i > 0);
      queryGrad(p, kAt, gPanels + slot, count, rows, <usize>p.dq + at, row, j > 0, scratch);
    }
  }
}

/** Log-sum-exp and delta of a block of queries. */
function statistics(p: AttentionGrad, g: usize, out: usize, row: usize, lse: usize, rows: u32, scratch: usize): void {
  const whole = <usize>(p.d & ~3) << 2, bytes = <usize>p.d << 2;
  for (let r: u32 = 0; r < rows; r++, g += row, out += row) {
    let acc = f32x4.splat(0), i: usize = 0;
    for (; i < whole; i += 16) acc = madd(v128.load(g + i), v128.load(out + i), acc);
    let delta = hsum(acc);
    for (; i < bytes; i += 4) delta += load<f32>(g + i) * load<f32>(out + i);
    const at = scratch + (<usize>r << 2);
    store<f32>(at + DELTA, delta);
    store<f32>(at + LSE, load<f32>(lse + (<usize>r << 2)));
  }
}

/** P and DS for `count` keys and `rows` queries. */
function scores(p: AttentionGrad, k: usize, v: usize, qT: usize, gT: usize, count: u32, rows: u32, scratch: usize): void {
  product(scratch, count, rows, p.d, k, p.kRow, qT, scratch + P, ROW, false);
  product(scratch, count, rows, p.d, v, p.vRow, gT, scratch + DS, ROW, false);
  const scale = f32x4.splat(p.scale), width = <usize>((rows + 7) & ~7) << 2;
  for (let row = scratch, end = scratch + <usize>count * ROW; row < end; row += ROW) {
    for (let i: usize = 0; i < width; i += 32) {
      scoreGrad(row + i, scratch + i, scale);
      scoreGrad(row + i + 16, scratch + i + 16, scale);
    }
  }
}

/** One vector of P and DS in a row of scores, for the queries from `column` on. */
// @ts-ignore: decorator
@inline
function scoreGrad(row: usize, column: usize, scale: v128): void {
  const e = decay4(f32x4.sub(f32x4.mul(v128.load(row + P), scale), v128.load(column + LSE)));
  v128.store(row + P, e);
  v128.store(row + DS, f32x4.mul(f32x4.mul(e, scale), f32x4.sub(v128.load(row + DS), v128.load(column + DELTA))));
}

/** dq (+)= ds k */
function queryGrad(
  p: AttentionGrad, k: usize, panels: usize, count: u32, rows: u32, dq: usize, row: usize, more: bool, scratch: usize,
): void {
  const work = block(scratch);
  work.rows = rows;
  work.columns = p.d;
  work.length = count;
  work.accumulate = more;
  packB(k, p.kRow, 4, count, p.d, panels, <usize>count << 6);
  packPairs(scratch + DS, ROW, 4, count, rows, scratch + PAIRS);
  placePanels(scratch, panels);
  placePairs(scratch, scratch + PAIRS, dq, row);
  multiply(scratch);
}

/** C[rows, columns] (+)= A[rows, k] B, B in panels. */
function product(
  scratch: usize, rows: u32, columns: u32, k: u32, a: usize, aRow: usize, b: usize, c: usize, cRow: usize, accumulate: bool,
): void {
  const work = block(scratch);
  work.rows = rows;
  work.columns = columns;
  work.length = k;
  work.accumulate = accumulate;
  placePanels(scratch, b);
  placeRows(scratch, a, aRow, c, cRow);
  multiply(scratch);
}
