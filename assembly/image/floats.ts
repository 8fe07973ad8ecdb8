// Pictures of float32 [h, w, 3] in [0, 1]. Four floats to a vector; buffers have slack behind them, as everywhere in this module.

// @ts-ignore: decorator
@inline
function clamp4(x: v128): v128 {
  return f32x4.min(f32x4.max(x, f32x4.splat(0)), f32x4.splat(1));
}

// @ts-ignore: decorator
@inline
function put(at: usize, value: f64): void {
  store<f32>(at, <f32>min(max(value, 0.0), 1.0));
}

// @ts-ignore: decorator
@inline
function channel(at: usize, c: usize): f64 {
  return <f64>load<f32>(at + c * 4);
}

// y[r][i] = sum_t w[i][t] x[r][first_i + t] for rows of `width` pixels. `bounds` holds (first, count) for each output, `weights` f32
// rows of `taps`. One pixel to a vector; its fourth lane lands where the next pixel will be written.
export function weighHorizontal(x: usize, width: i32, rows: i32, y: usize, out: i32, bounds: usize, weights: usize, taps: i32): void {
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < out; i++, y += 12) {
      let from = x + <usize>load<i32>(bounds + <usize>i * 8) * 12, w = weights + <usize>(i * taps) * 4;
      const end = w + <usize>load<i32>(bounds + <usize>i * 8, 4) * 4;
      let sum = f32x4.splat(0);
      for (; w < end; w += 4, from += 12) sum = f32x4.add(sum, f32x4.mul(v128.load(from), v128.load32_splat(w)));
      v128.store(y, sum);
    }
    x += <usize>width * 12;
  }
}

// y[i] = sum_t w[i][t] x[first_i + t] over whole rows of `width` pixels.
export function weighVertical(x: usize, width: i32, y: usize, out: i32, bounds: usize, weights: usize, taps: i32): void {
  const bytes = <usize>width * 12;
  for (let i = 0; i < out; i++, y += bytes) {
    const rows = x + <usize>load<i32>(bounds + <usize>i * 8) * bytes, row = weights + <usize>(i * taps) * 4;
    const end = row + <usize>load<i32>(bounds + <usize>i * 8, 4) * 4;
    for (let b: usize = 0; b < bytes; b += 16) {
      let sum = f32x4.splat(0), from = rows + b;
      for (let w = row; w < end; w += 4, from += bytes) sum = f32x4.add(sum, f32x4.mul(v128.load(from), v128.load32_splat(w)));
      v128.store(y + b, sum);
    }
  }
}

// Sums of each channel over n pixels, to sums[3] of float64.
export function channelSums(x: usize, n: i32, sums: usize): void {
  let r = 0.0, g = 0.0, b = 0.0;
  for (const end = x + <usize>n * 12; x < end; x += 12) {
    r += channel(x, 0);
    g += channel(x, 1);
    b += channel(x, 2);
  }
  store<f64>(sums, r);
  store<f64>(sums, g, 8);
  store<f64>(sums, b, 16);
}

// y[i][c] = clamp(factor x[i][c] + offsets[c]); `offsets` holds 12 floats: three channels, four times.
export function stretch(x: usize, y: usize, n: i32, factor: f32, offsets: usize): void {
  const f = f32x4.splat(factor), o0 = v128.load(offsets), o1 = v128.load(offsets, 16), o2 = v128.load(offsets, 32);
  for (const end = x + <usize>n * 12; x < end; x += 48, y += 48) {
    v128.store(y, clamp4(f32x4.add(f32x4.mul(v128.load(x), f), o0)));
    v128.store(y, clamp4(f32x4.add(f32x4.mul(v128.load(x, 16), f), o1)), 16);
    v128.store(y, clamp4(f32x4.add(f32x4.mul(v128.load(x, 32), f), o2)), 32);
  }
}

// Each pixel between its grey, 0.2989 R + 0.587 G + 0.114 B, and itself: clamp(grey + factor (x - grey)).
export function fromGrey(x: usize, y: usize, n: i32, factor: f64): void {
  for (const end = x + <usize>n * 12; x < end; x += 12, y += 12) {
    const r = channel(x, 0), g = channel(x, 1), b = channel(x, 2), grey = 0.2989 * r + 0.587 * g + 0.114 * b;
    put(y, grey + factor * (r - grey));
    put(y + 4, grey + factor * (g - grey));
    put(y + 8, grey + factor * (b - grey));
  }
}

// Channel c of two pixels.
// @ts-ignore: decorator
@inline
function pair(at: usize, c: usize): v128 {
  return f64x2.replace_lane(f64x2.splat(channel(at, c)), 1, channel(at + 12, c));
}

// x, or x plus `step` where `where` holds.
// @ts-ignore: decorator
@inline
function addWhere(x: v128, step: f64, where: v128): v128 {
  return f64x2.add(x, v128.and(f64x2.splat(step), where));
}

// v (1 - s max(0, min(k, 4 - k, 1))) with k = n + 6 h modulo 6, to channel c of two pixels: red, green and blue for n = 5, 3, 1.
// @ts-ignore: decorator
@inline
function putHsv(y: usize, c: usize, n: f64, sixths: v128, s: v128, v: v128): void {
  const zero = f64x2.splat(0), one = f64x2.splat(1), six = f64x2.splat(6), from = f64x2.add(f64x2.splat(n), sixths);
  const k = addWhere(from, -6, f64x2.ge(from, six));
  const part = f64x2.pmax(f64x2.pmin(f64x2.pmin(k, f64x2.sub(f64x2.splat(4), k)), one), zero);
  const value = f64x2.pmin(f64x2.pmax(f64x2.sub(v, f64x2.mul(f64x2.mul(v, s), part)), zero), one);
  const floats = f32x4.demote_f64x2_zero(value);
  store<f32>(y + c * 4, f32x4.extract_lane(floats, 0));
  store<f32>(y + c * 4, f32x4.extract_lane(floats, 1), 12);
}

// Hue plus `turns` (within one turn), saturation times `factor`, clamped. Two pixels to a vector of float64.
export function hsv(x: usize, y: usize, n: i32, turns: f64, factor: f64): void {
  const zero = f64x2.splat(0), one = f64x2.splat(1), six = f64x2.splat(6);
  for (const end = x + <usize>n * 12; x < end; x += 24, y += 24) {
    const r = pair(x, 0), g = pair(x, 1), b = pair(x, 2);
    const v = f64x2.pmax(f64x2.pmax(r, g), b), range = f64x2.sub(v, f64x2.pmin(f64x2.pmin(r, g), b));
    const isRed = f64x2.eq(v, r), isGreen = f64x2.eq(v, g); // red before green before blue
    const difference = v128.bitselect(f64x2.sub(g, b), v128.bitselect(f64x2.sub(b, r), f64x2.sub(r, g), isGreen), isRed);
    const base = v128.andnot(v128.bitselect(f64x2.splat(2), f64x2.splat(4), isGreen), isRed);
    const coloured = f64x2.add(base, f64x2.div(difference, addWhere(range, 1, f64x2.eq(range, zero))));
    let h = f64x2.add(v128.andnot(coloured, f64x2.eq(range, zero)), f64x2.splat(turns * 6));
    h = addWhere(h, 6, f64x2.lt(h, zero));
    h = addWhere(h, -6, f64x2.ge(h, six));
    const s = f64x2.pmin(f64x2.mul(f64x2.div(range, addWhere(v, 1, f64x2.eq(v, zero))), f64x2.splat(factor)), one);
    putHsv(y, 0, 5, h, s, v);
    putHsv(y, 1, 3, h, s, v);
    putHsv(y, 2, 1, h, s, v);
  }
}

// x < level ? x : 1 - x.
export function invertAbove(x: usize, y: usize, n: i32, level: f32): void {
  const one = f32x4.splat(1), level4 = f32x4.splat(level);
  for (const end = x + <usize>n * 12; x < end; x += 16, y += 16) {
    const values = v128.load(x);
    v128.store(y, v128.bitselect(values, f32x4.sub(one, values), f32x4.lt(values, level4)));
  }
}

// y[r][i] = x[r][w - 1 - i].
export function flipFloats(x: usize, y: usize, w: i32, h: i32): void {
  for (let r = 0; r < h; r++) {
    for (let from = x + <usize>(w - 1) * 12; from >= x; from -= 12, y += 12) v128.store(y, v128.load(from));
    x += <usize>w * 12;
  }
}

// y[i][c] = (x[i][c] - mean[c]) / std[c]; `mean` and `std` hold 12 floats: three channels, four times.
export function standardize(x: usize, y: usize, n: i32, mean: usize, std: usize): void {
  const m0 = v128.load(mean), m1 = v128.load(mean, 16), m2 = v128.load(mean, 32);
  const s0 = v128.load(std), s1 = v128.load(std, 16), s2 = v128.load(std, 32);
  for (const end = x + <usize>n * 12; x < end; x += 48, y += 48) {
    v128.store(y, f32x4.div(f32x4.sub(v128.load(x), m0), s0));
    v128.store(y, f32x4.div(f32x4.sub(v128.load(x, 16), m1), s1), 16);
    v128.store(y, f32x4.div(f32x4.sub(v128.load(x, 32), m2), s2), 32);
  }
}
