// Kernels that look up, put in place, add up by index, draw and sort.
import type { Kernel } from "./kernel.ts";

/** y [outer, n, inner]: rows first .. first + m - 1 of the middle axis from part [outer, m, inner]; first = start, kept inside. */
export const updateSlice: Kernel = {
  name: "update slice",
  reads: ["part", "start"],
  writes: ["y"],
  table: "y",
  params: ["n: u32", "m: u32", "inner: u32", "size: u32"],
  lanes: 64,
  code: `
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.size) { return; }
  let first = u32(clamp(start(0u), 0.0, f32(p.n - p.m)));
  let row = i / p.inner;
  let place = (row / p.m * p.n + first + row % p.m) * p.inner + i % p.inner;
  if (sees(place)) { set_y(place, part(i)); }
}`,
};

/** y [m, width] = rows of x [n, width] by index [m], kept inside. */
export const gather: Kernel = {
  name: "gather",
  reads: ["x", "index"],
  writes: ["y"],
  table: "x",
  params: ["n: u32", "width: u32", "size: u32"],
  lanes: 64,
  code: `
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.size) { return; }
  let row = u32(clamp(index(i / p.width), 0.0, f32(p.n - 1u)));
  let place = row * p.width + i % p.width;
  if (sees(place)) { set_y(i, x(place)); }
}`,
};

/**
 * Chains the entries of index [m] that name the same row, in their order: head [n] is the first entry of a row and keeps what it
 * had where no entry names it, next [m] the following entry, m behind the last. No two threads write one element, so that sums along the
 * chains have a fixed order.
 */
export const linkRows: Kernel = {
  name: "link rows",
  reads: ["index"],
  writes: ["head", "next"],
  table: "head",
  params: ["n: u32", "m: u32"],
  lanes: 64,
  code: `
fn row_of(i: u32) -> u32 { return u32(clamp(index(i), 0.0, f32(p.n - 1u))); }
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.m) { return; }
  let row = row_of(i);
  var before = i;
  while (before > 0u && row_of(before - 1u) != row) { before--; }
  if (before == 0u && sees(row)) { set_head(row, f32(i)); }
  var after = i + 1u;
  while (after < p.m && row_of(after) != row) { after++; }
  set_next(i, f32(after));
}`,
};

/** y [n, width] = sums of the rows of x [m, width] along the chains of linkRows, or what y holds plus these. */
export const sumLinked = (onto: boolean): Kernel => ({
  name: onto ? "sum linked rows onto others" : "sum linked rows",
  reads: ["x", "head", "next"],
  writes: ["y"],
  params: ["m: u32", "width: u32", "size: u32"],
  lanes: 64,
  code: `
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.size) { return; }
  var sum = ${onto ? "y(i)" : "0.0"};
  for (var at = u32(head(i / p.width)); at < p.m; at = u32(next(at))) { sum += x(at * p.width + i % p.width); }
  set_y(i, sum);
}`,
});

/** Philox 4x32-10, as assembly/random.ts: counter (draw / 4, stream, step, 0), key (seed, 0). A thread makes four draws. */
export const uniform: Kernel = {
  name: "uniform",
  reads: ["key"],
  writes: ["y"],
  params: ["stream: u32", "size: u32"],
  batches: true,
  lanes: 64,
  code: `
fn high(x: u32, y: u32) -> u32 {
  let a = x >> 16u; let b = x & 0xffffu; let c = y >> 16u; let d = y & 0xffffu;
  let middle = b * c + ((b * d) >> 16u);
  return a * c + (middle >> 16u) + (((middle & 0xffffu) + a * d) >> 16u);
}
fn word(half: u32) -> u32 { return u32(key(half)) + (u32(key(half + 1u)) << 16u); }
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (4u * i >= p.size) { return; }
  var counter = vec4u(i, p.stream, word(2u), 0u);
  var k = vec2u(word(0u), 0u);
  for (var round = 0u; round < 10u; round++) {
    let h0 = high(counter.x, 0xd2511f53u);
    let h1 = high(counter.z, 0xcd9e8d57u);
    counter = vec4u(h1 ^ counter.y ^ k.x, counter.z * 0xcd9e8d57u, h0 ^ counter.w ^ k.y, counter.x * 0xd2511f53u);
    k += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  for (var j = 0u; j < min(4u, p.size - 4u * i); j++) { set_y(4u * i + j, f32(counter[j] >> 8u) / 16777216.0); }
}`,
};

/** y [rows] = where the largest element of x [rows, n] is, the first of equals. A thread a row. */
export const argmax: Kernel = {
  name: "argmax",
  reads: ["x"],
  writes: ["y"],
  params: ["rows: u32", "n: u32"],
  lanes: 64,
  code: `
fn run(group: u32, lane: u32) {
  let row = group * LANES + lane;
  if (row >= p.rows) { return; }
  var best = 0u;
  var top = x(row * p.n);
  for (var i = 1u; i < p.n; i++) {
    let value = x(row * p.n + i);
    if (value > top) { top = value; best = i; }
  }
  set_y(row, f32(best));
}`,
};

/**
 * y [rows, n] = indices that sort each row of x ascending, equal elements in their order, NaN last. A thread an element: its place is the
 * number of those before it.
 */
export const argsort: Kernel = {
  name: "argsort",
  reads: ["x"],
  writes: ["y"],
  params: ["n: u32", "size: u32"],
  lanes: 64,
  code: `
fn ordered(x: f32) -> u32 { // the order of floats as whole numbers; -0 equals 0
  let bits = select(bitcast<u32>(x), 0u, x == 0.0);
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return 0xffffffffu; }
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
fn run(group: u32, lane: u32) {
  let i = group * LANES + lane;
  if (i >= p.size) { return; }
  let start = i / p.n * p.n;
  let own = ordered(x(i));
  var place = 0u;
  for (var j = start; j < start + p.n; j++) {
    let other = ordered(x(j));
    if (other < own || (other == own && j < i)) { place++; }
  }
  set_y(start + place, f32(i - start));
}`,
};
