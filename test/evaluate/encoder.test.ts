import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { CheckpointError } from "../../src/checkpoint/error.ts";
import { writeSafetensors } from "../../src/checkpoint/safetensors.ts";
import { writeTorch } from "../../src/checkpoint/write-torch.ts";
import { openEncoder } from "../../src/evaluate/encoder.ts";
import { makeBackbone } from "../../src/models/backbones.ts";
import { resizeBias } from "../../src/models/relative-position.ts";
import { withoutNumbers } from "../../src/nn/init.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { reference } from "../support.ts";

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "encoder-"));
  try {
    await body(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

const small = () => makeBackbone("resnet18-cifar-w0.25", { seed: 3 });
const head: [string, Host] = ["module.encoder_q.fc.0.weight", { shape: [2], data: Float32Array.of(1, 2) }];

test("a .pth of MoCo's layout becomes the network that was written, its head left out", () =>
  inFolder(async (folder) => {
    const path = join(folder, "moco.pth.tar");
    const network = small();
    await writeTorch(path, [...network.state("module.encoder_q."), ...network.state("module.encoder_k."), head]);
    const encoder = await openEncoder(path);
    assert.is(encoder.about, "resnet18-cifar-w0.25");
    assert.is(encoder.view.size, 32);
    assert.equal([...encoder.backbone.state()], [...network.state()]);
  }));

test("a safetensors file without a word about itself is recognised, and sees images of the size of its positions", () =>
  inFolder(async (folder) => {
    const path = join(folder, "vit.safetensors");
    const network = makeBackbone("vit-tiny-16", { size: 64, seed: 1 });
    await writeSafetensors(path, network.state());
    const encoder = await openEncoder(path);
    assert.equal([encoder.about, encoder.view.size], ["vit-tiny-16", 64]);
    assert.equal([...encoder.backbone.state()], [...network.state()]);
    assert.is((await openEncoder(path, { size: 96 })).view.size, 96);
  }));

test("DINOv2 sees images of 224, although its positions are those of 518", () =>
  inFolder(async (folder) => {
    const path = join(folder, "dinov2.safetensors");
    await writeSafetensors(path, withoutNumbers(() => makeBackbone("dinov2-vit-small-14")).state());
    const { about, view, backbone } = await openEncoder(path);
    assert.equal([about, view.size, backbone.state().get("pos_embed")?.shape], ["dinov2-vit-small-14", 224, [1, 1 + 37 ** 2, 384]]);
  }));

test("tables that serve one size only are resized to the images that are asked for", () =>
  inFolder(async (folder) => {
    const path = join(folder, "beit.safetensors");
    await writeSafetensors(path, makeBackbone("beit-tiny-16", { size: 48, seed: 1 }).state());
    const table = async (size?: number) =>
      (await openEncoder(path, { size })).backbone.state().get("rel_pos_bias.relative_position_bias_table");
    assert.equal((await table())?.shape, [5 ** 2 + 3, 3]);
    assert.equal((await table(96))?.shape, [11 ** 2 + 3, 3]);
    const { backbone, view } = await openEncoder(path, { size: (trained) => trained + 16 });
    assert.is(view.size, 64);
    const image = { shape: [1, 64, 64, 3], data: new Float32Array(64 * 64 * 3) };
    const features = await compile((x: Tensor) => backbone.forward(x), reference)(image);
    assert.equal(features.shape, [1, 192]);
  }));

test("a network with windows of another side is read when it is asked for, and only then", () =>
  inFolder(async (folder) => {
    const path = join(folder, "swin.safetensors");
    const seven = makeBackbone("swin-tiny", { size: 224, seed: 1 }).state();
    await writeSafetensors(path, seven);
    assert.is((await openEncoder(path)).about, "swin-tiny");
    const { backbone, about } = await openEncoder(path, { backbone: "swin-tiny-w14" });
    assert.is(about, "swin-tiny-w14");
    const name = "layers.0.blocks.0.attn.relative_position_bias_table";
    assert.equal(backbone.state().get(name), resizeBias(seven.get(name) as Host, 14, "bicubic"));
    const last = "layers.3.blocks.1.attn.relative_position_bias_table";
    assert.equal(backbone.state().get(last), seven.get(last));
  }));

test("what cannot be used is refused with the file, what it resembles and what it lacks", () =>
  inFolder(async (folder) => {
    const path = join(folder, "some.pth");
    const refusal = async (state: Iterable<[string, Host]>, backbone?: string) => {
      await writeTorch(path, state);
      const error = await openEncoder(path, { backbone }).catch((e: unknown) => e);
      assert.instance(error, CheckpointError);
      return (error as Error).message;
    };
    const state = small().state();
    assert.match(await refusal([...state].slice(1)), /^Cannot use .*some\.pth/);
    const cut = [...state].filter(([name]) => name !== "layer3.0.bn1.bias");
    assert.is(await refusal(cut), `Cannot use ${path} as resnet18-cifar-w0.25, which it resembles most: it lacks "layer3.0.bn1.bias"`);
    assert.match(await refusal([["weight", { shape: [1], data: Float32Array.of(1) }]]), /no network that is known .* "weight" of 1$/);
    assert.match(await refusal(state, "vit-tiny-16"), /it has no vit-tiny-16/);
  }));

test.run();
