import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type LoaderOptions, openLoader } from "../../src/data/loader.ts";
import { openImages } from "../../src/data/open.ts";
import { type ImageSource, packedSource } from "../../src/data/source.ts";
import { evaluationView, mocoV2Views, rawView, simclrFloatViews, type ViewSpec } from "../../src/data/views.ts";
import { fill } from "../fill.ts";

const root = mkdtempSync(join(tmpdir(), "autodidact-loader-"));
const picture = (name: string) => readFileSync(new URL(`pictures/${name}`, import.meta.url));

/** A folder of `good` pictures and of others that cannot be read. */
async function folder(name: string, good: number, bad: number): Promise<ImageSource> {
  const path = mkdtempSync(join(root, name));
  for (let i = 0; i < good; i++)
    writeFileSync(join(path, `${i}-good.jpg`), picture(["rgb-420.jpg", "grey.jpg", "exif-6.png", "lossy.webp"][i % 4]));
  for (let i = 0; i < bad; i++) writeFileSync(join(path, `${i}-bad.jpg`), i % 2 ? "" : picture("rgb-420.jpg").subarray(0, -40));
  return openImages(path);
}

const noise = packedSource({
  width: 11,
  height: 9,
  data: Uint8Array.from(fill("loader/noise", [23, 9, 11, 3], "unit").data, (u) => Math.floor(256 * u)),
  labels: Int32Array.from({ length: 23 }, (_, i) => i % 5),
});

interface Seen {
  place: string;
  indices: number[];
  labels: number[];
  pixels: number[][];
}

/** The first `count` batches, copied. */
async function take(source: ImageSource, options: LoaderOptions, count = Number.POSITIVE_INFINITY): Promise<Seen[]> {
  const seen: Seen[] = [];
  for await (const { epoch, step, indices, labels, views } of openLoader(source, options)) {
    seen.push({
      place: `${epoch}/${step}`,
      indices: [...indices],
      labels: [...(labels ?? [])],
      pixels: views.map(({ data }) => [...data]),
    });
    if (seen.length >= count) break;
  }
  return seen;
}

async function failure(run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
  } catch (error) {
    return (error as Error).message;
  }
  return "no error";
}

const options: LoaderOptions = { views: [...mocoV2Views(8), ...simclrFloatViews(12, { blurred: true })], batch: 5, seed: 3, workers: 1 };
const loader = suite("loader");

loader("the same seed gives the same bits with one worker, two or three", async () => {
  const one = await take(noise, options, 6);
  assert.equal(await take(noise, { ...options, workers: 2 }, 6), one);
  assert.equal(await take(noise, { ...options, workers: 3 }, 6), one);
  assert.not.equal((await take(noise, { ...options, seed: 4 }, 1))[0].pixels, one[0].pixels);
});

loader("a run that starts in the middle goes on with the same bits", async () => {
  const whole = await take(noise, options, 7);
  assert.equal(
    whole.map(({ place }) => place),
    ["0/0", "0/1", "0/2", "0/3", "1/0", "1/1", "1/2"],
  );
  assert.equal(await take(noise, { ...options, workers: 2, start: { epoch: 0, step: 3 } }, 4), whole.slice(3));
  assert.equal(await take(noise, { ...options, start: { epoch: 1, step: 1 } }, 2), whole.slice(5));
  assert.equal(await take(noise, { ...options, start: { epoch: 0, step: 4 } }, 1), whole.slice(4, 5));
});

loader("an epoch shows no picture twice, the next one in another order", async () => {
  const seen = await take(noise, { ...options, batch: 4, epochs: 2 });
  assert.is(seen.length, 10);
  const [first, second] = [seen.slice(0, 5), seen.slice(5)].map((epoch) => epoch.flatMap(({ indices }) => indices));
  assert.is(new Set(first).size, 20);
  assert.not.equal(first, second);
  for (const { indices, labels } of seen)
    assert.equal(
      labels,
      indices.map((i) => i % 5),
    );
});

loader("reading in order gives every picture once, the last batch as it comes", async () => {
  const view = rawView(9);
  const seen = await take(noise, { views: [view], batch: 10, shuffle: false, workers: 2 });
  assert.equal(
    seen.map(({ indices }) => indices.length),
    [10, 10, 3],
  );
  assert.equal(
    seen.flatMap(({ indices }) => indices),
    Array.from({ length: 23 }, (_, i) => i),
  );
  assert.is(seen[2].pixels[0].length, 3 * 9 * 9 * 3);
  const middle = noise.packed?.data.subarray(22 * 297 + 3, 22 * 297 + 3 + 27); // columns 1 to 9 of the first row
  assert.equal(
    seen[2].pixels[0].slice(2 * 243, 2 * 243 + 27),
    [...(middle as Uint8Array)].map((value) => Math.fround(value / 255)),
  );
});

loader("unreadable pictures are skipped, named once, and replaced by the same others for any number of workers", async () => {
  const source = await folder("some", 8, 5);
  const run = async (workers: number) => {
    const named: string[] = [];
    const indices: number[] = [];
    const it = openLoader(source, { views: mocoV2Views(8), batch: 6, seed: 1, workers, epochs: 3 });
    for await (const batch of it) {
      named.push(...batch.skipped.map(({ message }) => message));
      indices.push(...batch.indices);
    }
    return { named, indices, total: it.skipped.length };
  };
  const [one, two] = [await run(1), await run(2)];
  assert.equal(one.indices, two.indices);
  assert.is(one.total, 5);
  assert.equal(one.named.toSorted(), [
    "0-bad.jpg: a truncated JPEG",
    "1-bad.jpg: an empty file",
    "2-bad.jpg: a truncated JPEG",
    "3-bad.jpg: an empty file",
    "4-bad.jpg: a truncated JPEG",
  ]);
  assert.ok(one.indices.every((i) => source.name(i).endsWith("-good.jpg")));
});

loader("reading in order leaves unreadable pictures out", async () => {
  const source = await folder("ordered", 4, 3);
  const seen = await take(source, { views: [evaluationView(7)], batch: 4, shuffle: false, workers: 2 });
  assert.equal(
    seen.flatMap(({ indices }) => indices).map((i) => source.name(i)),
    ["0-good.jpg", "1-good.jpg", "2-good.jpg", "3-good.jpg"],
  );
  const good = await take(await folder("good", 4, 0), { views: [evaluationView(7)], batch: 4, shuffle: false });
  assert.equal(
    seen.flatMap(({ pixels }) => pixels[0]),
    good.flatMap(({ pixels }) => pixels[0]),
  );
});

loader("more unreadable pictures than others stop the run and are named", async () => {
  const source = await folder("bad", 3, 4);
  const message = await failure(() => take(source, { views: mocoV2Views(8), batch: 2, workers: 2 }, 20));
  assert.match(message, /^Cannot go on: 4 of \d pictures read so far \(7 in all\) are unreadable:\n {2}.*-bad\.jpg: /);
});

loader("a second pass over cached pictures gives the bits of a first pass without", async () => {
  const source = await folder("cached", 6, 0);
  const cached = await take(source, { ...options, batch: 3, epochs: 3 });
  assert.equal(await take(source, { ...options, batch: 3, epochs: 3, cacheMiB: 0 }), cached);
});

loader("a worker that fails is an error, not a hang", async () => {
  const tooLarge: ViewSpec = { size: 40, steps: [{ step: "centerCrop" }], arithmetic: "pillow" };
  const message = await failure(() => take(noise, { views: [tooLarge], batch: 4, workers: 2 }, 1));
  assert.is(message, "A data worker failed: Cannot cut 40 x 40 out of the middle of 11 x 9 pixels");
});

loader("closing ends the batches, also for somebody who waits", async () => {
  const open = openLoader(noise, options);
  const waiting = open.next();
  await open.close();
  assert.is(await waiting, undefined);
  assert.is(await open.next(), undefined);
});

loader("impossible batches are refused with one that would do", () => {
  assert.throws(
    () => openLoader(noise, { ...options, batch: 24 }),
    /^Cannot fill a batch of 24 from 23 pictures: a batch of 23 or less would do$/,
  );
  assert.throws(() => openLoader(noise, { ...options, batch: 0 }), /^Cannot make batches of 0 pictures/);
  assert.throws(() => openLoader(noise, { ...options, views: [] }), /^Cannot load pictures without a view/);
});

loader.after(() => rmSync(root, { recursive: true }));
loader.run();
