// Colour operations on uint8 [n, 3], in place, exactly as Pillow computes them. Four pixels to a vector: 12 bytes are taken
// from the 16 that are loaded, and the 4 behind them are stored as they were.

// Channel c of four pixels as i32x4.
// @ts-ignore: decorator
@inline
function red(pixels: v128): v128 {
  return i8x16.shuffle(pixels, i8x16.splat(0), 0, 16, 16, 16, 3, 16, 16, 16, 6, 16, 16, 16, 9, 16, 16, 16);
}
// @ts-ignore: decorator
@inline
function green(pixels: v128): v128 {
  return i8x16.shuffle(pixels, i8x16.splat(0), 1, 16, 16, 16, 4, 16, 16, 16, 7, 16, 16, 16, 10, 16, 16, 16);
}
// @ts-ignore: decorator
@inline
function blue(pixels: v128): v128 {
  return i8x16.shuffle(pixels, i8x16.splat(0), 2, 16, 16, 16, 5, 16, 16, 16, 8, 16, 16, 16, 11, 16, 16, 16);
}

// Luma of ITU-R 601 in 16 bits: (19595 R + 38470 G + 7471 B + 2^15) >> 16.
// @ts-ignore: decorator
@inline
function grey4(pixels: v128): v128 {
  const rg = i32x4.add(i32x4.mul(red(pixels), i32x4.splat(19595)), i32x4.mul(green(pixels), i32x4.splat(38470)));
  return i32x4.shr_u(i32x4.add(i32x4.add(rg, i32x4.mul(blue(pixels), i32x4.splat(7471))), i32x4.splat(0x8000)), 16);
}

// Red, green and blue become the luma.
export function grayscale(x: usize, n: i32): void {
  for (const end = x + <usize>n * 3; x < end; x += 12) {
    const pixels = v128.load(x);
    v128.store(x, i8x16.shuffle(grey4(pixels), pixels, 0, 0, 0, 4, 4, 4, 8, 8, 8, 12, 12, 12, 28, 29, 30, 31));
  }
}

// Sum of the luma over n pixels.
export function luminance(x: usize, n: i32): f64 {
  let sum: u64 = 0;
  for (const end = x + <usize>n * 3; x < end; x += 3) {
    sum += (<u32>load<u8>(x) * 19595 + <u32>load<u8>(x, 1) * 38470 + <u32>load<u8>(x, 2) * 7471 + 0x8000) >> 16;
  }
  return <f64>sum;
}

// x[i][c] = table[c][x[i][c]], table [3, 256].
export function lut(x: usize, n: i32, table: usize): void {
  for (const end = x + <usize>n * 3; x < end; x += 3) {
    store<u8>(x, load<u8>(table + <usize>load<u8>(x)));
    store<u8>(x, load<u8>(table + <usize>load<u8>(x, 1), 256), 1);
    store<u8>(x, load<u8>(table + <usize>load<u8>(x, 2), 512), 2);
  }
}

// trunc(clamp(grey + factor (channel - grey))), in float32.
// @ts-ignore: decorator
@inline
function blend(grey: v128, channel: v128, factor: v128): v128 {
  const moved = f32x4.mul(f32x4.convert_i32x4_s(i32x4.sub(channel, grey)), factor);
  return i32x4.trunc_sat_f32x4_s(f32x4.add(f32x4.convert_i32x4_s(grey), moved));
}

// Each pixel moves away from its luma by `factor`.
export function saturation(x: usize, n: i32, factor: f32): void {
  const factor4 = f32x4.splat(factor);
  for (const end = x + <usize>n * 3; x < end; x += 12) {
    const pixels = v128.load(x), grey = grey4(pixels);
    putChannels(x, pixels, blend(grey, red(pixels), factor4), blend(grey, green(pixels), factor4), blend(grey, blue(pixels), factor4));
  }
}

// The channels of four pixels, i32x4 each, back into their 12 bytes.
// @ts-ignore: decorator
@inline
function putChannels(x: usize, pixels: v128, r: v128, g: v128, b: v128): void {
  const planes = i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(r, g), i16x8.narrow_i32x4_s(b, b)); // r0-3 g0-3 b0-3
  v128.store(x, i8x16.shuffle(planes, pixels, 0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11, 28, 29, 30, 31));
}

// Lanes 2 and 3 to where 0 and 1 are.
// @ts-ignore: decorator
@inline
function upper(x: v128): v128 {
  return i8x16.shuffle(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
}

// The first two lanes of two vectors.
// @ts-ignore: decorator
@inline
function join(low: v128, high: v128): v128 {
  return i8x16.shuffle(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
}

// trunc(255 x) of the float32 in the first two lanes, the product in float64.
// @ts-ignore: decorator
@inline
function levels(x: v128): v128 {
  return i32x4.trunc_sat_f64x2_s_zero(f64x2.mul(f64x2.promote_low_f32x4(x), f64x2.splat(255)));
}

// The first two lanes of 8-bit H: (base + plus - minus) / 6 + 1 modulo 1, rounded to float32 where Pillow stores it.
// @ts-ignore: decorator
@inline
function hueLevels(base: v128, plus: v128, minus: v128): v128 {
  const sum = f64x2.sub(f64x2.add(f64x2.convert_low_i32x4_s(base), f64x2.promote_low_f32x4(plus)), f64x2.promote_low_f32x4(minus));
  const sextant = f64x2.promote_low_f32x4(f32x4.demote_f64x2_zero(sum)), one = f64x2.splat(1);
  const turns = f64x2.add(f64x2.div(sextant, f64x2.splat(6)), one);
  return levels(f32x4.demote_f64x2_zero(f64x2.sub(turns, v128.and(f64x2.ge(turns, one), one))));
}

// round(v (1 - a)) of the first two lanes, v i32 and a float64.
// @ts-ignore: decorator
@inline
function lower2(v: v128, a: v128): v128 {
  const value = f64x2.mul(f64x2.convert_low_i32x4_s(v), f64x2.sub(f64x2.splat(1), a));
  return i32x4.trunc_sat_f64x2_s_zero(f64x2.add(value, f64x2.splat(0.5)));
}

// round(v (1 - a)), v i32 and a float32.
// @ts-ignore: decorator
@inline
function lower(v: v128, a: v128): v128 {
  return join(lower2(v, f64x2.promote_low_f32x4(a)), lower2(upper(v), f64x2.promote_low_f32x4(upper(a))));
}

// round(v (1 - s (1 - f))) of the first two lanes.
// @ts-ignore: decorator
@inline
function rising2(v: v128, s: v128, f: v128): v128 {
  return lower2(v, f64x2.mul(f64x2.promote_low_f32x4(s), f64x2.sub(f64x2.splat(1), f64x2.promote_low_f32x4(f))));
}

// Through 8-bit HSV and back with H + shift modulo 256. Float32 and float64 alternate as in Pillow's C: single pixels depend on it.
export function hue(x: usize, n: i32, shift: u8): void {
  const one = i32x4.splat(1), shift4 = i32x4.splat(shift);
  for (const end = x + <usize>n * 3; x < end; x += 12) {
    const pixels = v128.load(x), r = red(pixels), g = green(pixels), b = blue(pixels);
    const v = i32x4.max_s(i32x4.max_s(r, g), b), range = i32x4.sub(v, i32x4.min_s(i32x4.min_s(r, g), b));
    const saturation = f32x4.div(f32x4.convert_i32x4_s(range), f32x4.convert_i32x4_s(i32x4.max_s(v, one)));
    const s = join(levels(saturation), levels(upper(saturation)));

    const over = f32x4.convert_i32x4_s(i32x4.max_s(range, one));
    const rc = f32x4.div(f32x4.convert_i32x4_s(i32x4.sub(v, r)), over);
    const gc = f32x4.div(f32x4.convert_i32x4_s(i32x4.sub(v, g)), over);
    const bc = f32x4.div(f32x4.convert_i32x4_s(i32x4.sub(v, b)), over);
    const isRed = i32x4.eq(r, v), isGreen = i32x4.eq(g, v); // which channel is largest: red before green before blue
    const plus = v128.bitselect(bc, v128.bitselect(rc, gc, isGreen), isRed);
    const minus = v128.bitselect(gc, v128.bitselect(bc, rc, isGreen), isRed);
    const base = v128.andnot(v128.bitselect(i32x4.splat(2), i32x4.splat(4), isGreen), isRed);
    const before = join(hueLevels(base, plus, minus), hueLevels(upper(base), upper(plus), upper(minus)));
    const h = v128.and(i32x4.add(before, shift4), i32x4.splat(255));

    const position = f32x4.div(f32x4.convert_i32x4_s(i32x4.mul(h, i32x4.splat(6))), f32x4.splat(255));
    const sixth = f32x4.floor(position), f = f32x4.sub(position, sixth), fs = f32x4.div(f32x4.convert_i32x4_s(s), f32x4.splat(255));
    const p = lower(v, fs), q = lower(v, f32x4.mul(fs, f)), t = join(rising2(v, fs, f), rising2(upper(v), upper(fs), upper(f)));
    const sector = i32x4.trunc_sat_f32x4_s(sixth); // 6 is 0 again
    const in0 = v128.or(i32x4.eq(sector, i32x4.splat(0)), i32x4.eq(sector, i32x4.splat(6)));
    const in1 = i32x4.eq(sector, one), in2 = i32x4.eq(sector, i32x4.splat(2)), in3 = i32x4.eq(sector, i32x4.splat(3));
    const in4 = i32x4.eq(sector, i32x4.splat(4)), in5 = i32x4.eq(sector, i32x4.splat(5)), isGrey = i32x4.eq(s, i32x4.splat(0));
    putChannels(
      x,
      pixels,
      v128.bitselect(v, v128.bitselect(q, v128.bitselect(t, p, in4), in1), v128.or(v128.or(in0, in5), isGrey)),
      v128.bitselect(v, v128.bitselect(t, v128.bitselect(q, p, in3), in0), v128.or(v128.or(in1, in2), isGrey)),
      v128.bitselect(v, v128.bitselect(t, v128.bitselect(q, p, in5), in2), v128.or(v128.or(in3, in4), isGrey)),
    );
  }
}
