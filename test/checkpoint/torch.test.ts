// Round trips through PyTorch itself, where python3 has it.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBackend } from "../../src/backend/open.ts";
import { openCheckpoint } from "../../src/checkpoint/open.ts";
import { readHosts } from "../../src/checkpoint/stored.ts";
import { encodeTorch, writeTorch } from "../../src/checkpoint/write-torch.ts";
import { makeBackbone } from "../../src/models/backbones.ts";
import { readBackbone } from "../../src/models/pretrained.ts";
import { withContext } from "../../src/nn/module.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";

const pythons = ["python3", "/usr/bin/python3", "python"];
const python = pythons.find(
  (name) =>
    spawnSync(name, ["-c", "import sys, importlib.util as i; sys.exit(not (i.find_spec('torch') and i.find_spec('torchvision')))"])
      .status === 0,
);

const trips = suite<{ folder: string }>("torch");
trips.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), "torch-"));
});
trips.after.each(({ folder }) => rm(folder, { recursive: true }));
const withTorch = python ? trips : trips.skip;
if (!python) console.log("no Python with torch and torchvision here: round trips through it are left out");

const run = (script: string, ...args: string[]): string => execFileSync(python as string, ["-c", script, ...args], { encoding: "utf8" });

const odd: [string, Host][] = [
  ["conv.weight", fill("w", [3, 2, 5, 1])],
  ["bn.num_batches_tracked", { shape: [], data: Float32Array.of(12345) }],
  ["scale", { shape: [], data: Float32Array.of(0.25) }],
  ["empty", { shape: [0, 4], data: new Float32Array(0) }],
  ["π.weight", { shape: [4], data: Float32Array.of(Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 1e-45) }],
];

trips("what is written is read again to the bit", async ({ folder }) => {
  const path = join(folder, "odd.pth");
  await writeTorch(path, odd);
  const checkpoint = await openCheckpoint(path);
  assert.equal([...(await readHosts(checkpoint.tensors))], odd);
  assert.is(checkpoint.tensors.get("bn.num_batches_tracked")?.dtype, "int64");
  await checkpoint.close();
});

trips("the same tensors give the same bytes, and a name cannot be written twice", () => {
  const bytes = (list: [string, Host][]) => Buffer.concat([...encodeTorch(list)]);
  assert.ok(bytes(odd).equals(bytes(odd)));
  assert.throws(() => bytes([odd[0], odd[0]]), /Cannot write "conv\.weight" twice/);
});

withTorch("torch.load(weights_only=True) opens what is written, with names, kinds, shapes and numbers", async ({ folder }) => {
  const path = join(folder, "odd.pth");
  await writeTorch(path, odd);
  const script = `
import json, sys, torch
state = torch.load(sys.argv[1], weights_only=True)
print(json.dumps([[k, str(v.dtype), list(v.shape), [repr(float(x)) for x in v.flatten()]] for k, v in state.items()]))`;
  const got: [string, string, number[], string[]][] = JSON.parse(run(script, path));
  assert.equal(
    got.map(([name]) => name),
    odd.map(([name]) => name),
  );
  const number = (text: string) => Number(text.replace("inf", "Infinity"));
  for (const [i, [name, dtype, shape, values]] of got.entries()) {
    assert.equal([dtype, shape], [i === 1 ? "torch.int64" : "torch.float32", odd[i][1].shape], name);
    assert.equal(Float32Array.from(values, number), odd[i][1].data, name);
  }
});

withTorch("a network goes to PyTorch and comes back, zipped and in the older format, with the same numbers", async ({ folder }) => {
  const [ours, zipped, legacy] = ["ours.pth", "zip.pth", "legacy.pth"].map((name) => join(folder, name));
  const network = makeBackbone("resnet18-cifar-w0.25", { seed: 2 });
  await writeTorch(ours, network.state());
  const script = `
import sys, torch
state = torch.load(sys.argv[1], weights_only=True)
state = {"module.encoder." + k: v.to(memory_format=torch.channels_last) if v.dim() == 4 else v for k, v in state.items()}
torch.save({"epoch": 7, "state_dict": state}, sys.argv[2])
torch.save({"epoch": 7, "state_dict": state}, sys.argv[3], _use_new_zipfile_serialization=False)`;
  run(script, ours, zipped, legacy);
  for (const path of [zipped, legacy]) {
    const checkpoint = await openCheckpoint(path);
    const { network: back, found } = await readBackbone(checkpoint);
    assert.equal([found.backbone, found.prefix], ["resnet18-cifar-w0.25", "state_dict/module.encoder."]);
    assert.equal([...back.state()], [...network.state()]);
    await checkpoint.close();
  }
});

withTorch("torchvision loads a written ResNet-18 unchanged, and its features are ours", async ({ folder }) => {
  const [weights, images, features] = ["weights.pth", "images.pth", "features.pth"].map((name) => join(folder, name));
  const network = makeBackbone("resnet18", { seed: 4 });
  const x = fill("images", [2, 33, 47, 3], "input");
  await writeTorch(weights, network.state());
  await writeTorch(images, [["x", x]]);
  const script = `
import sys, torch, torchvision
model = torchvision.models.resnet18(weights=None)
model.fc = torch.nn.Identity()
model.load_state_dict(torch.load(sys.argv[1], weights_only=True))
x = torch.load(sys.argv[2], weights_only=True)["x"].permute(0, 3, 1, 2)
with torch.no_grad(): torch.save({"features": model.eval()(x)}, sys.argv[3])`;
  run(script, weights, images, features);
  const checkpoint = await openCheckpoint(features);
  const theirs = (await readHosts(checkpoint.tensors)).get("features") as Host;
  await checkpoint.close();
  const backend = await openBackend({ threads: 1 });
  const ours = await compile((images: Tensor) => withContext({ training: false }, () => network.forward(images)), backend)(x);
  await backend.close();
  const largest = Math.max(...theirs.data.map(Math.abs));
  const gap = Math.max(...theirs.data.map((value, i) => Math.abs(value - ours.data[i])));
  assert.ok(largest > 0 && gap < 1e-4 * largest, `${gap} of ${largest}`);
});

trips.run();
