import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { newestCheckpoint } from "../../src/evaluate/checkpoints.ts";
import type { RunEvent } from "../../src/train/events.ts";
import type { RunRequest, RunSettings } from "../../src/train/options.ts";
import { type Metric, RunFolder } from "../../src/train/run.ts";
import { resume, type TrainOptions, train } from "../../src/train/train.ts";
import { pictureFolder, pictures } from "./pictures.ts";

const request: RunRequest = { method: "simclr", images: "", backbone: "resnet18-cifar-w0.25", size: 8, batch: 6, steps: 10, seed: 3 };
const settings: Partial<RunSettings> = {
  threads: 1,
  build: "plain",
  logEvery: 1,
  healthEvery: 0,
  knnEvery: -1,
  checkpointSeconds: 3600,
  k: 5,
  keep: 1,
  report: false,
};

const source = pictures(8);
const refusal = (promise: Promise<unknown>) => promise.then(() => "accepted", String);
const bytes = async (run: string) => (await readFile((await newestCheckpoint(run)).path)).toString("base64");
const metrics = async (run: string): Promise<Metric[]> =>
  (await readFile(join(run, "metrics.jsonl"), "utf8"))
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
/** What a measurement says, without what depends on the clock. */
const lasting = ({ imagesPerSecond: _, memoryBytes: __, ...metric }: Metric) => metric;

const runs = suite<{ root: string }>("train");
runs.before.each(async (context) => {
  context.root = await mkdtemp(join(tmpdir(), "autodidact-train-"));
});
runs.after.each(({ root }) => rm(root, { recursive: true }));

const go = (run: string, changes: Partial<RunRequest> = {}, more: Partial<TrainOptions> = {}) =>
  train({ ...request, ...changes }, { run, source, ...more, settings: { ...settings, ...more.settings } });

runs("one seed gives the same bits with 1 and 2 threads and on a second run; another seed gives others", async ({ root }) => {
  const paths = ["first", "second", "threads", "seed"].map((name) => join(root, name));
  await go(paths[0]);
  await go(paths[1]);
  await go(paths[2], {}, { settings: { threads: 2 } });
  await go(paths[3], { seed: 4 });
  const [first, second, threads, seed] = await Promise.all(paths.map(bytes));
  assert.ok(first === second, "a second run differs");
  assert.ok(first === threads, "two threads differ");
  assert.not(first === seed);
});

/** Runs a child until it ends or, if `steps` are given, until it has done so many of them; then kills it. */
function child(args: string[], steps = Number.POSITIVE_INFINITY, delayMs = 0): Promise<number | null> {
  const process_ = spawn(process.execPath, ["--import", "tsx", join(import.meta.dirname, "child.ts"), ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let seen = 0;
  process_.stdout.on("data", (text: Buffer) => {
    seen += text.toString().match(/^step/gm)?.length ?? 0;
    if (seen >= steps) setTimeout(() => process_.kill("SIGKILL"), delayMs);
  });
  return new Promise((resolve) => process_.on("close", resolve));
}

runs("a run killed at three moments and resumed ends in the same bits and the same measurements", async ({ root }) => {
  const [images, whole, killed] = ["images", "whole", "killed"].map((name) => join(root, name));
  await pictureFolder(images, 8);
  const measured = { ...settings, healthEvery: 4, knnEvery: 0 };
  await train({ ...request, images }, { run: whole, settings: measured });
  const often = JSON.stringify({ ...measured, checkpointSeconds: 0.01 });
  assert.is(await child(["train", killed, JSON.stringify({ ...request, images }), often], 2, 20), null);
  assert.is(await child(["resume", killed], 3, 35), null);
  assert.is(await child(["resume", killed], 1, 5), null);
  const result = await resume(killed);
  assert.is(result.step, 10);
  assert.not(result.stopped);
  assert.ok((await bytes(whole)) === (await bytes(killed)), "checkpoints differ");
  const told = (all: Metric[]) => all.filter(({ kind }) => kind !== "resume").map(lasting);
  assert.equal(told(await metrics(killed)), told(await metrics(whole)));
});

runs("the signal ends a run after its step, with a checkpoint that resumes to the same bits", async ({ root }) => {
  const [whole, stopped] = [join(root, "whole"), join(root, "stopped")];
  await go(whole);
  const stop = new AbortController();
  const onEvent = (event: RunEvent) => event.type === "step" && event.step === 6 && stop.abort();
  const result = await go(stopped, {}, { signal: stop.signal, onEvent });
  assert.equal([result.step, result.stopped, (await newestCheckpoint(stopped)).step], [6, true, 6]);
  await resume(stopped, { source, settings: { threads: 2 } });
  assert.ok((await bytes(whole)) === (await bytes(stopped)));
});

runs("a run keeps the kernels that it began with, and says which", async ({ root }) => {
  const [whole, stopped] = [join(root, "whole"), join(root, "stopped")];
  await go(whole, { steps: 4 }, { settings: { build: "relaxed" } });
  const stop = new AbortController();
  const onEvent = (event: RunEvent) => event.type === "step" && event.step === 2 && stop.abort();
  await go(stopped, { steps: 4 }, { settings: { build: "relaxed" }, signal: stop.signal, onEvent });
  await resume(stopped, { source });
  assert.is((await RunFolder.open(stopped)).record.settings.build, "relaxed");
  assert.ok((await bytes(whole)) === (await bytes(stopped)));
  await go(join(root, "any"), { steps: 1 }, { settings: { build: undefined } });
  assert.match((await RunFolder.open(join(root, "any"))).record.settings.build ?? "", /^(plain|relaxed)$/);
});

runs("a loss that is not finite ends the run, names step and parameter, and leaves the last good checkpoint", async ({ root }) => {
  const run = join(root, "diverged");
  const set = { "optimizer.lr": "1e30", "optimizer.scaling": "none" };
  const error = await go(run, { set }, { settings: { checkpointSeconds: 0 } }).then(
    () => undefined,
    (thrown) => thrown,
  );
  assert.is(error.name, "TrainingError");
  assert.match(error.message, /(loss|gradient of "\S+") became (NaN|infinite) at step (\d+).*the last good checkpoint is .*safetensors/);
  const failed = Number(/at step (\d+)/.exec(error.message)?.[1]);
  assert.ok((await newestCheckpoint(run)).step < failed);
  assert.match(error.message, /"(base_model|head_contrastive)\.\S+"/);
});

runs("micro-batches give a run of its own that is repeatable and resumes", async ({ root }) => {
  const [whole, stopped] = [join(root, "whole"), join(root, "stopped")];
  await go(whole, { accumulate: 3, steps: 5 });
  const stop = new AbortController();
  const onEvent = (event: RunEvent) => event.type === "step" && event.step === 2 && stop.abort();
  await go(stopped, { accumulate: 3, steps: 5 }, { signal: stop.signal, onEvent });
  await resume(stopped, { source });
  assert.ok((await bytes(whole)) === (await bytes(stopped)));
});

runs("a run in minutes ends near its time with its schedule complete", async ({ root }) => {
  const run = join(root, "timed");
  const begun = performance.now();
  const result = await go(run, { steps: undefined, minutes: 0.08 });
  const seconds = (performance.now() - begun) / 1000;
  assert.ok(!result.stopped && result.step > 3, `${result.step} steps`);
  assert.ok(seconds < 12, `${seconds} s`);
  const rates = (await metrics(run)).filter(({ kind }) => kind === "step").map(({ lr }) => lr as number);
  assert.ok((rates.at(-1) as number) < 0.2 * Math.max(...rates), "the cosine is not at its end");
});

runs("an existing run stays as it is unless force is said", async ({ root }) => {
  const run = join(root, "mine");
  await go(run, { steps: 1 });
  const before = await readFile(join(run, "run.json"), "utf8");
  assert.match(await refusal(go(run)), /RunExistsError: Cannot start a run in .*mine: it holds a run/);
  assert.is(await readFile(join(run, "run.json"), "utf8"), before);
  await go(run, { steps: 2 }, { force: true });
  assert.is((await newestCheckpoint(run)).step, 2);
});

runs("a damaged checkpoint is refused on resume, and the one before it serves when it is removed", async ({ root }) => {
  const run = join(root, "damaged");
  const stop = new AbortController();
  const onEvent = (event: RunEvent) => event.type === "step" && event.step === 4 && stop.abort();
  await go(run, {}, { settings: { checkpointSeconds: 0 }, signal: stop.signal, onEvent });
  const { path } = await newestCheckpoint(run);
  const sound = await readFile(path);
  sound[sound.length >> 1] ^= 4;
  await writeFile(path, sound);
  assert.match(
    await refusal(resume(run, { source })),
    /checksum does not match.*remove the file to continue from the checkpoint before it/,
  );
  await rm(path);
  assert.is((await resume(run, { source })).step, 10);
});

runs("other images than at the start are refused on resume", async ({ root }) => {
  const run = join(root, "moved");
  await go(run, { steps: 2 });
  assert.match(
    await refusal(resume(run, { source: pictures(9) })),
    /Cannot resume .*: the images at "" changed since it began \(24 then, 27 now\)/,
  );
});

for (const [what, changes, says] of [
  ["fewer images than a batch", { batch: 25 }, /RequestError: Cannot take a batch of 25 from the 24 images.*at most 24/],
  ["a size that is no multiple of the patch", { method: "mae", backbone: "vit-tiny-8", size: 12 }, /12.*(8|16)/],
  ["an image smaller than the patch", { method: "mae", backbone: "vit-tiny-16", size: 8 }, /8.*16/],
  ["batch norm of one image", { method: "moco", batch: 1, set: { groups: "1" } }, /Cannot cut a batch of 1 .*2 images a group or more/],
] as [string, Partial<RunRequest>, RegExp][]) {
  runs(`${what}: refused before there is a run folder`, async ({ root }) => {
    assert.match(await refusal(go(join(root, "none"), changes)), says);
    assert.equal(await readdir(root), []);
  });
}

runs("a plan that does not fit is refused with a batch that does", async ({ root }) => {
  const many = pictures(1400, 1);
  const big = { method: "mae", backbone: "vit-tiny-16", size: 224, batch: 4096, steps: 1 };
  const said = await refusal(train({ ...request, ...big }, { run: join(root, "big"), source: many, settings }));
  assert.match(said, /RangeError: Cannot train with a batch of 4096: .*a batch of \d+ fits, or --accumulate \d+ with this one/);
  const [, batch, parts] = /batch of (\d+) fits, or --accumulate (\d+)/.exec(said) as RegExpExecArray;
  assert.is(Number(batch) * Number(parts), 4096);
  assert.equal(await readdir(root), []);
});

runs.run();
