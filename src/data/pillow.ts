// Pillow's and torchvision's operations on 8-bit pictures, to the last bit. Checked against goldens computed by Pillow 9.4.
import type { Operations } from "./action.ts";
import { type Bitmap, filters, type ImageMemory } from "./kernels.ts";
import { type Box, roundHalfEven } from "./picture.ts";
import { convolve, gaussianTaps } from "./tensors.ts";
import type { Interpolation, ViewSpec } from "./views.ts";

const clamp = (x: number) => Math.max(0, Math.min(255, x));

/** A region given in real numbers, for resampling. */
interface Region {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/**
 * The extended box whose three passes stand for a Gaussian of standard deviation `sigma`: an inner radius, and the weights of its
 * inside and of its two ends in 1/2^24. Float32 as in Pillow's C. Gwosdek et al. 2011, "Theoretical foundations of Gaussian
 * convolution by extended box filtering".
 */
export function extendedBox(sigma: number): { radius: number; inner: number; outer: number } {
  const f = Math.fround;
  const variance = f(f(f(sigma) * f(sigma)) / 3);
  const length = f(Math.sqrt(12 * variance + 1));
  const l = Math.floor((length - 1) / 2);
  const above = f((2 * l + 1) * f(l * (l + 1) - f(3 * variance)));
  const width = f(l + f(above / f(6 * f(variance - (l + 1) * (l + 1)))));
  const radius = Math.trunc(width);
  const inner = Math.trunc(f(2 ** 24 / f(width * 2 + 1)));
  return { radius, inner, outer: (2 ** 24 - (radius * 2 + 1) * inner) >>> 1 };
}

/** Where nearest-neighbour scaling reads: positions grow by repeated addition, which decides ties. */
export function nearestPositions(size: number, out: number): Int32Array {
  const scale = size / out;
  let position = scale * 0.5;
  return Int32Array.from({ length: out }, () => {
    const source = Math.trunc(position);
    position += scale;
    return source;
  });
}

export class PillowArithmetic implements Operations<Bitmap> {
  private readonly memory: ImageMemory;

  constructor(memory: ImageMemory) {
    this.memory = memory;
  }

  crop(x: Bitmap, box: Box, width: number, height: number, interpolation: Interpolation): Bitmap {
    const cut = box.width === x.width && box.left === 0 ? { ...x, at: x.at + box.top * x.width * 3, height: box.height } : this.cut(x, box);
    return this.resize(cut, width, height, interpolation);
  }

  /** A copy of a rectangle. */
  private cut(x: Bitmap, { top, left, width, height }: Box): Bitmap {
    const y = this.memory.bitmap(width, height);
    const bytes = new Uint8Array(this.memory.kernels.memory.buffer);
    for (let row = 0; row < height; row++) {
      const from = x.at + ((top + row) * x.width + left) * 3;
      bytes.copyWithin(y.at + row * width * 3, from, from + width * 3);
    }
    return y;
  }

  /** Image.resize, from a region in real numbers if one is given. */
  resize(x: Bitmap, width: number, height: number, interpolation: Interpolation, region?: Region): Bitmap {
    const { left, top, right, bottom } = region ?? { left: 0, top: 0, right: x.width, bottom: x.height };
    const wide = right - left !== width || left !== 0 || x.width !== width;
    const tall = bottom - top !== height || top !== 0 || x.height !== height;
    if (!wide && !tall) return this.cut(x, { top: 0, left: 0, width, height });
    if (interpolation === "nearest") return this.nearest(x, width, height);
    const { kernels } = this.memory;
    const filter = filters[interpolation];
    const rows = this.coefficients(x.height, top, bottom, height, filter);
    const [skip, end] = tall ? rows.range : [0, x.height]; // only rows that the vertical pass reads
    let y: Bitmap = { ...x, at: x.at + skip * x.width * 3, height: end - skip };
    if (wide) {
      const columns = this.coefficients(x.width, left, right, width, filter);
      const from = y.at;
      y = this.memory.bitmap(width, y.height);
      kernels.resampleHorizontal(from, x.width * 3, y.height, y.at, width, columns.bounds, columns.weights, columns.taps);
    }
    if (!tall) return y;
    const z = this.memory.bitmap(width, height);
    kernels.resampleVertical(y.at, width * 3, z.at, height, rows.bounds, rows.weights, rows.taps, skip);
    return z;
  }

  /** Weights of one axis, and which inputs they read. */
  private coefficients(size: number, low: number, high: number, out: number, filter: number) {
    const { memory } = this;
    const taps = memory.kernels.coefficients(size, low, high, out, filter, 0, 0);
    const bounds = memory.allocate(out * 8);
    const weights = memory.allocate(out * taps * 4);
    memory.kernels.coefficients(size, low, high, out, filter, bounds, weights);
    const pairs = new Int32Array(memory.kernels.memory.buffer, bounds, out * 2);
    return { taps, bounds, weights, range: [pairs[0], pairs[out * 2 - 2] + pairs[out * 2 - 1]] as const };
  }

  private nearest(x: Bitmap, width: number, height: number): Bitmap {
    const y = this.memory.bitmap(width, height);
    const [from, to] = [this.memory.view(x).data, this.memory.view(y).data];
    const [rows, columns] = [nearestPositions(x.height, height), nearestPositions(x.width, width)];
    for (let i = 0; i < height; i++) {
      for (let j = 0; j < width; j++) {
        const source = (rows[i] * x.width + columns[j]) * 3;
        to.set(from.subarray(source, source + 3), (i * width + j) * 3);
      }
    }
    return y;
  }

  /**
   * Image.thumbnail: shrinks until both sides are at most `side`, keeping the aspect as well as whole pixels can; first by whole
   * factors (reducing_gap 2), then by Lanczos.
   */
  thumbnail(x: Bitmap, side: number): Bitmap {
    const { width, height } = x;
    if (width <= side && height <= side) return x;
    const aspect = width / height;
    const nearest = (length: number, error: (n: number) => number) => {
      const [down, up] = [Math.max(1, Math.floor(length)), Math.max(1, Math.ceil(length))];
      return error(down) <= error(up) ? down : up;
    };
    const w = aspect > 1 ? side : nearest(side * aspect, (n) => Math.abs(aspect - n / side));
    const h = aspect > 1 ? nearest(side / aspect, (n) => Math.abs(aspect - side / n)) : side;
    const [fx, fy] = [Math.max(1, Math.trunc(width / w / 2)), Math.max(1, Math.trunc(height / h / 2))];
    const region = { left: 0, top: 0, right: width / fx, bottom: height / fy };
    return this.resize(fx > 1 || fy > 1 ? this.reduce(x, fx, fy) : x, w, h, "lanczos", region);
  }

  /** Image.reduce: means of fx x fy blocks, those at the right and lower edge over the pixels they have. */
  private reduce(x: Bitmap, fx: number, fy: number): Bitmap {
    const y = this.memory.bitmap(Math.ceil(x.width / fx), Math.ceil(x.height / fy));
    const [from, to] = [this.memory.view(x).data, this.memory.view(y).data];
    for (let i = 0; i < to.length; i++) {
      const [row, column, channel] = [Math.floor(i / (y.width * 3)) * fy, (Math.floor(i / 3) % y.width) * fx, i % 3];
      const [bottom, right] = [Math.min(row + fy, x.height), Math.min(column + fx, x.width)];
      const n = (bottom - row) * (right - column);
      let sum = n >> 1;
      for (let r = row; r < bottom; r++) for (let c = column; c < right; c++) sum += from[(r * x.width + c) * 3 + channel];
      to[i] = Math.floor((sum * Math.floor(2 ** 24 / n)) / 2 ** 24);
    }
    return y;
  }

  /** A copy, since operations on colours work in place and views share their picture. */
  copy(x: Bitmap): Bitmap {
    return this.cut(x, { top: 0, left: 0, width: x.width, height: x.height });
  }

  flip(x: Bitmap): Bitmap {
    const y = this.memory.bitmap(x.width, x.height);
    this.memory.kernels.flip(x.at, y.at, x.width, x.height);
    return y;
  }

  /** Replaces each value by `table(value)`, or by `table(value, channel)` where three `channels` differ. */
  map(x: Bitmap, table: (value: number, channel: number) => number, channels: 1 | 3 = 1): Bitmap {
    const y = this.copy(x);
    const at = this.memory.allocate(768);
    const tables = this.memory.bytes(at, 768);
    for (let i = 0; i < 256 * channels; i++) tables[i] = clamp(table(i & 255, i >> 8));
    if (channels === 1) for (const channel of [1, 2]) tables.copyWithin(256 * channel, 0, 256);
    this.memory.kernels.lut(y.at, x.width * x.height, at);
    return y;
  }

  /** ImageEnhance against an even grey: level + factor (value - level), truncated. */
  private enhance(x: Bitmap, level: number, factor: number): Bitmap {
    const f = Math.fround(factor);
    return this.map(x, (value) => Math.trunc(clamp(Math.fround(level + Math.fround(f * (value - level))))));
  }

  brightness(x: Bitmap, factor: number): Bitmap {
    return this.enhance(x, 0, factor);
  }

  brighten(x: Bitmap, delta: number): Bitmap {
    return this.map(x, (value) => Math.trunc(clamp(value + 255 * delta)));
  }

  contrast(x: Bitmap, factor: number): Bitmap {
    const n = x.width * x.height;
    return this.enhance(x, Math.trunc(this.memory.kernels.luminance(x.at, n) / n + 0.5), factor);
  }

  saturation(x: Bitmap, factor: number): Bitmap {
    const y = this.copy(x);
    this.memory.kernels.saturation(y.at, x.width * x.height, factor);
    return y;
  }

  hue(x: Bitmap, turns: number): Bitmap {
    const y = this.copy(x);
    this.memory.kernels.hue(y.at, x.width * x.height, Math.trunc(turns * 255) & 255);
    return y;
  }

  grayscale(x: Bitmap): Bitmap {
    const y = this.copy(x);
    this.memory.kernels.grayscale(y.at, x.width * x.height);
    return y;
  }

  /** ImageFilter.GaussianBlur(sigma); with `kernel`, torchvision's gaussian_blur of that many taps. */
  blur(x: Bitmap, sigma: number, kernel?: number): Bitmap {
    return kernel === undefined ? this.boxes(x, sigma) : this.convolve(x, gaussianTaps(kernel, sigma), roundHalfEven);
  }

  private boxes(x: Bitmap, sigma: number): Bitmap {
    const { radius, inner, outer } = extendedBox(sigma);
    const { kernels } = this.memory;
    const pair = [this.memory.bitmap(x.width, x.height), this.memory.bitmap(x.width, x.height)];
    const sums = this.memory.allocate(x.width * 12);
    let from = x;
    for (let pass = 0; pass < 6; pass++) {
      const to = pair[pass % 2];
      if (pass < 3) kernels.boxHorizontal(from.at, to.at, x.width, x.height, radius, inner, outer);
      else kernels.boxVertical(from.at, to.at, x.width, x.height, radius, inner, outer, sums);
      from = to;
    }
    return from;
  }

  /** A separable float convolution with mirrored edges, brought back to 8 bits by `round`. */
  convolve(x: Bitmap, taps: Float64Array, round: (value: number) => number): Bitmap {
    const { memory } = this;
    const values = memory.floatBitmap(x.width, x.height);
    memory.floats(values.at, x.width * x.height * 3).set(memory.view(x).data);
    const blurred = convolve(memory, values, taps, "mirror");
    const y = memory.bitmap(x.width, x.height);
    memory.view(y).data.set(Uint8Array.from(memory.floats(blurred.at, x.width * x.height * 3), (value) => clamp(round(value))));
    return y;
  }

  solarize(x: Bitmap, threshold: number): Bitmap {
    return this.map(x, (value) => (value < threshold ? value : 255 - value));
  }

  /** ToTensor and Normalize: writes [height, width, 3] float32 to `output`. */
  normalize(x: Bitmap, { mean = [0, 0, 0], std = [1, 1, 1] }: Pick<ViewSpec, "mean" | "std">, output: Float32Array): void {
    const n = x.width * x.height;
    if (output.length !== n * 3)
      throw new RangeError(`Cannot write a view of ${x.width} x ${x.height} pixels into ${output.length} numbers`);
    const y = this.memory.floatBitmap(x.width, x.height);
    this.memory.kernels.normalize(x.at, y.at, n, this.memory.channels(mean), this.memory.channels(std));
    output.set(this.memory.floats(y.at, n * 3));
  }
}
