// Pooling over NHWC images, four channels at a time. One image is one unit of work.
// All kernels begin their arguments with: from, to, n, h, w, c, oh, ow, kernel, stride, padding (h, w the image's, oh, ow the output's).
import { share, storeTail } from "./simd";

/** Largest element, or the mean with padding counted as 0, of each window. */
// @ts-ignore: decorator
@inline
function pool(maximum: bool, args: usize, thread: u32, threads: u32): void {
  const n = load<u32>(args, 8), h = load<i32>(args, 12), w = load<i32>(args, 16), bytes = <usize>load<u32>(args, 20) << 2;
  const oh = load<i32>(args, 24), ow = load<i32>(args, 28), kernel = load<i32>(args, 32), stride = load<i32>(args, 36), padding = load<i32>(args, 40);
  const scale = f32x4.splat(1 / <f32>(kernel * kernel)), end = share(n * oh, thread + 1, threads);
  for (let line = share(n * oh, thread, threads); line < end; line++) {
    const image = load<u32>(args) + <usize>(line / oh) * h * w * bytes, top = <i32>(line % oh) * stride - padding;
    for (let ox = 0; ox < ow; ox++) {
      const left = ox * stride - padding, to = load<u32>(args, 4) + (<usize>line * ow + ox) * bytes;
      for (let i: usize = 0; i < bytes; i += 16) {
        let result = f32x4.splat(maximum ? f32.NEGATIVE_INFINITY : 0);
        for (let y = max(top, 0); y < min(top + kernel, h); y++) {
          for (let x = max(left, 0); x < min(left + kernel, w); x++) {
            const value = v128.load(image + (<usize>y * w + x) * bytes + i);
            result = maximum ? f32x4.max(result, value) : f32x4.add(result, value);
          }
        }
        storeTail(to + i, maximum ? result : f32x4.mul(result, scale), bytes - i);
      }
    }
  }
}

export function maxPool(args: usize, thread: u32, threads: u32, scratch: usize): void {
  pool(true, args, thread, threads);
}

export function avgPool(args: usize, thread: u32, threads: u32, scratch: usize): void {
  pool(false, args, thread, threads);
}

/** Where the largest element of a window is, for four channels: float offsets of the pixel; the first of equals. */
// @ts-ignore: decorator
@inline
function largest(image: usize, top: i32, left: i32, h: i32, w: i32, kernel: i32, bytes: usize): v128 {
  let best = f32x4.splat(0), where = i32x4.splat(-1);
  for (let y = max(top, 0); y < min(top + kernel, h); y++) {
    for (let x = max(left, 0); x < min(left + kernel, w); x++) {
      const value = v128.load(image + (<usize>y * w + x) * bytes);
      const better = v128.or(f32x4.gt(value, best), i32x4.lt_s(where, i32x4.splat(0)));
      best = v128.bitselect(value, best, better);
      where = v128.bitselect(i32x4.splat(y * w + x), where, better);
    }
  }
  return where;
}

// @ts-ignore: decorator
@inline
function addAt(image: usize, pixel: i32, bytes: usize, value: f32): void {
  if (pixel < 0) return; // a window in the padding
  const at = image + <usize>pixel * bytes;
  store<f32>(at, load<f32>(at) + value);
}

/** dx = 0, then every g is added to the first largest element of its window. After the common arguments: x. `from` is g, `to` dx. */
export function maxPoolGrad(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const n = load<u32>(args, 8), h = load<i32>(args, 12), w = load<i32>(args, 16), bytes = <usize>load<u32>(args, 20) << 2;
  const oh = load<i32>(args, 24), ow = load<i32>(args, 28), kernel = load<i32>(args, 32), stride = load<i32>(args, 36), padding = load<i32>(args, 40);
  const size = <usize>h * w * bytes, end = share(n, thread + 1, threads);
  for (let image = share(n, thread, threads); image < end; image++) {
    const x = load<u32>(args, 44) + image * size, dx = load<u32>(args, 4) + image * size;
    memory.fill(dx, 0, size);
    let g = load<u32>(args) + <usize>image * oh * ow * bytes;
    for (let oy = 0; oy < oh; oy++) {
      for (let ox = 0; ox < ow; ox++, g += bytes) {
        for (let i: usize = 0; i < bytes; i += 16) {
          const where = largest(x + i, oy * stride - padding, ox * stride - padding, h, w, kernel, bytes), count = (bytes - i) >> 2, to = dx + i;
          addAt(to, i32x4.extract_lane(where, 0), bytes, load<f32>(g + i));
          if (count > 1) addAt(to + 4, i32x4.extract_lane(where, 1), bytes, load<f32>(g + i, 4));
          if (count > 2) addAt(to + 8, i32x4.extract_lane(where, 2), bytes, load<f32>(g + i, 8));
          if (count > 3) addAt(to + 12, i32x4.extract_lane(where, 3), bytes, load<f32>(g + i, 12));
        }
      }
    }
  }
}

/** dx = the sum of g / kernel^2 over the windows that hold a pixel. `from` is g, `to` dx. */
export function avgPoolGrad(args: usize, thread: u32, threads: u32, scratch: usize): void {
  const n = load<u32>(args, 8), h = load<i32>(args, 12), w = load<i32>(args, 16), bytes = <usize>load<u32>(args, 20) << 2;
  const oh = load<i32>(args, 24), ow = load<i32>(args, 28), kernel = load<i32>(args, 32), stride = load<i32>(args, 36), padding = load<i32>(args, 40);
  const scale = f32x4.splat(1 / <f32>(kernel * kernel)), end = share(n * h, thread + 1, threads);
  for (let line = share(n * h, thread, threads); line < end; line++) {
    const g = load<u32>(args) + <usize>(line / h) * oh * ow * bytes, y = <i32>(line % h) + padding;
    for (let x = 0; x < w; x++) {
      const to = load<u32>(args, 4) + (<usize>line * w + x) * bytes, left = x + padding;
      for (let i: usize = 0; i < bytes; i += 16) {
        let sum = f32x4.splat(0);
        for (let oy = max(0, (y - kernel + stride) / stride); oy <= min(y / stride, oh - 1); oy++) {
          for (let ox = max(0, (left - kernel + stride) / stride); ox <= min(left / stride, ow - 1); ox++) {
            sum = f32x4.add(sum, v128.load(g + (<usize>oy * ow + ox) * bytes + i));
          }
        }
        storeTail(to + i, f32x4.mul(sum, scale), bytes - i);
      }
    }
  }
}
