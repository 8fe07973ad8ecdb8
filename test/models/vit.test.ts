import { test } from "uvu";
import * as assert from "uvu/assert";
import { MocoViT } from "../../src/models/vit.ts";
import { withSeed } from "../../src/nn/init.ts";
import { grad } from "../../src/tape/grad.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { reference } from "../support.ts";

const tiny = { dim: 16, depth: 1, heads: 2, patch: 16, size: 32 };

test("a frozen patch embedding gets no gradient, and positions never do", async () => {
  const model = withSeed(1, () => new MocoViT(tiny));
  model.patch_embed.freeze();
  const weights = [model.patch_embed.proj, model].flatMap((part) => [...part.namedParameters()]);
  const gradients = await compile((x: Tensor) => {
    const loss = model.forward(x).square().sum();
    return Object.fromEntries(weights.filter(([, w]) => w.trainable).map(([name, w]) => [name, grad(loss, [w])[0]]));
  }, reference)(fill("x", [2, 32, 32, 3], "input"));
  const reached = Object.keys(gradients).filter((name) => gradients[name]);
  assert.ok(reached.includes("cls_token") && reached.includes("blocks.0.attn.qkv.weight"));
  assert.not(reached.some((name) => /pos_embed|patch_embed|^weight|^bias/.test(name)));
});

test("queries, keys and values begin as three matrices of Xavier's", () => {
  const model = withSeed(1, () => new MocoViT(tiny));
  const { weight } = model.blocks[0].attn.qkv;
  const bound = Math.sqrt(6 / (16 + 16));
  const largest = weight.data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  assert.ok(largest <= bound && largest > 0.97 * bound, `${largest} of ${bound}`);
});

test("a stem of convolutions has a patch for each `patch` pixels begun, and its widths double up to the network's", async () => {
  for (const [patch, widths] of [
    [16, [2, 4, 8, 16]],
    [8, [4, 8, 16]],
  ] as const) {
    const model = withSeed(1, () => new MocoViT({ ...tiny, patch, convStem: true }));
    const map = await compile((x: Tensor) => model.map(x), reference)(fill("x", [1, 33, 16, 3], "input"));
    assert.equal(map.shape, [1, Math.ceil(33 / patch), 16 / patch, 16]);
    const convolutions = [...model.patch_embed.proj.namedParameters()].filter(([, { shape }]) => shape.length === 4);
    assert.equal(
      convolutions.map(([, { shape }]) => shape[0]),
      [...widths, 16],
    );
  }
  const made = (dim: number, patch: number) => () => new MocoViT({ ...tiny, dim, patch, convStem: true, size: 3 * patch });
  assert.throws(made(16, 12), /^Cannot make a convolutional stem for patches of 12: expected 2, 4, 8 or another power of 2$/);
  assert.throws(made(20, 16), /^Cannot make a convolutional stem of 20 channels: expected a multiple of 8$/);
});

test.run();
