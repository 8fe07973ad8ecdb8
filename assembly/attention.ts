// out = softmax(scale q k^T) v for each head; heads lie side by side in a row. A tile is a block of queries of one head: its scores
// against a block of keys stay in cache, and the softmax is carried from block to block of keys (running maximum and sum;
// Milakov & Gimelshein 2018, arXiv 1805.02867), so the n x m scores never exist as a whole.
//
//   q[b, n, heads d], k, v[b, m, heads d] (rows at any distance) -> out[b, n, heads d], lse[b, heads, n] = log sum exp scale q k^T
import { BLOCK_ROWS, block, FREE, multiply, PACKED_A, placePanels, placeRows } from "./gemm";
import { packB } from "./pack";
import { exp4, hmax, hsum, log4 } from "./simd";
import { takeTile } from "./turns";

/** Keys of a block. */
export const KEYS: u32 = 256;

/** Arguments of the command. Steps are in bytes. */
@unmanaged
class Attention {
  q: u32;
  k: u32;
  v: u32;
  out: u32;
  lse: u32;
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
  /** Queries of a tile, keys of a block. */
  queries: u32;
  keys: u32;
}

// Scratch: panels of k or v, scores, what each query carries along.
const PANELS: usize = PACKED_A;
const SCORES: usize = FREE;
const MAXIMA: usize = SCORES + 4 * <usize>(BLOCK_ROWS * KEYS);
const SUMS: usize = MAXIMA + 4 * <usize>BLOCK_ROWS;

export function attention(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Attention>(args), down = (p.n + p.queries - 1) / p.queries;
  for (let t = takeTile(); t < p.batch * p.heads * down; t = takeTile()) {
    const first = (t % down) * p.queries, head = t / down % p.heads, image = t / down / p.heads;
    tile(p, image, head, first, min(p.queries, p.n - first), scratch);
  }
}

/** Queries [first, first + rows) of one head of one image. */
function tile(p: Attention, image: u32, head: u32, first: u32, rows: u32, scratch: usize): void {
  const work = block(scratch), side = <usize>(head * p.d) << 2, outRow = <usize>(p.heads * p.d) << 2;
  const q = <usize>p.q + <usize>image * p.qBatch + <usize>first * p.qRow + side;
  const k = <usize>p.k + <usize>image * p.kBatch + side, v = <usize>p.v + <usize>image * p.vBatch + side;
  const out = <usize>p.out + <usize>(image * p.n + first) * outRow + side;
  work.rows = rows;
  for (let key: u32 = 0; key < p.m; key += p.keys) {
    const keys = min(p.keys, p.m - key), scores = <usize>((keys + 15) & ~15) << 2;
    work.columns = keys;
    work.length = p.d;
    work.accumulate = false;
    placePanels(scratch, scratch + PANELS);
    packB(k + <usize>key * p.kRow, 4, p.kRow, p.d, keys, work.b, work.bPanel);
    placeRows(scratch, q, p.qRow, scratch + SCORES, scores);
    multiply(scratch);
    for (let row: u32 = 0; row < rows; row++) {
      softmaxRow(p, key == 0, scratch + SCORES + <usize>row * scores, keys, scratch + (<usize>row << 2), out + <usize>row * outRow);
    }
    work.columns = p.d;
    work.length = keys;
    work.accumulate = key > 0;
    placePanels(scratch, scratch + PANELS);
    packB(v + <usize>key * p.vRow, p.vRow, 4, keys, p.d, work.b, work.bPanel);
    placeRows(scratch, scratch + SCORES, scores, out, outRow);
    multiply(scratch);
  }
  const lse = <usize>p.lse + (<usize>((image * p.heads + head) * p.n + first) << 2);
  for (let row: usize = 0; row < <usize>rows; row++) {
    const sum = load<f32>(scratch + SUMS + (row << 2));
    scaleRow(out + row * outRow, p.d, 1 / sum);
    store<f32>(lse + (row << 2), load<f32>(scratch + MAXIMA + (row << 2)) + f32x4.extract_lane(log4(f32x4.splat(sum)), 0));
  }
}

/** Scores of one query become exp(scale s - maximum). `carried` + MAXIMA, SUMS: the query's; an earlier sum and `out` are rescaled. */
function softmaxRow(p: Attention, first: bool, scores: usize, keys: u32, carried: usize, out: usize): void {
  const whole = scores + (<usize>(keys & ~3) << 2), end = scores + (<usize>keys << 2), padded = scores + (<usize>((keys + 3) & ~3) << 2);
  const scale = f32x4.splat(p.scale);
  let largest = f32x4.splat(f32.NEGATIVE_INFINITY), at = scores; // pmax passes over NaN, which exp then brings back
  for (; at < whole; at += 16) {
    const s = f32x4.mul(v128.load(at), scale);
    v128.store(at, s);
    largest = f32x4.pmax(largest, s);
  }
  const before: f32 = first ? f32.NEGATIVE_INFINITY : load<f32>(carried + MAXIMA);
  let maximum = max<f32>(before, hmax(largest));
  for (; at < end; at += 4) {
    store<f32>(at, load<f32>(at) * p.scale);
    maximum = max<f32>(maximum, load<f32>(at));
  }
  for (; at < padded; at += 4) store<f32>(at, f32.NEGATIVE_INFINITY);
  const shift = f32x4.splat(maximum);
  let total = f32x4.splat(0);
  for (at = scores; at < padded; at += 16) {
    const e = exp4(f32x4.sub(v128.load(at), shift));
    v128.store(at, e);
    total = f32x4.add(total, e);
  }
  let sum = hsum(total);
  if (!first) {
    const shrink = f32x4.extract_lane(exp4(f32x4.splat(before - maximum)), 0);
    sum += shrink * load<f32>(carried + SUMS);
    if (shrink != 1) scaleRow(out, p.d, shrink);
  }
  store<f32>(carried + MAXIMA, maximum);
  store<f32>(carried + SUMS, sum);
}

/** row[n] *= scale */
function scaleRow(row: usize, n: u32, scale: f32): void {
  const whole = row + (<usize>(n & ~3) << 2), end = row + (<usize>n << 2), scale4 = f32x4.splat(scale);
  for (; row < whole; row += 16) v128.store(row, f32x4.mul(v128.load(row), scale4));
  for (; row < end; row += 4) store<f32>(row, load<f32>(row) * scale);
}
