import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { writeTorch } from "../../src/checkpoint/write-torch.ts";
import { buildModel } from "../../src/evaluate/encoder.ts";
import { makeBackbone } from "../../src/models/backbone.ts";
import { namedState, stateOf } from "../../src/nn/module.ts";
import type { RunEvent } from "../../src/train/events.ts";
import { beginFrom } from "../../src/train/init.ts";
import { configure, type RunRequest } from "../../src/train/options.ts";
import { resume, train } from "../../src/train/train.ts";
import { pictures } from "./pictures.ts";

const inits = suite<{ folder: string }>("init");
inits.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), "init-"));
});
inits.after.each(({ folder }) => rm(folder, { recursive: true }));

const backbone = "resnet18-cifar-w0.25";
const moco = configure({ method: "moco", backbone, size: 8, images: "x" });

inits("a foreign backbone goes into every network of its kind; heads stay fresh", async ({ folder }) => {
  const path = join(folder, "simsiam.pth.tar");
  const given = makeBackbone(backbone, { seed: 5 });
  await writeTorch(path, given.state("module.encoder."));
  const { parts } = buildModel(moco);
  const before = stateOf(namedState(parts));
  const note = await beginFrom(path, parts, moco);
  assert.is(note, `began with the ${backbone} of ${path} in encoder_q and encoder_k`);
  const after = stateOf(namedState(parts));
  for (const [name, { data }] of given.state()) {
    assert.equal(after.get(`encoder_q.${name}`)?.data, data, name);
    assert.equal(after.get(`encoder_k.${name}`)?.data, data, name);
  }
  const heads = [...after].filter(([name]) => /encoder_[qk]\.fc/.test(name));
  assert.ok(heads.length > 0);
  for (const [name, { data }] of heads) assert.equal(data, before.get(name)?.data, name);
});

inits("positions are resized to the run's images", async ({ folder }) => {
  const path = join(folder, "vit.pth");
  await writeTorch(path, makeBackbone("vit-tiny-4", { size: 16, seed: 5 }).state());
  const options = configure({ method: "dino", backbone: "vit-tiny-4", size: 8, images: "x", set: { outputs: "64", hidden: "32" } });
  const { parts } = buildModel(options);
  assert.match(await beginFrom(path, parts, options), /in student\.backbone and teacher\.backbone$/);
  assert.equal(stateOf(namedState(parts)).get("teacher.backbone.pos_embed")?.shape, [1, 5, 192]);
});

inits("another network is refused with the one that the file holds", async ({ folder }) => {
  const path = join(folder, "vit.pth");
  await writeTorch(path, makeBackbone("vit-tiny-4", { size: 16, seed: 5 }).state());
  const { parts } = buildModel(moco);
  const error = await beginFrom(path, parts, moco).catch((e: Error) => e);
  assert.match((error as Error).message, /it holds a vit-tiny-4, the run trains a resnet18-cifar-w0\.25; --backbone vit-tiny-4 would fit$/);
});

inits("a run begins with another, says so, keeps it in run.json and is resumed to the same bits", async ({ folder }) => {
  const source = pictures(7);
  const request: RunRequest = { method: "simclr", backbone, size: 8, batch: 6, images: "memory" };
  const settings = { threads: 1, report: false, knnEvery: -1, checkpointSeconds: 0 };
  const first = join(folder, "first");
  await train({ ...request, steps: 1 }, { run: first, settings, source });
  const events: RunEvent[] = [];
  const second = join(folder, "second");
  const onEvent = (event: RunEvent) => void events.push(event);
  const stop = new AbortController();
  const init = { ...request, init: first, steps: 3 };
  const whole = await train(init, { run: second, settings, source, onEvent });
  assert.ok(events.some((event) => event.type === "note" && /began with all \d+ tensors of .*first/.test(event.message)));
  const third = join(folder, "third");
  const stopAt1 = (event: RunEvent) => void (event.type === "step" && stop.abort());
  await train(init, { run: third, settings, source, onEvent: stopAt1, signal: stop.signal });
  await rm(first, { recursive: true }); // what a run began with is no longer needed then
  const resumed = await resume(third, { source });
  assert.is(resumed.loss, whole.loss);
});

inits.run();
