// Longer checks of runs: every method killed at random moments, and memory over two thousand steps.
import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { newestCheckpoint } from "../../src/evaluate/checkpoints.ts";
import type { RunRequest } from "../../src/train/options.ts";
import { resume, train } from "../../src/train/train.ts";
import { pictureFolder, pictures } from "./pictures.ts";

const bytes = async (run: string) => readFile((await newestCheckpoint(run)).path);

/** Runs a child and kills it at a random moment after so many steps. */
function killed(args: string[], steps: number): Promise<void> {
  const options = { stdio: ["ignore", "pipe", "inherit"] as ["ignore", "pipe", "inherit"] };
  const process_ = spawn(process.execPath, ["--import", "tsx", join(import.meta.dirname, "child.ts"), ...args], options);
  let seen = 0;
  process_.stdout.on("data", (text: Buffer) => {
    seen += text.toString().match(/^step/gm)?.length ?? 0;
    if (seen >= steps) setTimeout(() => process_.kill("SIGKILL"), 200 * Math.random());
  });
  return new Promise((resolve) => process_.on("close", () => resolve()));
}

const runs = suite<{ root: string }>("long runs");
runs.before.each(async (context) => {
  context.root = await mkdtemp(join(tmpdir(), "autodidact-long-"));
});
runs.after.each(({ root }) => rm(root, { recursive: true }));

const resnet = { backbone: "resnet18-cifar-w0.25", size: 8, batch: 6 };
const vit = { backbone: "vit-tiny-4", size: 8, batch: 6 };
for (const [method, more] of [
  ["simclr", resnet],
  ["moco", { ...resnet, set: { queue: "48" } }],
  ["dino", { ...vit, set: { outputs: "64", hidden: "32", locals: "2" } }],
  ["mae", { ...vit, accumulate: 2 }],
] as [string, Partial<RunRequest>][]) {
  runs(`${method}: killed at three random moments, with one thread and then two, it ends in the same bits`, async ({ root }) => {
    const images = join(root, "images");
    await pictureFolder(images, 8);
    const request = { method, images, steps: 24, seed: 5, ...more } as RunRequest;
    const settings = { threads: 1, checkpointSeconds: 0.05, knnEvery: -1, healthEvery: 6, report: false, build: "plain" as const };
    await train(request, { run: join(root, "whole"), settings });
    const run = join(root, "killed");
    await killed(["train", run, JSON.stringify(request), JSON.stringify(settings)], 2);
    await killed(["resume", run], 2);
    await killed(["resume", run], 1);
    await resume(run, { settings: { threads: 2 } });
    assert.ok((await bytes(join(root, "whole"))).equals(await bytes(run)));
  });
}

for (const [method, more] of [
  ["simclr", { ...resnet, size: 32, batch: 128 }],
  ["mae", { backbone: "vit-tiny-16", size: 224, batch: 16 }],
] as [string, Partial<RunRequest>][]) {
  runs(`${method}: a run takes at its peak what it planned, within 10 %`, async ({ root }) => {
    const images = join(root, "images");
    await pictureFolder(images, 50, 32);
    const request = { method, images, steps: 12, ...more };
    const settings = { threads: 2, healthEvery: 5, report: false };
    const script = ["--import", "tsx", join(import.meta.dirname, "child.ts"), "train", join(root, "run")];
    const { stdout, stderr } = spawnSync(process.execPath, [...script, JSON.stringify(request), JSON.stringify(settings)], {
      encoding: "utf8",
    });
    const [planned, peak] = Array.from(stdout.matchAll(/(?:planned|peak) (\d+)/g), ([, bytes]) => Number(bytes) / 1e6);
    assert.ok(Math.abs(peak / planned - 1) < 0.1, `planned ${planned} MB, took ${peak} MB ${stderr}`);
  });
}

runs("memory stays flat over 2,000 steps", async ({ root }) => {
  const sizes: number[] = [];
  const request = { method: "simclr", images: "", ...resnet, steps: 2000 };
  await train(request, {
    run: join(root, "long"),
    source: pictures(8),
    settings: { threads: 2, logEvery: 50, healthEvery: 200, knnEvery: 100, k: 3, checkpointSeconds: 5, report: false },
    onEvent: (event) => event.type === "step" && event.logged && sizes.push(event.memoryBytes),
  });
  const mean = (part: number[]) => part.reduce((a, b) => a + b) / part.length;
  const [early, late] = [mean(sizes.slice(8, 16)), mean(sizes.slice(-8))];
  assert.ok(late < 1.1 * early, `${(early / 1e6).toFixed(0)} MB, later ${(late / 1e6).toFixed(0)} MB`);
});

runs.run();
