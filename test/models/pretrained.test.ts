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
import { makeBackbone } from "../../src/models/backbones.ts";
import { expectBackbone, readBackbone } from "../../src/models/pretrained.ts";
import type { Host } from "../../src/tape/trace.ts";

type Rename = (name: string, host: Host) => [string, Host] | [string, Host][];

const replaced =
  (...rules: [RegExp, string][]): Rename =>
  (name, host): [string, Host] => [rules.reduce((text, [from, to]) => text.replace(from, to), name), host];

/** Queries, keys and values as three tensors. */
function apart(host: Host, [rows]: readonly number[] = host.shape): Host[] {
  const part = host.data.length / 3;
  return [0, 1, 2].map((i) => ({ data: host.data.slice(i * part, (i + 1) * part), shape: [rows / 3, ...host.shape.slice(1)] }));
}

const huggingFaceBlocks: [RegExp, string][] = [
  [/norm1\./, "layernorm_before."],
  [/norm2\./, "layernorm_after."],
  [/attn\.proj\./, "attention.output.dense."],
  [/mlp\.fc1\./, "intermediate.dense."],
  [/mlp\.fc2\./, "output.dense."],
  [/^norm\./, "layernorm."],
  [/^patch_embed\.proj\./, "embeddings.patch_embeddings.projection."],
];

/** `attention`: what stands in front of "query". */
const huggingFace =
  (attention: string, prefix: string, ...rules: [RegExp, string][]): Rename =>
  (name, host) => {
    const [theirs] = replaced(...huggingFaceBlocks, ...rules, [/^/, prefix])(name, host) as [string, Host];
    if (!/\.attn\.qkv\./.test(theirs)) return [theirs, host];
    return apart(host).map((one, i): [string, Host] => [theirs.replace("attn.qkv", `${attention}.${["query", "key", "value"][i]}`), one]);
  };

/** BeitModel's names behind `prefix`; the last norm of the pre-trained network stands behind `outside`. */
const beitOfTransformers =
  (prefix: string, outside: string): Rename =>
  (name, host) => {
    if (name.startsWith("norm.")) return [`${outside}layer${name}`, host];
    const renamed = huggingFace(
      "attention.attention",
      prefix,
      [/^blocks\./, "encoder.layer."],
      [/^(cls_token)/, "embeddings.$1"],
      [/gamma_/, "lambda_"],
      [/attn\.q_bias/, "attention.attention.query.bias"],
      [/attn\.v_bias/, "attention.attention.value.bias"],
      [/attn\.relative/, "attention.attention.relative_position_bias.relative"],
      [/^rel_pos_bias\./, "encoder.relative_position_bias."],
      [/^fc_norm\./, "pooler.layernorm."],
    );
    return renamed(name, host);
  };

/** Merging weights as torch.nn.Unfold orders what it reads: the four places of each channel side by side, by row. */
const unfolded =
  (rename: Rename): Rename =>
  (name, host) => {
    const [theirs] = rename(name, host) as [string, Host];
    if (!/downsample/.test(name)) return [theirs, host];
    const columns = host.shape[host.shape.length - 1];
    const data = host.data.map((_, at) => {
      const column = at % columns;
      const [channel, row, across] = [Math.floor(column / 4), Math.floor((column % 4) / 2), column % 2];
      return host.data[at - column + (2 * across + row) * (columns / 4) + channel];
    });
    return [theirs, { data, shape: host.shape }];
  };

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
    "mmselfsup",
    "swin-tiny-224",
    unfolded(
      replaced(
        [/^layers\./, "stages."],
        [/^norm\./, "norm3."],
        [/^/, "backbone."],
        [/patch_embed\.proj\./, "patch_embed.projection."],
        [/\.attn\./, ".attn.w_msa."],
        [/mlp\.fc1/, "ffn.layers.0.0"],
        [/mlp\.fc2/, "ffn.layers.1"],
      ),
    ),
    112,
  ],
  [
    "transformers",
    "vit-tiny-16",
    huggingFace(
      "attention.attention",
      "vit.",
      [/^blocks\./, "encoder.layer."],
      [/^cls_token/, "embeddings.cls_token"],
      [/^pos_embed/, "embeddings.position_embeddings"],
    ),
    32,
  ],
  [
    "transformers",
    "deit-tiny-distilled-16",
    huggingFace(
      "attention.attention",
      "deit.",
      [/^blocks\./, "encoder.layer."],
      [/^cls_token/, "embeddings.cls_token"],
      [/^dist_token/, "embeddings.distillation_token"],
      [/^pos_embed/, "embeddings.position_embeddings"],
    ),
    32,
  ],
  [
    "transformers",
    "swin-tiny-224",
    huggingFace(
      "attention.self",
      "swin.",
      [/^layers\./, "encoder.layers."],
      [/^patch_embed\.norm/, "embeddings.norm"],
      [/attn\.relative/, "attention.self.relative"],
    ),
    112,
  ],
  ["transformers", "beit-tiny-16-blocks-mean", beitOfTransformers("beit.", "beit."), 32],
  ["transformers", "beit-tiny-16-blocks-mean", beitOfTransformers("", ""), 32],
  ["transformers", "beit-tiny-16", beitOfTransformers("beit.", ""), 32],
  [
    "torchvision",
    "vit-tiny-16",
    replaced(
      [/^cls_token/, "class_token"],
      [/^patch_embed\.proj/, "conv_proj"],
      [/^pos_embed/, "encoder.pos_embedding"],
      [/^norm\./, "encoder.ln."],
      [/^blocks\./, "encoder.layers.encoder_layer_"],
      [/\.norm([12])\./, ".ln_$1."],
      [/attn\.qkv\./, "self_attention.in_proj_"],
      [/attn\.proj\./, "self_attention.out_proj."],
      [/mlp\.fc1/, "mlp.0"],
      [/mlp\.fc2/, "mlp.3"],
    ),
    32,
  ],
  [
    "torchvision",
    "swin-tiny-224",
    replaced(
      [/^patch_embed\.proj/, "features.0.0"],
      [/^patch_embed\.norm/, "features.0.2"],
      [/^layers\.0\.blocks/, "features.1"],
      [/^layers\.0\.downsample/, "features.2"],
      [/^layers\.1\.blocks/, "features.3"],
      [/^layers\.1\.downsample/, "features.4"],
      [/^layers\.2\.blocks/, "features.5"],
      [/^layers\.2\.downsample/, "features.6"],
      [/^layers\.3\.blocks/, "features.7"],
      [/mlp\.fc1/, "mlp.0"],
      [/mlp\.fc2/, "mlp.3"],
    ),
    112,
  ],
  [
    "OBoW",
    "resnet18-w0.25",
    replaced(
      [/^conv1\./, "_feature_blocks.0.Conv."],
      [/^bn1\./, "_feature_blocks.0.bn."],
      [/^layer/, "_feature_blocks."],
      [/^/, "network/feature_extractor."],
    ),
  ],
  [
    "timm",
    "swin-tiny-224",
    replaced(
      [/layers\.2\.downsample/, "layers.3.downsample"],
      [/layers\.1\.downsample/, "layers.2.downsample"],
      [/layers\.0\.downsample/, "layers.1.downsample"],
    ),
    112,
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
      state.flatMap(([name, host]) => {
        const theirs = rename(name, host);
        return typeof theirs[0] === "string" ? [theirs as [string, Host]] : (theirs as [string, Host][]);
      }),
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
