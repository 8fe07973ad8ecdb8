import { test } from "uvu";
import * as assert from "uvu/assert";
import { makeBackbone } from "../../src/models/backbones.ts";
import { CvT, type CvTOptions } from "../../src/models/cvt.ts";
import { withSeed } from "../../src/nn/init.ts";
import { Buffer } from "../../src/nn/module.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { reference } from "../support.ts";

const sizes = { dims: [6, 8, 12, 16], heads: [1, 2, 3, 4], depths: [1, 1, 2, 1] };
const make = (options: Partial<CvTOptions> = {}) => withSeed(3, () => new CvT({ ...sizes, ...options }));

test("CvT-tiny has the official 29,303,616 weights, whatever its windows", () => {
  const model = makeBackbone("cvt-tiny-w14", { seed: 1 });
  assert.is(
    model.parameters().reduce((sum, p) => sum + (p instanceof Buffer ? 0 : p.size), 0),
    29_303_616,
  );
  assert.is(model.features, 768);
});

test("features, maps, layers and attention have the shapes that are promised, at sizes that windows do not divide", async () => {
  const model = make();
  const got = await compile(
    (t: Tensor) => ({
      y: model.forward(t),
      map: model.map(t),
      stages: model.stages(t),
      layers: model.intermediateLayers(t, 3),
      last: model.lastBlocks(t, 3),
      attention: model.lastAttention(t),
    }),
    reference,
  )(fill("x", [2, 72, 40, 3], "input"));
  const shapes = (list: Host[]) => list.map(({ shape }) => shape);
  assert.equal(got.y.shape, [2, 16]);
  assert.equal(got.map.shape, [2, 3, 2, 16]);
  assert.equal(shapes(got.stages), [
    [2, 18, 10, 6],
    [2, 9, 5, 8],
    [2, 5, 3, 12],
    [2, 3, 2, 16],
  ]);
  assert.equal(shapes(got.layers), [
    [2, 15, 12],
    [2, 15, 12],
    [2, 6, 16],
  ]);
  assert.equal(shapes(got.last), [
    [2, 12],
    [2, 12],
    [2, 16],
  ]);
  assert.equal(got.attention.shape, [4, 4, 4, 4]); // 3 x 2 is padded to two windows of 2 x 2 an image
  for (let row = 0; row < got.attention.data.length; row += 4) {
    const sum = got.attention.data.slice(row, row + 4).reduce((a, b) => a + b);
    assert.ok(Math.abs(sum - 1) < 1e-6);
  }
});

test("drop path grows from nothing in the first layer to its rate in the last, over all stages", () => {
  const rates = make({ dropPath: 0.4 }).stageLayers.flatMap(([, { layers }]) => layers.map(({ drop }) => Number(drop.rate.toFixed(6))));
  assert.equal(rates, [0, 0.1, 0.2, 0.3, 0.4]);
});

test("a stem of three convolutions takes the place of the first embedding", () => {
  const names = [...make({ resStem: true }).state().keys()].filter((name) => name.startsWith("stage0.0."));
  assert.equal(
    names.filter((name) => name.endsWith(".weight")),
    [0, 1, 3, 4, 6, 7].map((i) => `stage0.0.stem.${i}.weight`),
  );
});

test("windows with biases or masks need maps of at least their size", async () => {
  const x = fill("x", [1, 64, 64, 3]);
  for (const options of [{ relativePositions: true }, { shift: [true, true, true, true] }]) {
    try {
      await compile((t: Tensor) => make(options).forward(t), reference)(x);
      assert.unreachable();
    } catch (error) {
      assert.match(
        (error as Error).message,
        /^Cannot look through windows of 7 with position biases or masks at a map of 4 x 4: expected at least 7 x 7$/,
      );
    }
  }
});

test("heads that do not divide the channels are refused", () => {
  assert.throws(() => make({ heads: [1, 3, 3, 4] }), /^Cannot split 8 features into 3 heads: expected a multiple of 3$/);
});

test.run();
