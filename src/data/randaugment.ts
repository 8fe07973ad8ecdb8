// The operations of RandAugment on 8-bit pictures beyond those of `pillow.ts`, as Pillow computes them.
// Cubuk et al. 2019, arXiv 1909.13719; github.com/HobbitLong/PyContrast, RandAugment.py.
import type { Bitmap, ImageMemory } from "./kernels.ts";
import type { PillowArithmetic } from "./pillow.ts";

const clamp = (x: number) => Math.max(0, Math.min(255, x));

/** Output to input: x' = a x + b y + c, y' = d x + e y + f. */
export type Affine = readonly [a: number, b: number, c: number, d: number, e: number, f: number];

export const shearX = (amount: number): Affine => [1, amount, 0, 0, 1, 0];
export const shearY = (amount: number): Affine => [1, 0, 0, amount, 1, 0];
export const translate = (x: number, y: number): Affine => [1, 0, x, 0, 1, y];

/** Counter-clockwise by `degrees` about the centre. */
export function rotation(degrees: number, width: number, height: number): Affine {
  const angle = (-degrees * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const [x, y] = [width / 2, height / 2];
  return [cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y];
}

/** Interpolates between the second and third of four values; a = -1. */
function cubic([v1, v2, v3, v4]: readonly number[], d: number): number {
  return v2 + d * (v3 - v1 + d * (2 * (v1 - v2) + v3 - v4 + d * (v2 - v1 + v4 - v3)));
}

const linear = ([, v2, v3]: readonly number[], d: number) => v2 + (v3 - v2) * d;

/** How often each value occurs in each channel. */
function histograms(data: Uint8Array): Uint32Array[] {
  const counts = [new Uint32Array(256), new Uint32Array(256), new Uint32Array(256)];
  data.forEach((value, i) => counts[i % 3][value]++);
  return counts;
}

export class RandAugment {
  private readonly memory: ImageMemory;
  private readonly pillow: PillowArithmetic;

  constructor(memory: ImageMemory, pillow: PillowArithmetic) {
    this.memory = memory;
    this.pillow = pillow;
  }

  /** Reads each pixel from where `matrix` maps its centre; what lies outside becomes `fill`. */
  affine(x: Bitmap, [a, b, c, d, e, f]: Affine, interpolation: "bilinear" | "bicubic", fill: readonly number[]): Bitmap {
    const y = this.memory.bitmap(x.width, x.height);
    const [from, to] = [this.memory.view(x).data, this.memory.view(y).data];
    const [column, row] = [(i: number) => Math.max(0, Math.min(x.width - 1, i)), (i: number) => Math.max(0, Math.min(x.height - 1, i))];
    const lerp = interpolation === "bilinear" ? linear : cubic;
    for (let at = 0, i = 0; i < x.height; i++) {
      for (let j = 0; j < x.width; j++, at += 3) {
        const [u, v] = [a * (j + 0.5) + b * (i + 0.5) + c, d * (j + 0.5) + e * (i + 0.5) + f];
        if (u < 0 || u >= x.width || v < 0 || v >= x.height) {
          to.set(fill, at);
          continue;
        }
        const [left, top] = [Math.floor(u - 0.5), Math.floor(v - 0.5)];
        const value = (r: number, s: number, channel: number) => from[(row(r) * x.width + column(s)) * 3 + channel];
        for (let channel = 0; channel < 3; channel++) {
          const lines = [-1, 0, 1, 2].map((r) =>
            lerp(
              [-1, 0, 1, 2].map((s) => value(top + r, left + s, channel)),
              u - 0.5 - left,
            ),
          );
          to[at + channel] = Math.trunc(clamp(lerp(lines, v - 0.5 - top)));
        }
      }
    }
    return y;
  }

  /** Stretches each channel to the whole range. */
  autoContrast(x: Bitmap): Bitmap {
    const ends = histograms(this.memory.view(x).data).map((counts) => [counts.findIndex((n) => n > 0), counts.findLastIndex((n) => n > 0)]);
    const stretch = (value: number, channel: number) => {
      const [low, high] = ends[channel];
      const scale = 255 / (high - low);
      return high <= low ? value : Math.trunc(clamp(value * scale - low * scale));
    };
    return this.pillow.map(x, stretch, 3);
  }

  /** Flattens the histogram of each channel. */
  equalize(x: Bitmap): Bitmap {
    const tables = histograms(this.memory.view(x).data).map((counts) => {
      const last = counts[counts.findLastIndex((n) => n > 0)];
      const step = Math.floor((x.width * x.height - last) / 255);
      let sum = step >> 1;
      return Array.from(counts, (n, value) => {
        const level = step === 0 ? value : Math.floor(sum / step);
        sum += n;
        return level;
      });
    });
    return this.pillow.map(x, (value, channel) => tables[channel][value], 3);
  }

  invert(x: Bitmap): Bitmap {
    return this.pillow.map(x, (value) => 255 - value);
  }

  /** Keeps the top `bits` bits. */
  posterize(x: Bitmap, bits: number): Bitmap {
    return this.pillow.map(x, (value) => value & (0xff00 >> bits));
  }

  /** Adds to values below the threshold. */
  solarizeAdd(x: Bitmap, amount: number, threshold = 128): Bitmap {
    return this.pillow.map(x, (value) => (value < threshold ? value + amount : value));
  }

  /** Away from (factor > 1) or towards a smoothed copy: the kernel [1 1 1; 1 5 1; 1 1 1] / 13, the border as it was. */
  sharpness(x: Bitmap, factor: number): Bitmap {
    const y = this.pillow.copy(x);
    const [from, to] = [this.memory.view(x).data, this.memory.view(y).data];
    const stride = x.width * 3;
    const f = Math.fround;
    for (let i = 1; i < x.height - 1; i++) {
      for (let at = i * stride + 3; at < (i + 1) * stride - 3; at++) {
        let sum = from[at] * 4;
        for (let line = at - stride; line <= at + stride; line += stride) sum += from[line - 3] + from[line] + from[line + 3];
        const smooth = Math.floor(sum / 13 + 0.5);
        to[at] = Math.trunc(clamp(f(smooth + f(f(factor) * (from[at] - smooth)))));
      }
    }
    return y;
  }
}
