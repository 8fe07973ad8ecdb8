// The operations on float32 pictures in [0, 1]: TensorFlow's definitions, as SimCLR and BYOL use them, and torchvision's for
// tensors.
import type { Action, Operations } from "./action.ts";
import type { Bitmap, ImageMemory } from "./kernels.ts";
import type { Box, Picture } from "./picture.ts";
import type { Arithmetic, Interpolation, ViewSpec } from "./views.ts";

/** A float32 picture [height, width, 3] in the kernels' memory. */
export interface FloatBitmap {
  readonly at: number;
  readonly width: number;
  readonly height: number;
}

/** For each of n outputs along an axis: the first input that it reads, how many, and their weights in a row of `taps`. */
interface Weights {
  readonly bounds: Int32Array; // [n, 2]
  readonly weights: Float64Array; // [n, taps]
  readonly taps: number;
}

const weightsFor = (n: number, taps: number): Weights => ({ bounds: new Int32Array(n * 2), weights: new Float64Array(n * taps), taps });

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
function axis(size: number, out: number, interpolation: Interpolation, antialias: boolean, scale = size / out): Weights {
  const kernel = kernels[interpolation];
  if (!kernel) throw new RangeError(`Cannot resize a float picture by "${interpolation}": expected bilinear or bicubic`);
  const stretch = antialias ? Math.max(1, scale) : 1;
  const support = kernel.support * stretch;
  const axis = weightsFor(out, Math.min(size, 2 * Math.ceil(support) + 1));
  for (let i = 0, at = 0; i < out; i++, at += axis.taps) {
    let center = (i + 0.5) * scale - 0.5;
    if (!antialias && interpolation === "bicubic") center = Math.floor(center) + Math.round((center - Math.floor(center)) * 1024) / 1024;
    const first = Math.max(0, Math.ceil(center - support));
    const count = Math.min(size - 1, Math.floor(center + support)) - first + 1;
    let sum = 0;
    for (let t = 0; t < count; t++) {
      axis.weights[at + t] = kernel.weight((first + t - center) / stretch);
      sum += axis.weights[at + t];
    }
    for (let t = 0; t < count; t++) axis.weights[at + t] /= sum;
    axis.bounds[2 * i] = first;
    axis.bounds[2 * i + 1] = count;
  }
  return axis;
}

/** A Gaussian of `count` taps (odd), normalised: exp(-(i / sigma)^2 / 2). */
export function gaussianTaps(count: number, sigma: number): Float64Array {
  const taps = Float64Array.from({ length: count }, (_, i) => Math.exp(-0.5 * ((i - (count - 1) / 2) / sigma) ** 2));
  const sum = taps.reduce((a, b) => a + b, 0);
  return taps.map((t) => t / sum);
}

/** A convolution at each place of an axis; `edge` moves a place outside back in, or drops it when it gives -1. */
function convolution(size: number, taps: Float64Array, edge: (i: number, size: number) => number): Weights {
  const radius = (taps.length - 1) / 2;
  const axis = weightsFor(size, taps.length);
  for (let i = 0; i < size; i++) {
    const first = Math.max(0, i - radius);
    axis.bounds[2 * i] = first;
    axis.bounds[2 * i + 1] = Math.min(size - 1, i + radius) - first + 1;
    for (let t = 0; t < taps.length; t++) {
      const at = edge(i + t - radius, size);
      if (at >= 0) axis.weights[i * taps.length + at - first] += taps[t];
    }
  }
  return axis;
}

const drop = (i: number, size: number) => (i < 0 || i >= size ? -1 : i);

/** Mirrors what lies outside, without repeating the edge itself. */
const mirror = (i: number, size: number) => (i < 0 ? -i : i >= size ? 2 * (size - 1) - i : i);

const WHITE = [1, 1, 1] as const;
const BLACK = [0, 0, 0] as const;

/** Sums of weighted neighbours along both axes. */
function weigh(memory: ImageMemory, x: FloatBitmap, columns: Weights, rows: Weights): FloatBitmap {
  const { kernels } = memory;
  const y = memory.floatBitmap(columns.bounds.length / 2, x.height);
  const z = memory.floatBitmap(y.width, rows.bounds.length / 2);
  const [across, down] = [upload(memory, columns), upload(memory, rows)];
  kernels.weighHorizontal(x.at, x.width, x.height, y.at, y.width, across.bounds, across.weights, columns.taps);
  kernels.weighVertical(y.at, y.width, z.at, z.height, down.bounds, down.weights, rows.taps);
  return z;
}

function upload(memory: ImageMemory, axis: Weights): { bounds: number; weights: number } {
  const [bounds, weights] = [memory.allocate(axis.bounds.length * 4), memory.allocate(axis.weights.length * 4)];
  new Int32Array(memory.kernels.memory.buffer, bounds, axis.bounds.length).set(axis.bounds);
  memory.floats(weights, axis.weights.length).set(axis.weights);
  return { bounds, weights };
}

/** A separable convolution. Edges are mirrored, or count as zero. */
export function convolve(memory: ImageMemory, x: FloatBitmap, taps: Float64Array, edges: "mirror" | "zero"): FloatBitmap {
  const radius = (taps.length - 1) / 2;
  if (edges === "mirror" && radius >= Math.min(x.width, x.height)) {
    throw new RangeError(
      `Cannot blur ${x.width} x ${x.height} pixels with ${taps.length} taps: expected a picture of more than ${radius} pixels a side`,
    );
  }
  const edge = edges === "mirror" ? mirror : drop;
  return weigh(memory, x, convolution(x.width, taps, edge), convolution(x.height, taps, edge));
}

const grey = (r: number, g: number, b: number) => 0.2989 * r + 0.587 * g + 0.114 * b;

export class FloatArithmetic implements Operations<FloatBitmap> {
  private readonly memory: ImageMemory;
  private readonly kind: Exclude<Arithmetic, "pillow">;

  constructor(memory: ImageMemory, kind: Exclude<Arithmetic, "pillow">) {
    this.memory = memory;
    this.kind = kind;
  }

  /** Values in [0, 1] of an 8-bit picture. */
  from(x: Bitmap): FloatBitmap {
    const y = this.memory.floatBitmap(x.width, x.height);
    this.memory.kernels.normalize(x.at, y.at, x.width * x.height, this.memory.channels(BLACK), this.memory.channels(WHITE));
    return y;
  }

  /** A copy of float pixels [height, width, 3]. */
  put({ width, height, data }: { width: number; height: number; data: Float32Array }): FloatBitmap {
    const y = this.memory.floatBitmap(width, height);
    this.memory.floats(y.at, data.length).set(data);
    return y;
  }

  /** The picture as floats, cut to the box of a crop if that comes first, and the actions that remain. */
  open(picture: Picture, actions: readonly Action[]): [FloatBitmap, readonly Action[]] {
    const [first, ...rest] = actions;
    if (first?.[0] !== "crop") return [this.from(this.memory.put(picture)), actions];
    const [, box, width, height, interpolation] = first;
    return [this.from(this.memory.put(cut(picture, box))), [["crop", { ...box, top: 0, left: 0 }, width, height, interpolation], ...rest]];
  }

  private pixels(x: FloatBitmap): FloatBitmap & { n: number } {
    return { ...this.memory.floatBitmap(x.width, x.height), n: x.width * x.height };
  }

  crop(x: FloatBitmap, box: Box, width: number, height: number, interpolation: Interpolation): FloatBitmap {
    return this.stretch(this.resize(this.cut(x, box), width, height, interpolation), 1, BLACK);
  }

  private cut(x: FloatBitmap, { top, left, width, height }: Box): FloatBitmap {
    if (width === x.width && height === x.height) return x;
    const data = this.memory.floats(x.at, x.width * x.height * 3);
    return this.put(cut({ width: x.width, height: x.height, data }, { top, left, width, height }));
  }

  /** Not clamped: bicubic overshoots. */
  resize(x: FloatBitmap, width: number, height: number, interpolation: Interpolation): FloatBitmap {
    if (x.width === width && x.height === height) return x;
    const antialias = this.kind === "torch";
    return weigh(this.memory, x, axis(x.width, width, interpolation, antialias), axis(x.height, height, interpolation, antialias));
  }

  /** torch's bilinear interpolation by a factor, without antialias or clamping; positions follow the factor, not the rounded size. */
  rescale(x: FloatBitmap, factor: number): FloatBitmap {
    const along = (size: number) => axis(size, Math.floor(size * factor), "bilinear", false, 1 / factor);
    return weigh(this.memory, x, along(x.width), along(x.height));
  }

  flip(x: FloatBitmap): FloatBitmap {
    const y = this.pixels(x);
    this.memory.kernels.flipFloats(x.at, y.at, x.width, x.height);
    return y;
  }

  /** clamp(factor x + offset of the channel) */
  private stretch(x: FloatBitmap, factor: number, offsets: readonly [number, number, number]): FloatBitmap {
    const y = this.pixels(x);
    this.memory.kernels.stretch(x.at, y.at, y.n, factor, this.memory.channels(offsets));
    return y;
  }

  brightness(x: FloatBitmap, factor: number): FloatBitmap {
    return this.stretch(x, factor, BLACK);
  }

  brighten(x: FloatBitmap, delta: number): FloatBitmap {
    return this.stretch(x, 1, [delta, delta, delta]);
  }

  /** TensorFlow moves each channel from its own mean, torchvision all of them from the mean of the grey picture. */
  contrast(x: FloatBitmap, factor: number): FloatBitmap {
    const n = x.width * x.height;
    const at = this.memory.allocate(24);
    this.memory.kernels.channelSums(x.at, n, at);
    const [r, g, b] = new Float64Array(this.memory.kernels.memory.buffer, at, 3).map((sum) => ((1 - factor) * sum) / n);
    const level = grey(r, g, b);
    return this.stretch(x, factor, this.kind === "torch" ? [level, level, level] : [r, g, b]);
  }

  /** TensorFlow scales the S of HSV, torchvision moves from the grey picture. */
  saturation(x: FloatBitmap, factor: number): FloatBitmap {
    const y = this.pixels(x);
    if (this.kind === "tensorflow") this.memory.kernels.hsv(x.at, y.at, y.n, 0, factor);
    else this.memory.kernels.fromGrey(x.at, y.at, y.n, factor);
    return y;
  }

  hue(x: FloatBitmap, turns: number): FloatBitmap {
    const y = this.pixels(x);
    this.memory.kernels.hsv(x.at, y.at, y.n, turns, 1);
    return y;
  }

  grayscale(x: FloatBitmap): FloatBitmap {
    const y = this.pixels(x);
    this.memory.kernels.fromGrey(x.at, y.at, y.n, 0);
    return y;
  }

  /** TensorFlow counts what lies outside as zero, torchvision mirrors. The default width is SimCLR's, a tenth of the height. */
  blur(x: FloatBitmap, sigma: number, kernel = 2 * Math.floor(Math.floor(x.height / 10) / 2) + 1): FloatBitmap {
    return convolve(this.memory, x, gaussianTaps(kernel, sigma), this.kind === "torch" ? "mirror" : "zero");
  }

  solarize(x: FloatBitmap, threshold: number): FloatBitmap {
    const y = this.pixels(x);
    this.memory.kernels.invertAbove(x.at, y.at, y.n, threshold / 256);
    return y;
  }

  /** Writes (x - mean) / std to `output` [height, width, 3]. */
  normalize(x: FloatBitmap, { mean = BLACK, std = WHITE }: Pick<ViewSpec, "mean" | "std">, output: Float32Array): void {
    const y = this.pixels(x);
    if (output.length !== y.n * 3)
      throw new RangeError(`Cannot write a view of ${x.width} x ${x.height} pixels into ${output.length} numbers`);
    this.memory.kernels.standardize(x.at, y.at, y.n, this.memory.channels(mean), this.memory.channels(std));
    output.set(this.memory.floats(y.at, y.n * 3));
  }
}

/** A copy of a rectangle of pixels outside the kernels' memory. */
function cut<D extends Uint8Array | Float32Array>(
  x: { width: number; height: number; data: D },
  { top, left, width, height }: Box,
): { width: number; height: number; data: D } {
  const data = x.data.slice(0, width * height * 3) as D;
  for (let row = 0; row < height; row++) {
    const from = ((top + row) * x.width + left) * 3;
    data.set(x.data.subarray(from, from + width * 3), row * width * 3);
  }
  return { width, height, data };
}
