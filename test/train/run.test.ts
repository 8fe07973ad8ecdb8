import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { RunFolder, type RunRecord } from "../../src/train/run.ts";

const record = { version: 1, options: { seed: 7 }, versions: {} } as unknown as RunRecord;
const tensors = (value: number) => [["encoder.weight", { data: Float32Array.of(value, 2, 3), shape: [3] }]] as const;
const refusal = (promise: Promise<unknown>) => promise.then(() => "accepted", String);

const run = suite<{ root: string; path: string }>("run folder");
run.before.each(async (context) => {
  context.root = await mkdtemp(join(tmpdir(), "autodidact-run-"));
  context.path = join(context.root, "cats");
});
run.after.each(({ root }) => rm(root, { recursive: true }));

run("opens as it was created", async ({ path }) => {
  await RunFolder.create(path, record);
  assert.equal((await RunFolder.open(path)).record, record);
});

run("is never overwritten unasked, and with force only if it is a run", async ({ path }) => {
  const first = await RunFolder.create(path, record);
  await first.append({ kind: "step", step: 1 });
  await first.save(1, tensors(1), {}, 1);
  assert.match(await refusal(RunFolder.create(path, record)), /RunExistsError: Cannot start a run in .*cats: it holds a run/);
  await writeFile(join(path, "notes.txt"), "mine");
  assert.match(await refusal(RunFolder.create(path, record, { force: true })), /LockedError: .*process \d+ has worked on it/);
  assert.is((await first.checkpoints()).length, 1);
  await first.release();
  const second = await RunFolder.create(path, record, { force: true });
  assert.equal([await second.metrics(), await second.checkpoints()], [[], []]);
  assert.is(await readFile(join(path, "notes.txt"), "utf8"), "mine");
});

run("is one process's at a time, and free to go on with when that is done", async ({ path }) => {
  const first = await RunFolder.create(path, record);
  const settings = { logEvery: 3 } as unknown as RunRecord["settings"];
  assert.match(await refusal((await RunFolder.open(path)).take(settings)), /LockedError: .*process \d+ has worked on it/);
  await first.release();
  const second = await (await RunFolder.open(path)).take(settings);
  assert.is(second.record.settings.logEvery, 3);
  await second.release();
});

run("is not made over files that are no run's, even with force", async ({ path }) => {
  await mkdir(path);
  await writeFile(join(path, "holiday.jpg"), "");
  assert.match(await refusal(RunFolder.create(path, record, { force: true })), /it holds files that are no run's/);
  assert.equal(await readdir(path), ["holiday.jpg"]);
});

run("says what is wrong with the place", async ({ root }) => {
  await writeFile(join(root, "file"), "");
  assert.match(await refusal(RunFolder.create(join(root, "file", "cats"), record)), /a part of the path is a file/);
  assert.match(await refusal(RunFolder.open(join(root, "dogs"))), /Cannot open the run .*dogs: it has no run\.json/);
});

run("cuts measurements after a step, and an unfinished last line", async ({ path }) => {
  const folder = await RunFolder.create(path, record);
  for (const step of [1, 2, 3]) await folder.append({ kind: "step", step, loss: 1 / step });
  await appendFile(join(path, "metrics.jsonl"), '{"kind":"step","step":4,"lo');
  assert.equal(
    (await folder.metrics()).map(({ step }) => step),
    [1, 2, 3],
  );
  await folder.cutMetrics(2);
  assert.is(
    await readFile(join(path, "metrics.jsonl"), "utf8"),
    '{"kind":"step","step":1,"loss":1}\n{"kind":"step","step":2,"loss":0.5}\n',
  );
});

run("keeps the newest checkpoint and as many before it as asked", async ({ path }) => {
  const folder = await RunFolder.create(path, record);
  for (const step of [5, 10, 15, 20]) await folder.save(step, tensors(step), { step: String(step) }, 2);
  assert.equal(
    (await folder.checkpoints()).map(({ step }) => step),
    [10, 15, 20],
  );
  await folder.save(25, tensors(25), { step: "25" }, 0);
  assert.equal(
    (await folder.checkpoints()).map(({ step }) => step),
    [25],
  );
  const { archive } = await folder.newest();
  assert.equal([archive.metadata.step, archive.tensors.get("encoder.weight")?.data[0]], ["25", 25]);
});

run("refuses a checkpoint that was cut short or in which a bit flipped, at any place", async ({ path }) => {
  const folder = await RunFolder.create(path, record);
  const { path: file } = await folder.save(3, tensors(1), { note: "x" }, 2);
  const sound = await readFile(file);
  for (let at = 0; at < sound.length; at += 7) {
    const bytes = Buffer.from(sound);
    bytes[at] ^= 1 << (at % 8);
    await writeFile(file, bytes);
    assert.match(
      await refusal(folder.newest()),
      /CheckpointError: Cannot read .*remove the file to continue from the checkpoint before it/,
      `byte ${at}`,
    );
  }
  for (const length of [0, 7, 40, sound.length - 1]) {
    await writeFile(file, sound);
    await truncate(file, length);
    assert.match(await refusal(folder.newest()), /CheckpointError: Cannot read/, `${length} bytes`);
  }
});

run("ignores a checkpoint that was being written when the power went", async ({ path }) => {
  const folder = await RunFolder.create(path, record);
  await folder.save(3, tensors(3), {}, 2);
  await writeFile(join(path, "checkpoints", "step-00000006.safetensors.123.tmp"), "half");
  assert.is((await folder.newest()).file.step, 3);
  await folder.removeUnfinished();
  assert.equal(await readdir(join(path, "checkpoints")), ["step-00000003.safetensors"]);
});

run("says that it has no checkpoint yet", async ({ path }) => {
  const folder = await RunFolder.create(path, record);
  assert.match(await refusal(folder.newest()), /Cannot find a checkpoint in .*cats: looked for .*step-/);
});

run.run();
