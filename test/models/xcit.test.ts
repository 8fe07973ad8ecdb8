import { test } from "uvu";
import * as assert from "uvu/assert";
import { makeBackbone } from "../../src/models/backbones.ts";
import { XCiT, type XCiTOptions } from "../../src/models/xcit.ts";
import { withoutNumbers, withSeed } from "../../src/nn/init.ts";
import { Buffer } from "../../src/nn/module.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { reference } from "../support.ts";

const make = (options: Partial<XCiTOptions> = {}) =>
  withSeed(3, () => new XCiT({ dim: 16, depth: 3, heads: 2, patch: 8, eta: 0.3, ...options }));

/** Counted on the official classes. */
const counts: [string, number][] = [
  ["xcit-nano-12-p16", 2_924_224],
  ["xcit-tiny-12-p16", 6_523_272],
  ["xcit-small-12-p8", 25_828_032],
  ["xcit-medium-24-p16", 83_882_752],
  ["xcit-medium-24-p8", 83_810_624],
];
for (const [name, count] of counts) {
  test(`${name} has ${count} weights, as the official model`, () => {
    const model = withoutNumbers(() => makeBackbone(name));
    assert.is(
      model.parameters().reduce((sum, p) => sum + (p instanceof Buffer ? 0 : p.size), 0),
      count,
    );
  });
}

test("features, maps, layers and attention have the shapes that are promised, at sizes that the patch does not divide", async () => {
  for (const [patch, rows, columns] of [
    [8, 5, 4],
    [16, 3, 2],
  ]) {
    const model = make({ patch });
    const got = await compile(
      (t: Tensor) => ({
        y: model.forward(t),
        map: model.map(t),
        stages: model.stages(t),
        layers: model.intermediateLayers(t, 2),
        attention: model.attention(t),
      }),
      reference,
    )(fill("x", [2, 37, 30, 3], "input"));
    const shapes = (list: Host[]) => list.map(({ shape }) => shape);
    assert.equal(got.y.shape, [2, 16]);
    assert.equal(got.map.shape, [2, rows, columns, 16]);
    assert.equal(got.stages, [got.map]);
    assert.equal(shapes(got.layers), [
      [2, rows * columns, 16],
      [2, rows * columns, 16],
    ]);
    assert.equal(got.attention.shape, [2, 2, rows, columns]);
    for (let head = 0; head < 4; head++) {
      const sum = got.attention.data.slice(head * rows * columns, (head + 1) * rows * columns).reduce((a, b) => a + b);
      assert.ok(sum > 0.5 && sum < 1); // the rest is on the class token itself
    }
  }
});

test("scales of residual branches begin at eta, and blocks share one rate of stochastic depth", () => {
  const model = make({ eta: 1e-5, dropPath: 0.05 });
  const gammas = [...model.state()].filter(([name]) => /gamma\d$/.test(name));
  assert.is(gammas.length, 3 * 3 + 2 * 2);
  for (const [, { data }] of gammas) assert.ok(data.every((x) => x === Math.fround(1e-5)));
  assert.equal(
    model.blocks.map(({ drop }) => drop.rate),
    [0.05, 0.05, 0.05],
  );
});

test("patches of other sizes and widths that do not halve are refused", () => {
  assert.throws(() => make({ patch: 4 }), /^Cannot make an XCiT with patches of 4: expected 8 or 16$/);
  assert.throws(() => make({ dim: 18 }), /^Cannot make an XCiT of width 18: expected a multiple of 4$/);
  assert.throws(() => make({ heads: 3 }), /^Cannot split 16 features into 3 heads: expected a multiple of 3$/);
});

test.run();
