// Philox 4x32-10: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", table 2 and figure 2.
import { share } from "./simd";

// @ts-ignore: decorator
@inline
function low(even: v128, odd: v128): v128 {
  return v128.shuffle<i32>(even, odd, 0, 4, 2, 6);
}
// @ts-ignore: decorator
@inline
function high(even: v128, odd: v128): v128 {
  return v128.shuffle<i32>(even, odd, 1, 5, 3, 7);
}

/** Products of lanes 0 and 2 with a constant, 64 bits each. */
// @ts-ignore: decorator
@inline
function evenProduct(x: v128, y: v128): v128 {
  return v128.extmul_low<u32>(v128.shuffle<i32>(x, x, 0, 2, 0, 2), y);
}
// @ts-ignore: decorator
@inline
function oddProduct(x: v128, y: v128): v128 {
  return v128.extmul_low<u32>(v128.shuffle<i32>(x, x, 1, 3, 1, 3), y);
}

// @ts-ignore: decorator
@inline
function unit(words: v128): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(i32x4.shr_u(words, 8)), f32x4.splat(5.9604644775390625e-8)); // 2^-24
}

/** 16 draws from the four counters that follow `counter`. */
function draw(to: usize, counter: u32, stream: u32, step: u32, seed: u32): void {
  const m0 = i32x4.splat(0xd2511f53), m1 = i32x4.splat(0xcd9e8d57);
  let a = i32x4.add(i32x4.splat(counter), i32x4(0, 1, 2, 3)), b = i32x4.splat(stream), c = i32x4.splat(step), d = i32x4.splat(0);
  let k = seed, l: u32 = 0;
  for (let round = 0; round < 10; round++, k += 0x9e3779b9, l += 0xbb67ae85) {
    const even0 = evenProduct(a, m0), odd0 = oddProduct(a, m0), even1 = evenProduct(c, m1), odd1 = oddProduct(c, m1);
    a = v128.xor(v128.xor(high(even1, odd1), b), i32x4.splat(k));
    b = low(even1, odd1);
    c = v128.xor(v128.xor(high(even0, odd0), d), i32x4.splat(l));
    d = low(even0, odd0);
  }
  // Lanes are counters; the draws of one counter follow each other.
  const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  const ef = v128.shuffle<i32>(a, b, 2, 6, 3, 7), gh = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(to, unit(v128.shuffle<i64>(ab, cd, 0, 2)));
  v128.store(to, unit(v128.shuffle<i64>(ab, cd, 1, 3)), 16);
  v128.store(to, unit(v128.shuffle<i64>(ef, gh, 0, 2)), 32);
  v128.store(to, unit(v128.shuffle<i64>(ef, gh, 1, 3)), 48);
}

// @ts-ignore: decorator
@inline
function half(key: usize, which: usize): u32 {
  return <u32>load<f32>(key + (which << 2));
}

@unmanaged
class Uniform {
  key: u32;
  y: u32;
  count: u32;
  stream: u32;
}

/** y[i] in [0, 1) from counter (i / 4, stream, step, 0) and key (seed, 0). */
export function uniform(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Uniform>(args);
  const seed = half(p.key, 0) + (half(p.key, 1) << 16), step = half(p.key, 2) + (half(p.key, 3) << 16);
  const groups = (p.count + 15) >> 4, end = share(groups, thread + 1, threads);
  for (let group = share(groups, thread, threads); group < end; group++) {
    const to = p.y + (group << 6), here = min<u32>(16, p.count - (group << 4));
    draw(here == 16 ? to : scratch, group << 2, p.stream, step, seed);
    if (here < 16) memory.copy(to, scratch, here << 2);
  }
}
