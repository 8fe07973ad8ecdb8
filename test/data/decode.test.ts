import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decodeImage } from "../../src/data/decode.ts";
import { ImageError } from "../../src/data/picture.ts";
import { uniform } from "../fill.ts";

const read = (name: string): Uint8Array => readFileSync(new URL(`pictures/${name}`, import.meta.url));
const expected: Record<string, { height: number; width: number; md5: string }> = JSON.parse(new TextDecoder().decode(read("pixels.json")));

const decode = suite("decode");

for (const [name, want] of Object.entries(expected)) {
  decode(`${name}: gives the pixels that Pillow reads, upright and RGB`, () => {
    const { width, height, data } = decodeImage(read(name), name);
    assert.equal({ height, width, md5: createHash("md5").update(data).digest("hex") }, want);
  });
}

decode("content decides, not the name", () => {
  assert.is(decodeImage(read("rgb.png"), "rgb.jpg").width, expected["rgb.png"].width);
});

const refusals: [name: string, bytes: Uint8Array, reason: RegExp][] = [
  ["empty.jpg", new Uint8Array(0), /^empty\.jpg: an empty file$/],
  ["text.jpg", new TextEncoder().encode("not a picture at all"), /^text\.jpg: not a picture: expected JPEG, PNG, WebP$/],
  ["cut.jpg", read("rgb-420.jpg").subarray(0, -20), /^cut\.jpg: a truncated JPEG$/],
  ["head.jpg", read("rgb-420.jpg").subarray(0, 40), /^head\.jpg: a JPEG that ends before its pixels begin$/],
  ["cut.png", read("rgb.png").subarray(0, -30), /^cut\.png: a truncated PNG$/],
  ["cut.webp", read("lossy.webp").subarray(0, -10), /^cut\.webp: a truncated WebP$/],
  ["flipped.png", flipped(read("rgb.png"), 60), /^flipped\.png: a PNG whose IDAT chunk is corrupt$/],
];
for (const [name, bytes, reason] of refusals) {
  decode(`${name}: is refused by name and reason`, () => {
    assert.throws(
      () => decodeImage(bytes, name),
      (error: Error) => error instanceof ImageError && reason.test(error.message),
    );
  });
}

decode("pictures beyond the pixel limit are refused before anything is decoded", () => {
  const jpeg = read("rgb-420.jpg").slice();
  const frame = jpeg.findIndex((byte, i) => byte === 0xff && jpeg[i + 1] === 0xc0);
  jpeg.set([0x4e, 0x20, 0x36, 0xb0], frame + 5); // 20000 x 14000
  assert.throws(
    () => decodeImage(jpeg, "giant.jpg"),
    /^giant\.jpg: a picture of 14000 x 20000 = 280\.0 megapixels: expected at most 89\.5/,
  );
});

decode("good pictures decode after bad ones", () => {
  assert.throws(() => decodeImage(read("rgb-420.jpg").subarray(0, -20)));
  assert.is(decodeImage(read("rgb-420.jpg")).width, 21);
});

for (const name of ["rgb-420.jpg", "progressive.jpg", "exif-6.png", "palette.png", "interlaced.png", "lossy.webp", "animated.webp"]) {
  decode(`${name}: damaged bytes give a picture or an ImageError, nothing else`, () => {
    const whole = read(name);
    const draws = uniform(`damage/${name}`, 600);
    for (let i = 0; i < 600; i += 3) {
      const damaged = flipped(whole, Math.floor(draws[i] * whole.length), 1 + Math.floor(draws[i + 1] * 255));
      const bytes = draws[i + 2] < 0.3 ? damaged.subarray(0, Math.ceil(draws[i + 2] * 3 * whole.length)) : damaged;
      try {
        const { width, height, data } = decodeImage(bytes, name);
        assert.is(data.length, width * height * 3);
      } catch (error) {
        assert.instance(error, ImageError);
      }
    }
  });
}

/** A copy with some bits of one byte flipped. */
function flipped(bytes: Uint8Array, at: number, bits = 0x55): Uint8Array {
  const copy = bytes.slice();
  copy[at] ^= bits;
  return copy;
}

decode.run();
