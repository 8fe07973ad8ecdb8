import { test } from "uvu";
import * as assert from "uvu/assert";
import type { StoredTensor } from "../../src/checkpoint/stored.ts";
import { backbones, makeBackbone } from "../../src/models/backbones.ts";
import { findBackbone } from "../../src/models/recognise.ts";
import { withoutNumbers } from "../../src/nn/init.ts";
import type { Shape } from "../../src/tape/shape.ts";

const stored = (shape: Shape): StoredTensor => ({ dtype: "float32", shape, read: async () => new Float32Array() });

/** A checkpoint with a network's names and shapes, and others. */
function checkpointOf(name: string, { prefix = "", size, others = [] }: { prefix?: string; size?: number; others?: string[] } = {}) {
  const network = withoutNumbers(() => makeBackbone(name, { size }));
  const tensors = new Map([...network.namedState()].map(([key, { officialShape }]) => [prefix + key, stored(officialShape)]));
  for (const other of others) tensors.set(other, stored([7]));
  return tensors;
}

/** Windows of CvT show in no shape. */
const twins = ["cvt-tiny-w14"];

for (const { name } of backbones().filter((entry) => !twins.includes(entry.name))) {
  test(`${name} is recognised by its shapes`, () => {
    const moco = name.startsWith("moco3");
    const prefix = moco ? "state_dict/module.base_encoder." : "";
    const others = moco ? ["state_dict/module.momentum_encoder.norm.weight"] : ["head.weight"];
    const found = findBackbone(checkpointOf(name, { prefix, others }));
    assert.is(found?.backbone, name);
    assert.is(found?.prefix, prefix);
    assert.equal(found?.missing, []);
    assert.equal(found?.extra, moco ? [] : ["head.weight"]);
  });
}

for (const name of [
  "resnet50-w2",
  "resnet200-w2",
  "resnet18-cifar-w0.25",
  "simclr-resnet50-sk-w2",
  "simclr-resnet18-cifar",
  "swin-tiny-w5",
  "swin-base-224-w8",
  "vit-base-16-mean",
  "beit-small-16-blocks",
  "beit-tiny-16-blocks-mean",
]) {
  test(`${name}, which no list has, is recognised`, () => assert.is(findBackbone(checkpointOf(name))?.backbone, name));
}

test("a network with layers of two names is recognised with both and with one of them", () => {
  const both = checkpointOf("vil-2262");
  const one = new Map([...both].filter(([name]) => !name.includes("_global.")));
  assert.is(one.size, both.size - 6 * 4);
  for (const tensors of [both, one]) {
    const found = findBackbone(tensors);
    assert.equal(
      [found?.backbone, found?.size, found?.missing, found?.extra, found?.tensors.size],
      ["vil-2262", 224, [], [], tensors.size],
    );
  }
});

test("the size of the images that tables were made for is recognised", () => {
  for (const [name, size] of [
    ["vit-tiny-16", 96],
    ["beit-tiny-16", 128],
    ["swin-tiny", 96],
  ] as const) {
    const found = findBackbone(checkpointOf(name, { size }));
    assert.equal([found?.backbone, found?.size, found?.missing.length], [name, size, 0]);
  }
});

test("a teacher is taken before its student, and a prefix that nobody publishes is found", () => {
  const both = new Map([
    ...checkpointOf("vit-tiny-16", { prefix: "student/module.backbone." }),
    ...checkpointOf("vit-tiny-16", { prefix: "teacher/backbone." }),
  ]);
  assert.is(findBackbone(both)?.prefix, "teacher/backbone.");
  assert.is(findBackbone(checkpointOf("resnet18", { prefix: "state_dict/net.my_model." }))?.prefix, "state_dict/net.my_model.");
});

test("what lacks a tensor or has another shape is named, with the network that it resembles", () => {
  const tensors = checkpointOf("resnet18");
  tensors.delete("layer4.1.bn2.weight");
  tensors.set("layer2.0.conv1.weight", stored([1, 2, 3, 3]));
  const found = findBackbone(tensors);
  const misfit = { name: "layer2.0.conv1.weight", shape: [1, 2, 3, 3], wanted: [128, 64, 3, 3] };
  assert.equal([found?.backbone, found?.missing, found?.misfits], ["resnet18", ["layer4.1.bn2.weight"], [misfit]]);
});

test("what a network computes by itself may be missing", () => {
  const tensors = checkpointOf("swin-tiny");
  for (const name of [...tensors.keys()]) if (/relative_position_index|attn_mask/.test(name)) tensors.delete(name);
  assert.equal(findBackbone(tensors)?.missing, []);
});

test("a name that is asked for is used instead", () => {
  assert.is(findBackbone(checkpointOf("vit-small-16"), { backbone: "moco3-vit-small-16" })?.backbone, "moco3-vit-small-16");
  assert.is(findBackbone(checkpointOf("resnet18"), { backbone: "vit-tiny-16" }), undefined);
  assert.throws(() => findBackbone(new Map(), { backbone: "resnet19" }), /Unknown backbone "resnet19"/);
});

test("nothing is recognised where nothing is alike", () => {
  assert.is(findBackbone(new Map([["weight", stored([3])]])), undefined);
  assert.is(findBackbone(new Map([["layer1.0.conv1.weight", stored([3])]])), undefined);
});

test.run();
