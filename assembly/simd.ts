// Vector helpers: multiply-add in the build's own way, sums across lanes in a fixed order, functions of four floats at once.

// RELAXED is 1 in the build with relaxed SIMD and 0 in the plain one (asconfig.json).

/** a b + c: fused where the build has it, rounded twice otherwise. */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (RELAXED) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** (a0 + a2) + (a1 + a3) */
// @ts-ignore: decorator
@inline
export function hsum(a: v128): f32 {
  const pair = f32x4.add(a, v128.shuffle<i32>(a, a, 2, 3, 0, 1));
  return f32x4.extract_lane(pair, 0) + f32x4.extract_lane(pair, 1);
}

/** The larger, NaN if one is: half the instructions that f32x4.max becomes, which also orders zeros by their sign. */
// @ts-ignore: decorator
@inline
export function max4(a: v128, b: v128): v128 {
  return v128.bitselect(b, a, v128.or(f32x4.gt(b, a), f32x4.ne(b, b)));
}

/** The largest of four lanes; NaN if one is. */
// @ts-ignore: decorator
@inline
export function hmax(a: v128): f32 {
  const pair = f32x4.max(a, v128.shuffle<i32>(a, a, 2, 3, 0, 1));
  return max<f32>(f32x4.extract_lane(pair, 0), f32x4.extract_lane(pair, 1));
}

// @ts-ignore: decorator
@inline
function splat(x: f32): v128 {
  return f32x4.splat(x);
}

const ROUND: f32 = 12582912; // 1.5 2^23: adding it leaves the nearest whole number in the low bits

/**
 * exp(x): x = n ln 2 + r, |r| <= ln(2) / 2, exp(r) by a polynomial of degree 6 (fitted, 3e-9). 2^n is applied in two halves, so
 * that overflow gives infinity and underflow denormal numbers.
 */
// @ts-ignore: decorator
@inline
export function exp4(x: v128): v128 {
  const bounded = f32x4.pmax(f32x4.pmin(x, splat(89)), splat(-104)); // NaN stays
  const shifted = madd(bounded, splat(1.44269504), splat(ROUND));
  const n = f32x4.sub(shifted, splat(ROUND));
  const r = madd(n, splat(2.12194440e-4), madd(n, splat(-0.693359375), bounded)); // ln 2 in two parts
  let p = madd(splat(0.0013814552), r, splat(0.0083687367));
  p = madd(p, r, splat(0.04166839));
  p = madd(p, r, splat(0.1666652047));
  p = madd(p, r, splat(0.4999999344));
  p = f32x4.add(madd(p, f32x4.mul(r, r), r), splat(1));
  const whole = i32x4.sub(shifted, splat(ROUND));
  const half = i32x4.shr_s(whole, 1);
  const bias = i32x4.splat(127);
  const first = i32x4.shl(i32x4.add(half, bias), 23);
  const second = i32x4.shl(i32x4.add(i32x4.sub(whole, half), bias), 23);
  return f32x4.mul(f32x4.mul(p, first), second);
}

/** log(x): x = m 2^e, m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m - 1) / (m + 1)) by its fitted series (8e-10). */
// @ts-ignore: decorator
@inline
export function log4(x: v128): v128 {
  const tiny = f32x4.lt(x, splat(1.17549435e-38));
  const bits = v128.bitselect(f32x4.mul(x, splat(8388608)), x, tiny);
  const e = i32x4.shr_s(i32x4.sub(bits, i32x4.splat(0x3f3504f3)), 23);
  const f = f32x4.sub(i32x4.sub(bits, i32x4.shl(e, 23)), splat(1));
  const power = f32x4.sub(f32x4.convert_i32x4_s(e), v128.and(tiny, splat(23)));
  const s = f32x4.div(f, f32x4.add(f, splat(2)));
  const u = f32x4.mul(s, s);
  const p = f32x4.mul(u, madd(madd(splat(0.2987309291), u, splat(0.3997749476)), u, splat(0.6666677673)));
  const low = madd(s, p, f32x4.mul(power, splat(-2.12194440e-4)));
  const y = madd(power, splat(0.693359375), f32x4.add(f32x4.add(s, s), low));
  const finite = v128.bitselect(y, x, f32x4.lt(x, splat(f32.POSITIVE_INFINITY)));
  const positive = v128.bitselect(splat(f32.NEGATIVE_INFINITY), finite, f32x4.eq(x, splat(0)));
  return v128.bitselect(splat(f32.NaN), positive, f32x4.lt(x, splat(0)));
}

/** tanh(x): an odd polynomial (fitted, 4e-9) below 0.625, 1 - 2 / (exp(2|x|) + 1) beyond. */
// @ts-ignore: decorator
@inline
export function tanh4(x: v128): v128 {
  const a = f32x4.abs(x);
  const u = f32x4.mul(x, x);
  let p = madd(splat(-0.0057170057), u, splat(0.0206505495));
  p = madd(p, u, splat(-0.0537434855));
  p = madd(p, u, splat(0.1333149112));
  p = madd(p, u, splat(-0.3333328392));
  const near = madd(f32x4.mul(x, u), p, x);
  const far = f32x4.sub(splat(1), f32x4.div(splat(2), f32x4.add(exp4(f32x4.add(a, a)), splat(1))));
  const signed = v128.or(far, v128.and(x, splat(-0.0)));
  return v128.bitselect(near, signed, f32x4.lt(a, splat(0.625)));
}

/** 1 / (1 + exp(-x)) */
// @ts-ignore: decorator
@inline
export function sigmoid4(x: v128): v128 {
  return f32x4.div(splat(1), f32x4.add(splat(1), exp4(f32x4.neg(x))));
}

/** x within +-limit; NaN stays. */
// @ts-ignore: decorator
@inline
function within(x: v128, limit: f32): v128 {
  return f32x4.pmax(f32x4.pmin(x, splat(limit)), splat(-limit));
}

/** x Phi(x), Phi the normal distribution function: 1/2 + x P(x^2) / Q(x^2), fitted to 7e-9 up to |x| = 5.5; 0 before. */
// @ts-ignore: decorator
@inline
export function gelu4(x: v128): v128 {
  const y = within(x, 5.5), u = f32x4.mul(y, y);
  let p = madd(splat(2.274935182e-8), u, splat(6.3521302e-6)), q = madd(splat(1.197504451e-6), u, splat(7.364788921e-5));
  p = madd(p, u, splat(1.688268053e-4));
  q = madd(q, u, splat(0.001884451207));
  p = madd(p, u, splat(0.004677267559));
  q = madd(q, u, splat(0.02864593338));
  p = madd(p, u, splat(0.03385275262));
  q = madd(q, u, splat(0.2515221852));
  p = madd(p, u, splat(0.3989422346));
  q = madd(q, u, splat(1));
  const phi = f32x4.add(splat(0.5), f32x4.div(f32x4.mul(y, p), q));
  return f32x4.mul(x, v128.andnot(phi, f32x4.lt(x, splat(-5.5))));
}

/** Phi(x) + x phi(x): 1/2 + x P(x^2) / Q(x^2), fitted to 1.1e-7 up to |x| = 5.8, the same beyond; NaN at infinity. */
// @ts-ignore: decorator
@inline
export function geluDerivative4(x: v128): v128 {
  const y = within(x, 5.8), u = f32x4.mul(y, y);
  let p = madd(splat(1.929291031e-7), u, splat(3.595593038e-5)), q = madd(splat(8.952413697e-6), u, splat(1.920363687e-4));
  p = madd(p, u, splat(1.92204924e-5));
  q = madd(q, u, splat(0.003523034501));
  p = madd(p, u, splat(0.01423030555));
  q = madd(q, u, splat(0.04098020904));
  p = madd(p, u, splat(-0.03099585966));
  q = madd(q, u, splat(0.2944940351));
  p = madd(p, u, splat(0.7978853613));
  q = madd(q, u, splat(1));
  return f32x4.add(madd(x, splat(0), splat(0.5)), f32x4.div(f32x4.mul(y, p), q));
}

/** Where the share of a thread begins when `count` things are dealt out in runs. */
// @ts-ignore: decorator
@inline
export function share(count: u32, thread: u32, threads: u32): u32 {
  return <u32>((<u64>count * thread) / threads);
}

/** The first `count` floats of a vector, the others replaced. */
// @ts-ignore: decorator
@inline
export function first(count: usize, x: v128, other: f32): v128 {
  return v128.bitselect(x, f32x4.splat(other), i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(<i32>count)));
}

/** Stores the first `count` floats of a vector. */
// @ts-ignore: decorator
@inline
export function storeFirst(to: usize, x: v128, count: usize): void {
  store<f32>(to, f32x4.extract_lane(x, 0));
  if (count > 1) store<f32>(to, f32x4.extract_lane(x, 1), 4);
  if (count > 2) store<f32>(to, f32x4.extract_lane(x, 2), 8);
}

/** Stores a vector, or as much of it as `bytes` has room for. */
// @ts-ignore: decorator
@inline
export function storeTail(to: usize, x: v128, bytes: usize): void {
  if (bytes >= 16) v128.store(to, x);
  else storeFirst(to, x, bytes >> 2);
}
