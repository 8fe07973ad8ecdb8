import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { RunEvent } from "../../src/train/events.ts";
import type { RunSettings } from "../../src/train/options.ts";
import { RunFolder } from "../../src/train/run.ts";
import { train } from "../../src/train/train.ts";
import { pictureFolder, pictures } from "./pictures.ts";

const request = { method: "simclr", images: "", backbone: "resnet18-cifar-w0.25", size: 8, batch: 6, steps: 8, seed: 3 };
const settings = { threads: 1, build: "plain", logEvery: 3, healthEvery: 3, knnEvery: 0.5, k: 3, report: false } as const;

const monitor = suite<{ root: string }>("measurements");
monitor.before.each(async (context) => {
  context.root = await mkdtemp(join(tmpdir(), "autodidact-monitor-"));
});
monitor.after.each(({ root }) => rm(root, { recursive: true }));

/** Trains on 24 pictures, 4 steps an epoch; gives the steps of each kind of measurement, the events and the result. */
async function measured(root: string, changes: Partial<RunSettings> = {}, source = pictures(8)) {
  const events: RunEvent[] = [];
  const run = join(root, "run");
  const result = await train(request, { run, source, settings: { ...settings, ...changes }, onEvent: (event) => events.push(event) });
  const metrics = await (await RunFolder.open(run)).metrics();
  const steps = (kind: string) => metrics.filter((metric) => metric.kind === kind).map(({ step }) => step);
  return { steps, metrics, events, result };
}

monitor("steps, health and kNN are measured as often as asked and at the end, and told as they are kept", async ({ root }) => {
  const { steps, metrics, events, result } = await measured(root);
  assert.equal(
    [steps("step"), steps("health"), steps("knn")],
    [
      [1, 3, 6, 8],
      [3, 6, 8],
      [2, 4, 6, 8],
    ],
  );
  for (const kind of ["health", "knn"] as const) {
    const told = events.filter(({ type }) => type === kind).map(({ type: _, ...event }) => event);
    const kept = metrics.filter((metric) => metric.kind === kind).map(({ kind: _, ...metric }) => metric);
    assert.equal(JSON.parse(JSON.stringify(told)), kept);
  }
  const last = metrics.findLast(({ kind }) => kind === "knn");
  assert.equal(result.knn, { top1: last?.top1, top5: last?.top5, pixelsTop1: last?.pixelsTop1 });
  const seen = events.filter(({ type }) => type === "step");
  assert.is(seen.length, 8);
  assert.equal(
    seen.map((event) => "logged" in event && event.logged),
    [true, false, true, false, false, true, false, true],
  );
});

monitor("images without classes have no kNN score, and nothing is measured that was not asked for", async ({ root }) => {
  const { labels: _, classes: __, ...source } = pictures(8);
  const { steps, result } = await measured(root, { healthEvery: 0 }, source);
  assert.equal([steps("health"), steps("knn"), result.knn], [[], [], undefined]);
});

monitor("too few images for k neighbours are said to be so", async ({ root }) => {
  const { steps, events } = await measured(root, { k: 24 });
  assert.equal(steps("knn"), []);
  assert.ok(events.some((event) => event.type === "note" && event.message === "No kNN score: 24 images cannot have 24 neighbours each"));
});

monitor("given images are scored in place of the training images", async ({ root }) => {
  const [voting, judged] = [join(root, "voting"), join(root, "judged")];
  await pictureFolder(voting, 2);
  await pictureFolder(judged, 2);
  const { result } = await measured(root, { knnEvery: 0, knnImages: { train: voting, test: judged }, k: 1 });
  assert.equal(result.knn, { top1: 100, top5: 100, pixelsTop1: 100 }); // every judged picture is among those that vote
});

monitor("unreadable images among good ones are named and skipped", async ({ root }) => {
  const images = join(root, "images");
  await pictureFolder(images, 8);
  await writeFile(join(images, "down", "2.png"), "");
  const warnings: string[] = [];
  const onEvent = (event: RunEvent) => event.type === "warning" && warnings.push(event.message);
  const result = await train({ ...request, images }, { run: join(root, "run"), settings, onEvent });
  assert.is(result.step, 8);
  assert.is(warnings.length, 1);
  assert.match(warnings[0], /Skipped down.2\.png: /);
});

monitor("a folder of mostly unreadable images stops the run with their names", async ({ root }) => {
  const images = join(root, "images");
  await pictureFolder(images, 8);
  for (const name of ["across", "down"]) for (let i = 0; i < 8; i++) await writeFile(join(images, name, `${i}.png`), "no picture");
  const said = await train({ ...request, images }, { run: join(root, "run"), settings }).then(() => "accepted", String);
  assert.match(said, /Cannot go on: \d+ of \d+ pictures .* are unreadable:\n {2}(across|down).\d\.png/);
});

monitor("the health sample is the same in every session", async ({ root }) => {
  const first = await measured(root);
  const text = await readFile(join(root, "run", "metrics.jsonl"), "utf8");
  await rm(join(root, "run"), { recursive: true });
  const second = await measured(root);
  const health = (metrics: typeof first.metrics) => metrics.filter(({ kind }) => kind === "health");
  assert.equal(health(first.metrics), health(second.metrics));
  assert.is(text.trimEnd().split("\n").length, first.metrics.length);
});

monitor.run();
