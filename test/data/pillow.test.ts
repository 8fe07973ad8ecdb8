// What the golden files, made of two pictures, leave open: other filters, other sizes, and properties that always hold.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Bitmap, ImageMemory } from "../../src/data/kernels.ts";
import type { Picture } from "../../src/data/picture.ts";
import { extendedBox, PillowArithmetic } from "../../src/data/pillow.ts";
import type { Interpolation } from "../../src/data/views.ts";
import { fill } from "../fill.ts";

const memory = new ImageMemory();
const pillow = new PillowArithmetic(memory);
const interpolations: Interpolation[] = ["nearest", "box", "bilinear", "bicubic", "lanczos"];
const sizes = [
  [1, 1],
  [7, 13],
  [31, 5],
  [64, 64],
];

function noise(width: number, height: number): Picture {
  return { width, height, data: Uint8Array.from(fill("pillow/noise", [height, width, 3], "unit").data, (u) => Math.floor(256 * u)) };
}

const flat = (width: number, height: number): Picture => ({ width, height, data: new Uint8Array(width * height * 3).fill(173) });

/** Pixels of what an operation makes of a picture. */
function pixels(picture: Picture, operation: (x: Bitmap) => Bitmap): number[] {
  memory.reset();
  return [...memory.view(operation(memory.put(picture))).data];
}

const tests = suite("pillow");

for (const interpolation of interpolations) {
  tests(`${interpolation}: an even picture stays even at any size`, () => {
    for (const [w, h] of sizes) {
      for (const [width, height] of sizes) {
        assert.ok(
          pixels(flat(w, h), (x) => pillow.resize(x, width, height, interpolation)).every((value) => value === 173),
          `${w} x ${h} to ${width} x ${height}`,
        );
      }
    }
  });

  tests(`${interpolation}: a picture of the wanted size is copied`, () => {
    const picture = noise(9, 11);
    assert.equal(
      pixels(picture, (x) => pillow.resize(x, 9, 11, interpolation)),
      [...picture.data],
    );
  });
}

tests("box: halving gives the rounded mean along each axis in turn", () => {
  const { data } = noise(6, 4);
  const at = (y: number, x: number, c: number) => data[(y * 6 + x) * 3 + c];
  const across = (y: number, x: number, c: number) => Math.floor((at(y, 2 * x, c) + at(y, 2 * x + 1, c) + 1) / 2);
  const want = Array.from({ length: 18 }, (_, i) => {
    const [y, x, c] = [Math.floor(i / 9), Math.floor(i / 3) % 3, i % 3];
    return Math.floor((across(2 * y, x, c) + across(2 * y + 1, x, c) + 1) / 2);
  });
  assert.equal(
    pixels(noise(6, 4), (x) => pillow.resize(x, 3, 2, "box")),
    want,
  );
});

tests("crop: a crop at full size is the rectangle, at any offset", () => {
  const picture = noise(17, 9);
  for (const [top, left, height, width] of [
    [0, 0, 9, 17],
    [2, 0, 5, 17],
    [3, 5, 4, 7],
    [8, 16, 1, 1],
  ]) {
    const rows = Array.from({ length: height }, (_, y) => [
      ...picture.data.subarray(((top + y) * 17 + left) * 3, ((top + y) * 17 + left + width) * 3),
    ]);
    assert.equal(
      pixels(picture, (x) => pillow.crop(x, { top, left, height, width }, width, height, "bicubic")),
      rows.flat(),
    );
  }
});

tests("blur: an even picture stays even, and one pixel is its own blur", () => {
  for (const sigma of [0.1, 0.7, 2, 9]) {
    assert.ok(pixels(flat(7, 5), (x) => pillow.blur(x, sigma)).every((value) => value === 173));
    assert.equal(
      pixels(noise(1, 1), (x) => pillow.blur(x, sigma)),
      [...noise(1, 1).data],
    );
  }
});

tests("blur: the three boxes have the variance that was asked for", () => {
  for (const sigma of [0.3, 1, 1.7, 4]) {
    const { radius, inner, outer } = extendedBox(sigma);
    const [inside, ends] = [inner / 2 ** 24, outer / 2 ** 24];
    let variance = 2 * ends * (radius + 1) ** 2;
    for (let d = 1; d <= radius; d++) variance += 2 * inside * d * d;
    assert.ok(Math.abs(3 * variance - sigma * sigma) < 1e-4 * sigma * sigma, `${3 * variance} for ${sigma * sigma}`);
    assert.ok(Math.abs((2 * radius + 1) * inside + 2 * ends - 1) < 1e-6);
  }
});

tests("colours: factor 1 and a hue of 0 turns change nothing but what 8-bit HSV loses", () => {
  const picture = noise(13, 7);
  for (const operation of [pillow.brightness, pillow.contrast, pillow.saturation]) {
    assert.equal(
      pixels(picture, (x) => operation.call(pillow, x, 1)),
      [...picture.data],
    );
  }
  const gaps = pixels(picture, (x) => pillow.hue(x, 0)).map((value, i) => Math.abs(value - picture.data[i]));
  assert.ok(Math.max(...gaps) <= 6, `${Math.max(...gaps)}`);
});

tests("flip: twice is once too often", () => {
  const picture = noise(5, 3);
  const once = pixels(picture, (x) => pillow.flip(x));
  assert.equal(once.slice(0, 3), [...picture.data.subarray(12, 15)]);
  assert.equal(
    pixels(picture, (x) => pillow.flip(pillow.flip(x))),
    [...picture.data],
  );
});

tests("thumbnail: both sides fit as Pillow makes them, small pictures stay", () => {
  for (const [w, h, side, width, height] of [
    [300, 100, 30, 30, 10],
    [33, 100, 50, 16, 50],
    [100, 33, 50, 50, 17],
    [37, 91, 30, 12, 30],
    [20, 10, 30, 20, 10],
    [500, 1, 10, 10, 1],
  ]) {
    memory.reset();
    const y = pillow.thumbnail(memory.put(flat(w, h)), side);
    assert.equal([y.width, y.height], [width, height]);
    assert.ok(memory.view(y).data.every((value) => value === 173));
  }
});

tests.run();
