// Networks under the names that others give their tensors.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.ts";
import { CheckpointError } from "../../src/checkpoint/error.ts";
import { openCheckpoint } from "../../src/checkpoint/open.ts";
import { writeSafetensors } from "../../src/checkpoint/safetensors.ts";
import type { StoredTensor } from "../../src/checkpoint/stored.ts";
import { makeBackbone } from "../../src/models/backbone.ts";
import { expectBackbone, readBackbone } from "../../src/models/pretrained.ts";
import type { Host } from "../../src/tape/trace.ts";

type Rename = (name: string, host: Host) => [string, Host];

const replaced =
  (...rules: [RegExp, string][]): Rename =>
  (name, host) => [rules.reduce((text, [from, to]) => text.replace(from, to), name), host];

/** [out, in, h, w] as [h, w, in, out]. */
function outputLast({ data, shape }: Host): Host {
  const [o, i, h, w] = shape;
  const moved = new Float32Array(data.length);
  data.forEach((value, at) => {
    const [a, b, y, x] = [Math.floor(at / (i * h * w)), Math.floor(at / (h * w)) % i, Math.floor(at / w) % h, at % w];
    moved[((y * w + x) * i + b) * o + a] = value;
  });
  return { data: moved, shape: [h, w, i, o] };
}

const tensorflow: Rename = (name, host) => {
  if (/^conv2d/.test(name)) return [`base_model/${name.replace(".weight", "/kernel")}`, outputLast(host)];
  const theirs = { weight: "gamma", bias: "beta", running_mean: "moving_mean", running_var: "moving_variance" };
  const [layer, part] = name.split(".");
  return [`base_model/${layer}/${theirs[part as keyof typeof theirs] ?? part}`, host];
};

const cases: [scheme: string, backbone: string, rename: Rename, size?: number][] = [
  [
    "mmselfsup",
    "vit-tiny-16",
    replaced(
      [/^/, "backbone."],
      [/patch_embed\.proj\./, "patch_embed.projection."],
      [/blocks\.(\d+)\.norm([12])/, "layers.$1.ln$2"],
      [/blocks\.(\d+)\.mlp\.fc1/, "layers.$1.ffn.layers.0.0"],
      [/blocks\.(\d+)\.mlp\.fc2/, "layers.$1.ffn.layers.1"],
      [/blocks\.(\d+)\.attn/, "layers.$1.attn"],
      [/backbone\.norm\./, "backbone.ln1."],
    ),
    32,
  ],
  [
    "timm",
    "swin-tiny",
    replaced(
      [/layers\.2\.downsample/, "layers.3.downsample"],
      [/layers\.1\.downsample/, "layers.2.downsample"],
      [/layers\.0\.downsample/, "layers.1.downsample"],
    ),
    96,
  ],
  [
    "detectron2",
    "resnet50-w0.25",
    replaced(
      [/^(?!layer)/, "stem."],
      [/^layer4\./, "res5."],
      [/^layer3\./, "res4."],
      [/^layer2\./, "res3."],
      [/^layer1\./, "res2."],
      [/bn([123])\./, "conv$1.norm."],
      [/downsample\.0/, "shortcut"],
      [/downsample\.1/, "shortcut.norm"],
    ),
  ],
  ["TensorFlow", "simclr-resnet18-w0.25", tensorflow],
];

const pretrained = suite<{ folder: string }>("pretrained");
pretrained.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), "pretrained-"));
});
pretrained.after.each(({ folder }) => rm(folder, { recursive: true }));

for (const [scheme, backbone, rename, size] of cases) {
  pretrained(`${backbone} is read from the names of ${scheme}`, async ({ folder }) => {
    const path = join(folder, "theirs.safetensors");
    const network = makeBackbone(backbone, { size, seed: 6 });
    const state = [...network.state()];
    await writeSafetensors(
      path,
      state.map(([name, host]) => rename(name, host)),
    );
    const checkpoint = await openCheckpoint(path);
    const { network: back, found } = await readBackbone(checkpoint);
    await checkpoint.close();
    assert.equal([found.scheme, found.backbone], [scheme, backbone]);
    assert.equal([...back.state()], state);
  });
}

const stored = (shape: number[]): StoredTensor => ({ dtype: "float32", shape, read: async () => new Float32Array() });
const checkpointOf = (tensors: ReadonlyMap<string, StoredTensor>): Checkpoint => ({
  where: "file",
  format: "none",
  tensors,
  contents: null,
  close: async () => {},
});

pretrained("what is missing is counted and named", () => {
  const tensors = new Map(
    [...makeBackbone("resnet18-cifar-w0.25", { seed: 0 }).state("net.")].map(([name, { shape }]) => [name, stored([...shape])]),
  );
  tensors.delete("net.bn1.weight");
  tensors.set("net.bn1.bias", stored([3]));
  assert.throws(
    () => expectBackbone(checkpointOf(tensors)),
    (error: Error) =>
      error instanceof CheckpointError &&
      error.message === 'Cannot use file as resnet18-cifar-w0.25, which it resembles most: it lacks "net.bn1.weight" (and 1 more)',
  );
  assert.throws(() => expectBackbone(checkpointOf(new Map())), /no network that is known by its names and shapes; it has no tensors/);
});

pretrained.run();
