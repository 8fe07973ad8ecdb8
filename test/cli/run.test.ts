// The commands one after the other, as somebody would type them, on a few small pictures of two classes.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Interrupted } from "../../cli/terminal.ts";
import { png, run, type Screen } from "./support.ts";

const folder = mkdtempSync(join(tmpdir(), "autodidact-"));
const photos = join(folder, "photos");
for (const [place, name] of ["dark", "light"].entries()) {
  mkdirSync(join(photos, name), { recursive: true });
  for (let n = 0; n < 11; n++)
    writeFileSync(
      join(photos, name, `${n}.png`),
      png(13, 11, (i) => (i * (7 + n) + 97 * place) % (128 + 64 * place)),
    );
}
writeFileSync(join(photos, "dark", "broken.png"), png(13, 11, () => 0).subarray(0, 45));

const test = suite("run");
test.after(() => rmSync(folder, { recursive: true, force: true }));

const small = ["--backbone", "resnet18-cifar-w0.25", "--size", "16", "--batch", "7", "--threads", "1"];
const first = join(folder, "runs", "first");
const train = (out: string, more: string[], screen?: Screen) => run(["train", "simclr", photos, ...small, "--out", out, ...more], screen);
const events = (out: string) =>
  out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

test("train ends with a line on stdout and has told its steps on stderr", async () => {
  const { code, out, err } = await train(first, ["--steps", "4"]);
  assert.is(err.match(/error.*/)?.[0], undefined);
  assert.is(code, 0);
  assert.match(out, /^\S+first: 4 of 4 steps, loss \d+\.\d{4}, kNN top-1 \d+\.\d\d % \(raw pixels \d+\.\d\d %\)\n$/);
  assert.match(err, /^Training into \S+first: 23 images, batch 7, 4 steps/);
  assert.match(err, /step 4\/4 {2}loss/);
  assert.match(err, /broken\.png/);
});

test("a run that exists is not overwritten unasked", async () => {
  const before = readFileSync(join(first, "run.json"), "utf8");
  const { code, err } = await train(first, ["--steps", "4", "--seed", "5"]);
  assert.is(code, 1);
  assert.match(err, /^error: Cannot start a run in \S+first: it holds a run\n {2}tip: .*--force.*autodidact resume/);
  assert.is(readFileSync(join(first, "run.json"), "utf8"), before);
});

test("a stopped run says how to go on, and resume ends where an unbroken one does", async () => {
  const second = join(folder, "second");
  const controller = new AbortController();
  const stop = controller.signal;
  const stopping = train(second, ["--steps", "4", "--json"], {
    stop,
    onOut(text) {
      if (text.includes('"step":2')) controller.abort(new Interrupted("SIGINT", 130));
    },
  });
  const stopped = await stopping;
  assert.is(stopped.code, 130);
  const told = events(stopped.out);
  assert.ok(told.every(({ version }) => version === 1));
  assert.equal([told.at(-1).type, told.at(-1).stopped, told.at(-1).step], ["end", true, 2]);
  const resumed = await run(["resume", second, "--threads", "2"]);
  assert.is(resumed.code, 0);
  assert.match(resumed.out, /4 of 4 steps/);
  const weights = (run: string) => readFileSync(join(run, "checkpoints", "step-00000004.safetensors"));
  assert.ok(weights(second).equals(weights(first)));
});

test("resume of a finished run changes nothing and says that it is done", async () => {
  const { code, out } = await run(["resume", first]);
  assert.is(code, 0);
  assert.is(out, `${first}: 4 of 4 steps\n`);
});

test("knn scores a run and names what it could not read", async () => {
  const { code, out, err } = await run(["knn", first, photos, "--k", "3", "--threads", "1"]);
  assert.is(code, 0);
  assert.match(out, /^kNN top-1 \d+\.\d\d %, top-5 100\.00 % {2}\(raw pixels .*\nk 3, tau 0\.07, 2 classes, 22 images judged by 22\n$/);
  assert.match(err, /skipped 1 of the images, which cannot be read:\n {2}.*broken\.png/);
  const json = JSON.parse((await run(["knn", first, photos, photos, "--k", "3", "--threads", "1", "--json"])).out);
  assert.equal([Object.keys(json)[0], json.version, json.trainImages, json.skipped.length], ["version", 1, 22, 1]);
});

test("embed writes a row for each picture", async () => {
  const file = join(folder, "features.csv");
  const { code, out } = await run(["embed", first, photos, "--out", file, "--threads", "1"]);
  assert.is(code, 0);
  assert.is(out, `${file}: 22 images, 128 features each\n`);
  assert.is(readFileSync(file, "utf8").trimEnd().split("\n").length, 23);
});

test("embed finds before the work that its file cannot be written", async () => {
  const { code, err } = await run(["embed", first, photos, "--out", join(folder, "no", "features.csv")]);
  assert.is(code, 1);
  assert.match(err, /^error: Cannot write \S+features\.csv: there is no folder /);
});

test("report writes a page and prints where it is", async () => {
  const { code, out } = await run(["report", first, "--threads", "1"]);
  assert.is(code, 0);
  assert.is(out, `${join(first, "report.html")}\n`);
  assert.ok(existsSync(join(first, "report.html")));
});

const mistakes: [string[], number, RegExp][] = [
  [["train", "simclr", join(folder, "nowhere")], 1, /^error: Cannot open images at "\S+nowhere": no such file or folder\n$/],
  [["train", "simclr", photos, "--set", "temprature=1"], 2, /^error: Unknown option "temprature"\n {2}tip: did you mean "temperature"\?/],
  [["train", "simclr", photos, "--set", "temperature=-1"], 2, /^error: Cannot set temperature to -1: expected a number above 0\n$/],
  [["train", "simclr", photos, "--steps", "3", "--epochs", "3"], 2, /^error: Cannot train for several lengths/],
  [["train", "simclr", photos, "--batch", "500"], 2, /^error: Cannot take a batch of 500 from the 23 images/],
  [["train", "simclr", photos, "--batch", "7", "--gpu", "nosuch"], 1, /error: Cannot compute on a GPU: .+\n$/],
  [["resume", photos], 1, /^error: Cannot open the run \S+photos: it has no run\.json\n$/],
  [["knn", photos, photos], 1, /^error: Cannot find a checkpoint in \S+photos/],
  [["report", photos], 1, /^error: Cannot open the run \S+photos/],
];
for (const [words, code, err] of mistakes) {
  test(`\`${words.join(" ").replaceAll(folder, "")}\` is refused with code ${code} and leaves nothing behind`, async () => {
    const said = await run(words);
    assert.match(said.err, err);
    assert.is(said.code, code);
    assert.is(said.out, "");
    assert.not(existsSync("runs"));
  });
}

test.run();
