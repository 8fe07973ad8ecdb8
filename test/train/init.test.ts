import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { writeTorch } from "../../src/checkpoint/write-torch.ts";
import { buildModel } from "../../src/evaluate/encoder.ts";
import { makeBackbone } from "../../src/models/backbones.ts";
import { fitTables } from "../../src/models/fit-tables.ts";
import { resizeBias } from "../../src/models/relative-position.ts";
import { ViT } from "../../src/models/vit.ts";
import { withoutNumbers } from "../../src/nn/init.ts";
import { namedState, stateOf } from "../../src/nn/module.ts";
import type { Shape } from "../../src/tape/shape.ts";
import type { Host } from "../../src/tape/trace.ts";
import type { RunEvent } from "../../src/train/events.ts";
import { beginFrom } from "../../src/train/init.ts";
import { configure, type RunRequest } from "../../src/train/options.ts";
import { resume, train } from "../../src/train/train.ts";
import { fill } from "../fill.ts";
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
  const given = makeBackbone("vit-tiny-4", { size: 16, seed: 5 }).state();
  await writeTorch(path, given);
  const options = configure({ method: "dino", backbone: "vit-tiny-4", size: 8, images: "x", set: { outputs: "64", hidden: "32" } });
  const { parts } = buildModel(options);
  assert.match(await beginFrom(path, parts, options), /in student\.backbone and teacher\.backbone$/);
  const fitted = fitTables(makeBackbone("vit-tiny-4", { size: 8 }), given).get("pos_embed");
  assert.equal(fitted?.shape, [1, 5, 192]);
  const after = stateOf(namedState(parts));
  for (const network of ["student", "teacher"]) assert.equal(after.get(`${network}.backbone.pos_embed`), fitted);
});

inits("biases of windows are resized to the run's windows, as their authors do", async ({ folder }) => {
  const path = join(folder, "swin.pth");
  const given = withoutNumbers(() => makeBackbone("swin-tiny", { size: 112 })).state();
  const telling = [...given.keys()].filter((name) => /_table$|\.norm1\.bias$/.test(name));
  for (const name of telling) given.set(name, fill(name, given.get(name)?.shape as Shape));
  await writeTorch(path, given);
  const options = configure({ method: "simclr", backbone: "swin-tiny-w14", size: 224, images: "x" });
  const { parts } = withoutNumbers(() => buildModel(options));
  assert.match(await beginFrom(path, parts, options), /in base_model$/);
  const after = new Map(namedState(parts));
  const sides = [14, 14, 14, 7]; // where 112 x 112 had 7, 7, 7 and 3
  for (const name of telling) {
    const host = given.get(name) as Host;
    const [, stage] = /^layers\.(\d)\..*_table$/.exec(name) ?? [];
    const wanted = stage ? resizeBias(host, sides[Number(stage)], "bicubic") : host;
    assert.equal(after.get(`base_model.${name}`)?.data, wanted.data, name);
  }
});

inits("another patch is refused with both", async ({ folder }) => {
  const options = configure({ method: "simclr", backbone: "vit-tiny-8", size: 16, images: "x" });
  const { parts } = withoutNumbers(() => buildModel(options));
  const begin = async (patch: number): Promise<Error> => {
    const path = join(folder, `vit${patch}.pth`);
    const given = withoutNumbers(() => new ViT({ dim: 192, depth: 12, heads: 3, patch, size: 2 * patch }));
    await writeTorch(path, given.state());
    return beginFrom(path, parts, options).catch((e: Error) => e) as Promise<Error>;
  };
  assert.match((await begin(4)).message, /it holds a vit-tiny-4, the run trains a vit-tiny-8; --backbone vit-tiny-4 would fit$/);
  assert.match(
    (await begin(6)).message,
    /as vit-tiny-8: it has "patch_embed\.proj\.weight" of \[192, 3, 6, 6\] instead of \[192, 3, 8, 8\]$/,
  );
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
