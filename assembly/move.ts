// Copies between strided places. Strides in bytes, from the outermost axis inwards; those of the source may be 0 or negative.
import { share } from "./simd";

/** Longest piece of a row that one thread copies at a time, in floats. */
const PIECE: u32 = 4096;

// A copy's words: axes, from, to, then for each axis { size, stride of from, stride of to }. The last axis is a row.
// @ts-ignore: decorator
@inline
function sizeOf(args: usize, axis: u32): u32 {
  return load<u32>(args + <usize>axis * 12, 12);
}
// @ts-ignore: decorator
@inline
function fromStep(args: usize, axis: u32): usize {
  return load<u32>(args + <usize>axis * 12, 16);
}
// @ts-ignore: decorator
@inline
function toStep(args: usize, axis: u32): usize {
  return load<u32>(args + <usize>axis * 12, 20);
}

/** Copies exactly `bytes`. */
export function copyBytes(to: usize, from: usize, bytes: usize): void {
  const end = from + bytes, whole = from + (bytes & ~15);
  for (; from < whole; from += 16, to += 16) v128.store(to, v128.load(from));
  for (; from < end; from += 4, to += 4) store<f32>(to, load<f32>(from));
}

/** Sets exactly `bytes` to one float. */
export function fillBytes(to: usize, value: f32, bytes: usize): void {
  const end = to + bytes, whole = to + (bytes & ~15), value4 = f32x4.splat(value);
  for (; to < whole; to += 16) v128.store(to, value4);
  for (; to < end; to += 4) store<f32>(to, value);
}

function copyRow(to: usize, from: usize, count: u32, toStep: usize, fromStep: usize): void {
  if (toStep == 4 && fromStep == 4) return copyBytes(to, from, <usize>count << 2);
  if (toStep == 4 && fromStep == 0) return fillBytes(to, load<f32>(from), <usize>count << 2);
  for (; count > 0; count--, to += toStep, from += fromStep) store<f32>(to, load<f32>(from));
}

/** Copies any view into any other of its shape. Rows, or pieces of long rows, in one run for each thread. */
export function copy(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const last = load<u32>(args) - 1, length = sizeOf(args, last);
  const pieces = (length + PIECE - 1) / PIECE;
  let rows: u32 = 1;
  for (let axis: u32 = 0; axis < last; axis++) rows *= sizeOf(args, axis);
  const begin = share(rows * pieces, thread, threads), end = share(rows * pieces, thread + 1, threads);
  if (begin >= end) return;

  let from: usize = load<u32>(args, 4), to: usize = load<u32>(args, 8);
  let row = begin / pieces, piece = begin % pieces;
  for (let axis = last; axis > 0; ) {
    axis--;
    const at = row % sizeOf(args, axis);
    row /= sizeOf(args, axis);
    store<u32>(scratch + (<usize>axis << 2), at); // the row's index on each axis
    from += at * fromStep(args, axis);
    to += at * toStep(args, axis);
  }
  const fromLast = fromStep(args, last), toLast = toStep(args, last);
  for (let at = begin; at < end; at++) {
    const first = piece * PIECE;
    copyRow(to + first * toLast, from + first * fromLast, min(PIECE, length - first), toLast, fromLast);
    if (++piece < pieces) continue;
    piece = 0;
    for (let axis = last; axis > 0; ) {
      axis--;
      const index = scratch + (<usize>axis << 2), next = load<u32>(index) + 1, size = sizeOf(args, axis);
      from += fromStep(args, axis);
      to += toStep(args, axis);
      store<u32>(index, next == size ? 0 : next);
      if (next < size) break;
      from -= size * fromStep(args, axis);
      to -= size * toStep(args, axis);
    }
  }
}

/** Side of the blocks in which a transpose goes, so that both sides stay in the first cache. */
const SIDE: u32 = 32;

/**
 * to[p, q] = from[q, p] for matrices on up to any number of outer axes: from runs on along p, to along q.
 * Words: as a copy's, the last two axes being p (step 4 in from) and q (step 4 in to).
 */
export function transpose(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const axes = load<u32>(args), p = axes - 2, q = axes - 1;
  const height = sizeOf(args, p), width = sizeOf(args, q), fromQ = fromStep(args, q), toP = toStep(args, p);
  const down = (height + SIDE - 1) / SIDE, across = (width + SIDE - 1) / SIDE;
  let matrices: u32 = 1;
  for (let axis: u32 = 0; axis < p; axis++) matrices *= sizeOf(args, axis);
  const end = share(matrices * down * across, thread + 1, threads);
  for (let at = share(matrices * down * across, thread, threads); at < end; at++) {
    const row = ((at / across) % down) * SIDE, column = (at % across) * SIDE;
    let from: usize = load<u32>(args, 4) + (row << 2) + column * fromQ, to: usize = load<u32>(args, 8) + row * toP + (column << 2);
    let matrix = at / (across * down);
    for (let axis = p; axis > 0; ) {
      axis--;
      const index = matrix % sizeOf(args, axis);
      matrix /= sizeOf(args, axis);
      from += index * fromStep(args, axis);
      to += index * toStep(args, axis);
    }
    transposeBlock(from, to, min(SIDE, height - row), min(SIDE, width - column), fromQ, toP);
  }
}

function transposeBlock(from: usize, to: usize, height: u32, width: u32, fromQ: usize, toP: usize): void {
  const high = height & ~3, wide = width & ~3;
  for (let q: u32 = 0; q < wide; q += 4) {
    for (let p: u32 = 0; p < high; p += 4) {
      const source = from + q * fromQ + (p << 2), target = to + p * toP + (q << 2);
      const a = v128.load(source), b = v128.load(source + fromQ), c = v128.load(source + 2 * fromQ), d = v128.load(source + 3 * fromQ);
      const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
      const ef = v128.shuffle<i32>(a, b, 2, 6, 3, 7), gh = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
      v128.store(target, v128.shuffle<i64>(ab, cd, 0, 2));
      v128.store(target + toP, v128.shuffle<i64>(ab, cd, 1, 3));
      v128.store(target + 2 * toP, v128.shuffle<i64>(ef, gh, 0, 2));
      v128.store(target + 3 * toP, v128.shuffle<i64>(ef, gh, 1, 3));
    }
  }
  for (let p: u32 = 0; p < height; p++) {
    for (let q = p < high ? wide : 0; q < width; q++) store<f32>(to + p * toP + (q << 2), load<f32>(from + q * fromQ + (p << 2)));
  }
}

@unmanaged
class UpdateSlice {
  x: u32;
  part: u32;
  start: u32;
  y: u32;
  outer: u32;
  n: u32;
  m: u32;
  inner: u32;
}

/**
 * y = x with part over [start, start + m) of the middle axis: x, y [outer, n, inner], part [outer, m, inner]. The scalar start is
 * clamped to 0 .. n - m. y may be x itself: then only the part is written.
 */
export function updateSlice(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<UpdateSlice>(args), rows = p.outer * p.n, bytes = p.inner << 2;
  const first = min(max(<i32>load<f32>(p.start), 0), <i32>(p.n - p.m)), end = share(rows, thread + 1, threads);
  for (let row = share(rows, thread, threads); row < end; row++) {
    const at = <i32>(row % p.n) - first;
    if (<u32>at < p.m) copyBytes(p.y + row * bytes, p.part + ((row / p.n) * p.m + at) * bytes, bytes);
    else if (p.x != p.y) copyBytes(p.y + row * bytes, p.x + row * bytes, bytes);
  }
}
