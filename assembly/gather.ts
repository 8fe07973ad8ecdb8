// Rows by index. Indices are whole numbers in float32, clamped to the rows that there are.
import { copyBytes, fillBytes } from "./move";
import { share } from "./simd";

// @ts-ignore: decorator
@inline
function rowAt(index: usize, i: u32, rows: u32): u32 {
  return min(<u32>max(<i32>load<f32>(index + (<usize>i << 2)), 0), rows - 1);
}

/** y[i] = x[index[i]]: x [rows, width], y [count, width]. args: x, index, y, rows, count, width */
export function gather(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const x: usize = load<u32>(args), index: usize = load<u32>(args, 4), y: usize = load<u32>(args, 8);
  const rows = load<u32>(args, 12), count = load<u32>(args, 16), bytes = <usize>load<u32>(args, 20) << 2;
  const end = share(count, thread + 1, threads);
  for (let i = share(count, thread, threads); i < end; i++) copyBytes(y + i * bytes, x + rowAt(index, i, rows) * bytes, bytes);
}

/**
 * y = 0, then y[index[i]] += x[i] in the order of i: x [count, width], y [rows, width]. Each thread owns a run of rows of y and
 * looks at all indices. args: x, index, y, rows, count, width
 */
export function scatterAdd(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const x: usize = load<u32>(args), index: usize = load<u32>(args, 4), y: usize = load<u32>(args, 8);
  const rows = load<u32>(args, 12), count = load<u32>(args, 16), bytes = <usize>load<u32>(args, 20) << 2;
  const begin = share(rows, thread, threads), end = share(rows, thread + 1, threads);
  fillBytes(y + begin * bytes, 0, (end - begin) * bytes);
  for (let i: u32 = 0; i < count; i++) {
    const row = rowAt(index, i, rows);
    if (row < begin || row >= end) continue;
    const to = y + row * bytes, from = x + i * bytes;
    let at: usize = 0;
    for (; at < (bytes & ~15); at += 16) v128.store(to + at, f32x4.add(v128.load(to + at), v128.load(from + at)));
    for (; at < bytes; at += 4) store<f32>(to + at, load<f32>(to + at) + load<f32>(from + at));
  }
}
