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

/**
 * Number `i` of a table, in all lanes. The functions below keep their numbers in memory: V8 makes a constant from its bits by four
 * instructions and loads it by one, and joins two such loads into one of 256 bits.
 */
// @ts-ignore: decorator
@inline
function number(table: usize, i: usize): v128 {
  return v128.load32_splat(table + (i << 2));
}

/** 1.5 2^23: adding it leaves the nearest whole number in the low bits. */
const ROUND: f32 = 12582912;
/** Bounds, 1 / ln 2, ROUND, ln 2 in two parts, the polynomial from its highest power on. */
const EXP = memory.data<f32>([
  89, -104, 1.44269504, ROUND, 2.12194440e-4, -0.693359375, 0.0013814552, 0.0083687367, 0.04166839, 0.1666652047, 0.4999999344, 1,
]);

/**
 * exp(x): x = n ln 2 + r, |r| <= ln(2) / 2, exp(r) by a polynomial of degree 6 (fitted, 3e-9). 2^n is applied in two halves, so
 * that overflow gives infinity and underflow denormal numbers.
 */
// @ts-ignore: decorator
@inline
export function exp4(x: v128): v128 {
  const bounded = f32x4.pmax(f32x4.pmin(x, number(EXP, 0)), number(EXP, 1)); // NaN stays
  const shifted = madd(bounded, number(EXP, 2), number(EXP, 3));
  const n = f32x4.sub(shifted, number(EXP, 3));
  const r = madd(n, number(EXP, 4), madd(n, number(EXP, 5), bounded));
  let p = madd(number(EXP, 6), r, number(EXP, 7));
  p = madd(p, r, number(EXP, 8));
  p = madd(p, r, number(EXP, 9));
  p = madd(p, r, number(EXP, 10));
  p = f32x4.add(madd(p, f32x4.mul(r, r), r), number(EXP, 11));
  const whole = i32x4.sub(shifted, number(EXP, 3));
  const half = i32x4.shr_s(whole, 1);
  const bias = i32x4.splat(127);
  const first = i32x4.shl(i32x4.add(half, bias), 23);
  const second = i32x4.shl(i32x4.add(i32x4.sub(whole, half), bias), 23);
  return f32x4.mul(f32x4.mul(p, first), second);
}

/** 1 / ln 2, the least power, ROUND, the polynomial from its highest power on. */
const POWER = memory.data<f32>([
  1.44269504, -126, ROUND, 0.00015353362, 0.0013398875, 0.009618437, 0.055503324, 0.24022648, 0.6931472, 1,
]);

/**
 * exp(x) for x up to 0 and a little beyond, where a softmax is: two thirds of what exp4 costs. x / ln 2 = n + r, |r| <= 1/2, 2^r by a
 * polynomial of degree 6 (fitted, 2e-9). Within 7e-8 of exp(x); 1e-38 from -87 down.
 */
// @ts-ignore: decorator
@inline
export function decay4(x: v128): v128 {
  const y = f32x4.pmax(f32x4.mul(x, number(POWER, 0)), number(POWER, 1)); // NaN stays
  const shifted = f32x4.add(y, number(POWER, 2));
  const r = f32x4.sub(y, f32x4.sub(shifted, number(POWER, 2)));
  const rr = f32x4.mul(r, r);
  let p = madd(number(POWER, 3), rr, madd(number(POWER, 4), r, number(POWER, 5))); // in pairs: a shorter chain
  p = madd(p, rr, madd(number(POWER, 6), r, number(POWER, 7)));
  p = madd(p, rr, madd(number(POWER, 8), r, number(POWER, 9)));
  return i32x4.add(p, i32x4.shl(shifted, 23)); // n is in the low bits
}

/** The smallest normal number, 2^23, 23, 1, 2, the series from its highest power on, ln 2 in two parts, infinities, NaN, 0. */
const LOG = memory.data<f32>([
  1.17549435e-38, 8388608, 23, 1, 2, 0.2987309291, 0.3997749476, 0.6666677673, -2.12194440e-4, 0.693359375, Infinity, -Infinity, NaN, 0,
]);

/** log(x): x = m 2^e, m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m - 1) / (m + 1)) by its fitted series (8e-10). */
// @ts-ignore: decorator
@inline
export function log4(x: v128): v128 {
  const zero = number(LOG, 13);
  const tiny = f32x4.lt(x, number(LOG, 0));
  const bits = v128.bitselect(f32x4.mul(x, number(LOG, 1)), x, tiny);
  const e = i32x4.shr_s(i32x4.sub(bits, i32x4.splat(0x3f3504f3)), 23);
  const f = f32x4.sub(i32x4.sub(bits, i32x4.shl(e, 23)), number(LOG, 3));
  const power = f32x4.sub(f32x4.convert_i32x4_s(e), v128.and(tiny, number(LOG, 2)));
  const s = f32x4.div(f, f32x4.add(f, number(LOG, 4)));
  const u = f32x4.mul(s, s);
  const p = f32x4.mul(u, madd(madd(number(LOG, 5), u, number(LOG, 6)), u, number(LOG, 7)));
  const low = madd(s, p, f32x4.mul(power, number(LOG, 8)));
  const y = madd(power, number(LOG, 9), f32x4.add(f32x4.add(s, s), low));
  const finite = v128.bitselect(y, x, f32x4.lt(x, number(LOG, 10)));
  const positive = v128.bitselect(number(LOG, 11), finite, f32x4.eq(x, zero));
  return v128.bitselect(number(LOG, 12), positive, f32x4.lt(x, zero));
}

/** The polynomial from its highest power on, 1, 2, 0.625. */
const TANH = memory.data<f32>([-0.0057170057, 0.0206505495, -0.0537434855, 0.1333149112, -0.3333328392, 1, 2, 0.625]);

/** tanh(x): an odd polynomial (fitted, 4e-9) below 0.625, 1 - 2 / (exp(2|x|) + 1) beyond. */
// @ts-ignore: decorator
@inline
export function tanh4(x: v128): v128 {
  const a = f32x4.abs(x);
  const u = f32x4.mul(x, x);
  let p = madd(number(TANH, 0), u, number(TANH, 1));
  p = madd(p, u, number(TANH, 2));
  p = madd(p, u, number(TANH, 3));
  p = madd(p, u, number(TANH, 4));
  const near = madd(f32x4.mul(x, u), p, x), one = number(TANH, 5);
  const far = f32x4.sub(one, f32x4.div(number(TANH, 6), f32x4.add(exp4(f32x4.add(a, a)), one)));
  const signed = v128.or(far, v128.and(x, f32x4.splat(-0.0)));
  return v128.bitselect(near, signed, f32x4.lt(a, number(TANH, 7)));
}

/** 1 / (1 + exp(-x)) */
// @ts-ignore: decorator
@inline
export function sigmoid4(x: v128): v128 {
  const one = number(EXP, 11);
  return f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(x))));
}

/** x from a lower to an upper bound, the first two numbers of a table; NaN stays. */
// @ts-ignore: decorator
@inline
function within(x: v128, table: usize): v128 {
  return f32x4.pmax(f32x4.pmin(x, number(table, 1)), number(table, 0));
}

/** Bounds of x, 1/2, P and Q in turn from their highest powers on. */
const GELU = memory.data<f32>([
  -5.5, 5.5, 0.5, 2.274935182e-8, 1.197504451e-6, 6.3521302e-6, 7.364788921e-5, 1.688268053e-4, 0.001884451207,
  0.004677267559, 0.02864593338, 0.03385275262, 0.2515221852, 0.3989422346, 1,
]);

/** x Phi(x), Phi the normal distribution function: 1/2 + x P(x^2) / Q(x^2), fitted to 7e-9 up to |x| = 5.5; 0 before. */
// @ts-ignore: decorator
@inline
export function gelu4(x: v128): v128 {
  const phi = f32x4.add(number(GELU, 2), fraction(within(x, GELU), GELU));
  return f32x4.mul(x, v128.andnot(phi, f32x4.lt(x, number(GELU, 0))));
}

/** y P(y^2) / Q(y^2), both of degree 4, by a table such as GELU. */
// @ts-ignore: decorator
@inline
function fraction(y: v128, table: usize): v128 {
  const u = f32x4.mul(y, y);
  let p = madd(number(table, 3), u, number(table, 5)), q = madd(number(table, 4), u, number(table, 6));
  p = madd(p, u, number(table, 7));
  q = madd(q, u, number(table, 8));
  p = madd(p, u, number(table, 9));
  q = madd(q, u, number(table, 10));
  p = madd(p, u, number(table, 11));
  q = madd(q, u, number(table, 12));
  p = madd(p, u, number(table, 13));
  q = madd(q, u, number(table, 14));
  return f32x4.div(f32x4.mul(y, p), q);
}

/** As GELU. */
const GELU_DERIVATIVE = memory.data<f32>([
  -5.8, 5.8, 0.5, 1.929291031e-7, 8.952413697e-6, 3.595593038e-5, 1.920363687e-4, 1.92204924e-5, 0.003523034501,
  0.01423030555, 0.04098020904, -0.03099585966, 0.2944940351, 0.7978853613, 1,
]);

/** Phi(x) + x phi(x): 1/2 + x P(x^2) / Q(x^2), fitted to 1.1e-7 up to |x| = 5.8, the same beyond; NaN at infinity. */
// @ts-ignore: decorator
@inline
export function geluDerivative4(x: v128): v128 {
  const half = madd(x, f32x4.splat(0), number(GELU_DERIVATIVE, 2));
  return f32x4.add(half, fraction(within(x, GELU_DERIVATIVE), GELU_DERIVATIVE));
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
