// Sums and maxima, and what works on whole rows: softmax, argmax, argsort. Long sums go in parts whose size does not depend on
// the number of threads; each part is summed in lanes, the parts in a second pass, so the order is always the same.
import { exp4, first, hmax, hsum, log4, max4, share, storeFirst } from "./simd";

/** Floats of a row in one step of four vectors. */
const STEP: usize = 64;

// @ts-ignore: decorator
@inline
function join(maximum: bool, a: v128, b: v128): v128 {
  return maximum ? max4(a, b) : f32x4.add(a, b);
}

// @ts-ignore: decorator
@inline
function start(maximum: bool): f32 {
  return maximum ? f32.NEGATIVE_INFINITY : 0;
}

/** The sum or the largest of `bytes` of floats: four vectors side by side, then a scalar tail. */
// @ts-ignore: decorator
@inline
export function reduceRow(maximum: bool, from: usize, bytes: usize): f32 {
  let a = f32x4.splat(start(maximum)), b = a, c = a, d = a;
  let i: usize = 0;
  for (; i + STEP <= bytes; i += STEP) {
    a = join(maximum, a, v128.load(from + i));
    b = join(maximum, b, v128.load(from + i, 16));
    c = join(maximum, c, v128.load(from + i, 32));
    d = join(maximum, d, v128.load(from + i, 48));
  }
  for (; i + 16 <= bytes; i += 16) a = join(maximum, a, v128.load(from + i));
  const all = join(maximum, join(maximum, a, b), join(maximum, c, d));
  let result = maximum ? hmax(all) : hsum(all);
  for (; i < bytes; i += 4) result = maximum ? max<f32>(result, load<f32>(from + i)) : result + load<f32>(from + i);
  return result;
}

/**
 * y[r, p] = the sum or maximum of part p of row r: x [rows, n] in parts of `part` -> y [rows, parts].
 * args: x, y, rows, n, part, maximum
 */
export function reduceRows(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const x: usize = load<u32>(args), y: usize = load<u32>(args, 4), rows = load<u32>(args, 8), n = load<u32>(args, 12);
  const part = load<u32>(args, 16), maximum = load<u32>(args, 20);
  const parts = (n + part - 1) / part, end = share(rows * parts, thread + 1, threads);
  for (let at = share(rows * parts, thread, threads); at < end; at++) {
    const first = (at % parts) * part, from = x + (((<usize>at / parts) * n + first) << 2), bytes = <usize>min(part, n - first) << 2;
    store<f32>(y + (<usize>at << 2), maximum ? reduceRow(true, from, bytes) : reduceRow(false, from, bytes));
  }
}

/** Sum or maximum over `count` rows at a distance of `stride` bytes, for 32 columns. */
// @ts-ignore: decorator
@inline
function reduceWide(maximum: bool, from: usize, to: usize, count: u32, stride: usize): void {
  let a = f32x4.splat(start(maximum)), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
  for (; count > 0; count--, from += stride) {
    a = join(maximum, a, v128.load(from));
    b = join(maximum, b, v128.load(from, 16));
    c = join(maximum, c, v128.load(from, 32));
    d = join(maximum, d, v128.load(from, 48));
    e = join(maximum, e, v128.load(from, 64));
    f = join(maximum, f, v128.load(from, 80));
    g = join(maximum, g, v128.load(from, 96));
    h = join(maximum, h, v128.load(from, 112));
  }
  v128.store(to, a);
  v128.store(to, b, 16);
  v128.store(to, c, 32);
  v128.store(to, d, 48);
  v128.store(to, e, 64);
  v128.store(to, f, 80);
  v128.store(to, g, 96);
  v128.store(to, h, 112);
}

/** The same for columns [0, width): 32 at a time, then four, then one. */
// @ts-ignore: decorator
@inline
export function reduceBand(maximum: bool, from: usize, to: usize, count: u32, stride: usize, width: usize): void {
  let i: usize = 0;
  for (; i + 128 <= width; i += 128) reduceWide(maximum, from + i, to + i, count, stride);
  for (; i + 16 <= width; i += 16) {
    let sum = f32x4.splat(start(maximum)), at = from + i;
    for (let r: u32 = 0; r < count; r++, at += stride) sum = join(maximum, sum, v128.load(at));
    v128.store(to + i, sum);
  }
  for (; i < width; i += 4) {
    let sum = start(maximum), at = from + i;
    for (let r: u32 = 0; r < count; r++, at += stride) sum = maximum ? max<f32>(sum, load<f32>(at)) : sum + load<f32>(at);
    store<f32>(to + i, sum);
  }
}

/** Columns that one thread takes at a time, in bytes. */
export const BAND: u32 = 1024;

/**
 * y[o, p, i] = the sum or maximum over part p of the middle axis: x [outer, n, inner] in parts of `part` -> y [outer, parts, inner].
 * args: x, y, outer, n, inner, part, maximum
 */
export function reduceColumns(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const x: usize = load<u32>(args), y: usize = load<u32>(args, 4), outer = load<u32>(args, 8), n = load<u32>(args, 12);
  const bytes = load<u32>(args, 16) << 2, part = load<u32>(args, 20), maximum = load<u32>(args, 24);
  const parts = (n + part - 1) / part, bands = (bytes + BAND - 1) / BAND;
  const end = share(outer * parts * bands, thread + 1, threads);
  for (let at = share(outer * parts * bands, thread, threads); at < end; at++) {
    const band = (at % bands) * BAND, block = at / bands, first = (block % parts) * part;
    const from = x + (<usize>(block / parts) * n + first) * bytes + band, to = y + <usize>block * bytes + band;
    const count = min(part, n - first), width = min(BAND, bytes - band);
    if (maximum) reduceBand(true, from, to, count, bytes, width);
    else reduceBand(false, from, to, count, bytes, width);
  }
}

/** Index of the largest element of each row, the first of equals. args: x [rows, n], y [rows], rows, n */
export function argmax(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const x: usize = load<u32>(args), y: usize = load<u32>(args, 4), rows = load<u32>(args, 8), n = load<u32>(args, 12);
  const end = share(rows, thread + 1, threads);
  for (let row = share(rows, thread, threads); row < end; row++) {
    const from = x + ((<usize>row * n) << 2);
    let best: u32 = 0, top = load<f32>(from);
    for (let i: u32 = 1; i < n; i++) {
      const value = load<f32>(from + (<usize>i << 2));
      if (value > top) {
        top = value;
        best = i;
      }
    }
    store<f32>(y + (<usize>row << 2), <f32>best);
  }
}

/** Merges the sorted runs of indices [a, b) and [b, c) of one buffer into another; equal elements keep their order. */
function merge(x: usize, from: usize, to: usize, a: u32, b: u32, c: u32): void {
  let i = a, j = b;
  for (let at = a; at < c; at++) {
    const left = load<u32>(from + (<usize>i << 2)), right = j < c ? load<u32>(from + (<usize>j << 2)) : 0;
    const takeRight = j < c && (i >= b || load<f32>(x + (<usize>right << 2)) < load<f32>(x + (<usize>left << 2)));
    store<u32>(to + (<usize>at << 2), takeRight ? right : left);
    if (takeRight) j++;
    else i++;
  }
}

/** Indices that sort each row ascending, by merging runs. args: x [rows, n], y [rows, n], indices (2 n words a row), rows, n */
export function argsort(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const x: usize = load<u32>(args), y: usize = load<u32>(args, 4), indices: usize = load<u32>(args, 8);
  const rows = load<u32>(args, 12), n = load<u32>(args, 16), bytes = <usize>n << 2;
  const end = share(rows, thread + 1, threads);
  for (let row = share(rows, thread, threads); row < end; row++) {
    const values = x + row * bytes;
    let from = indices + 2 * row * bytes, to = from + bytes;
    for (let i: u32 = 0; i < n; i++) store<u32>(from + (<usize>i << 2), i);
    for (let run: u32 = 1; run < n; run *= 2) {
      for (let a: u32 = 0; a < n; a += 2 * run) merge(values, from, to, a, min(a + run, n), min(a + 2 * run, n));
      const swap = from;
      from = to;
      to = swap;
    }
    for (let i: u32 = 0; i < n; i++) store<f32>(y + row * bytes + (<usize>i << 2), <f32>load<u32>(from + (<usize>i << 2)));
  }
}

/** sum(exp(x - top)) over a row; keeps the terms in y where `keep`. */
// @ts-ignore: decorator
@inline
function sumExp(keep: bool, x: usize, y: usize, bytes: usize, top: f32): f32 {
  const top4 = f32x4.splat(top);
  let a = f32x4.splat(0), b = a;
  let i: usize = 0;
  for (; i + 32 <= bytes; i += 32) {
    const p = exp4(f32x4.sub(v128.load(x + i), top4)), q = exp4(f32x4.sub(v128.load(x + i, 16), top4));
    a = f32x4.add(a, p);
    b = f32x4.add(b, q);
    if (keep) {
      v128.store(y + i, p);
      v128.store(y + i, q, 16);
    }
  }
  for (; i + 16 <= bytes; i += 16) {
    const p = exp4(f32x4.sub(v128.load(x + i), top4));
    a = f32x4.add(a, p);
    if (keep) v128.store(y + i, p);
  }
  if (i < bytes) {
    const count = (bytes - i) >> 2, p = first(count, exp4(f32x4.sub(v128.load(x + i), top4)), 0);
    a = f32x4.add(a, p);
    if (keep) storeFirst(y + i, p, count);
  }
  return hsum(f32x4.add(a, b));
}

/** y = softmax(x), or its logarithm, over rows. args: x [rows, n], y [rows, n], rows, n, logarithm */
export function softmax(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const x: usize = load<u32>(args), y: usize = load<u32>(args, 4), rows = load<u32>(args, 8), bytes = <usize>load<u32>(args, 12) << 2;
  const logarithm = load<u32>(args, 16), end = share(rows, thread + 1, threads);
  for (let row = share(rows, thread, threads); row < end; row++) {
    const from = x + row * bytes, to = y + row * bytes, top = reduceRow(true, from, bytes);
    let i: usize = 0;
    if (logarithm) {
      const top4 = f32x4.splat(top), rest4 = log4(f32x4.splat(sumExp(false, from, to, bytes, top)));
      const rest = f32x4.extract_lane(rest4, 0);
      for (; i + 16 <= bytes; i += 16) v128.store(to + i, f32x4.sub(f32x4.sub(v128.load(from + i), top4), rest4));
      for (; i < bytes; i += 4) store<f32>(to + i, load<f32>(from + i) - top - rest);
    } else {
      const scale: f32 = 1 / sumExp(true, from, to, bytes, top), scale4 = f32x4.splat(scale);
      for (; i + 16 <= bytes; i += 16) v128.store(to + i, f32x4.mul(v128.load(to + i), scale4));
      for (; i < bytes; i += 4) store<f32>(to + i, load<f32>(to + i) * scale);
    }
  }
}

/**
 * dx = y (g - sum(g y)) for softmax, g - exp(y) sum(g) for its logarithm, over rows.
 * args: g [rows, n], y [rows, n], dx [rows, n], rows, n, logarithm
 */
export function softmaxGrad(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const rows = load<u32>(args, 12), bytes = <usize>load<u32>(args, 16) << 2, logarithm = load<u32>(args, 20);
  const end = share(rows, thread + 1, threads);
  for (let row = share(rows, thread, threads); row < end; row++) {
    const g = load<u32>(args) + row * bytes, y = load<u32>(args, 4) + row * bytes, to = load<u32>(args, 8) + row * bytes;
    let i: usize = 0;
    if (logarithm) {
      const total = f32x4.splat(reduceRow(false, g, bytes));
      for (; i + 16 <= bytes; i += 16) v128.store(to + i, logTerm(g + i, y + i, total));
      if (i < bytes) storeFirst(to + i, logTerm(g + i, y + i, total), (bytes - i) >> 2);
    } else {
      const total = dot(g, y, bytes), total4 = f32x4.splat(total);
      for (; i + 16 <= bytes; i += 16) v128.store(to + i, f32x4.mul(v128.load(y + i), f32x4.sub(v128.load(g + i), total4)));
      for (; i < bytes; i += 4) store<f32>(to + i, load<f32>(y + i) * (load<f32>(g + i) - total));
    }
  }
}

// @ts-ignore: decorator
@inline
function logTerm(g: usize, y: usize, total: v128): v128 {
  return f32x4.sub(v128.load(g), f32x4.mul(exp4(v128.load(y)), total));
}

/** sum(a b) over a row. */
function dot(a: usize, b: usize, bytes: usize): f32 {
  let p = f32x4.splat(0), q = p;
  let i: usize = 0;
  for (; i + 32 <= bytes; i += 32) {
    p = f32x4.add(p, f32x4.mul(v128.load(a + i), v128.load(b + i)));
    q = f32x4.add(q, f32x4.mul(v128.load(a + i, 16), v128.load(b + i, 16)));
  }
  for (; i + 16 <= bytes; i += 16) p = f32x4.add(p, f32x4.mul(v128.load(a + i), v128.load(b + i)));
  let sum = hsum(f32x4.add(p, q));
  for (; i < bytes; i += 4) sum += load<f32>(a + i) * load<f32>(b + i);
  return sum;
}
