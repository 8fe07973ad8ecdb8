import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { writeTorch } from "../../src/checkpoint/write-torch.ts";
import { makeBackbone } from "../../src/models/backbones.ts";
import type { Host } from "../../src/tape/trace.ts";
import { run } from "./support.ts";

const golden = (name: string) => fileURLToPath(new URL(`../golden/files/${name}`, import.meta.url));

const test = suite<{ folder: string }>("inspect");
test.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), "inspect-"));
});
test.after.each(({ folder }) => rm(folder, { recursive: true }));

const one: Host = { shape: [1], data: Float32Array.of(1) };

test("a checkpoint's method, network, missing and extra tensors are named", async ({ folder }) => {
  const path = join(folder, "moco.pth");
  const state = makeBackbone("resnet18-cifar-w0.25", { seed: 0 }).state("module.encoder_q.");
  state.delete("module.encoder_q.bn1.bias");
  await writeTorch(path, [...state, ["module.encoder_q.fc.2.weight", one], ["module.queue", one]]);
  const { code, out } = await run(["inspect", path]);
  assert.is(code, 0);
  assert.match(out, /^.*moco\.pth {2}PyTorch \(zip\), [\d,]+ bytes, 121 tensors\n/);
  assert.match(out, /\nmethod {3}MoCo v2\n/);
  assert.match(out, /\nnetwork {2}resnet18-cifar-w0\.25 under "module\.encoder_q\.": 119 tensors, [67]\d\d,\d+ numbers\n/);
  assert.match(out, /\nmissing {2}bn1\.bias\nextra {4}fc\.2\.weight\n/);
  assert.match(out, /\n {2}module\.encoder_q\.layer1\.0\.conv1\.weight +float32 {2}\[16, 16, 3, 3\]\n/);
});

test("--json is one object with everything in it", async () => {
  const { out } = await run(["inspect", golden("checkpoints/dino-full.pth"), "--json"]);
  const { version, format, method, network, values, tensors } = JSON.parse(out);
  assert.equal([version, format, method, network], [1, "PyTorch (zip)", "DINO", undefined]);
  assert.is(values["args.patch_size"], 16);
  assert.equal(tensors[0], { name: "student/module.backbone.cls_token", dtype: "float32", shape: [1, 1, 8] });
});

test("--backbone says what a file lacks of a network", async () => {
  const path = golden("resnet-cifar10/resnet20-12fca82f.th");
  assert.match(
    (await run(["inspect", path])).out,
    /\nnetwork {2}resnet20 under "state_dict\/module\.".*\nmissing {2}nothing\nextra {4}linear\.weight/,
  );
  assert.match((await run(["inspect", path, "--backbone", "resnet32"])).out, /\nmissing {2}layer1\.3\.conv1\.weight, .* more\n/);
});

test("names that would steer the terminal are shown as text", async ({ folder }) => {
  const path = join(folder, "hostile.pth");
  await writeTorch(path, [["\x1b[2Jgone\n", one]]);
  const { out } = await run(["inspect", path]);
  assert.ok(out.includes("\\x1b[2Jgone\\x0a"), out);
  assert.not.ok(out.includes("\x1b"));
});

test("what is no checkpoint is an error with code 1 and the path", async () => {
  const path = golden("checkpoints/malicious-reduce.pkl");
  const { code, err } = await run(["inspect", path]);
  assert.is(code, 1);
  assert.match(err, /^error: Cannot read .*malicious-reduce\.pkl: .*posix\.system is not allowed/);
});

test.run();
