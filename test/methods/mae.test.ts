import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBackend } from "../../src/backend/open.ts";
import { MaskedAutoencoder } from "../../src/methods/autoencoder.ts";
import { mae, maskedError, pixelTargets } from "../../src/methods/mae.ts";
import { patchify, randomMasking } from "../../src/methods/masking.ts";
import { resolveOptions } from "../../src/methods/options.ts";
import { ViT } from "../../src/models/vit.ts";
import { namedParameters } from "../../src/nn/module.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host, item } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { difference, reference } from "../support.ts";
import { lesson, pictures, TinyNet, tinyViT } from "./support.ts";

const test = suite("mae");
const backend = await openBackend();
test.after(() => backend.close());
const small = { decoderDim: 8, decoderDepth: 1, decoderHeads: 2 };
const noise = fill("noise", [3, 9], "unit");

test("the loss falls on a fixed batch, though other patches are hidden each time", async () => {
  const { losses } = lesson(mae, small, backend, { backbone: () => tinyViT(), scalars: { lr: 0.01 }, optimizer: { name: "adamw" } });
  const values = await losses([pictures("a", 7, 12)], 20);
  assert.ok(values[19] < 0.9 * values[0], values.join(" "));
});

test("features are the class token, or the mean of the patch tokens where that is asked for", async () => {
  const [ofClass, ofPatches] = (["class", "patches"] as const).map((features) => {
    const options = resolveOptions(mae.options, { ...small, features });
    return mae.encoder(mae.build(() => tinyViT(), options));
  });
  const x = pictures("a", 3, 12);
  const read = compile((x: Tensor) => [ofPatches.forward(x), ofPatches.intermediateLayers(x, 1)[0].slice(1, 1).mean(1)], reference);
  const [mean, wanted] = await read(x);
  assert.equal(mean.shape, wanted.shape);
  assert.ok(difference(mean, wanted) < 1e-6);
  const readClass = compile((x: Tensor) => [ofClass.forward(x), ofClass.intermediateLayers(x, 1)[0].slice(1, 0, 1).mean(1)], reference);
  const [token, first] = await readClass(x);
  assert.ok(difference(token, first) < 1e-6);
});

test("the largest noise hides, and every image hides as many", async () => {
  const { kept, restore, mask } = await compile((x: Tensor) => {
    const { hidden: _, ...masking } = randomMasking(x, 0.75);
    return masking;
  }, reference)(noise);
  assert.equal(kept.shape, [3, 2]); // floor(9 / 4)
  for (const image of [0, 1, 2]) {
    const row = (x: Host, n = 9) => [...x.data.slice(image * n, image * n + n)];
    const order = row(noise).map((value, i) => ({ value, i }));
    order.sort((a, b) => a.value - b.value);
    assert.equal(row(kept, 2), [order[0].i, order[1].i]);
    assert.equal(
      row(mask),
      row(restore).map((place) => Number(place >= 2)),
    );
    assert.equal(
      row(restore).map((place) => order[place].i),
      [0, 1, 2, 3, 4, 5, 6, 7, 8],
    );
  }
});

test("the encoder does not see hidden patches, and visible ones do not count in the loss", async () => {
  const model = new MaskedAutoencoder(tinyViT(), { dim: 8, depth: 1, heads: 2 });
  const run = compile((x: Tensor, n: Tensor, change: Tensor) => {
    const masking = randomMasking(n, 0.75);
    const places = (of: Tensor) => of.reshape([3, 3, 1, 3, 1, 1]).expand([3, 3, 4, 3, 4, 3]).reshape([3, 12, 12, 3]);
    const moved = x.add(places(masking.mask).mul(change)); // only hidden pixels
    const pred = model.decode(model.encode(x, masking), masking);
    const target = pixelTargets(x, 4, false);
    const visible = masking.mask.rsub(1).reshape([3, 9, 1]).mul(change);
    return {
      latents: [model.encode(x, masking), model.encode(moved, masking)],
      losses: [
        maskedError(pred, target, masking),
        maskedError(pred.add(visible), target, masking),
        maskedError(pred.add(change), target, masking),
      ],
    };
  }, reference);
  const { latents, losses } = await run(pictures("a", 3, 12), noise, 0.5);
  assert.is(difference(latents[0], latents[1]), 0);
  assert.is(item(losses[0]), item(losses[1]));
  assert.is.not(item(losses[0]), item(losses[2]));
});

test("patches go row by row with channels last, and targets have mean 0 and variance 1 in each", async () => {
  const x = { data: Float32Array.from({ length: 4 * 6 * 3 }, (_, i) => i), shape: [1, 4, 6, 3] };
  const [patches, targets] = await compile((t: Tensor) => [patchify(t, 2), pixelTargets(t, 2, true)], reference)(x);
  assert.equal(patches.shape, [1, 6, 12]);
  assert.equal([...patches.data.slice(12, 24)], [6, 7, 8, 9, 10, 11, 24, 25, 26, 27, 28, 29]); // second patch of the first row
  const first = targets.data.slice(0, 12);
  const mean = first.reduce((sum, v) => sum + v, 0) / 12;
  const variance = first.reduce((sum, v) => sum + (v - mean) ** 2, 0) / 11; // unbiased
  assert.ok(Math.abs(mean) < 1e-6 && Math.abs(variance - 1) < 1e-5);
});

test("names are those of the official checkpoint, and positions are fixed", () => {
  const { model } = mae.build(() => tinyViT(), resolveOptions(mae.options, small));
  const parameters = new Map(model.namedParameters());
  for (const name of [
    "cls_token",
    "blocks.1.attn.qkv.weight",
    "norm.bias",
    "mask_token",
    "decoder_blocks.0.norm1.weight",
    "decoder_pred.bias",
  ]) {
    assert.ok(parameters.get(name)?.trainable, name);
  }
  for (const name of ["pos_embed", "decoder_pos_embed"]) assert.is(parameters.get(name)?.trainable, false);
  assert.equal(parameters.get("pos_embed")?.data.slice(0, 16), new Float32Array(16)); // of the class token
  assert.is(new Set(namedParameters({ model })).size, parameters.size);
});

test("refuses a backbone without patches or with tokens that it would not train, and ratios that leave nothing", async () => {
  const sizes = { dim: 16, depth: 1, heads: 2, patch: 4, size: 12 };
  const others = [{ distilled: true }, { registers: 2 }, { maskToken: true }].map((tokens) => new ViT({ ...sizes, ...tokens }));
  for (const other of [new TinyNet(), ...others]) {
    assert.throws(
      () => mae.build(() => other, resolveOptions(mae.options, small)),
      /expected a vision transformer with no token but the class token, such as vit-tiny-16/,
    );
  }
  const { train } = lesson(mae, { ...small, maskRatio: 0.95 }, backend, { backbone: () => tinyViT() });
  const error = await train([pictures("a", 2, 12)], 0).catch((e) => e);
  assert.match(error.message, /^Cannot hide 0.95 of 9 patches/);
});

test.run();
