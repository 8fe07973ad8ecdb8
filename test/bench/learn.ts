// npx tsx test/bench/learn.ts simclr|mae|dino CIFAR_FOLDER [--steps N] [--seed 0] [--every N] [--train 10000] [--test 2000] [--held-out] [--standardize]
//   [--backend wasm|gpu] [--gpu NAME] [--precision f32|f16]
//
// Learns from CIFAR-10 by the recipe that peers/simclr_cifar.py, mae_cifar.py or dino_cifar.py has in PyTorch, and prints the same lines of JSON: kNN
// top-1 (k 20, tau 0.07) of the first test pictures, and of their pixels. `--every` counts steps between scores. Recipes are tuned with
// `--held-out`: it scores training pictures that are not trained on (data_batch_5.bin) in place of test pictures.
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { BackendName } from "../../src/backend/open.ts";
import { recipes } from "../../src/recipes/recipes.ts";
import type { Precision } from "../../src/tape/trace.ts";
import type { RunEvent } from "../../src/train/events.ts";
import { train } from "../../src/train/train.ts";

const names: Readonly<Record<string, string>> = {
  simclr: "simclr-cifar-r18-quarter",
  mae: "mae-cifar-vit-mini",
  dino: "dino-cifar-vit-mini",
};
const RECORD = 3073; // bytes of a label and a picture

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    steps: { type: "string" },
    seed: { type: "string", default: "0" },
    every: { type: "string", default: "0" },
    threads: { type: "string", default: "2" },
    train: { type: "string", default: "10000" },
    test: { type: "string", default: "2000" },
    "held-out": { type: "boolean" },
    standardize: { type: "boolean" },
    backend: { type: "string", default: "wasm" },
    gpu: { type: "string" },
    precision: { type: "string", default: "f32" },
  },
});
const [method, folder] = positionals;
if (!Object.hasOwn(names, method) || !folder) throw new TypeError("usage: learn.ts simclr|mae|dino CIFAR_FOLDER [options]");
const [seed, every, threads] = [flags.seed, flags.every, flags.threads].map(Number);
const backend = flags.backend as BackendName;
const precision = flags.precision as Precision;
const { batch, epochs } = recipes[names[method]];
const stepsPerEpoch = Math.floor(Number(flags.train) / batch);
const steps = Number(flags.steps ?? epochs * stepsPerEpoch);

const temporary = mkdtempSync(join(tmpdir(), "learn-"));

/** Copies the first records of a file, and gives the copy's path. */
function first(file: string, count: number): string {
  const bytes = Buffer.alloc(count * RECORD);
  const opened = openSync(join(folder, file), "r");
  const read = readSync(opened, bytes, 0, bytes.length, 0);
  closeSync(opened);
  if (read < bytes.length) throw new RangeError(`Cannot take ${count} pictures from ${file}: it has ${Math.floor(read / RECORD)}`);
  writeFileSync(join(temporary, file), bytes);
  return join(temporary, file);
}

try {
  const images = first("data_batch_1.bin", Number(flags.train));
  const knnImages = { train: images, test: first(flags["held-out"] ? "data_batch_5.bin" : "test_batch.bin", Number(flags.test)) };
  const place = backend === "wasm" ? "" : `, ${backend} in ${precision}`;
  const about = { method, with: `Autodidact, Node ${process.versions.node}${place}`, seed, standardize: flags.standardize };
  const begun = performance.now();
  let loss = 0;
  const onEvent = (event: RunEvent) => {
    if (event.type === "step") loss = event.loss;
    if (event.type !== "knn") return;
    const { step, epoch, top1, pixelsTop1 } = event;
    const seconds = (performance.now() - begun) / 1000;
    console.log(JSON.stringify({ ...about, step, epoch, loss, knnTop1: top1, pixelsTop1, seconds }));
  };
  const scores = { knnEvery: every / stepsPerEpoch, knnImages, standardize: flags.standardize };
  const settings = { threads, backend, gpu: flags.gpu, healthEvery: 0, report: false, ...scores };
  await train({ method, recipe: names[method], images, steps, seed, precision }, { run: join(temporary, "run"), settings, onEvent });
} finally {
  rmSync(temporary, { recursive: true, force: true });
}
