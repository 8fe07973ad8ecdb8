import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { writeSafetensors } from "../../src/checkpoint/safetensors.ts";
import { encodePng } from "../../src/data/encode-png.ts";
import { decodePng } from "../../src/data/png.ts";
import { attend } from "../../src/evaluate/attend.ts";
import { entropy, jaccard, massMask } from "../../src/evaluate/attention.ts";
import { drawMask } from "../../src/evaluate/looks.ts";
import { makeBackbone } from "../../src/models/backbones.ts";

const attention = suite("attention");

attention("a mask holds the largest values up to the mass, with the one that crosses it", () => {
  const map = Float32Array.of(1, 8, 2, 5);
  assert.equal([...massMask(map, 0.5)], [0, 1, 0, 0]);
  assert.equal([...massMask(map, 0.75)], [0, 1, 0, 1]);
  assert.equal([...massMask(map, 1)], [1, 1, 1, 1]);
  assert.throws(() => massMask(map, 0), /above 0 and at most 1/);
  assert.throws(() => massMask(map, 60), /above 0 and at most 1/);
});

attention("overlap and entropy are what their definitions say", () => {
  assert.is(jaccard([1, 1, 0, 0], [0, 1, 1, 0]), 1 / 3);
  assert.is(jaccard([0, 0], [0, 0]), 0);
  assert.is(entropy(Float32Array.of(2, 2, 2, 2, 0)), 2);
});

attention("a mask is drawn over its part of the picture only, in red", () => {
  const grey = { width: 6, height: 4, data: new Uint8Array(72).fill(100) };
  const { data } = drawMask(grey, Uint8Array.of(1, 0), 2);
  const pixel = (x: number, y: number) => [...data.subarray((y * 6 + x) * 3, (y * 6 + x) * 3 + 3)];
  assert.equal(pixel(0, 0), [178, 50, 50]);
  assert.equal(pixel(2, 1), [255, 0, 0], "the edge");
  assert.equal(pixel(3, 1), [100, 100, 100]);
});

const folder = mkdtempSync(join(tmpdir(), "attend-"));
const weights = join(folder, "vit.safetensors");
attention.after(() => rmSync(folder, { recursive: true }));

/** Noise of a size. */
const picture = (width: number, height: number) =>
  encodePng({ width, height, data: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 7919) % 251) });

attention("every readable picture gets its maps, in its own aspect, and the others a line", async () => {
  const state = makeBackbone("vit-tiny-16", { seed: 1 }).state();
  await writeSafetensors(weights, state);
  const images = join(folder, "images");
  mkdirSync(join(images, "deep"), { recursive: true });
  writeFileSync(join(images, "wide.png"), picture(40, 20));
  writeFileSync(join(images, "deep", "tall.png"), picture(10, 30));
  writeFileSync(join(images, "broken.png"), picture(9, 9).subarray(0, 60));
  const out = join(folder, "out");
  const done = await attend(weights, images, out, { backbone: "vit-tiny-16", size: 64, threshold: 0.5, threads: 1 });
  assert.equal(done.images.map(({ name, heads, grid }) => [name, heads, grid]).sort(), [
    [join("deep", "tall.png"), 3, [4, 4]],
    ["wide.png", 3, [4, 4]],
  ]);
  assert.is(done.skipped.length, 1);
  assert.match(done.skipped[0], /broken\.png/);
  for (const file of ["picture", "mean", "overlay", "head-0", "head-2", "mask-1"]) {
    const { width, height } = decodePng(readFileSync(join(out, "wide.png", `${file}.png`)));
    assert.equal([width, height], [480, 240], file);
  }
  const sheet = decodePng(readFileSync(join(out, "deep", "tall.png", "sheet.png")));
  assert.equal([sheet.width, sheet.height], [3 * 160, 3 * 480]);
  assert.ok(existsSync(join(out, "wide.png", "attention.npy")));
});

attention("a network without a class token is refused by name", async () => {
  const resnet = join(folder, "resnet.safetensors");
  await writeSafetensors(resnet, makeBackbone("resnet18-cifar-w0.25", { seed: 1 }).state());
  const images = join(folder, "one.png");
  writeFileSync(images, picture(8, 8));
  try {
    await attend(resnet, images, join(folder, "none"), { backbone: "resnet18-cifar-w0.25", threads: 1 });
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /Cannot show the attention of "resnet18-cifar-w0.25": it has no class token/);
  }
  assert.not.ok(existsSync(join(folder, "none")));
});

attention.run();
