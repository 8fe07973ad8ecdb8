import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openImages } from "../../src/data/open.ts";
import { readPicture, subset } from "../../src/data/source.ts";
import { emojiOf, unpack, vendors } from "../../src/demo/emoji.ts";

const emoji = suite("emoji");
const [google, twitter] = vendors.map(emojiOf);

emoji("both vendors have drawn the same emoji, in the same order and classes", () => {
  assert.is(google.length, 1911);
  assert.is(twitter.length, google.length);
  for (let i = 0; i < google.length; i++) assert.is(twitter.name(i), google.name(i));
  assert.equal(twitter.labels, google.labels);
  assert.equal(twitter.classes, google.classes);
});

emoji("every drawing has ink of its own within its 32 x 32 pixels", () => {
  for (const source of [google, twitter]) {
    for (let i = 0; i < source.length; i++) {
      const { width, height, data } = readPicture(source, i);
      assert.is(width * height * 3, data.length);
      assert.is(width, 32);
      const inked = data.some((value) => value < 250);
      assert.ok(inked || /white|snow/.test(source.name(i)), `${source.name(i)} is blank`);
    }
  }
});

emoji("a drawing is cut where it lies: the red heart is red in its middle and the flag of Japan white around it", () => {
  for (const source of [google, twitter]) {
    const at = (name: string, y: number, x: number) => {
      const i = Array.from({ length: source.length }, (_, k) => source.name(k)).indexOf(name);
      return readPicture(source, i).data.subarray((y * 32 + x) * 3, (y * 32 + x) * 3 + 3);
    };
    const [red, green, blue] = at("heavy black heart", 14, 16);
    assert.ok(red > 180 && green < 90 && blue < 90, `${red} ${green} ${blue}`);
    const [sun, sunGreen] = at("japan flag", 16, 16);
    assert.ok(sun > 150 && sunGreen < 90);
    assert.ok(Math.min(...at("japan flag", 9, 5)) > 200);
  }
});

emoji("unpacked pictures are read back as they were, in folders of their classes", async () => {
  const few = subset(google, [0, 700, 1900, 3, 1024, 512, 77]);
  const folder = mkdtempSync(join(tmpdir(), "emoji-"));
  try {
    unpack(few, folder);
    const read = await openImages(folder);
    assert.is(read.length, few.length);
    assert.is(readdirSync(folder).length, few.classes?.length);
    const key = (data: Uint8Array) => Buffer.from(data).toString("base64");
    const pictures = (source: typeof few) => Array.from({ length: source.length }, (_, i) => key(readPicture(source, i).data)).sort();
    assert.equal(pictures(read), pictures(few));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

emoji.run();
