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
    const rg = i16x8.narrow_i32x4_s(blend(grey, red(pixels), factor4), blend(grey, green(pixels), factor4));
    const b = blend(grey, blue(pixels), factor4);
    const planes = i8x16.narrow_i16x8_u(rg, i16x8.narrow_i32x4_s(b, b)); // r0-3 g0-3 b0-3
    v128.store(x, i8x16.shuffle(planes, pixels, 0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11, 28, 29, 30, 31));
  }
}

// @ts-ignore: decorator
@inline
function round8(x: f64): u8 {
  return <u8>(x + 0.5); // 0 <= x <= 255
}

// Through 8-bit HSV and back with H + shift modulo 256. Float32 and float64 alternate as in Pillow's C: single pixels depend on it.
export function hue(x: usize, n: i32, shift: u8): void {
  for (const end = x + <usize>n * 3; x < end; x += 3) {
    const r = <u32>load<u8>(x), g = <u32>load<u8>(x, 1), b = <u32>load<u8>(x, 2);
    const v = max(max(r, g), b), range = v - min(min(r, g), b);
    if (range == 0) continue;
    const over = <f32>range;
    const s: u8 = <u8>(<f64>(over / <f32>v) * 255.0);
    if (s == 0) { // hue is undefined: grey
      store<u8>(x, <u8>v);
      store<u8>(x, <u8>v, 1);
      store<u8>(x, <u8>v, 2);
      continue;
    }
    const rc = <f32>(v - r) / over, gc = <f32>(v - g) / over, bc = <f32>(v - b) / over;
    const sextant: f32 = r == v ? bc - gc : g == v ? <f32>(2.0 + <f64>rc - <f64>bc) : <f32>(4.0 + <f64>gc - <f64>rc);
    const turns = <f64>sextant / 6.0 + 1.0;
    const h = <u8>(<f64><f32>(turns >= 1.0 ? turns - 1.0 : turns) * 255.0) + shift;

    const position = <f32>(<f64>h * 6.0 / 255.0), sixth = floor<f32>(position), f = position - sixth;
    const fs = <f32>(<f64>s / 255.0), value = <f64>v;
    const p = round8(value * (1.0 - <f64>fs));
    const q = round8(value * (1.0 - <f64>(fs * f)));
    const t = round8(value * (1.0 - <f64>fs * (1.0 - <f64>f)));
    const top = <u8>v, sector = <u32>sixth % 6;
    store<u8>(x, sector == 0 || sector == 5 ? top : sector == 1 ? q : sector == 4 ? t : p);
    store<u8>(x, sector == 1 || sector == 2 ? top : sector == 0 ? t : sector == 3 ? q : p, 1);
    store<u8>(x, sector == 3 || sector == 4 ? top : sector == 2 ? t : sector == 5 ? q : p, 2);
  }
}
