// Numbers in half precision (IEEE 754 binary16), as bits: SIMD128 has no instructions for them. Rounds to nearest, ties to even;
// what is too large becomes infinite, NaN stays NaN.
import { share } from "./simd";

/** Bits of the half that is nearest to each float, in the low half of each lane. */
// @ts-ignore: decorator
@inline
function halves(x: v128): v128 {
  const sign = v128.and(x, i32x4.splat(0x80000000)), size = v128.xor(x, sign);
  // Below 2^-14 the sum with 1/2 leaves multiples of 2^-24, rounded, in its last bits.
  const small = i32x4.sub(f32x4.add(size, f32x4.splat(0.5)), i32x4.splat(0x3f000000));
  const odd = v128.and(i32x4.shr_u(size, 13), i32x4.splat(1));
  const normal = i32x4.shr_u(i32x4.add(i32x4.add(size, odd), i32x4.splat(0xc8000fff)), 13); // exponent - 112, then the nearest
  const finite = v128.bitselect(small, normal, i32x4.lt_s(size, i32x4.splat(0x38800000)));
  const bounded = v128.bitselect(i32x4.splat(0x7c00), finite, i32x4.ge_s(size, i32x4.splat(0x47800000)));
  const half = v128.bitselect(i32x4.splat(0x7e00), bounded, i32x4.gt_s(size, i32x4.splat(0x7f800000)));
  return v128.or(half, i32x4.shr_u(sign, 16));
}

/** The floats of four halves, each in the low half of its lane. */
// @ts-ignore: decorator
@inline
function floats(half: v128): v128 {
  const sign = i32x4.shl(v128.and(half, i32x4.splat(0x8000)), 16);
  const bits = i32x4.shl(v128.and(half, i32x4.splat(0x7fff)), 13);
  const size = f32x4.mul(bits, v128.splat<f32>(reinterpret<f32>(0x77800000))); // 2^112: exact, also for subnormals
  const unbounded = v128.and(i32x4.ge_s(bits, i32x4.splat(0x0f800000)), i32x4.splat(0x7f800000));
  return v128.or(v128.or(size, unbounded), sign);
}

/** 16 floats to 16 halves. */
// @ts-ignore: decorator
@inline
function narrow(from: usize, to: usize): void {
  v128.store(to, i16x8.narrow_i32x4_u(halves(v128.load(from)), halves(v128.load(from, 16))));
  v128.store(to, i16x8.narrow_i32x4_u(halves(v128.load(from, 32)), halves(v128.load(from, 48))), 16);
}

/** 16 halves to 16 floats. */
// @ts-ignore: decorator
@inline
function widen(from: usize, to: usize): void {
  const a = v128.load(from), b = v128.load(from, 16);
  v128.store(to, floats(i32x4.extend_low_i16x8_u(a)));
  v128.store(to, floats(i32x4.extend_high_i16x8_u(a)), 16);
  v128.store(to, floats(i32x4.extend_low_i16x8_u(b)), 32);
  v128.store(to, floats(i32x4.extend_high_i16x8_u(b)), 48);
}

@unmanaged
class Conversion {
  from: u32;
  to: u32;
  count: u32;
}

/** y = x in half precision, two numbers a word. */
export function toHalf(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Conversion>(args), groups = (p.count + 15) >> 4, end = share(groups, thread + 1, threads);
  for (let group = share(groups, thread, threads); group < end; group++) {
    const from = p.from + (group << 6), to = p.to + (group << 5), here = min<u32>(16, p.count - (group << 4));
    if (here == 16) {
      narrow(from, to);
    } else {
      memory.fill(scratch, 0, 64);
      memory.copy(scratch, from, here << 2);
      narrow(scratch, scratch + 64);
      memory.copy(to, scratch + 64, ((here + 1) >> 1) << 2);
    }
  }
}

/** y = x, which holds two numbers a word. */
export function fromHalf(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Conversion>(args), groups = (p.count + 15) >> 4, end = share(groups, thread + 1, threads);
  for (let group = share(groups, thread, threads); group < end; group++) {
    const from = p.from + (group << 5), to = p.to + (group << 6), here = min<u32>(16, p.count - (group << 4));
    if (here == 16) {
      widen(from, to);
    } else {
      memory.copy(scratch, from, ((here + 1) >> 1) << 2);
      widen(scratch, scratch + 64);
      memory.copy(to, scratch + 64, here << 2);
    }
  }
}
