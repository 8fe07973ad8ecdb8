import { test } from "uvu";
import * as assert from "uvu/assert";
import { makeBackbone, sizeOfTables } from "../../src/models/backbones.ts";
import { Swin, SwinBlock, type SwinOptions, swins } from "../../src/models/swin.ts";
import { shiftMask } from "../../src/models/windows.ts";
import { truncNormal, withSeed, zeros } from "../../src/nn/init.ts";
import { Buffer } from "../../src/nn/module.ts";
import { array } from "../../src/tape/op.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { reference } from "../support.ts";

/** Counted on the official classes, without head. */
const counts: [keyof typeof swins, number][] = [
  ["swin-tiny", 27_519_354],
  ["swin-tiny-w14", 27_569_754],
  ["swin-small", 48_837_258],
  ["swin-small-w14", 48_968_298],
  ["swin-base", 86_743_224],
  ["swin-base-w14", 86_917_944],
  ["swin-base-192", 86_725_176],
];
for (const [name, count] of counts) {
  test(`${name} has ${count} weights, as the official model`, () => {
    const weights = new Swin({ ...swins[name], init: zeros }).parameters().filter((parameter) => !(parameter instanceof Buffer));
    assert.is(
      weights.reduce((sum, { size }) => sum + size, 0),
      count,
    );
  });
}

const small = (options: Partial<SwinOptions> = {}) =>
  withSeed(1, () => new Swin({ dim: 8, depths: [2, 2, 1], heads: [1, 2, 4], window: 3, size: 48, ...options }));

test("every part gives the shapes that it promises, for images that neither windows nor merging divide", async () => {
  const model = small();
  const shapes = await compile(
    (x: Tensor) => ({
      features: model.forward(x),
      map: model.map(x),
      stages: model.stages(x),
      layers: model.intermediateLayers(x, 2),
      attention: model.lastAttention(x),
    }),
    reference,
  )(fill("x", [2, 37, 22, 3], "input")); // 9 x 5 patches, then 5 x 3, then 3 x 2
  assert.is(model.features, 32);
  assert.equal(shapes.features.shape, [2, 32]);
  assert.equal(shapes.map.shape, [2, 3, 2, 32]);
  assert.equal(
    shapes.stages.map(({ shape }) => shape),
    [
      [2, 9, 5, 8],
      [2, 5, 3, 16],
      [2, 3, 2, 32],
    ],
  );
  assert.equal(
    shapes.layers.map(({ shape }) => shape),
    [
      [2, 15, 16],
      [2, 6, 32],
    ],
  );
  assert.equal(shapes.attention.shape, [2, 4, 9, 9]);
});

/** Which tokens of a map an output changes at when the token in its corner changes. */
async function reachOfCorner(shift: number): Promise<[number, number][]> {
  const options = { dim: 6, heads: 2, window: 4, mlpRatio: 2, dropPath: 0, eps: 1e-6, init: truncNormal(0.5) };
  const block = withSeed(2, () => new SwinBlock({ ...options, shift }));
  const mask = shiftMask(8, 8, 4, shift);
  const f = compile((x: Tensor) => block.forward(x, array(mask.data, mask.shape)), reference);
  const x = fill("x", [1, 8, 8, 6], "input");
  const moved = { data: x.data.map((value, i) => (i < 6 ? value * -2 : value)), shape: x.shape };
  const [before, after] = [await f(x), await f(moved)];
  const tokens = Array.from({ length: 64 }, (_, i) => i);
  const differs = (token: number) => before.data.subarray(6 * token, 6 * token + 6).some((value, i) => value !== after.data[6 * token + i]);
  return tokens.filter(differs).map((token) => [Math.floor(token / 8), token % 8]);
}

const square = (side: number) => Array.from({ length: side * side }, (_, i) => [Math.floor(i / side), i % side]);

test("a token is seen within its window only", async () => assert.equal(await reachOfCorner(0), square(4)));

test("in a shifted block the corner is seen within its piece, not from the opposite edges that share its window", async () => {
  assert.equal(await reachOfCorner(2), square(2));
});

test("a stage that is smaller than the window has one window of its size, which never shifts", () => {
  const windows = (options: Partial<SwinOptions>) =>
    small(options).layers.map(({ blocks }) => blocks.map(({ window, shift }) => [window, shift]));
  assert.equal(windows({ size: 24, window: 5 }), [
    [
      [5, 0],
      [5, 2],
    ],
    [
      [3, 0],
      [3, 0],
    ],
    [[1, 0]],
  ]);
});

test("hidden patches are replaced by the mask token, whatever they show", async () => {
  const model = small({ maskToken: true });
  const f = compile((x: Tensor, mask: Tensor) => model.map(x, mask), reference);
  const all = { data: new Float32Array(2 * 12 * 12).fill(1), shape: [2, 12, 12] };
  const [x, y] = [fill("x", [2, 48, 48, 3], "input"), fill("y", [2, 48, 48, 3], "input")];
  assert.equal(await f(x, all), await f(y, all));
  const none = { data: new Float32Array(2 * 12 * 12), shape: [2, 12, 12] };
  assert.equal((await f(x, none)).data, (await compile((t: Tensor) => model.map(t), reference)(x)).data);
});

test("patches cannot be hidden without a mask token", async () => {
  const model = small();
  const f = compile((x: Tensor, mask: Tensor) => model.map(x, mask), reference);
  await f(fill("x", [1, 48, 48, 3]), fill("mask", [1, 12, 12])).then(
    () => assert.unreachable(),
    (error) => assert.match(error.message, /^Cannot hide patches: expected a backbone with a mask token/),
  );
});

test("masks of shifted windows are state where SimMIM has them", () => {
  const masks = (model: Swin) =>
    [...model.state()].filter(([name]) => name.endsWith("attn_mask")).map(([name, { shape }]) => [name, shape]);
  assert.equal(masks(small({ storeMasks: true })), [
    ["layers.0.blocks.1.attn_mask", [16, 9, 9]],
    ["layers.1.blocks.1.attn_mask", [4, 9, 9]],
  ]);
  assert.equal(masks(small()), []);
});

test("the size that a checkpoint was made for is read from its masks, positions or windows", () => {
  const sizeOf = (name: keyof typeof swins, options: Partial<SwinOptions> = {}) => {
    const narrow = new Swin({ ...swins[name], ...options, dim: 4, heads: [1, 1, 1, 1], init: zeros }).state();
    return sizeOfTables(name, (tensor) => narrow.get(tensor)?.shape);
  };
  assert.is(sizeOf("swin-tiny"), 224);
  assert.is(sizeOf("swin-tiny-w14"), 224);
  assert.is(sizeOf("swin-tiny-w14", { size: 448 }), 448);
  assert.is(sizeOf("swin-tiny", { size: 96 }), 96);
  assert.is(sizeOf("swin-tiny", { size: 384, absolutePositions: true }), 384);
  assert.is(sizeOf("swin-base-192"), 192);
  assert.is(sizeOf("swin-base-192", { size: 384 }), 384);
  assert.is(
    sizeOfTables("swin-tiny", () => undefined),
    undefined,
  );
});

test("drop path grows over all stages, from nothing to its rate", () => {
  const rates = small({ dropPath: 0.4 }).layers.flatMap(({ blocks }) => blocks.map(({ drop }) => drop.rate.toFixed(1)));
  assert.equal(rates, ["0.0", "0.1", "0.2", "0.3", "0.4"]);
});

test("images without a whole patch are refused", async () => {
  assert.throws(() => small({ size: 3 }), /^Cannot cut images of 3 x 3 into patches of 4: expected at least 4 x 4$/);
  const model = small();
  await compile(
    (x: Tensor) => model.forward(x),
    reference,
  )(fill("x", [1, 3, 48, 3])).then(
    () => assert.unreachable(),
    (error) => assert.match(error.message, /^Cannot cut images of 3 x 48 into patches of 4: expected at least 4 x 4$/),
  );
});

test("a backbone by name is built for the size that is asked", () => {
  assert.is((makeBackbone("swin-tiny", { size: 64, seed: 1 }) as Swin).grid, 16);
});

test.run();
