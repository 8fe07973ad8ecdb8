import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { CheckpointError } from "../../src/checkpoint/error.ts";
import { writeSafetensors } from "../../src/checkpoint/safetensors.ts";
import { writeTorch } from "../../src/checkpoint/write-torch.ts";
import { openEncoder } from "../../src/evaluate/encoder.ts";
import { makeBackbone } from "../../src/models/backbone.ts";
import type { Host } from "../../src/tape/trace.ts";

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
