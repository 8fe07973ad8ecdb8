import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBackend } from "../../src/backend/open.ts";
import { readSafetensors, writeSafetensors } from "../../src/checkpoint/safetensors.ts";
import { openImages } from "../../src/data/open.ts";
import { subset } from "../../src/data/source.ts";
import { evaluationView } from "../../src/data/views.ts";
import { embed } from "../../src/evaluate/embed.ts";
import { openEncoder } from "../../src/evaluate/encoder.ts";
import { centredPixels, embedder, evenly, extract, extractPixels, standardized } from "../../src/evaluate/features.ts";
import { KnnProtocol, knn } from "../../src/evaluate/score.ts";
import { makeBackbone } from "../../src/models/backbones.ts";
import { train } from "../../src/train/train.ts";
import { pictureFolder, pictures } from "../train/pictures.ts";

const refusal = (promise: Promise<unknown>) => promise.then(() => "accepted", String);

interface Context {
  root: string;
  images: string;
  run: string;
}

const features = suite<Context>("features");
features.before(async (context) => {
  context.root = await mkdtemp(join(tmpdir(), "autodidact-features-"));
  context.images = join(context.root, "images");
  context.run = join(context.root, "run");
  await pictureFolder(context.images, 7);
  const request = { method: "simclr", images: context.images, backbone: "resnet18-cifar-w0.25", size: 8, batch: 6, steps: 2 };
  await train(request, { run: context.run, settings: { threads: 1, knnEvery: -1, healthEvery: 0, report: false } });
});
features.after(({ root }) => rm(root, { recursive: true }));

features("pictures have the same features in batches of any size, and rows follow the source", async () => {
  const source = pictures(5);
  const backend = await openBackend({ threads: 1 });
  const run = embedder(makeBackbone("resnet18-cifar-w0.25", { seed: 1 }), backend);
  const of = (which: typeof source, batch: number) => extract(which, evaluationView(8), run, { batch });
  const [whole, parts, turned] = [await of(source, 64), await of(source, 4), await of(subset(source, [14, 3]), 64)];
  await backend.close();
  assert.equal(parts, whole);
  assert.equal(
    [...whole.indices],
    Array.from({ length: 15 }, (_, i) => i),
  );
  const { dim, data } = whole.features;
  assert.equal([...turned.features.data], [...data.slice(14 * dim, 15 * dim), ...data.slice(3 * dim, 4 * dim)]);
});

features("a picture that cannot be read has no row and is named", async ({ images }) => {
  await writeFile(join(images, "plain", "3.png"), "not a picture");
  const { indices, skipped, features: rows } = await extractPixels(await openImages(images), 8);
  await pictureFolder(images, 7);
  assert.is(rows.count, 20);
  assert.not([...indices].includes(17)); // 14 + "3.png"
  assert.match(skipped.join(), /plain.3\.png/);
});

features("pixels are those of the picture, less the mean picture of the bank", async () => {
  const source = pictures(2);
  const { features: raw } = await extractPixels(source, 8);
  assert.equal([raw.count, raw.dim], [6, 192]);
  assert.ok(Math.abs(raw.data[7] - (source.packed?.data[7] as number) / 255) < 1e-6);
  const [bank] = centredPixels(raw, raw);
  for (let i = 0; i < 192; i += 37)
    assert.ok(Math.abs(Array.from({ length: 6 }, (_, r) => bank.data[r * 192 + i]).reduce((a, b) => a + b)) < 1e-5);
});

features("standardised features have mean 0 and deviation 1 over the bank, and dead ones are 0", () => {
  const bank = { data: Float32Array.of(1, 10, 7, 3, 30, 7, 5, 20, 7), count: 3, dim: 3 };
  const queries = { data: Float32Array.of(3, 20, 9), count: 1, dim: 3 };
  const [one, other] = standardized(bank, queries);
  const far = Math.fround(Math.sqrt(1.5));
  assert.equal([...one.data], [-far, -far, 0, 0, far, 0, far, 0, 0]);
  assert.equal([...other.data], [0, 0, 2]);
});

features("a sample is evenly spaced and never larger than asked", () => {
  const source = pictures(7);
  assert.is(evenly(source, 21), source);
  assert.equal(
    Array.from({ length: 4 }, (_, i) => evenly(source, 4).name(i)),
    ["0", "5", "10", "15"],
  );
});

features("classes are matched by name, not by number", async () => {
  const train = pictures(6);
  const renamed = { ...pictures(6), classes: ["plain", "across", "down"], labels: pictures(6).labels?.map((label) => (label + 1) % 3) };
  const backend = await openBackend({ threads: 1 });
  const options = { k: 3, tau: 0.07 };
  const alone = await new KnnProtocol({ train, test: train.packed && { ...train } }, options, backend).pixels(8);
  const matched = await new KnnProtocol({ train, test: renamed }, options, backend).pixels(8);
  await backend.close();
  assert.equal(matched, alone);
  assert.is(alone.top1, 100); // every picture is in the bank
});

features("a run scores on its images and beside it the pixels do", async ({ run, images }) => {
  const score = await knn(run, images, undefined, { k: 3, threads: 1 });
  assert.equal([score.trainImages, score.testImages, score.classes, score.skipped], [21, 21, 3, []]);
  assert.ok(score.top1 > 40 && score.top5 === 100 && score.pixels.top1 > 40, JSON.stringify(score));
  const standard = await knn(run, images, undefined, { k: 3, threads: 1, standardize: true });
  assert.ok(standard.top1 > 40 && standard.top1 !== score.top1, JSON.stringify(standard));
  const twice = await knn(run, images, images, { k: 3, threads: 1 });
  assert.is(twice.top1, 100); // its own picture is among the neighbours now
});

features("images without classes cannot be scored", async ({ run, images }) => {
  assert.match(
    await refusal(knn(run, join(images, "plain"), undefined, { k: 1 })),
    /Cannot score images without classes: expected a sub-folder/,
  );
});

for (const ending of ["safetensors", "npy", "csv", "jsonl"]) {
  features(`.${ending} holds one row a picture, with its name and class`, async ({ root, run, images }) => {
    const out = join(root, `features.${ending}`);
    const { images: count, dim } = await embed(run, images, out, { threads: 1 });
    assert.equal([count, dim], [21, 128]);
    const name = join("across", "0.png");
    if (ending === "safetensors") {
      const { tensors, metadata } = await readSafetensors(out);
      assert.equal([tensors.get("features")?.shape, tensors.get("labels")?.shape], [[21, 128], [21]]);
      assert.equal([JSON.parse(metadata.names)[0], JSON.parse(metadata.classes)], [name, ["across", "down", "plain"]]);
    } else if (ending === "npy") {
      const bytes = await readFile(out);
      assert.match(bytes.subarray(0, 128).toString("latin1"), /'descr': '<f4'.*\(21, 128\)/);
      assert.is(bytes.length, 128 + 21 * 128 * 4);
      assert.equal((await readFile(join(root, "features.csv"), "utf8")).split("\n").slice(0, 2), ["name,class", `${name},across`]);
    } else {
      const lines = (await readFile(out, "utf8")).trimEnd().split("\n");
      const [first, numbers] =
        ending === "csv"
          ? [lines[1].split(",").slice(0, 2), lines[1].split(",").length - 2]
          : [[JSON.parse(lines[0]).name, JSON.parse(lines[0]).class], JSON.parse(lines[0]).features.length];
      assert.equal([first, numbers, lines.length], [[name, "across"], 128, ending === "csv" ? 22 : 21]);
    }
  });
}

features("other endings are refused before anything is read", async ({ run }) => {
  assert.match(
    await refusal(embed(run, "nowhere", "features.txt")),
    /Cannot write features to "features\.txt": expected .*\.safetensors, \.npy, \.csv, \.jsonl/,
  );
});

features("an encoder opens from its run, its checkpoint, and bare weights with the backbone's name", async ({ root, run }) => {
  const fromRun = await openEncoder(run);
  assert.is(fromRun.about, "simclr, resnet18-cifar-w0.25, 2 steps");
  assert.is(fromRun.view.size, 8);
  const bare = join(root, "bare.safetensors");
  await writeSafetensors(bare, fromRun.backbone.state("module."));
  const loaded = await openEncoder(bare, { backbone: "resnet18-cifar-w0.25" });
  const weights = (encoder: typeof loaded) =>
    [...encoder.backbone.namedParameters()].map(([name, { data }]) => [name, ...data.slice(0, 5)]);
  assert.equal(weights(loaded), weights(fromRun));
  assert.match(
    await refusal(openEncoder(bare, { backbone: "resnet34-cifar-w0.25" })),
    /Cannot use .*bare\.safetensors as resnet34-cifar-w0\.25: it lacks "module\.layer1\.2\.conv1\.weight"/,
  );
  assert.match(await refusal(openEncoder(join(root, "nothing"))), /Cannot open ".*nothing": no such run or checkpoint/);
});

features.run();
