// Antialiased resampling exactly as Pillow computes it on 8-bit pictures: weights in float64, then as integers of 22 bits;
// a horizontal pass, rounded to 8 bits, then a vertical one.
const BITS = 22;

// The filters, in the order of `filters` in src/data/kernels.ts; `support` is half the width at scale 1.
const BOX = 0, BILINEAR = 1, BICUBIC = 2;

// @ts-ignore: decorator
@inline
function supportOf(filter: i32): f64 {
  return filter == BOX ? 0.5 : filter == BILINEAR ? 1.0 : filter == BICUBIC ? 2.0 : 3.0;
}

function sinc(x: f64): f64 {
  return x == 0 ? 1.0 : Math.sin(x * Math.PI) / (x * Math.PI);
}

function weightAt(filter: i32, x: f64): f64 {
  if (filter == BOX) return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
  if (filter == BILINEAR) return max(0.0, 1.0 - abs(x));
  if (filter == BICUBIC) { // Keys, a = -1/2
    x = abs(x);
    if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
    return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5 : 0.0;
  }
  return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0; // Lanczos
}

// Weights for one axis: output i reads inputs [first, first + count) of `bounds` (i32 pairs) with the i32 weights in row i of
// `weights`, `taps` a row. `low` and `high` bound the source region, as real numbers. Gives `taps`; with weights 0, only that.
export function coefficients(size: i32, low: f64, high: f64, out: i32, filter: i32, bounds: usize, weights: usize): i32 {
  const scale = (high - low) / <f64>out, filterScale = max(scale, 1.0);
  const support = supportOf(filter) * filterScale, inverse = 1.0 / filterScale;
  const taps = <i32>ceil(support) * 2 + 1;
  if (weights == 0) return taps;
  for (let i = 0; i < out; i++) {
    const center = low + (<f64>i + 0.5) * scale;
    const first = max(<i32>(center - support + 0.5), 0);
    const count = min(<i32>(center + support + 0.5), size) - first;
    let sum = 0.0;
    for (let t = 0; t < count; t++) sum += weightAt(filter, (<f64>(t + first) - center + 0.5) * inverse);
    const row = weights + <usize>(i * taps) * 4;
    for (let t = 0; t < count; t++) {
      let w = weightAt(filter, (<f64>(t + first) - center + 0.5) * inverse);
      if (sum != 0.0) w /= sum;
      w *= <f64>(1 << BITS);
      store<i32>(row + <usize>t * 4, <i32>(w < 0.0 ? w - 0.5 : w + 0.5));
    }
    store<i32>(bounds + <usize>i * 8, first);
    store<i32>(bounds + <usize>i * 8, count, 4);
  }
  return taps;
}

// @ts-ignore: decorator
@inline
function widen(pixel: v128): v128 {
  return i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(pixel));
}

// y[r][i] = sum_t w[i][t] x[r][first_i + t]. x has rows of `stride` bytes, y rows of 3 * out bytes. One pixel to a vector; the
// fourth lane is the neighbour's red and lands where the next pixel will be written.
export function resampleHorizontal(x: usize, stride: usize, rows: i32, y: usize, out: i32, bounds: usize, weights: usize, taps: i32): void {
  const half = i32x4.splat(1 << (BITS - 1));
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < out; i++) {
      let from = x + <usize>load<i32>(bounds + <usize>i * 8) * 3;
      let w = weights + <usize>(i * taps) * 4;
      const end = w + <usize>load<i32>(bounds + <usize>i * 8, 4) * 4;
      let sum = half;
      for (; w < end; w += 4, from += 3) sum = i32x4.add(sum, i32x4.mul(widen(v128.load32_zero(from)), v128.load32_splat(w)));
      sum = i32x4.shr_s(sum, BITS);
      sum = i16x8.narrow_i32x4_s(sum, sum);
      v128.store_lane<u32>(y, i8x16.narrow_i16x8_u(sum, sum), 0);
      y += 3;
    }
    x += stride;
  }
}

// y[i] = sum_t w[i][t] x[first_i - skip + t] over whole rows of `bytes` bytes; x begins at source row `skip`.
export function resampleVertical(x: usize, bytes: usize, y: usize, out: i32, bounds: usize, weights: usize, taps: i32, skip: i32): void {
  const half = i32x4.splat(1 << (BITS - 1));
  for (let i = 0; i < out; i++) {
    const rows = x + <usize>(load<i32>(bounds + <usize>i * 8) - skip) * bytes;
    const row = weights + <usize>(i * taps) * 4, end = row + <usize>load<i32>(bounds + <usize>i * 8, 4) * 4;
    for (let b: usize = 0; b < bytes; b += 16) {
      let s0 = half, s1 = half, s2 = half, s3 = half, from = rows + b;
      for (let w = row; w < end; w += 4, from += bytes) {
        const weight = v128.load32_splat(w), pixels = v128.load(from);
        const low = i16x8.extend_low_i8x16_u(pixels), high = i16x8.extend_high_i8x16_u(pixels);
        s0 = i32x4.add(s0, i32x4.mul(i32x4.extend_low_i16x8_u(low), weight));
        s1 = i32x4.add(s1, i32x4.mul(i32x4.extend_high_i16x8_u(low), weight));
        s2 = i32x4.add(s2, i32x4.mul(i32x4.extend_low_i16x8_u(high), weight));
        s3 = i32x4.add(s3, i32x4.mul(i32x4.extend_high_i16x8_u(high), weight));
      }
      const low = i16x8.narrow_i32x4_s(i32x4.shr_s(s0, BITS), i32x4.shr_s(s1, BITS));
      const high = i16x8.narrow_i32x4_s(i32x4.shr_s(s2, BITS), i32x4.shr_s(s3, BITS));
      v128.store(y + b, i8x16.narrow_i16x8_u(low, high));
    }
    y += bytes;
  }
}
