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

test("a stem of convolutions has a patch for each 16 pixels begun", async () => {
  const model = withSeed(1, () => new MocoViT({ ...tiny, convStem: true }));
  const map = await compile((x: Tensor) => model.map(x), reference)(fill("x", [1, 33, 16, 3], "input"));
  assert.equal(map.shape, [1, 3, 1, 16]);
  assert.throws(
    () => new MocoViT({ ...tiny, patch: 8, convStem: true }),
    /^Cannot make a convolutional stem for patches of 8: expected 16$/,
  );
});

test.run();
