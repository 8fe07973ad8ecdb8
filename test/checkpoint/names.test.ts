import { test } from "uvu";
import * as assert from "uvu/assert";
import { methodOf, placeRank } from "../../src/checkpoint/names.ts";
import { readings } from "../../src/checkpoint/schemes.ts";
import type { StoredTensor } from "../../src/checkpoint/stored.ts";
import type { Shape } from "../../src/tape/shape.ts";

const tensor = (shape: Shape = [1]): StoredTensor => ({
  dtype: "float32",
  shape,
  read: async () => Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i),
});
const named = (names: readonly string[]) => new Map(names.map((name) => [name, tensor()]));

test("the network that is evaluated goes before its student, its key and its momentum encoder", () => {
  const pairs: [string, string][] = [
    ["", "teacher/backbone."],
    ["teacher/backbone.", "student/module.backbone."],
    ["teacher/module.", "student/module."],
    ["state_dict/module.encoder_q.", "state_dict/module.encoder_k."],
    ["state_dict/module.base_encoder.", "state_dict/module.momentum_encoder."],
    ["state_dict/backbone.", "state_dict/momentum_backbone."],
    ["target_encoder/module.", "encoder/module."],
    ["base_model/", "ema_model/"],
    ["any.prefix.", "optimizer.momentum.encoder_q."],
    ["state_dict/encoder_q.0.", "state_dict/encoder_k.0."],
  ];
  for (const [first, second] of pairs) assert.ok(placeRank(first) < placeRank(second), `${first} before ${second}`);
});

const methods: [string | undefined, string[]][] = [
  ["MoCo v1", ["state_dict/module.encoder_q.fc.weight", "state_dict/module.queue"]],
  ["MoCo v2", ["state_dict/module.encoder_q.fc.2.weight", "state_dict/module.queue"]],
  ["MoCo v3", ["state_dict/module.base_encoder.norm.weight", "state_dict/module.momentum_encoder.norm.weight"]],
  ["DINO", ["teacher/backbone.norm.weight", "teacher/head.last_layer.weight_g"]],
  ["EsViT", ["teacher/head.last_layer.weight_g", "dino_loss/center_grid"]],
  ["SimSiam", ["state_dict/module.encoder.fc.0.weight", "state_dict/module.predictor.0.weight"]],
  ["SwAV", ["module.projection_head.0.weight", "module.prototypes.weight"]],
  ["DeepCluster v2 or SeLa v2", ["module.prototypes.prototypes0.weight"]],
  ["Barlow Twins", ["model/module.backbone.conv1.weight", "model/module.projector.0.weight", "model/module.bn.running_mean"]],
  ["VICReg", ["model/module.backbone.bn1.running_mean", "model/module.projector.0.weight"]],
  ["MAE", ["model/decoder_blocks.0.norm1.weight", "model/mask_token"]],
  ["BEiT", ["beit.embeddings.mask_token", "lm_head.weight"]],
  ["SimMIM", ["model/encoder.mask_token", "model/decoder.0.weight"]],
  ["SimCLR", ["base_model/conv2d/kernel"]],
  ["DenseCL", ["state_dict/encoder_q.0.conv1.weight", "state_dict/queue2"]],
  ["supervised", ["conv1.weight", "fc.weight"]],
  [undefined, ["conv1.weight", "bn1.running_mean"]],
];
for (const [method, names] of methods) {
  test(`${names.join(", ")} is ${method ?? "nobody's in particular"}`, () => assert.is(methodOf(names), method));
}

const renames: [string, string, string][] = [
  ["mmselfsup", "backbone.patch_embed.projection.weight", "backbone.patch_embed.proj.weight"],
  ["mmselfsup", "backbone.layers.3.ln1.weight", "backbone.blocks.3.norm1.weight"],
  ["mmselfsup", "backbone.layers.11.ffn.layers.0.0.bias", "backbone.blocks.11.mlp.fc1.bias"],
  ["mmselfsup", "backbone.layers.11.ffn.layers.1.bias", "backbone.blocks.11.mlp.fc2.bias"],
  ["mmselfsup", "backbone.layers.0.attn.qkv.weight", "backbone.blocks.0.attn.qkv.weight"],
  ["mmselfsup", "backbone.ln1.weight", "backbone.norm.weight"],
  [
    "mmselfsup",
    "backbone.stages.1.blocks.0.attn.w_msa.relative_position_bias_table",
    "backbone.layers.1.blocks.0.attn.relative_position_bias_table",
  ],
  ["mmselfsup", "backbone.stages.2.downsample.norm.weight", "backbone.layers.2.downsample.norm.weight"],
  ["mmselfsup", "backbone.norm3.bias", "backbone.norm.bias"],
  ["OBoW", "network/feature_extractor._feature_blocks.0.Conv.weight", "network/feature_extractor.conv1.weight"],
  ["OBoW", "network/feature_extractor._feature_blocks.0.bn.running_var", "network/feature_extractor.bn1.running_var"],
  ["OBoW", "network/feature_extractor._feature_blocks.3.0.downsample.1.bias", "network/feature_extractor.layer3.0.downsample.1.bias"],
  ["timm", "layers.1.downsample.norm.weight", "layers.0.downsample.norm.weight"],
  ["DINOv2", "teacher/backbone.blocks.2.7.ls1.gamma", "teacher/backbone.blocks.7.ls1.gamma"],
  ["transformers", "layernorm.bias", "beit.norm.bias"],
  ["transformers", "beit.pooler.layernorm.weight", "beit.fc_norm.weight"],
  ["transformers", "beit.encoder.layer.11.lambda_2", "beit.blocks.11.gamma_2"],
  ["transformers", "beit.encoder.layer.3.attention.attention.value.bias", "beit.blocks.3.attn.v_bias"],
  ["transformers", "beit.encoder.layer.3.layernorm_after.weight", "beit.blocks.3.norm2.weight"],
  ["transformers", "beit.encoder.relative_position_bias.relative_position_bias_table", "beit.rel_pos_bias.relative_position_bias_table"],
  ["detectron2", "model/stem.conv1.norm.weight", "model/bn1.weight"],
  ["detectron2", "model/res2.0.conv1.weight", "model/layer1.0.conv1.weight"],
  ["detectron2", "model/res5.2.conv3.norm.bias", "model/layer4.2.bn3.bias"],
  ["detectron2", "model/res3.0.shortcut.norm.weight", "model/layer2.0.downsample.1.weight"],
  ["detectron2", "model/res3.0.shortcut.weight", "model/layer2.0.downsample.0.weight"],
  ["TensorFlow", "base_model/batch_normalization_4/moving_variance", "base_model/batch_normalization_4.running_var"],
];
const shown = {
  mmselfsup: "backbone.patch_embed.projection.weight",
  OBoW: "network/feature_extractor._feature_blocks.0.Conv.weight",
  transformers: "beit.encoder.layer.0.lambda_1",
  DINOv2: "teacher/backbone.blocks.0.0.norm1.weight",
  timm: "layers.3.downsample.reduction.weight",
  detectron2: "model/stem.conv1.norm.weight",
  TensorFlow: "base_model/conv2d/kernel",
};
for (const [scheme, theirs, ours] of renames) {
  test(`${scheme} calls ${ours} ${theirs}`, () => {
    const [, renamed] = readings(named([shown[scheme as keyof typeof shown], theirs]));
    assert.is(renamed.scheme, scheme);
    assert.ok(renamed.tensors.has(ours), [...renamed.tensors.keys()].join(", "));
  });
}

for (const [theirs, ours] of [
  ["dinov2.embeddings.register_tokens", "dinov2.register_tokens"],
  ["dinov2.encoder.layer.3.norm1.bias", "dinov2.blocks.3.norm1.bias"],
  ["dinov2.encoder.layer.3.layer_scale2.lambda1", "dinov2.blocks.3.ls2.gamma"],
  ["dinov2.encoder.layer.3.mlp.weights_in.weight", "dinov2.blocks.3.mlp.w12.weight"],
  ["dinov2.encoder.layer.3.mlp.weights_out.bias", "dinov2.blocks.3.mlp.w3.bias"],
  ["dinov2.layernorm.weight", "dinov2.norm.weight"],
]) {
  test(`transformers calls ${ours} ${theirs}`, () => {
    const [, { tensors }] = readings(named(["dinov2.encoder.layer.0.attention.attention.query.weight", theirs]));
    assert.ok(tensors.has(ours), [...tensors.keys()].join(", "));
  });
}

test("names that show no scheme are left as they are", () => {
  assert.is([...readings(named(["conv1.weight", "layers.0.downsample.reduction.weight"]))].length, 1);
});

test("a TensorFlow kernel [h, w, in, out] is read as [out, in, h, w]", async () => {
  const [, { tensors }] = readings(new Map([["base_model/conv2d/kernel", tensor([2, 1, 3, 2])]]));
  const kernel = tensors.get("base_model/conv2d.weight");
  assert.equal(kernel?.shape, [2, 3, 2, 1]);
  assert.equal(await kernel?.read(), Float32Array.of(0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11));
});

test.run();
