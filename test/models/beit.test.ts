import { test } from "uvu";
import * as assert from "uvu/assert";
import { sizeOfTables } from "../../src/models/backbones.ts";
import { Beit, type BeitOptions, beits } from "../../src/models/beit.ts";
import { sincosTable } from "../../src/models/positions.ts";
import { withSeed, zeros } from "../../src/nn/init.ts";
import { Buffer } from "../../src/nn/module.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { reference } from "../support.ts";

const small = (options: Partial<BeitOptions> = {}) =>
  withSeed(1, () => new Beit({ dim: 24, depth: 3, heads: 3, patch: 4, size: 12, relative: "shared", layerScale: 0.1, ...options }));

test("the classifier that SimMIM fine-tunes has the official 86,530,984 weights", () => {
  const options = { ...beits["beit-base-16"], relative: "per-block", pool: "mean", classes: 1000, init: zeros } as const;
  const weights = new Beit(options).parameters().filter((parameter) => !(parameter instanceof Buffer));
  assert.is(
    weights.reduce((sum, { size }) => sum + size, 0),
    86_530_984,
  );
});

for (const relative of ["shared", "per-block", undefined] as const) {
  test(`every part gives the shapes that it promises, with ${relative ?? "no"} relative positions`, async () => {
    const model = small({ relative });
    const shapes = await compile(
      (x: Tensor) => ({
        features: model.forward(x),
        map: model.map(x),
        layers: model.intermediateLayers(x, 2),
        last: model.lastAttention(x),
        attention: model.attention(x),
      }),
      reference,
    )(fill("x", [2, 12, 12, 3], "input"));
    assert.equal(shapes.features.shape, [2, 24]);
    assert.equal(shapes.map.shape, [2, 3, 3, 24]);
    assert.equal(
      shapes.layers.map(({ shape }) => shape),
      [
        [2, 10, 24],
        [2, 10, 24],
      ],
    );
    assert.equal(shapes.last.shape, [2, 3, 10, 10]);
    assert.equal(shapes.attention.shape, [2, 3, 3, 3]);
  });
}

test("one table for all blocks does what equal tables in every block do", async () => {
  const shared = small();
  const own = small({ relative: "per-block" });
  const state = shared.state();
  const table = fill("table", [28, 3], "input");
  state.set("rel_pos_bias.relative_position_bias_table", table);
  shared.load(state);
  for (const name of own.state().keys()) if (name.endsWith("bias_table")) state.set(name, table);
  own.load(state, { strict: false });
  const x = fill("x", [2, 12, 12, 3], "input");
  const features = (model: Beit) => compile((t: Tensor) => model.forward(t), reference)(x);
  assert.equal(await features(shared), await features(own));
  assert.not.equal(await features(shared), await features(small()));
});

test("hidden patches are replaced by the mask token, whatever they show", async () => {
  const model = small({ maskToken: true });
  const f = compile((x: Tensor, mask: Tensor) => model.map(x, mask), reference);
  const all = { data: new Float32Array(9).fill(1), shape: [1, 3, 3] };
  const [x, y] = [fill("x", [1, 12, 12, 3], "input"), fill("y", [1, 12, 12, 3], "input")];
  assert.equal(await f(x, all), await f(y, all));
  assert.not.equal(await f(x, fill("none", [1, 3, 3], "unit")), await f(y, fill("none", [1, 3, 3], "unit")));
});

test("images for which the relative positions were not made are refused; absolute ones are resized", async () => {
  const features = (model: Beit) => compile((t: Tensor) => model.forward(t), reference)(fill("x", [2, 8, 12, 3], "input"));
  for (const relative of ["shared", "per-block"] as const) {
    await features(small({ relative })).then(
      () => assert.unreachable(),
      (error) =>
        assert.match(error.message, /^Cannot place the patches of 8 x 12 images with relative positions for 12 x 12: expected 12 x 12/),
    );
  }
  assert.equal((await features(small({ relative: undefined, absolute: "learned" }))).shape, [2, 24]);
});

test("CAE's positions are fixed sines and cosines, row first", () => {
  const { pos_embed: table } = small({ relative: undefined, absolute: "sincos" });
  assert.is(table?.trainable, false);
  assert.equal(table?.data, sincosTable(24, 3, { first: "row" }).data);
});

test("branches begin smaller in later blocks, and the head a thousandth", () => {
  const ones = (shape: readonly number[]) => new Float32Array(shape.reduce((a, b) => a * b)).fill(1);
  const model = small({ init: ones, classes: 2 });
  assert.equal(
    model.blocks.map(({ attn, mlp }) => [attn.proj.weight.data[5], mlp.fc2.weight.data[7]]),
    [1, 2, 3].map((i) => [Math.fround(1 / Math.sqrt(2 * i)), Math.fround(1 / Math.sqrt(2 * i))]),
  );
  assert.is(model.head?.weight.data[3], Math.fround(0.001));
});

test("initial weights lie within one deviation, as SimMIM draws them", () => {
  const { qkv } = small().blocks[0].attn;
  const largest = qkv.weight.data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  assert.ok(largest <= Math.fround(0.02) && largest > 0.019, `largest ${largest}`);
});

test("the size that a checkpoint was made for is read from its tables", () => {
  for (const options of [{}, { relative: "per-block" }, { relative: undefined, absolute: "sincos" }] as const) {
    const state = small({ ...options, patch: 16, size: 80 }).state();
    assert.is(
      sizeOfTables("beit-tiny-16", (name) => state.get(name)?.shape),
      80,
    );
  }
  assert.is(
    sizeOfTables("beit-tiny-16", () => undefined),
    undefined,
  );
});

test("a size that the patch does not divide is refused with sizes that would do", () => {
  assert.throws(() => small({ size: 13 }), /^Cannot cut images of 13 x 13 into patches of 4: expected a size such as 12 or 16$/);
});

test.run();
