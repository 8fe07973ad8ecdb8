// The operations on float32 pictures in [0, 1]: TensorFlow's definitions, as SimCLR and BYOL use them, and torchvision's for
// tensors. Sums are float64, results are rounded to float32 once an operation.
import type { Action, Operations } from "./augment.ts";
import type { Box, Picture } from "./picture.ts";
import type { Arithmetic, Interpolation, ViewSpec } from "./views.ts";

/** A picture [height, width, 3] of float32. */
export interface FloatPicture {
  readonly width: number;
  readonly height: number;
  readonly data: Float32Array;
}

/** Which inputs an output reads, and how much of each. */
interface Tap {
  first: number;
  weights: Float64Array;
}

const clamp = (x: number) => Math.max(0, Math.min(1, x));

/** Keys' cubic kernel, a = -1/2. */
function cubic(x: number): number {
  const t = Math.abs(x);
  if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
  return t < 2 ? -0.5 * (((t - 5) * t + 8) * t - 4) : 0;
}

const kernels: Partial<Record<Interpolation, { support: number; weight: (x: number) => number }>> = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { support: 2, weight: cubic },
};

/**
 * Weights for one axis. torch widens the kernel when it shrinks a picture (antialias); TensorFlow does not, rounds the distance to
 * 1/1024 for cubics, and shares the weight of taps outside among the others.
 */
function axis(size: number, out: number, interpolation: Interpolation, antialias: boolean): Tap[] {
  const kernel = kernels[interpolation];
  if (!kernel) throw new RangeError(`Cannot resize a float picture by "${interpolation}": expected bilinear or bicubic`);
  const scale = size / out;
  const stretch = antialias ? Math.max(1, scale) : 1;
  const support = kernel.support * stretch;
  return Array.from({ length: out }, (_, i) => {
    let center = (i + 0.5) * scale - 0.5;
    if (!antialias && interpolation === "bicubic") center = Math.floor(center) + Math.round((center - Math.floor(center)) * 1024) / 1024;
    const first = Math.max(0, Math.ceil(center - support));
    const last = Math.min(size - 1, Math.floor(center + support));
    const weights = Float64Array.from({ length: last - first + 1 }, (_, t) => kernel.weight((first + t - center) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((w) => w / sum) };
  });
}

/** Weighted sums along columns (`step` 3) or rows (`step` a row): out[line][i] = sum_t w[i][t] in[line][first_i + t]. */
function alongAxis(x: FloatPicture, taps: readonly Tap[], vertical: boolean): FloatPicture {
  const [width, height] = vertical ? [x.width, taps.length] : [taps.length, x.height];
  const data = new Float32Array(width * height * 3);
  const stride = vertical ? x.width * 3 : 3;
  for (let i = 0; i < height; i++) {
    for (let j = 0; j < width; j++) {
      const { first, weights } = taps[vertical ? i : j];
      const from = vertical ? (first * x.width + j) * 3 : (i * x.width + first) * 3;
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let t = 0, at = from + c; t < weights.length; t++, at += stride) sum += weights[t] * x.data[at];
        data[(i * width + j) * 3 + c] = sum;
      }
    }
  }
  return { width, height, data };
}

/** A Gaussian of `count` taps (odd), normalised: exp(-(i / sigma)^2 / 2). */
export function gaussianTaps(count: number, sigma: number): Float64Array {
  const taps = Float64Array.from({ length: count }, (_, i) => Math.exp(-0.5 * ((i - (count - 1) / 2) / sigma) ** 2));
  const sum = taps.reduce((a, b) => a + b, 0);
  return taps.map((t) => t / sum);
}

/** Taps of a convolution at each place of an axis; `edge` moves a place outside back in, or drops it when it gives -1. */
function convolution(size: number, taps: Float64Array, edge: (i: number) => number): Tap[] {
  const radius = (taps.length - 1) / 2;
  return Array.from({ length: size }, (_, i) => {
    const first = Math.max(0, i - radius);
    const weights = new Float64Array(Math.min(size - 1, i + radius) - first + 1);
    taps.forEach((tap, t) => {
      const at = edge(i + t - radius);
      if (at >= 0) weights[at - first] += tap;
    });
    return { first, weights };
  });
}

function convolve(x: FloatPicture, taps: Float64Array, edge: (i: number, size: number) => number): FloatPicture {
  const along = (size: number) => convolution(size, taps, (i) => edge(i, size));
  return alongAxis(alongAxis(x, along(x.width), false), along(x.height), true);
}

/** A separable convolution whose edges are mirrored without repeating the edge itself. */
export function reflect(x: FloatPicture, taps: Float64Array): FloatPicture {
  const radius = (taps.length - 1) / 2;
  if (radius >= Math.min(x.width, x.height)) {
    throw new RangeError(
      `Cannot blur ${x.width} x ${x.height} pixels with ${taps.length} taps: expected a picture of more than ${radius} pixels a side`,
    );
  }
  return convolve(x, taps, (i, size) => (i < 0 ? -i : i >= size ? 2 * (size - 1) - i : i));
}

const drop = (i: number, size: number) => (i < 0 || i >= size ? -1 : i);

/** Hue in turns, saturation and value of a colour. */
export function toHsv(r: number, g: number, b: number): [number, number, number] {
  const v = Math.max(r, g, b);
  const range = v - Math.min(r, g, b);
  if (range === 0) return [0, 0, v];
  const sextant = v === r ? (g - b) / range : v === g ? 2 + (b - r) / range : 4 + (r - g) / range;
  return [(((sextant / 6) % 1) + 1) % 1, range / v, v];
}

export function fromHsv(h: number, s: number, v: number): [number, number, number] {
  const channel = (n: number) => {
    const k = (n + h * 6) % 6;
    return v - v * s * Math.max(0, Math.min(k, 4 - k, 1));
  };
  return [channel(5), channel(3), channel(1)];
}

const grey = (r: number, g: number, b: number) => 0.2989 * r + 0.587 * g + 0.114 * b;

export class FloatArithmetic implements Operations<FloatPicture> {
  private readonly kind: Exclude<Arithmetic, "pillow">;

  constructor(kind: Exclude<Arithmetic, "pillow">) {
    this.kind = kind;
  }

  /** Values in [0, 1] of an 8-bit picture. */
  from({ width, height, data }: Picture): FloatPicture {
    return { width, height, data: Float32Array.from(data, (value) => value / 255) };
  }

  /** The picture as floats, cut to the box of a crop if that comes first, and the actions that remain. */
  open(picture: Picture, actions: readonly Action[]): [FloatPicture, readonly Action[]] {
    const [first, ...rest] = actions;
    if (first?.[0] !== "crop") return [this.from(picture), actions];
    const [, box, width, height, interpolation] = first;
    return [this.from(cut(picture, box)), [["crop", { ...box, top: 0, left: 0 }, width, height, interpolation], ...rest]];
  }

  /** Each pixel through `color`, clamped. */
  private map(x: FloatPicture, color: (r: number, g: number, b: number) => readonly [number, number, number]): FloatPicture {
    const data = new Float32Array(x.data.length);
    for (let i = 0; i < data.length; i += 3) {
      const [r, g, b] = color(x.data[i], x.data[i + 1], x.data[i + 2]);
      data[i] = clamp(r);
      data[i + 1] = clamp(g);
      data[i + 2] = clamp(b);
    }
    return { ...x, data };
  }

  crop(x: FloatPicture, box: Box, width: number, height: number, interpolation: Interpolation): FloatPicture {
    const resized = this.resize(cut(x, box), width, height, interpolation);
    return { ...resized, data: resized.data.map(clamp) };
  }

  /** Not clamped: bicubic overshoots. */
  resize(x: FloatPicture, width: number, height: number, interpolation: Interpolation): FloatPicture {
    if (x.width === width && x.height === height) return x;
    const antialias = this.kind === "torch";
    const along = (size: number, out: number) => axis(size, out, interpolation, antialias);
    return alongAxis(alongAxis(x, along(x.width, width), false), along(x.height, height), true);
  }

  flip(x: FloatPicture): FloatPicture {
    const data = new Float32Array(x.data.length);
    for (let i = 0; i < data.length; i += 3) {
      const row = i - (i % (x.width * 3));
      const from = row + x.width * 3 - 3 - (i - row);
      data.set(x.data.subarray(from, from + 3), i);
    }
    return { ...x, data };
  }

  brightness(x: FloatPicture, factor: number): FloatPicture {
    return this.map(x, (r, g, b) => [r * factor, g * factor, b * factor]);
  }

  brighten(x: FloatPicture, delta: number): FloatPicture {
    return this.map(x, (r, g, b) => [r + delta, g + delta, b + delta]);
  }

  /** TensorFlow moves each channel from its own mean, torchvision all of them from the mean of the grey picture. */
  contrast(x: FloatPicture, factor: number): FloatPicture {
    const sums = [0, 0, 0];
    for (let i = 0; i < x.data.length; i++) sums[i % 3] += x.data[i];
    const [r, g, b] = sums.map((sum) => sum / (x.width * x.height));
    const level = grey(r, g, b);
    const [R, G, B] = this.kind === "torch" ? [level, level, level] : [r, g, b];
    return this.map(x, (r, g, b) => [R + factor * (r - R), G + factor * (g - G), B + factor * (b - B)]);
  }

  /** TensorFlow scales the S of HSV, torchvision moves from the grey picture. */
  saturation(x: FloatPicture, factor: number): FloatPicture {
    if (this.kind === "tensorflow") {
      return this.map(x, (r, g, b) => {
        const [h, s, v] = toHsv(r, g, b);
        return fromHsv(h, clamp(s * factor), v);
      });
    }
    return this.map(x, (r, g, b) => {
      const level = grey(r, g, b);
      return [level + factor * (r - level), level + factor * (g - level), level + factor * (b - level)];
    });
  }

  hue(x: FloatPicture, turns: number): FloatPicture {
    return this.map(x, (r, g, b) => {
      const [h, s, v] = toHsv(r, g, b);
      return fromHsv((h + turns + 1) % 1, s, v);
    });
  }

  grayscale(x: FloatPicture): FloatPicture {
    return this.map(x, (r, g, b) => {
      const level = grey(r, g, b);
      return [level, level, level];
    });
  }

  /** TensorFlow pads with zeros, torchvision by reflection. */
  blur(x: FloatPicture, sigma: number, kernel = 2 * Math.floor(Math.floor(x.height / 10) / 2) + 1): FloatPicture {
    const taps = gaussianTaps(kernel, sigma);
    return this.kind === "torch" ? reflect(x, taps) : convolve(x, taps, drop);
  }

  solarize(x: FloatPicture, threshold: number): FloatPicture {
    const level = threshold / 256;
    const invert = (value: number) => (value < level ? value : 1 - value);
    return this.map(x, (r, g, b) => [invert(r), invert(g), invert(b)]);
  }

  /** Writes (x - mean) / std, rounding each step to float32. */
  normalize(x: FloatPicture, { mean = [0, 0, 0], std = [1, 1, 1] }: Pick<ViewSpec, "mean" | "std">, output: Float32Array): void {
    if (output.length !== x.data.length)
      throw new RangeError(`Cannot write a view of ${x.width} x ${x.height} pixels into ${output.length} numbers`);
    const [m, s] = [mean.map(Math.fround), std.map(Math.fround)];
    for (let i = 0; i < output.length; i++) output[i] = Math.fround(x.data[i] - m[i % 3]) / s[i % 3];
  }
}

/** A copy of a rectangle. */
function cut<T extends Picture | FloatPicture>(x: T, { top, left, width, height }: Box): T {
  const data = x.data.slice(0, width * height * 3);
  for (let row = 0; row < height; row++) {
    const from = ((top + row) * x.width + left) * 3;
    data.set(x.data.subarray(from, from + width * 3), row * width * 3);
  }
  return { ...x, width, height, data };
}
