// Rows by index. Indices are whole numbers in float32, clamped to the rows that there are.
import { copyBytes, fillBytes } from "./move";
import { share } from "./simd";

@unmanaged
class Indexed {
  x: u32;
  index: u32;
  y: u32;
  /** Rows that an index may name. */
  rows: u32;
  /** Indices. */
  count: u32;
  width: u32;
}

/** The row that index i names. */
// @ts-ignore: decorator
@inline
function rowAt(p: Indexed, i: u32): u32 {
  return min(<u32>max(<i32>load<f32>(p.index + (i << 2)), 0), p.rows - 1);
}

/** y[i] = x[index[i]]: x [rows, width], y [count, width]. */
export function gather(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Indexed>(args), bytes = p.width << 2, end = share(p.count, thread + 1, threads);
  for (let i = share(p.count, thread, threads); i < end; i++) copyBytes(p.y + i * bytes, p.x + rowAt(p, i) * bytes, bytes);
}

/**
 * y = 0, then y[index[i]] += x[i] in the order of i: x [count, width], y [rows, width]. Each thread owns a run of rows of y and
 * looks at all indices.
 */
export function scatterAdd(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Indexed>(args), bytes = p.width << 2;
  const begin = share(p.rows, thread, threads), end = share(p.rows, thread + 1, threads);
  fillBytes(p.y + begin * bytes, 0, (end - begin) * bytes);
  for (let i: u32 = 0; i < p.count; i++) {
    const row = rowAt(p, i);
    if (row >= begin && row < end) addBytes(p.y + row * bytes, p.x + i * bytes, bytes);
  }
}

function addBytes(to: usize, from: usize, bytes: usize): void {
  let i: usize = 0;
  for (; i + 16 <= bytes; i += 16) v128.store(to + i, f32x4.add(v128.load(to + i), v128.load(from + i)));
  for (; i < bytes; i += 4) store<f32>(to + i, load<f32>(to + i) + load<f32>(from + i));
}
