// Sums and maxima, and what works on whole rows: softmax, argmax, argsort. Long sums go in parts whose size does not depend on
// the number of threads; each part is summed in lanes, the parts in a second pass, so the order is always the same.
import { exp4, first, hmax, hsum, log4, max4, share, storeFirst, storeTail } from "./simd";

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

@unmanaged
class Reduce {
  x: u32;
  y: u32;
  outer: u32;
  n: u32;
  inner: u32;
  /** Elements of the reduced axis that go into one result. */
  part: u32;
  maximum: u32;
}

/** y[r, p] = the sum or maximum of part p of row r: x [outer, n] -> y [outer, parts]; inner is 1. */
export function reduceRows(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Reduce>(args), parts = (p.n + p.part - 1) / p.part, end = share(p.outer * parts, thread + 1, threads);
  for (let at = share(p.outer * parts, thread, threads); at < end; at++) {
    const first = (at % parts) * p.part, from = p.x + (((at / parts) * p.n + first) << 2), bytes = min(p.part, p.n - first) << 2;
    store<f32>(p.y + (at << 2), p.maximum ? reduceRow(true, from, bytes) : reduceRow(false, from, bytes));
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
function reduceBand(maximum: bool, from: usize, to: usize, count: u32, stride: usize, width: usize): void {
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

/** y[o, p, i] = the sum or maximum over part p of the middle axis: x [outer, n, inner] -> y [outer, parts, inner]. */
export function reduceColumns(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Reduce>(args), bytes = p.inner << 2, parts = (p.n + p.part - 1) / p.part, bands = (bytes + BAND - 1) / BAND;
  const end = share(p.outer * parts * bands, thread + 1, threads);
  for (let at = share(p.outer * parts * bands, thread, threads); at < end; at++) {
    const band = (at % bands) * BAND, block = at / bands, first = (block % parts) * p.part;
    const from = p.x + ((block / parts) * p.n + first) * bytes + band, to = p.y + block * bytes + band;
    const count = min(p.part, p.n - first), width = min(BAND, bytes - band);
    if (p.maximum) reduceBand(true, from, to, count, bytes, width);
    else reduceBand(false, from, to, count, bytes, width);
  }
}

@unmanaged
class Rows {
  x: u32;
  y: u32;
  rows: u32;
  n: u32;
}

/** Index of the largest element of each row, the first of equals: x [rows, n] -> y [rows]. */
export function argmax(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Rows>(args), end = share(p.rows, thread + 1, threads);
  for (let row = share(p.rows, thread, threads); row < end; row++) {
    const from = p.x + ((row * p.n) << 2);
    let best: u32 = 0, top = load<f32>(from);
    for (let i: u32 = 1; i < p.n; i++) {
      const value = load<f32>(from + (i << 2));
      if (value > top) {
        top = value;
        best = i;
      }
    }
    store<f32>(p.y + (row << 2), <f32>best);
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

@unmanaged
class Argsort extends Rows {
  /** Room for 2 n words a row. */
  indices: u32;
}

/** Indices that sort each row ascending, by merging runs: x [rows, n] -> y [rows, n]. */
export function argsort(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Argsort>(args), bytes = p.n << 2, end = share(p.rows, thread + 1, threads);
  for (let row = share(p.rows, thread, threads); row < end; row++) {
    const values = p.x + row * bytes, order = p.y + row * bytes;
    let from = p.indices + 2 * row * bytes, to = from + bytes;
    for (let i: u32 = 0; i < p.n; i++) store<u32>(from + (i << 2), i);
    for (let run: u32 = 1; run < p.n; run *= 2) {
      for (let a: u32 = 0; a < p.n; a += 2 * run) merge(values, from, to, a, min(a + run, p.n), min(a + 2 * run, p.n));
      const swap = from;
      from = to;
      to = swap;
    }
    for (let i: u32 = 0; i < p.n; i++) store<f32>(order + (i << 2), <f32>load<u32>(from + (i << 2)));
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

@unmanaged
class Softmax extends Rows {
  logarithm: u32;
}

/** y = softmax(x), or its logarithm, over rows [rows, n]. */
export function softmax(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Softmax>(args), bytes = p.n << 2, end = share(p.rows, thread + 1, threads);
  for (let row = share(p.rows, thread, threads); row < end; row++) {
    const x = p.x + row * bytes, y = p.y + row * bytes, top = reduceRow(true, x, bytes);
    let i: usize = 0;
    if (p.logarithm) {
      const top4 = f32x4.splat(top), rest4 = log4(f32x4.splat(sumExp(false, x, y, bytes, top)));
      const rest = f32x4.extract_lane(rest4, 0);
      for (; i + 16 <= bytes; i += 16) v128.store(y + i, f32x4.sub(f32x4.sub(v128.load(x + i), top4), rest4));
      for (; i < bytes; i += 4) store<f32>(y + i, load<f32>(x + i) - top - rest);
    } else {
      const scale: f32 = 1 / sumExp(true, x, y, bytes, top), scale4 = f32x4.splat(scale);
      for (; i + 16 <= bytes; i += 16) v128.store(y + i, f32x4.mul(v128.load(y + i), scale4));
      for (; i < bytes; i += 4) store<f32>(y + i, load<f32>(y + i) * scale);
    }
  }
}

@unmanaged
class SoftmaxGrad {
  g: u32;
  y: u32;
  dx: u32;
  rows: u32;
  n: u32;
  logarithm: u32;
}

/** dx = y (g - sum(g y)) for softmax, g - exp(y) sum(g) for its logarithm, over rows [rows, n]. */
export function softmaxGrad(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<SoftmaxGrad>(args), bytes = p.n << 2, end = share(p.rows, thread + 1, threads);
  for (let row = share(p.rows, thread, threads); row < end; row++) {
    const g = p.g + row * bytes, y = p.y + row * bytes, dx = p.dx + row * bytes;
    let i: usize = 0;
    if (p.logarithm) {
      const total = f32x4.splat(reduceRow(false, g, bytes));
      for (; i < bytes; i += 16) storeTail(dx + i, logTerm(g + i, y + i, total), bytes - i);
    } else {
      const total = dot(g, y, bytes), total4 = f32x4.splat(total);
      for (; i + 16 <= bytes; i += 16) v128.store(dx + i, f32x4.mul(v128.load(y + i), f32x4.sub(v128.load(g + i), total4)));
      for (; i < bytes; i += 4) store<f32>(dx + i, load<f32>(y + i) * (load<f32>(g + i) - total));
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
