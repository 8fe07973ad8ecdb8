// What a network looks at and for: attention maps over pictures, and the filters of the first layer.

import { type Pixels, sheet } from "../data/encode-png.ts";
import type { Parameter } from "../tape/tensor.ts";
import type { Host } from "../tape/trace.ts";
import { meanMap, partsOf } from "./attention.ts";

/** Dark violet over teal to yellow, even to the eye: stops of matplotlib's viridis. */
const stops = [0x440154, 0x472d7b, 0x3b528b, 0x2c728e, 0x21918c, 0x28ae80, 0x5ec962, 0xaddc30, 0xfde725].map((rgb) => [
  rgb >> 16,
  (rgb >> 8) & 255,
  rgb & 255,
]);

/** The colour at t in [0, 1]. */
function heat(t: number): number[] {
  const at = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
  const i = Math.min(Math.floor(at), stops.length - 2);
  return stops[i].map((low, c) => low + (at - i) * (stops[i + 1][c] - low));
}

/** The place of a map [rows, columns] under each pixel of a picture that it is stretched over. */
function* places(length: number, columns: number, width: number, height: number): Generator<[pixel: number, at: number]> {
  const rows = length / columns;
  for (let y = 0; y < height; y++) {
    const row = Math.floor((y * rows) / height) * columns;
    for (let x = 0; x < width; x++) yield [y * width + x, row + Math.floor((x * columns) / width)];
  }
}

/** A map [rows, columns] stretched to the range of colours and over a picture of width x height; each place keeps hard edges. */
export function drawMap(map: ArrayLike<number>, columns: number, width: number, height: number): Pixels {
  const values = Array.from(map);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const colours = values.map((value) => heat((value - low) / (high - low || 1)));
  const data = new Uint8Array(width * height * 3);
  for (const [pixel, at] of places(values.length, columns, width, height)) data.set(colours[at], pixel * 3);
  return { width, height, data };
}

/** Values of a map stretched to the range of colours; each place is a square of `cell` pixels. */
export const heatMap = (values: ArrayLike<number>, width: number, height: number, cell: number): Pixels =>
  drawMap(values, width, width * cell, height * cell);

/** Two pictures of one size over each other: `share` of the second. */
export const blend = (below: Pixels, above: Pixels, share: number): Pixels => ({
  ...below,
  data: Uint8Array.from(below.data, (value, i) => value + share * (above.data[i] - value) + 0.5),
});

const RED = [255, 0, 0];

/** A picture with the places of a mask [rows, columns] in red, half transparent, and a full red line around them. */
export function drawMask(picture: Pixels, mask: Uint8Array, columns: number): Pixels {
  const { width, height } = picture;
  const data = Uint8Array.from(picture.data);
  const inside = new Uint8Array(width * height);
  for (const [pixel, at] of places(mask.length, columns, width, height)) inside[pixel] = mask[at];
  for (let pixel = 0; pixel < inside.length; pixel++) {
    if (!inside[pixel]) continue;
    const [y, x] = [Math.floor(pixel / width), pixel % width];
    const edge =
      (x > 0 && !inside[pixel - 1]) ||
      (x + 1 < width && !inside[pixel + 1]) ||
      (y > 0 && !inside[pixel - width]) ||
      (y + 1 < height && !inside[pixel + width]);
    for (let c = 0; c < 3; c++) data[pixel * 3 + c] = edge ? RED[c] : (picture.data[pixel * 3 + c] + RED[c] + 1) >> 1;
  }
  return { width, height, data };
}

/** Maps of a batch [b, heads, h, w]: for each picture the mean over heads, then each head, at most `most` in all. */
export function attentionMaps({ data, shape: [b, heads, h, w] }: Host, cell: number, most = 7): Pixels[][] {
  return partsOf(data, b).map((attention) => {
    const maps = partsOf(attention, heads);
    return (heads > 1 ? [meanMap(maps), ...maps] : maps).slice(0, most).map((map) => heatMap(map, w, h, cell));
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
