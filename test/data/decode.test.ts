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

/** A chunk of RIFF: name, length, body, padded to an even length. */
function chunk(name: string, body: Uint8Array): Buffer {
  const head = Buffer.alloc(8);
  head.write(name);
  head.writeUInt32LE(body.length, 4);
  return Buffer.concat([head, body, Buffer.alloc(body.length & 1)]);
}

decode("a first frame that covers a part of an animation's canvas is put where it belongs, on black", () => {
  const still = decodeImage(read("lossless.webp"));
  const frame = Buffer.from(read("lossless.webp").subarray(12)); // one VP8L chunk
  const head = Buffer.alloc(16);
  head.writeUIntLE(2, 0, 3); // left 4
  head.writeUIntLE(1, 3, 3); // top 2
  const canvas = Buffer.alloc(10);
  canvas[0] = 2; // animated
  canvas.writeUIntLE(29, 4, 3); // width 30
  canvas.writeUIntLE(19, 7, 3); // height 20
  const body = Buffer.concat([
    Buffer.from("WEBP"),
    chunk("VP8X", canvas),
    chunk("ANIM", Buffer.alloc(6)),
    chunk("ANMF", Buffer.concat([head, frame])),
  ]);
  const { width, height, data } = decodeImage(chunk("RIFF", body));
  assert.equal([width, height], [30, 20]);
  const want = new Uint8Array(30 * 20 * 3);
  for (let y = 0; y < 13; y++) want.set(still.data.subarray(y * 63, (y + 1) * 63), ((y + 2) * 30 + 4) * 3);
  assert.equal(data, want);
});

/** A copy with some bits of one byte flipped. */
function flipped(bytes: Uint8Array, at: number, bits = 0x55): Uint8Array {
  const copy = bytes.slice();
  copy[at] ^= bits;
  return copy;
}

decode.run();
