import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BuildOptions } from "../../src/models/backbone.ts";
import { backboneError, backbones, makeBackbone } from "../../src/models/backbones.ts";
import { ResNet, resnets } from "../../src/models/resnet.ts";
import { ViT, vits } from "../../src/models/vit.ts";
import { withoutNumbers } from "../../src/nn/init.ts";
import { Buffer, type Module } from "../../src/nn/module.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { reference } from "../support.ts";

const weights = (module: Module) => module.parameters().reduce((sum, p) => sum + (p instanceof Buffer ? 0 : p.size), 0);

/** A backbone of which only names and shapes are asked. */
const empty = (name: string, options?: BuildOptions) => withoutNumbers(() => makeBackbone(name, options));

/** Official counts: torchvision without fc, and the repositories of SimCLR, DINO, DINOv2, MAE and MoCo v3 without head (224 px). */
const counts: [string, number][] = [
  ["resnet18", 11_176_512],
  ["simclr-resnet18", 11_180_736],
  ["simclr-resnet50-sk", 35_215_584],
  ["simclr-resnet50-sk-w2", 140_306_048],
  ["simclr-resnet50-sk-w3", 315_493_600],
  ["simclr-resnet101-sk", 64_662_304],
  ["simclr-resnet101-sk-w2", 257_132_224],
  ["simclr-resnet152", 58_143_808],
  ["simclr-resnet152-sk", 88_940_896],
  ["simclr-resnet152-sk-w2", 353_398_528],
  ["resnet50-w4", 375_378_176],
  ["conv4", 113_088],
  ["vit-tiny-16", 5_524_416],
  ["vit-tiny-8", 5_526_720],
  ["vit-small-16", 21_665_664],
  ["vit-base-16", 85_798_656],
  ["vit-large-16", 304_326_632 - 1_025_000], // MAE's, without the classifier of 1,000
  ["dinov2-vit-small-14", 22_056_576],
  ["dinov2-vit-base-14", 86_580_480],
  ["dinov2-vit-giant-14", 1_136_480_768],
  ["moco3-vit-small-16", 22_050_664 - 385_000],
  ["moco3-vit-conv-small-16", 21_002_392 - 385_000], // without the classifier of 1,000
];
for (const [name, count] of counts) {
  test(`${name} has ${count} weights, as the official model`, () => assert.is(weights(empty(name)), count));
}

/** Entries of torchvision's state dicts, without those of fc; they do not depend on the width. */
for (const [depth, entries] of [
  [18, 120],
  [34, 216],
  [50, 318],
  [101, 624],
  [152, 930],
]) {
  test(`resnet${depth} has ${entries} tensors beside its classifier`, () => {
    assert.is([...empty(`resnet${depth}`).namedParameters()].length, entries);
  });
}

test("a CIFAR ResNet-18 with ten classes has the published 11,173,962 weights", () => {
  assert.is(weights(new ResNet({ ...resnets.resnet18, cifarStem: true, classes: 10 })), 11_173_962);
});

test("a width multiplies every channel count", () => {
  const narrow = makeBackbone("resnet18-cifar-w0.25", { seed: 1 });
  assert.is(narrow.features, 128);
  assert.equal(narrow.state().get("conv1.weight")?.shape, [16, 3, 3, 3]);
  assert.equal(narrow.state().get("layer4.1.conv2.weight")?.shape, [128, 128, 3, 3]);
});

test("a listed backbone has as many features as it is listed with", () => {
  for (const { name, features } of backbones()) assert.is(empty(name).features, features, name);
});

test("dilated stages keep the resolution", async () => {
  const model = new ResNet({ block: "bottleneck", layers: [1, 1, 2, 1], width: 0.25, replaceStrideWithDilation: [false, true, true] });
  const maps = await compile((t: Tensor) => model.stages(t), reference)(fill("x", [1, 33, 32, 3], "input"));
  assert.equal(
    maps.map(({ shape }) => shape.slice(1, 3)),
    [
      [9, 8],
      [5, 4],
      [5, 4],
      [5, 4],
    ],
  );
});

test("the same seed gives the same backbone, another seed another", () => {
  const conv = (seed: number) => makeBackbone("resnet18-cifar-w0.25", { seed }).state().get("conv1.weight");
  assert.equal(conv(1), conv(1));
  assert.not.equal(conv(1), conv(2));
});

test("every listed backbone is one that can be made, and its name is understood with a width where it may have one", () => {
  for (const { name } of backbones()) assert.is(backboneError(name), undefined, name);
  assert.is(backboneError("resnet34-w0.5"), undefined);
  assert.match(backboneError("resnet18-w0.1") ?? "", /^Cannot make "resnet18-w0\.1": expected a width/);
  for (const name of ["resnet50-w2-stride8", "simclr-resnet152-sk-w3", "simclr-resnet18-cifar"]) assert.is(backboneError(name), undefined);
  assert.match(backboneError("simclr-resnet50-w0.1") ?? "", /^Cannot make "simclr-resnet50-w0\.1": expected a width/);
  assert.match(backboneError("resnet18-stride8") ?? "", /^Cannot make "resnet18-stride8": expected -stride8 or -stride16 after/);
  assert.match(backboneError("resnet50-stride4") ?? "", /^Cannot make "resnet50-stride4"/);
  assert.match(backboneError("vit-tiny-16-w2") ?? "", /^Unknown backbone/);
  assert.throws(() => makeBackbone("resnet19"), /^Unknown backbone "resnet19"$/);
});

test("features, maps and attention have the shapes that are promised", async () => {
  const x = fill("x", [2, 24, 16, 3], "input");
  for (const name of ["resnet18-cifar-w0.25", "vit-tiny-8"]) {
    const model = name.startsWith("vit") ? new ViT({ dim: 24, depth: 2, heads: 3, patch: 8, size: 16 }) : makeBackbone(name, { seed: 1 });
    const shapes = await compile(
      (t: Tensor) => ({
        y: model.forward(t),
        map: model.map(t),
        stages: model.stages(t),
        layers: model.intermediateLayers(t, 2),
        attention: model.attention?.(t),
        lastAttention: model.lastAttention?.(t),
      }),
      reference,
    )(x);
    const vit = name.startsWith("vit");
    assert.equal(shapes.y.shape, [2, model.features]);
    assert.equal(shapes.map.shape, vit ? [2, 3, 2, 24] : [2, 3, 2, 128]);
    assert.equal(
      shapes.stages.map(({ shape }) => shape),
      vit
        ? [[2, 3, 2, 24]]
        : [
            [2, 24, 16, 16],
            [2, 12, 8, 32],
            [2, 6, 4, 64],
            [2, 3, 2, 128],
          ],
    );
    assert.equal(
      shapes.layers.map(({ shape }) => shape),
      vit
        ? [
            [2, 7, 24],
            [2, 7, 24],
          ]
        : [
            [2, 6, 128],
            [2, 6, 128],
          ],
    );
    assert.equal(shapes.attention?.shape, vit ? [2, 3, 3, 2] : undefined);
    assert.equal(shapes.lastAttention?.shape, vit ? [2, 3, 7, 7] : undefined);
  }
});

test("a size that the patch does not divide is refused with sizes that would do", () => {
  assert.throws(
    () => makeBackbone("vit-tiny-16", { size: 100 }),
    /^Cannot cut images of 100 x 100 into patches of 16: expected a size such as 96 or 112$/,
  );
  assert.throws(
    () => makeBackbone("vit-tiny-16", { size: 9 }),
    /^Cannot cut images of 9 x 9 into patches of 16: expected a size such as 16$/,
  );
});

test("an image smaller than a patch is refused", async () => {
  const model = new ViT({ dim: 8, depth: 1, heads: 2, patch: 8, size: 16 });
  try {
    await compile((t: Tensor) => model.forward(t), reference)(fill("x", [1, 7, 16, 3]));
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /^Cannot cut images of 7 x 16 into patches of 8: expected at least 8 x 8$/);
  }
});

test("drop path grows from nothing in the first block to its rate in the last", () => {
  const model = new ViT({ ...vits["vit-tiny-16"], dropPath: 0.11 });
  assert.equal(
    model.blocks.map(({ drop }) => drop.rate.toFixed(2)),
    Array.from({ length: 12 }, (_, i) => (0.01 * i).toFixed(2)),
  );
});

test("blocks with a zeroed last norm begin as the identity", async () => {
  const model = new ResNet({ block: "basic", layers: [2, 1, 1, 1], width: 0.25, cifarStem: true, zeroInitResidual: true });
  const x = fill("x", [2, 9, 9, 3], "input");
  const { stem, stages } = await compile((t: Tensor) => model.outputs(t), reference)(x);
  assert.equal(stages[0][1].data, stem.data);
});

test.run();
