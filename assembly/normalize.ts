// Batch and layer normalisation and their gradients. Rows are everything but the last axis, c channels. The last vector of a row
// may read beyond it; what is not the row's own is never stored or summed.
import { elementwiseTile } from "./elementwise";
import { BAND, reduceRow } from "./reduce";
import { first, hsum, madd, share, storeFirst, storeTail } from "./simd";

// @ts-ignore: decorator
@inline
function addDeviation(square: bool, sum: v128, x: v128, center: v128): v128 {
  const apart = f32x4.sub(x, center);
  return square ? madd(apart, apart, sum) : f32x4.add(sum, apart);
}

/** Rows of a part whose sum is made on its own before it is added to the part's: two short chains of additions round less than a long one. */
const LINK: u32 = 16;

/** Sums of deviations from a center, or of their squares, over `count` rows, for `width` bytes of channels. */
// @ts-ignore: decorator
@inline
function deviations(square: bool, x: usize, center: usize, to: usize, count: u32, stride: usize, width: usize): void {
  let i: usize = 0;
  for (; i + 64 <= width; i += 64) {
    const m0 = v128.load(center + i), m1 = v128.load(center + i, 16), m2 = v128.load(center + i, 32), m3 = v128.load(center + i, 48);
    let a = f32x4.splat(0), b = a, c = a, d = a, at = x + i;
    for (let row: u32 = 0; row < count; row += LINK) {
      let e = f32x4.splat(0), f = e, g = e, h = e;
      for (let r = row, last = min(count, row + LINK); r < last; r++, at += stride) {
        e = addDeviation(square, e, v128.load(at), m0);
        f = addDeviation(square, f, v128.load(at, 16), m1);
        g = addDeviation(square, g, v128.load(at, 32), m2);
        h = addDeviation(square, h, v128.load(at, 48), m3);
      }
      a = f32x4.add(a, e);
      b = f32x4.add(b, f);
      c = f32x4.add(c, g);
      d = f32x4.add(d, h);
    }
    v128.store(to + i, a);
    v128.store(to + i, b, 16);
    v128.store(to + i, c, 32);
    v128.store(to + i, d, 48);
  }
  for (; i < width; i += 16) {
    const m = v128.load(center + i);
    let a = f32x4.splat(0), at = x + i;
    for (let row: u32 = 0; row < count; row += LINK) {
      let e = f32x4.splat(0);
      for (let r = row, last = min(count, row + LINK); r < last; r++, at += stride) e = addDeviation(square, e, v128.load(at), m);
      a = f32x4.add(a, e);
    }
    storeTail(to + i, a, width - i);
  }
}

@unmanaged
class BatchNormParts {
  x: u32;
  means: u32; // [parts, c]
  squares: u32; // [parts, c]
  rows: u32;
  c: u32;
  /** Rows of a part. */
  part: u32;
}

/**
 * Mean and sum of squared deviations of each channel within each part of the rows: the second pass finds the part in cache. The
 * mean is summed as deviations from the part's first row, so that large means cost no digits.
 */
export function batchNormParts(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<BatchNormParts>(args), bytes = p.c << 2, bands = (bytes + BAND - 1) / BAND, parts = (p.rows + p.part - 1) / p.part;
  const end = share(parts * bands, thread + 1, threads);
  for (let at = share(parts * bands, thread, threads); at < end; at++) {
    const band = (at % bands) * BAND, which = at / bands, row = which * p.part;
    const count = min(p.part, p.rows - row), width = min(BAND, bytes - band), place = which * bytes + band;
    const from = p.x + row * bytes + band, mean = p.means + place, scale: f32 = 1 / <f32>count;
    deviations(false, from, from, mean, count, bytes, width);
    for (let i: usize = 0; i < width; i += 4) store<f32>(mean + i, load<f32>(from + i) + load<f32>(mean + i) * scale);
    deviations(true, from, mean, p.squares + place, count, bytes, width);
  }
}

@unmanaged
class BatchNormStatistics {
  means: u32;
  squares: u32;
  mean: u32;
  variance: u32;
  rows: u32;
  c: u32;
  part: u32;
}

/** Mean and variance over all rows from those of the parts. Chan, Golub & LeVeque 1983, eq. 2.1. */
export function batchNormStatistics(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<BatchNormStatistics>(args), parts = (p.rows + p.part - 1) / p.part, bytes = p.c << 2;
  const scale = f32x4.splat(1 / <f32>p.rows), vectors = (p.c + 3) >> 2, end = share(vectors, thread + 1, threads) << 4;
  for (let i = share(vectors, thread, threads) << 4; i < end; i += 16) {
    const center = v128.load(p.means + i);
    let mean = f32x4.splat(0), square = mean;
    for (let part: u32 = 1; part < parts; part++) {
      const apart = f32x4.sub(v128.load(p.means + part * bytes + i), center);
      mean = madd(apart, f32x4.splat(<f32>min(p.part, p.rows - part * p.part)), mean);
    }
    mean = madd(mean, scale, center);
    for (let part: u32 = 0; part < parts; part++) {
      const apart = f32x4.sub(v128.load(p.means + part * bytes + i), mean);
      square = f32x4.add(square, v128.load(p.squares + part * bytes + i));
      square = madd(f32x4.mul(apart, apart), f32x4.splat(<f32>min(p.part, p.rows - part * p.part)), square);
    }
    storeTail(p.mean + i, mean, bytes - i);
    storeTail(p.variance + i, f32x4.mul(square, scale), bytes - i);
  }
}

/** 1 / sqrt(variance + eps) */
// @ts-ignore: decorator
@inline
function rstd4(variance: v128, eps: f32): v128 {
  return f32x4.div(f32x4.splat(1), f32x4.sqrt(f32x4.add(variance, f32x4.splat(eps))));
}

@unmanaged
class BatchNormApply {
  x: u32;
  gamma: u32;
  beta: u32;
  mean: u32;
  variance: u32;
  y: u32;
  rows: u32;
  c: u32;
  eps: f32;
  /** 0, or a fused program for finished rows. */
  epilogue: u32;
}

/** Floats of the rows that an epilogue takes at a time: they are still in cache. */
const TILE: u32 = 8192;

/** y = (x - mean) gamma / sqrt(variance + eps) + beta. */
export function batchNormApply(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<BatchNormApply>(args), bytes: usize = p.c << 2, step = max(1, TILE / p.c), rest = scratch + ((bytes + 63) & ~63);
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(scratch + i, f32x4.mul(v128.load(p.gamma + i), rstd4(v128.load(p.variance + i), p.eps)));
  }
  const end = share(p.rows, thread + 1, threads);
  for (let row = share(p.rows, thread, threads); row < end; row += step) {
    const last = min(end, row + step);
    applyRows(p, row, last, scratch);
    if (p.epilogue) elementwiseTile(p.epilogue, row, last, 0, p.c, rest);
  }
}

/** Rows [begin, end) of y; scratch holds the scale. */
function applyRows(p: BatchNormApply, begin: u32, end: u32, scratch: usize): void {
  const bytes: usize = p.c << 2, whole = bytes & ~15, mean: usize = p.mean, beta: usize = p.beta;
  for (let row = begin; row < end; row++) {
    const x = p.x + row * bytes, y = p.y + row * bytes;
    let i: usize = 0;
    for (; i < whole; i += 16) v128.store(y + i, applied(x + i, mean + i, scratch + i, beta + i));
    if (i < bytes) storeTail(y + i, applied(x + i, mean + i, scratch + i, beta + i), bytes - i);
  }
}

// @ts-ignore: decorator
@inline
function applied(x: usize, mean: usize, scale: usize, shift: usize): v128 {
  return madd(f32x4.sub(v128.load(x), v128.load(mean)), v128.load(scale), v128.load(shift));
}

/** Sums of g and of g (x - mean) rstd over `count` rows, for one or two vectors of channels. */
// @ts-ignore: decorator
@inline
function gradSums(g: usize, x: usize, mean: usize, variance: usize, dgamma: usize, dbeta: usize, count: u32, stride: usize, left: usize, eps: f32): void {
  const m0 = v128.load(mean), m1 = v128.load(mean, 16);
  let a = f32x4.splat(0), b = a, c = a, d = a;
  for (let r: u32 = 0; r < count; r++, g += stride, x += stride) {
    const g0 = v128.load(g), g1 = v128.load(g, 16);
    a = f32x4.add(a, g0);
    b = f32x4.add(b, g1);
    c = madd(g0, f32x4.sub(v128.load(x), m0), c);
    d = madd(g1, f32x4.sub(v128.load(x, 16), m1), d);
  }
  storeTail(dbeta, a, left);
  storeTail(dgamma, f32x4.mul(c, rstd4(v128.load(variance), eps)), left);
  if (left <= 16) return;
  storeTail(dbeta + 16, b, left - 16);
  storeTail(dgamma + 16, f32x4.mul(d, rstd4(v128.load(variance, 16), eps)), left - 16);
}

@unmanaged
class BatchNormGradParts {
  g: u32;
  x: u32;
  mean: u32;
  variance: u32;
  dgamma: u32; // [parts, c]
  dbeta: u32; // [parts, c]
  rows: u32;
  c: u32;
  part: u32;
  eps: f32;
}

/** Sums of the gradients of scale and shift within each part of the rows. */
export function batchNormGradParts(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<BatchNormGradParts>(args), bytes = p.c << 2, bands = (bytes + BAND - 1) / BAND;
  const parts = (p.rows + p.part - 1) / p.part, end = share(parts * bands, thread + 1, threads);
  for (let at = share(parts * bands, thread, threads); at < end; at++) {
    const which = at / bands, row = which * p.part, count = min(p.part, p.rows - row), last = min((at % bands) * BAND + BAND, bytes);
    for (let i = (at % bands) * BAND; i < last; i += 32) {
      const from = row * bytes + i, to = which * bytes + i;
      gradSums(p.g + from, p.x + from, p.mean + i, p.variance + i, p.dgamma + to, p.dbeta + to, count, bytes, bytes - i, p.eps);
    }
  }
}

@unmanaged
class BatchNormGradApply {
  g: u32;
  x: u32;
  gamma: u32;
  mean: u32;
  variance: u32;
  dgamma: u32;
  dbeta: u32;
  dx: u32;
  rows: u32;
  c: u32;
  eps: f32;
}

/** dx = gamma rstd (g - dbeta / rows - (x - mean) rstd dgamma / rows). */
export function batchNormGradApply(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<BatchNormGradApply>(args), bytes: usize = p.c << 2, inverse = f32x4.splat(1 / <f32>p.rows);
  // dx = scale g - along (x - mean) - shift
  const padded = (bytes + 15) & ~15, scale = scratch, along = scratch + padded, shift = along + padded, mean: usize = p.mean;
  for (let i: usize = 0; i < bytes; i += 16) {
    const rstd = rstd4(v128.load(p.variance + i), p.eps), factor = f32x4.mul(v128.load(p.gamma + i), rstd), each = f32x4.mul(factor, inverse);
    v128.store(scale + i, factor);
    v128.store(along + i, f32x4.mul(f32x4.mul(each, rstd), v128.load(p.dgamma + i)));
    v128.store(shift + i, f32x4.mul(each, v128.load(p.dbeta + i)));
  }
  const end = share(p.rows, thread + 1, threads);
  for (let row = share(p.rows, thread, threads); row < end; row++) {
    const g = p.g + row * bytes, x = p.x + row * bytes, dx = p.dx + row * bytes;
    for (let i: usize = 0; i < bytes; i += 16) {
      const straight = f32x4.sub(f32x4.mul(v128.load(g + i), v128.load(scale + i)), v128.load(shift + i));
      const bent = f32x4.mul(f32x4.sub(v128.load(x + i), v128.load(mean + i)), v128.load(along + i));
      storeTail(dx + i, f32x4.sub(straight, bent), bytes - i);
    }
  }
}

@unmanaged
class LayerNorm {
  x: u32;
  gamma: u32;
  beta: u32;
  y: u32;
  mean: u32; // [rows]
  rstd: u32; // [rows]
  rows: u32;
  c: u32;
  eps: f32;
}

/** y = (x - mean) rstd gamma + beta over each row. */
export function layerNorm(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<LayerNorm>(args), bytes: usize = p.c << 2, gamma: usize = p.gamma, beta: usize = p.beta;
  const end = share(p.rows, thread + 1, threads);
  for (let row = share(p.rows, thread, threads); row < end; row++) {
    const x = p.x + row * bytes, y = p.y + row * bytes;
    const mean = reduceRow(false, x, bytes) / <f32>p.c, mean4 = f32x4.splat(mean);
    const rstd: f32 = 1 / sqrt<f32>(deviation(x, mean4, bytes) / <f32>p.c + p.eps), rstd4 = f32x4.splat(rstd);
    for (let i: usize = 0; i < bytes; i += 16) {
      const unit = f32x4.mul(f32x4.sub(v128.load(x + i), mean4), rstd4);
      storeTail(y + i, madd(unit, v128.load(gamma + i), v128.load(beta + i)), bytes - i);
    }
    store<f32>(p.mean + (row << 2), mean);
    store<f32>(p.rstd + (row << 2), rstd);
  }
}

/** The sum of squared deviations of a row. */
// @ts-ignore: decorator
@inline
function deviation(x: usize, mean: v128, bytes: usize): f32 {
  let a = f32x4.splat(0), b = a, i: usize = 0;
  for (; i + 32 <= bytes; i += 32) {
    const p = f32x4.sub(v128.load(x + i), mean), q = f32x4.sub(v128.load(x + i, 16), mean);
    a = madd(p, p, a);
    b = madd(q, q, b);
  }
  for (; i < bytes; i += 16) {
    const p = f32x4.sub(v128.load(x + i), mean), own = bytes - i >= 16 ? p : first((bytes - i) >> 2, p, 0);
    a = madd(own, own, a);
  }
  return hsum(f32x4.add(a, b));
}

@unmanaged
class LayerNormGrad {
  g: u32;
  x: u32;
  gamma: u32;
  mean: u32;
  rstd: u32;
  dx: u32;
  dgamma: u32; // [parts, c]
  dbeta: u32; // [parts, c]
  rows: u32;
  c: u32;
  part: u32;
}

/**
 * With u = (x - mean) rstd and h = g gamma: dx = rstd (h - mean(h) - u mean(h u)) over each row; sums of g u and of g over each
 * part of the rows.
 */
export function layerNormGrad(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<LayerNormGrad>(args), parts = (p.rows + p.part - 1) / p.part, bytes = p.c << 2, end = share(parts, thread + 1, threads);
  for (let at = share(parts, thread, threads); at < end; at++) {
    const dgamma = p.dgamma + at * bytes, dbeta = p.dbeta + at * bytes;
    memory.fill(dgamma, 0, bytes);
    memory.fill(dbeta, 0, bytes);
    for (let row = at * p.part, last = min(p.rows, row + p.part); row < last; row++) layerNormGradRow(p, row, dgamma, dbeta);
  }
}

function layerNormGradRow(p: LayerNormGrad, row: u32, dgamma: usize, dbeta: usize): void {
  const bytes: usize = p.c << 2, gamma: usize = p.gamma, whole = bytes & ~15;
  const g = p.g + row * bytes, x = p.x + row * bytes, dx = p.dx + row * bytes;
  const mean = v128.load32_splat(p.mean + (row << 2)), rstd = v128.load32_splat(p.rstd + (row << 2));
  let sum = f32x4.splat(0), along = sum, i: usize = 0;
  for (; i < whole; i += 16) {
    const u = f32x4.mul(f32x4.sub(v128.load(x + i), mean), rstd), g4 = v128.load(g + i), h = f32x4.mul(g4, v128.load(gamma + i));
    sum = f32x4.add(sum, h);
    along = madd(h, u, along);
    v128.store(dgamma + i, madd(g4, u, v128.load(dgamma + i)));
    v128.store(dbeta + i, f32x4.add(g4, v128.load(dbeta + i)));
  }
  if (i < bytes) {
    const count = (bytes - i) >> 2, u = first(count, f32x4.mul(f32x4.sub(v128.load(x + i), mean), rstd), 0);
    const g4 = first(count, v128.load(g + i), 0), h = f32x4.mul(g4, first(count, v128.load(gamma + i), 0));
    sum = f32x4.add(sum, h);
    along = madd(h, u, along);
    storeFirst(dgamma + i, madd(g4, u, v128.load(dgamma + i)), count);
    storeFirst(dbeta + i, f32x4.add(g4, v128.load(dbeta + i)), count);
  }
  const mean1 = f32x4.splat(hsum(sum) / <f32>p.c), mean2 = f32x4.splat(hsum(along) / <f32>p.c);
  for (i = 0; i < bytes; i += 16) {
    const u = f32x4.mul(f32x4.sub(v128.load(x + i), mean), rstd), h = f32x4.mul(v128.load(g + i), v128.load(gamma + i));
    storeTail(dx + i, f32x4.mul(rstd, f32x4.sub(f32x4.sub(h, mean1), f32x4.mul(u, mean2))), bytes - i);
  }
}
