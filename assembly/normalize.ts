// Batch and layer normalisation and their gradients. Rows are everything but the last axis, c channels. The last vector of a row
// may read beyond it; what is not the row's own is never stored or summed.
import { BAND, reduceBand, reduceRow } from "./reduce";
import { first, hsum, madd, share, storeFirst, storeTail } from "./simd";

/** Sums of squared deviations from `mean` over `count` rows, for `width` bytes of channels. */
function squares(x: usize, mean: usize, to: usize, count: u32, stride: usize, width: usize): void {
  let i: usize = 0;
  for (; i + 64 <= width; i += 64) {
    const m0 = v128.load(mean + i), m1 = v128.load(mean + i, 16), m2 = v128.load(mean + i, 32), m3 = v128.load(mean + i, 48);
    let a = f32x4.splat(0), b = a, c = a, d = a, at = x + i;
    for (let r: u32 = 0; r < count; r++, at += stride) {
      const p = f32x4.sub(v128.load(at), m0), q = f32x4.sub(v128.load(at, 16), m1);
      const s = f32x4.sub(v128.load(at, 32), m2), t = f32x4.sub(v128.load(at, 48), m3);
      a = madd(p, p, a);
      b = madd(q, q, b);
      c = madd(s, s, c);
      d = madd(t, t, d);
    }
    v128.store(to + i, a);
    v128.store(to + i, b, 16);
    v128.store(to + i, c, 32);
    v128.store(to + i, d, 48);
  }
  for (; i < width; i += 16) {
    const m = v128.load(mean + i);
    let a = f32x4.splat(0), at = x + i;
    for (let r: u32 = 0; r < count; r++, at += stride) {
      const p = f32x4.sub(v128.load(at), m);
      a = madd(p, p, a);
    }
    storeTail(to + i, a, width - i);
  }
}

/**
 * Mean and sum of squared deviations of each channel within each part of the rows: the second pass finds the part in cache.
 * args: x [rows, c], means [parts, c], squares [parts, c], rows, c, part
 */
export function batchNormParts(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const x: usize = load<u32>(args), rows = load<u32>(args, 12), bytes = load<u32>(args, 16) << 2, part = load<u32>(args, 20);
  const bands = (bytes + BAND - 1) / BAND, parts = (rows + part - 1) / part, end = share(parts * bands, thread + 1, threads);
  for (let at = share(parts * bands, thread, threads); at < end; at++) {
    const band = (at % bands) * BAND, which = at / bands, row = which * part;
    const count = min(part, rows - row), width = min(BAND, bytes - band), place = <usize>which * bytes + band;
    const from = x + <usize>row * bytes + band, mean = load<u32>(args, 4) + place, scale: f32 = 1 / <f32>count;
    reduceBand(false, from, mean, count, bytes, width);
    for (let i: usize = 0; i < width; i += 4) store<f32>(mean + i, load<f32>(mean + i) * scale);
    squares(from, mean, load<u32>(args, 8) + place, count, bytes, width);
  }
}

/**
 * Mean and variance over all rows from those of the parts. Chan, Golub & LeVeque 1983, eq. 2.1.
 * args: means [parts, c], squares [parts, c], mean [c], variance [c], rows, c, part
 */
export function batchNormStatistics(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const means: usize = load<u32>(args), squares: usize = load<u32>(args, 4), rows = load<u32>(args, 16), c = load<u32>(args, 20);
  const part = load<u32>(args, 24), parts = (rows + part - 1) / part, bytes = <usize>c << 2, scale = f32x4.splat(1 / <f32>rows);
  const vectors = (c + 3) >> 2, end = <usize>share(vectors, thread + 1, threads) << 4;
  for (let i = <usize>share(vectors, thread, threads) << 4; i < end; i += 16) {
    let mean = f32x4.splat(0), square = mean;
    for (let p: u32 = 0; p < parts; p++) {
      mean = madd(v128.load(means + p * bytes + i), f32x4.splat(<f32>min(part, rows - p * part)), mean);
    }
    mean = f32x4.mul(mean, scale);
    for (let p: u32 = 0; p < parts; p++) {
      const apart = f32x4.sub(v128.load(means + p * bytes + i), mean);
      square = f32x4.add(square, v128.load(squares + p * bytes + i));
      square = madd(f32x4.mul(apart, apart), f32x4.splat(<f32>min(part, rows - p * part)), square);
    }
    storeTail(load<u32>(args, 8) + i, mean, bytes - i);
    storeTail(load<u32>(args, 12) + i, f32x4.mul(square, scale), bytes - i);
  }
}

/** 1 / sqrt(variance + eps) */
// @ts-ignore: decorator
@inline
function rstd4(variance: v128, eps: f32): v128 {
  return f32x4.div(f32x4.splat(1), f32x4.sqrt(f32x4.add(variance, f32x4.splat(eps))));
}

/** y = (x - mean) gamma / sqrt(variance + eps) + beta. args: x, gamma, beta, mean, variance, y, rows, c, eps */
export function batchNormApply(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const x: usize = load<u32>(args), gamma: usize = load<u32>(args, 4), beta: usize = load<u32>(args, 8), mean: usize = load<u32>(args, 12);
  const variance: usize = load<u32>(args, 16), y: usize = load<u32>(args, 20), rows = load<u32>(args, 24);
  const bytes = <usize>load<u32>(args, 28) << 2, eps = load<f32>(args, 32), whole = bytes & ~15;
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(scratch + i, f32x4.mul(v128.load(gamma + i), rstd4(v128.load(variance + i), eps)));
  }
  const end = share(rows, thread + 1, threads);
  for (let row = share(rows, thread, threads); row < end; row++) {
    const from = x + row * bytes, to = y + row * bytes;
    let i: usize = 0;
    for (; i < whole; i += 16) {
      v128.store(to + i, madd(f32x4.sub(v128.load(from + i), v128.load(mean + i)), v128.load(scratch + i), v128.load(beta + i)));
    }
    if (i < bytes) {
      storeTail(to + i, madd(f32x4.sub(v128.load(from + i), v128.load(mean + i)), v128.load(scratch + i), v128.load(beta + i)), bytes - i);
    }
  }
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

/**
 * Sums of the gradients of scale and shift within each part of the rows.
 * args: g [rows, c], x [rows, c], mean, variance, dgamma [parts, c], dbeta [parts, c], rows, c, part, eps
 */
export function batchNormGradParts(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const g: usize = load<u32>(args), x: usize = load<u32>(args, 4), mean: usize = load<u32>(args, 8), variance: usize = load<u32>(args, 12);
  const rows = load<u32>(args, 24), bytes = load<u32>(args, 28) << 2, part = load<u32>(args, 32), eps = load<f32>(args, 36);
  const bands = (bytes + BAND - 1) / BAND, parts = (rows + part - 1) / part, end = share(parts * bands, thread + 1, threads);
  for (let at = share(parts * bands, thread, threads); at < end; at++) {
    const which = at / bands, row = which * part, count = min(part, rows - row), last = min((at % bands) * BAND + BAND, bytes);
    for (let i = (at % bands) * BAND; i < last; i += 32) {
      const from = <usize>row * bytes + i, to = <usize>which * bytes + i;
      gradSums(g + from, x + from, mean + i, variance + i, load<u32>(args, 16) + to, load<u32>(args, 20) + to, count, bytes, bytes - i, eps);
    }
  }
}

/**
 * dx = gamma rstd (g - dbeta / rows - (x - mean) rstd dgamma / rows).
 * args: g, x, gamma, mean, variance, dgamma, dbeta, dx, rows, c, eps
 */
export function batchNormGradApply(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const gamma: usize = load<u32>(args, 8), mean: usize = load<u32>(args, 12), variance: usize = load<u32>(args, 16);
  const dgamma: usize = load<u32>(args, 20), dbeta: usize = load<u32>(args, 24), rows = load<u32>(args, 32);
  const bytes = <usize>load<u32>(args, 36) << 2, eps = load<f32>(args, 40), inverse = f32x4.splat(1 / <f32>rows);
  // dx = scale g - along (x - mean) - shift
  const padded = (bytes + 15) & ~15, scale = scratch, along = scratch + padded, shift = along + padded;
  for (let i: usize = 0; i < bytes; i += 16) {
    const rstd = rstd4(v128.load(variance + i), eps), factor = f32x4.mul(v128.load(gamma + i), rstd), share = f32x4.mul(factor, inverse);
    v128.store(scale + i, factor);
    v128.store(along + i, f32x4.mul(f32x4.mul(share, rstd), v128.load(dgamma + i)));
    v128.store(shift + i, f32x4.mul(share, v128.load(dbeta + i)));
  }
  const end = share(rows, thread + 1, threads);
  for (let row = share(rows, thread, threads); row < end; row++) {
    const g = load<u32>(args) + row * bytes, x = load<u32>(args, 4) + row * bytes, to = load<u32>(args, 28) + row * bytes;
    for (let i: usize = 0; i < bytes; i += 16) {
      const straight = f32x4.sub(f32x4.mul(v128.load(g + i), v128.load(scale + i)), v128.load(shift + i));
      const dx = f32x4.sub(straight, f32x4.mul(f32x4.sub(v128.load(x + i), v128.load(mean + i)), v128.load(along + i)));
      storeTail(to + i, dx, bytes - i);
    }
  }
}

/** y = (x - mean) rstd gamma + beta over each row. args: x, gamma, beta, y, mean [rows], rstd [rows], rows, c, eps */
export function layerNorm(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const gamma: usize = load<u32>(args, 4), beta: usize = load<u32>(args, 8), rows = load<u32>(args, 24), c = load<u32>(args, 28);
  const bytes = <usize>c << 2, whole = bytes & ~15, eps = load<f32>(args, 32), end = share(rows, thread + 1, threads);
  for (let row = share(rows, thread, threads); row < end; row++) {
    const x = load<u32>(args) + row * bytes, y = load<u32>(args, 12) + row * bytes;
    const mean = reduceRow(false, x, bytes) / <f32>c, mean4 = f32x4.splat(mean);
    let a = f32x4.splat(0), b = a, i: usize = 0;
    for (; i + 32 <= bytes; i += 32) {
      const p = f32x4.sub(v128.load(x + i), mean4), q = f32x4.sub(v128.load(x + i, 16), mean4);
      a = madd(p, p, a);
      b = madd(q, q, b);
    }
    for (; i < bytes; i += 16) {
      const p = f32x4.sub(v128.load(x + i), mean4);
      const own = bytes - i >= 16 ? p : first((bytes - i) >> 2, p, 0);
      a = madd(own, own, a);
    }
    const rstd: f32 = 1 / sqrt<f32>(hsum(f32x4.add(a, b)) / <f32>c + eps), rstd4 = f32x4.splat(rstd);
    for (i = 0; i < whole; i += 16) {
      v128.store(y + i, madd(f32x4.mul(f32x4.sub(v128.load(x + i), mean4), rstd4), v128.load(gamma + i), v128.load(beta + i)));
    }
    if (i < bytes) {
      const tail = madd(f32x4.mul(f32x4.sub(v128.load(x + i), mean4), rstd4), v128.load(gamma + i), v128.load(beta + i));
      storeFirst(y + i, tail, (bytes - i) >> 2);
    }
    store<f32>(load<u32>(args, 16) + (<usize>row << 2), mean);
    store<f32>(load<u32>(args, 20) + (<usize>row << 2), rstd);
  }
}

/**
 * With u = (x - mean) rstd and h = g gamma: dx = rstd (h - mean(h) - u mean(h u)) over each row; sums of g u and of g over each
 * part of the rows. args: g, x, gamma, mean, rstd, dx, dgamma [parts, c], dbeta [parts, c], rows, c, part
 */
export function layerNormGrad(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const rows = load<u32>(args, 32), c = load<u32>(args, 36), part = load<u32>(args, 40), bytes = <usize>c << 2;
  const parts = (rows + part - 1) / part, end = share(parts, thread + 1, threads);
  for (let at = share(parts, thread, threads); at < end; at++) {
    const dgamma = load<u32>(args, 24) + at * bytes, dbeta = load<u32>(args, 28) + at * bytes;
    memory.fill(dgamma, 0, bytes);
    memory.fill(dbeta, 0, bytes);
    for (let row = at * part, last = min(rows, row + part); row < last; row++) layerNormGradRow(args, row, c, dgamma, dbeta);
  }
}

function layerNormGradRow(args: usize, row: u32, c: u32, dgamma: usize, dbeta: usize): void {
  const bytes = <usize>c << 2, gamma: usize = load<u32>(args, 8), whole = bytes & ~15;
  const g = load<u32>(args) + row * bytes, x = load<u32>(args, 4) + row * bytes, dx = load<u32>(args, 20) + row * bytes;
  const mean = v128.load32_splat(load<u32>(args, 12) + (<usize>row << 2)), rstd = v128.load32_splat(load<u32>(args, 16) + (<usize>row << 2));
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
  const mean1 = f32x4.splat(hsum(sum) / <f32>c), mean2 = f32x4.splat(hsum(along) / <f32>c);
  for (i = 0; i < bytes; i += 16) {
    const u = f32x4.mul(f32x4.sub(v128.load(x + i), mean), rstd), h = f32x4.mul(v128.load(g + i), v128.load(gamma + i));
    storeTail(dx + i, f32x4.mul(rstd, f32x4.sub(f32x4.sub(h, mean1), f32x4.mul(u, mean2))), bytes - i);
  }
}
