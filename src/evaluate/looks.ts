// What a network looks at and for: attention maps over pictures, and the filters of the first layer.

import { type Pixels, sheet } from "../data/encode-png.ts";
import type { Parameter } from "../tape/tensor.ts";
import type { Host } from "../tape/trace.ts";

/** Dark violet over teal to yellow: a few stops in the manner of matplotlib's viridis, which is even to the eye. */
const stops = [
  [68, 1, 84],
  [59, 82, 139],
  [33, 145, 140],
  [94, 201, 98],
  [253, 231, 37],
];

/** The colour at t in [0, 1]. */
function heat(t: number): number[] {
  const at = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
  const i = Math.min(Math.floor(at), stops.length - 2);
  return stops[i].map((low, c) => low + (at - i) * (stops[i + 1][c] - low));
}

/** Values of a map stretched to the range of colours; each place is a square of `cell` pixels. */
export function heatMap(values: ArrayLike<number>, width: number, height: number, cell: number): Pixels {
  const [low, high] = [Math.min(...Array.from(values)), Math.max(...Array.from(values))];
  const data = new Uint8Array(width * height * cell * cell * 3);
  for (let y = 0; y < height * cell; y++) {
    for (let x = 0; x < width * cell; x++) {
      const value = values[Math.floor(y / cell) * width + Math.floor(x / cell)];
      data.set(heat((value - low) / (high - low || 1)), (y * width * cell + x) * 3);
    }
  }
  return { width: width * cell, height: height * cell, data };
}

/** Maps of a batch [b, heads, h, w]: for each picture the mean over heads, then each head, at most `most` in all. */
export function attentionMaps({ data, shape: [b, heads, h, w] }: Host, cell: number, most = 7): Pixels[][] {
  return Array.from({ length: b }, (_, i) => {
    const maps = Array.from({ length: heads }, (_, head) => data.subarray((i * heads + head) * h * w, (i * heads + head + 1) * h * w));
    const mean = Float32Array.from({ length: h * w }, (_, at) => maps.reduce((sum, map) => sum + map[at], 0) / heads);
    return (heads > 1 ? [mean, ...maps] : maps).slice(0, most).map((map) => heatMap(map, w, h, cell));
  });
}

/** Filters [out, h, w, 3] of a first layer as colour pictures, each stretched to its own range, `cell` pixels a weight. */
export function filterSheet({ data, shape: [out, h, w, channels] }: Pick<Parameter, "data" | "shape">, cell: number): Pixels {
  const side = [w * cell + 2, h * cell + 2];
  const pictures = Array.from({ length: out }, (_, o) => {
    const filter = data.subarray(o * h * w * channels, (o + 1) * h * w * channels);
    const [low, high] = [Math.min(...filter), Math.max(...filter)];
    const pixels = new Uint8Array(side[0] * side[1] * 3).fill(128);
    for (let y = 0; y < h * cell; y++) {
      for (let x = 0; x < w * cell; x++) {
        const from = (Math.floor(y / cell) * w + Math.floor(x / cell)) * channels;
        for (let c = 0; c < 3; c++) pixels[((y + 1) * side[0] + x + 1) * 3 + c] = (255 * (filter[from + c] - low)) / (high - low || 1);
      }
    }
    return { width: side[0], height: side[1], data: pixels };
  });
  return sheet(pictures, 2 ** Math.ceil(Math.log2(2 * out) / 2)); // about twice as wide as high
}

/** The weight through which pictures enter a network: the first convolution over three channels, or undefined. */
export function firstFilters(parameters: Iterable<[string, Parameter]>): Parameter | undefined {
  for (const [, parameter] of parameters) {
    if (parameter.shape.length === 4 && parameter.shape[3] === 3 && parameter.layout === "OHWI") return parameter;
  }
  return undefined;
}
