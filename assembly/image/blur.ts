// One pass of Pillow's extended box filter over uint8 [h, w, 3]; three of them along each axis make its Gaussian blur.
//
//   y[i] = (inner sum_{-r..r} x[i + d] + outer (x[i - r - 1] + x[i + r + 1]) + 2^23) >> 24, edges replicated
//
// inner (2 r + 1) + 2 outer = 2^24, so unsigned 32 bits hold every sum.

// @ts-ignore: decorator
@inline
function four(from: usize): v128 {
  return i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(from)));
}

// @ts-ignore: decorator
@inline
function put(to: usize, sum: v128, ends: v128, inner: v128, outer: v128): void {
  const scaled = i32x4.add(i32x4.add(i32x4.mul(sum, inner), i32x4.mul(ends, outer)), i32x4.splat(1 << 23));
  const bytes = i32x4.shr_u(scaled, 24), halves = i16x8.narrow_i32x4_s(bytes, bytes);
  v128.store_lane<u32>(to, i8x16.narrow_i16x8_u(halves, halves), 0);
}

// Along rows, one pixel to a vector; the sum moves by one pixel in and one out.
export function boxHorizontal(x: usize, y: usize, w: i32, h: i32, r: i32, inner: u32, outer: u32): void {
  const inner4 = i32x4.splat(inner), outer4 = i32x4.splat(outer), last = w - 1;
  for (let row = 0; row < h; row++) {
    let sum = i32x4.splat(0);
    for (let d = -r; d <= r; d++) sum = i32x4.add(sum, four(x + <usize>min(max(d, 0), last) * 3));
    for (let i = 0; i < w; i++) {
      const next = four(x + <usize>min(i + r + 1, last) * 3);
      put(y + <usize>i * 3, sum, i32x4.add(four(x + <usize>max(i - r - 1, 0) * 3), next), inner4, outer4);
      sum = i32x4.add(sum, i32x4.sub(next, four(x + <usize>max(i - r, 0) * 3)));
    }
    x += <usize>w * 3;
    y += <usize>w * 3;
  }
}

// Along columns, four bytes to a vector; `sums` holds one u32 for each byte of a row.
export function boxVertical(x: usize, y: usize, w: i32, h: i32, r: i32, inner: u32, outer: u32, sums: usize): void {
  const inner4 = i32x4.splat(inner), outer4 = i32x4.splat(outer), last = h - 1, bytes = <usize>w * 3;
  for (let b: usize = 0; b < bytes; b += 4) {
    let sum = i32x4.splat(0);
    for (let d = -r; d <= r; d++) sum = i32x4.add(sum, four(x + b + <usize>min(max(d, 0), last) * bytes));
    v128.store(sums + b * 4, sum);
  }
  for (let i = 0; i < h; i++) {
    const entering = x + <usize>min(i + r + 1, last) * bytes, leaving = x + <usize>max(i - r, 0) * bytes;
    const before = x + <usize>max(i - r - 1, 0) * bytes;
    for (let b: usize = 0; b < bytes; b += 4) {
      const sum = v128.load(sums + b * 4), next = four(entering + b);
      put(y + b, sum, i32x4.add(four(before + b), next), inner4, outer4);
      v128.store(sums + b * 4, i32x4.add(sum, i32x4.sub(next, four(leaving + b))));
    }
    y += bytes;
  }
}
