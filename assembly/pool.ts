// Pooling over NHWC images: a window's rows and columns that lie inside the image, channels sixteen or four at a time.
import { max4, share, storeTail } from "./simd";

/** The arguments that all kernels begin with. */
@unmanaged
class Pool {
  from: u32;
  to: u32;
  n: u32;
  h: i32; // the image
  w: i32;
  c: u32;
  oh: i32; // the output
  ow: i32;
  kernel: i32;
  stride: i32;
  padding: i32;
  /** Of maxPoolGrad: the image whose largest elements get the gradient. */
  x: u32;
}

// @ts-ignore: decorator
@inline
function join(maximum: bool, a: v128, b: v128): v128 {
  return maximum ? max4(a, b) : f32x4.add(a, b);
}

/** The largest or the scaled sum of `down` x `across` pixels from the address on; `line` and `pixel` are distances in bytes. */
// @ts-ignore: decorator
@inline
function window(maximum: bool, from: usize, to: usize, down: i32, across: i32, line: usize, pixel: usize, scale: v128): void {
  let i: usize = 0;
  for (; i + 64 <= pixel; i += 64) {
    let a = f32x4.splat(maximum ? f32.NEGATIVE_INFINITY : 0), b = a, c = a, d = a, row = from + i;
    for (let y = 0; y < down; y++, row += line) {
      let at = row;
      for (let x = 0; x < across; x++, at += pixel) {
        a = join(maximum, a, v128.load(at));
        b = join(maximum, b, v128.load(at, 16));
        c = join(maximum, c, v128.load(at, 32));
        d = join(maximum, d, v128.load(at, 48));
      }
    }
    v128.store(to + i, maximum ? a : f32x4.mul(a, scale));
    v128.store(to + i, maximum ? b : f32x4.mul(b, scale), 16);
    v128.store(to + i, maximum ? c : f32x4.mul(c, scale), 32);
    v128.store(to + i, maximum ? d : f32x4.mul(d, scale), 48);
  }
  for (; i < pixel; i += 16) {
    let a = f32x4.splat(maximum ? f32.NEGATIVE_INFINITY : 0), row = from + i;
    for (let y = 0; y < down; y++, row += line) {
      let at = row;
      for (let x = 0; x < across; x++, at += pixel) a = join(maximum, a, v128.load(at));
    }
    storeTail(to + i, maximum ? a : f32x4.mul(a, scale), pixel - i);
  }
}

/** Largest element, or the mean with padding counted as 0, of each window; one line of the output at a time. */
// @ts-ignore: decorator
@inline
function pool(maximum: bool, p: Pool, thread: u32, threads: u32): void {
  const pixel = <usize>p.c << 2, line = pixel * p.w, scale = f32x4.splat(1 / <f32>(p.kernel * p.kernel));
  const end = share(p.n * p.oh, thread + 1, threads);
  for (let at = share(p.n * p.oh, thread, threads); at < end; at++) {
    const top = <i32>(at % p.oh) * p.stride - p.padding, first = max(top, 0), down = min(top + p.kernel, p.h) - first;
    const image = p.from + ((at / p.oh) * p.h + first) * line;
    let to: usize = p.to + at * p.ow * pixel;
    for (let left = -p.padding, ox = 0; ox < p.ow; ox++, left += p.stride, to += pixel) {
      const begin = max(left, 0);
      window(maximum, image + begin * pixel, to, down, min(left + p.kernel, p.w) - begin, line, pixel, scale);
    }
  }
}

export function maxPool(args: usize, thread: u32, threads: u32, scratch: usize): void {
  pool(true, changetype<Pool>(args), thread, threads);
}

export function avgPool(args: usize, thread: u32, threads: u32, scratch: usize): void {
  pool(false, changetype<Pool>(args), thread, threads);
}

/** Byte offsets of the pixels that hold the first largest element of a window, for four channels; -1 if it is all padding. */
// @ts-ignore: decorator
@inline
function largest(from: usize, down: i32, across: i32, line: usize, pixel: usize): v128 {
  if (down <= 0 || across <= 0) return i32x4.splat(-1);
  let best = v128.load(from), where = i32x4.splat(0), row: usize = 0;
  for (let y = 0; y < down; y++, row += line) {
    let at = row;
    for (let x = 0; x < across; x++, at += pixel) {
      const value = v128.load(from + at);
      where = v128.bitselect(i32x4.splat(<i32>at), where, f32x4.gt(value, best));
      best = f32x4.pmax(best, value);
    }
  }
  return where;
}

// @ts-ignore: decorator
@inline
function addAt(to: usize, offset: i32, value: f32): void {
  if (offset >= 0) store<f32>(to + offset, load<f32>(to + offset) + value);
}

/** dx = 0, then every g (`from`) is added to the first largest element of its window in dx (`to`). One image at a time. */
export function maxPoolGrad(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Pool>(args), pixel = <usize>p.c << 2, line = pixel * p.w, size = line * p.h;
  const end = share(p.n, thread + 1, threads);
  for (let image = share(p.n, thread, threads); image < end; image++) {
    memory.fill(p.to + image * size, 0, size);
    let g: usize = p.from + image * p.oh * p.ow * pixel;
    for (let top = -p.padding, oy = 0; oy < p.oh; oy++, top += p.stride) {
      const first = max(top, 0), down = min(top + p.kernel, p.h) - first;
      for (let left = -p.padding, ox = 0; ox < p.ow; ox++, left += p.stride, g += pixel) {
        const begin = max(left, 0), place = image * size + first * line + begin * pixel;
        maxPoolGradWindow(g, p.x + place, p.to + place, down, min(left + p.kernel, p.w) - begin, line, pixel);
      }
    }
  }
}

function maxPoolGradWindow(g: usize, x: usize, dx: usize, down: i32, across: i32, line: usize, pixel: usize): void {
  for (let i: usize = 0; i < pixel; i += 16) {
    const where = largest(x + i, down, across, line, pixel), to = dx + i, left = pixel - i;
    addAt(to, i32x4.extract_lane(where, 0), load<f32>(g + i));
    if (left > 4) addAt(to + 4, i32x4.extract_lane(where, 1), load<f32>(g + i, 4));
    if (left > 8) addAt(to + 8, i32x4.extract_lane(where, 2), load<f32>(g + i, 8));
    if (left > 12) addAt(to + 12, i32x4.extract_lane(where, 3), load<f32>(g + i, 12));
  }
}

/** dx = the sum of g / kernel^2 over the windows that hold a pixel; `from` is g, `to` dx. One line of the image at a time. */
export function avgPoolGrad(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const p = changetype<Pool>(args), pixel = <usize>p.c << 2, line = pixel * p.ow, scale = f32x4.splat(1 / <f32>(p.kernel * p.kernel));
  const end = share(p.n * p.h, thread + 1, threads);
  for (let at = share(p.n * p.h, thread, threads); at < end; at++) {
    const y = <i32>(at % p.h) + p.padding, first = firstWindow(p, y), down = min(y / p.stride + 1, p.oh) - first;
    const g = p.from + ((at / p.h) * p.oh + first) * line;
    let to: usize = p.to + at * p.w * pixel;
    for (let x = p.padding; x < p.w + p.padding; x++, to += pixel) {
      const begin = firstWindow(p, x);
      window(false, g + begin * pixel, to, down, min(x / p.stride + 1, p.ow) - begin, line, pixel, scale);
    }
  }
}

/** The first window that reaches a place, both counted from the padding's edge. */
// @ts-ignore: decorator
@inline
function firstWindow(p: Pool, at: i32): i32 {
  return at < p.kernel ? 0 : (at - p.kernel) / p.stride + 1;
}
