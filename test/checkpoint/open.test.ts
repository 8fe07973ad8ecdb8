import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { tensorsIn } from "../../src/checkpoint/checkpoint.ts";
import { CheckpointError } from "../../src/checkpoint/error.ts";
import { openCheckpoint, readCheckpoint } from "../../src/checkpoint/open.ts";
import type { Value } from "../../src/checkpoint/pickle.ts";
import { sourceOf } from "../../src/checkpoint/source.ts";
import { fuzz } from "../bench/fuzz-checkpoints.ts";
import { checkpointGoldens, runCheckpointGolden } from "../golden/checkpoints.ts";
import { describe } from "../golden/run.ts";

const folder = fileURLToPath(new URL("../golden/files/checkpoints/", import.meta.url));
const bytesOf = (name: string) => new Uint8Array(readFileSync(`${folder}${name}`));

/** The message with which a file's bytes are refused. */
async function refusal(bytes: Uint8Array): Promise<string> {
  const error = await readCheckpoint(sourceOf(bytes, "file")).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.instance(error, CheckpointError);
  return (error as Error).message;
}

for (const path of await checkpointGoldens(folder)) {
  test(`${path.slice(folder.length)}: is read or refused as it has to be`, async () => {
    const check = await runCheckpointGolden(path);
    assert.ok(check.passed, describe(check));
  });
}

test("damaged files load or are refused with a CheckpointError", async () => {
  const { failures } = await fuzz(1_000_000, 1500);
  assert.equal(failures, []);
});

test("a file cut short anywhere is refused", async () => {
  for (const name of ["crafted-valid.pth", "objects-legacy.pth", "detectron2.pkl"]) {
    const bytes = bytesOf(name);
    for (let length = 0; length < bytes.length; length += 7) await refusal(bytes.subarray(0, length));
  }
});

test("a missing path, a folder and a missing shard are named", async () => {
  for (const path of [`${folder}none.pth`, folder]) {
    const error = await openCheckpoint(path).catch((e: Error) => e);
    assert.instance(error, CheckpointError);
    assert.ok((error as Error).message.startsWith(`Cannot read ${path}: `), String(error));
  }
  const bundle = await readCheckpoint(sourceOf(bytesOf("simclr-v2.ckpt-250228.index"), "lonely.index"));
  const [tensor] = bundle.tensors.values();
  const error = await tensor.read().catch((e: Error) => e);
  assert.match((error as Error).message, /^Cannot read lonely\.data-00000-of-00001: /);
});

test("a TensorFlow checkpoint is found by its name without an ending", async () => {
  const checkpoint = await openCheckpoint(`${folder}simclr-v2.ckpt-250228`);
  assert.is(checkpoint.format, "TensorFlow");
  await checkpoint.close();
});

test("files of other kinds are called what they are", async () => {
  const tar = new Uint8Array(512);
  tar.set(new TextEncoder().encode("ustar"), 257);
  assert.match(await refusal(tar), /a tar file/);
  assert.match(await refusal(Uint8Array.of(0x1f, 0x8b, 8, 0)), /packed with gzip/);
  assert.match(await refusal(new TextEncoder().encode("<!DOCTYPE html>")), /a web page/);
  assert.match(await refusal(new Uint8Array(0)), /it is empty/);
});

test("lists that hold each other many times or deeply are refused, and those that hold no tensor are walked once", () => {
  let none: Value = [];
  for (let i = 0; i < 60; i++) none = [none, none];
  assert.is(tensorsIn(none, "file").size, 0);
  let deep: Value = [];
  for (let i = 0; i < 200; i++) deep = [deep];
  assert.throws(() => tensorsIn(deep, "file"), /more than 100 deep/);
});

test.run();
