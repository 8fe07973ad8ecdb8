// Moves of uint8 [h, w, 3] and the last step of a view: float32.

// y[r][i] = x[r][w - 1 - i].
export function flip(x: usize, y: usize, w: i32, h: i32): void {
  for (let r = 0; r < h; r++) {
    for (let from = x + <usize>(w - 1) * 3; from >= x; from -= 3, y += 3) {
      store<u16>(y, load<u16>(from));
      store<u8>(y, load<u8>(from, 2), 2);
    }
    x += <usize>w * 3;
  }
}

// @ts-ignore: decorator
@inline
function unit(words: v128): v128 {
  return f32x4.div(f32x4.convert_i32x4_u(words), f32x4.splat(255));
}

// y[i][c] = (x[i][c] / 255 - mean[c]) / std[c], each step rounded to float32 as PyTorch does. `mean` and `std` hold 12 floats: three
// channels, four times. Twelve values of four pixels to a turn.
export function normalize(x: usize, y: usize, n: i32, mean: usize, std: usize): void {
  const m0 = v128.load(mean), m1 = v128.load(mean, 16), m2 = v128.load(mean, 32);
  const s0 = v128.load(std), s1 = v128.load(std, 16), s2 = v128.load(std, 32);
  for (const end = x + <usize>n * 3; x < end; x += 12, y += 48) {
    const pixels = v128.load(x), low = i16x8.extend_low_i8x16_u(pixels), high = i16x8.extend_high_i8x16_u(pixels);
    v128.store(y, f32x4.div(f32x4.sub(unit(i32x4.extend_low_i16x8_u(low)), m0), s0));
    v128.store(y, f32x4.div(f32x4.sub(unit(i32x4.extend_high_i16x8_u(low)), m1), s1), 16);
    v128.store(y, f32x4.div(f32x4.sub(unit(i32x4.extend_low_i16x8_u(high)), m2), s2), 32);
  }
}
