// out = softmax(scale q k^T) v for each head; heads lie side by side in a row. A tile is a run of queries of one head. A block of keys and
// its values are packed once for the tile; then a few queries at a time, so that their scores stay in the first cache, go through scores,
// softmax and the product with the values. The softmax is carried from block to block of keys (running maximum and sum; Milakov &
// Gimelshein 2018, arXiv 1805.02867), so the n x m scores never exist as a whole.
//
//   q[b, n, heads d], k, v[b, m, heads d] (rows at any distance) -> out[b, n, heads d], lse[b, heads, n] = log sum exp scale q k^T
import { block, multiply, PACKED_A, placePanels, placeRows } from "./gemm";
import { packB } from "./pack";
import { decay4, exp4, first, hmax, hsum, log4, storeTail } from "./simd";
import { takeTile } from "./turns";

/** Keys of a block, queries of a tile, channels of a head and numbers of a block of scores at most. */
const KEYS: u32 = 256;
const QUERIES: u32 = 256;
const CHANNELS: u32 = 512;
const SCORES: u32 = 8192;

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
  /** Queries of a tile, of a block of scores, and keys of a block. */
  queries: u32;
  rows: u32;
  keys: u32;
}

// Scratch: panels of k, panels of v, scores, what each query carries along.
const KEY_PANELS: usize = PACKED_A;
const VALUE_PANELS: usize = KEY_PANELS + 4 * <usize>(KEYS * CHANNELS);
const BLOCK: usize = VALUE_PANELS + 4 * <usize>(KEYS * CHANNELS);
const MAXIMA: usize = BLOCK + 4 * <usize>SCORES;
const SUMS: usize = MAXIMA + 4 * <usize>QUERIES;

export function attention(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Attention>(args), down = (p.n + p.queries - 1) / p.queries;
  for (let t = takeTile(); t < p.batch * p.heads * down; t = takeTile()) {
    const first = (t % down) * p.queries, head = t / down % p.heads, image = t / down / p.heads;
    tile(p, image, head, first, min(p.queries, p.n - first), scratch);
  }
}

/** Queries [first, first + count) of one head of one image. */
function tile(p: Attention, image: u32, head: u32, first: u32, count: u32, scratch: usize): void {
  const side = <usize>(head * p.d) << 2, outRow = <usize>(p.heads * p.d) << 2;
  const q = <usize>p.q + <usize>image * p.qBatch + <usize>first * p.qRow + side;
  const k = <usize>p.k + <usize>image * p.kBatch + side, v = <usize>p.v + <usize>image * p.vBatch + side;
  const out = <usize>p.out + <usize>(image * p.n + first) * outRow + side;
  for (let key: u32 = 0; key < p.m; key += p.keys) {
    const keys = min(p.keys, p.m - key);
    packB(k + <usize>key * p.kRow, 4, p.kRow, p.d, keys, scratch + KEY_PANELS, <usize>p.d << 6);
    packB(v + <usize>key * p.vRow, p.vRow, 4, keys, p.d, scratch + VALUE_PANELS, <usize>keys << 6);
    for (let row: u32 = 0; row < count; row += p.rows) {
      queries(p, key == 0, keys, q + <usize>row * p.qRow, out + <usize>row * outRow, row, min(p.rows, count - row), scratch);
    }
  }
  finish(p, count, <usize>p.lse + (<usize>((image * p.heads + head) * p.n + first) << 2), out, outRow, scratch);
}

/** A block of queries, from `row` of the tile on, against a block of keys. */
function queries(p: Attention, fresh: bool, keys: u32, q: usize, out: usize, row: u32, rows: u32, scratch: usize): void {
  const work = block(scratch), scores = <usize>((keys + 15) & ~15) << 2, outRow = <usize>(p.heads * p.d) << 2;
  work.rows = rows;
  work.columns = keys;
  work.length = p.d;
  work.accumulate = false;
  placePanels(scratch, scratch + KEY_PANELS);
  placeRows(scratch, q, p.qRow, scratch + BLOCK, scores);
  multiply(scratch);
  for (let r: u32 = 0; r < rows; r++) {
    softmaxRow(p, fresh, scratch + BLOCK + <usize>r * scores, keys, scratch + (<usize>(row + r) << 2), out + <usize>r * outRow);
  }
  work.columns = p.d;
  work.length = keys;
  work.accumulate = !fresh;
  placePanels(scratch, scratch + VALUE_PANELS);
  placeRows(scratch, scratch + BLOCK, scores, out, outRow);
  multiply(scratch);
}

/** Divides finished rows by their sums and keeps the logarithms. */
function finish(p: Attention, rows: u32, lse: usize, out: usize, outRow: usize, scratch: usize): void {
  const bytes = <usize>rows << 2;
  for (let at: usize = 0; at < bytes; at += 4, out += outRow) scaleRow(out, p.d, 1 / load<f32>(scratch + SUMS + at));
  for (let at: usize = 0; at < bytes; at += 16) {
    const logarithm = log4(v128.load(scratch + SUMS + at));
    storeTail(lse + at, f32x4.add(v128.load(scratch + MAXIMA + at), logarithm), bytes - at);
  }
}

/** Scores of one query become exp(scale s - maximum). `carried` + MAXIMA, SUMS: the query's; an earlier sum and `out` are rescaled. */
function softmaxRow(p: Attention, fresh: bool, scores: usize, keys: u32, carried: usize, out: usize): void {
  const before: f32 = fresh ? f32.NEGATIVE_INFINITY : load<f32>(carried + MAXIMA);
  const maximum = max<f32>(before, scaled(scores, keys, p.scale));
  let sum = exponentials(scores, keys, maximum);
  if (!fresh) {
    const shrink = f32x4.extract_lane(exp4(f32x4.splat(before - maximum)), 0);
    sum += shrink * load<f32>(carried + SUMS);
    if (shrink != 1) scaleRow(out, p.d, shrink);
  }
  store<f32>(carried + MAXIMA, maximum);
  store<f32>(carried + SUMS, sum);
}

/** Scales a row, fills its last vector up with -infinity and gives the largest; passes over NaN, which exponentials bring back. */
function scaled(row: usize, n: u32, by: f32): f32 {
  const whole = row + (<usize>(n & ~3) << 2), scale = f32x4.splat(by);
  let largest = f32x4.splat(f32.NEGATIVE_INFINITY);
  for (; row < whole; row += 16) {
    const s = f32x4.mul(v128.load(row), scale);
    v128.store(row, s);
    largest = f32x4.pmax(largest, s);
  }
  if (n & 3) {
    const s = first(n & 3, f32x4.mul(v128.load(row), scale), f32.NEGATIVE_INFINITY);
    v128.store(row, s);
    largest = f32x4.pmax(largest, s);
  }
  return hmax(largest);
}

/** Whole vectors of a row become exp(s - maximum). Gives their sum. */
function exponentials(row: usize, n: u32, maximum: f32): f32 {
  const end = row + (<usize>((n + 3) & ~3) << 2), shift = f32x4.splat(maximum);
  let a = f32x4.splat(0), b = a;
  for (; row + 32 <= end; row += 32) {
    const p = decay4(f32x4.sub(v128.load(row), shift)), q = decay4(f32x4.sub(v128.load(row, 16), shift));
    v128.store(row, p);
    v128.store(row, q, 16);
    a = f32x4.add(a, p);
    b = f32x4.add(b, q);
  }
  if (row < end) {
    const p = decay4(f32x4.sub(v128.load(row), shift));
    v128.store(row, p);
    a = f32x4.add(a, p);
  }
  return hsum(f32x4.add(a, b));
}

/** row[n] *= scale */
function scaleRow(row: usize, n: u32, scale: f32): void {
  const whole = row + (<usize>(n & ~3) << 2), end = row + (<usize>n << 2), scale4 = f32x4.splat(scale);
  for (; row < whole; row += 16) v128.store(row, f32x4.mul(v128.load(row), scale4));
  for (; row < end; row += 4) store<f32>(row, load<f32>(row) * scale);
}
