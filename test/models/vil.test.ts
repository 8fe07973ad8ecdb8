import { test } from "uvu";
import * as assert from "uvu/assert";
import { makeBackbone, sizeOfTables } from "../../src/models/backbones.ts";
import type { ChunkMode } from "../../src/models/sliding-chunks.ts";
import { parseArchitecture, ViL, type ViLOptions } from "../../src/models/vil.ts";
import { withSeed } from "../../src/nn/init.ts";
import { Buffer, withContext } from "../../src/nn/module.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { difference, reference } from "../support.ts";

const arch = "l1,h1,d8,n1,s1,g1,p4,f3,a0_l2,h2,d12,n2,s1,g2,p2,f2,a0_l3,h4,d16,n2,s0,g0,p2,f7,a0";
const make = (options: Partial<ViLOptions> = {}) => withSeed(3, () => new ViL({ arch, size: 48, ...options }));
const key = (step: number): Host => ({ data: Float32Array.of(7, 0, step, 0), shape: [4] });

test("vil_2262 for images of 224 has the official 27,569,352 weights under 241 names, and its tables tell that size", () => {
  const model = makeBackbone("vil-2262", { seed: 1 });
  const state = model.state();
  assert.is(
    model.parameters().reduce((sum, p) => sum + (p instanceof Buffer ? 0 : p.size), 0),
    27_569_352,
  );
  assert.is(state.size, 241);
  const sizeOf = (shapeOf: (name: string) => readonly number[] | undefined) => sizeOfTables("vil-2262", shapeOf);
  assert.is(
    sizeOf((name) => state.get(name)?.shape),
    224,
  );
  assert.is(
    sizeOf((name) => (name === "layer3.1.attn.local_relative_position_bias_table" ? [169, 12] : undefined)), // 7 x 7 places of 16 pixels
    112,
  );
  assert.is(
    sizeOf(() => undefined),
    undefined,
  );
});

test("an architecture string is read with the official defaults, and stays full after a full stage", () => {
  assert.equal(parseArchitecture("l1,d96_l2,h4,s0,g0,a0_l3,h6,n5,p4,f9"), [
    { heads: 3, dim: 96, blocks: 1, sparse: true, globals: 1, patch: 2, window: 7, absolute: true },
    { heads: 4, dim: 192, blocks: 1, sparse: false, globals: 0, patch: 2, window: 7, absolute: false },
    { heads: 6, dim: 192, blocks: 5, sparse: false, globals: 1, patch: 4, window: 9, absolute: true },
  ]);
});

const refused: [string, RegExp][] = [
  ["", /expected fields such as h3 and d96 from the letters lhdnsgpfar, got ""$/],
  ["l1,x3", /expected fields such as h3 and d96 .*, got "x3"$/],
  ["l1,h-3", /got "h-3"$/],
  ["l1_l3", /expected l2 in the 2. stage, got l3$/],
  ["l1,h5", /expected channels that the heads divide, and a block, a patch and a chunk of 1 or more, got "l1,h5"$/],
  ["l1,r1", /expected r0: pooled tokens need a pooling method/],
];
for (const [text, message] of refused) {
  test(`the architecture "${text}" is refused`, () => assert.throws(() => parseArchitecture(text), message));
}

test("features, maps, tokens and attention have the shapes that are promised", async () => {
  const model = make();
  const got = await compile(
    (t: Tensor) => ({
      y: model.forward(t),
      map: model.map(t),
      stages: model.stages(t),
      layers: model.intermediateLayers(t, 3),
      last: model.lastBlocks(t, 3),
      attention: model.attention(t),
      lastAttention: model.lastAttention(t),
    }),
    reference,
  )(fill("x", [2, 48, 48, 3], "input"));
  const shapes = (list: Host[]) => list.map(({ shape }) => shape);
  assert.equal(got.y.shape, [2, 16]);
  assert.equal(got.map.shape, got.stages[2].shape);
  assert.equal(got.map.data, got.layers[2].data);
  assert.equal(shapes(got.stages), [
    [2, 12, 12, 8],
    [2, 6, 6, 12],
    [2, 3, 3, 16],
  ]);
  assert.equal(shapes(got.layers), [
    [2, 38, 12],
    [2, 9, 16],
    [2, 9, 16],
  ]);
  assert.equal(shapes(got.last), [
    [2, 12],
    [2, 16],
    [2, 16],
  ]);
  assert.equal(got.attention.shape, [2, 2, 6, 6]); // the last stage with a global token is the second
  assert.equal(got.lastAttention.shape, [2, 4, 9, 9]);
  assert.ok(got.attention.data.every((share) => share > 0 && share < 1));
});

test("a class token's attention to places and to global tokens sums to 1", async () => {
  const model = make({ arch: arch.replace("g0", "g1") });
  const { attention, all } = await compile(
    (t: Tensor) => ({ attention: model.attention(t).sum([2, 3]), all: model.lastAttention(t).slice(2, 0, 1).slice(3, 0, 1) }),
    reference,
  )(fill("x", [2, 48, 48, 3], "input"));
  attention.data.forEach((share, i) => {
    assert.ok(Math.abs(share + all.data[i] - 1) < 1e-5);
  });
});

test("a drawn neighbour is one of the eight, changes from step to step, and is the same for the same key; evaluation takes all", async () => {
  const sparse = "l1,h2,d8,n1,s1,g0,p2,f2,a0";
  const x = fill("x", [2, 16, 16, 3], "input");
  const run = (mode: ChunkMode, training: boolean, step = 0) => {
    const model = make({ arch: sparse, mode });
    return compile((t: Tensor, k: Tensor) => withContext({ training, key: k }, () => model.map(t)), reference)(x, key(step));
  };
  const fixed = await Promise.all(([1, 2, 3, 4, 5, 6, 7, 8] as const).map((mode) => run(mode, true)));
  const drawn = await Promise.all(Array.from({ length: 6 }, (_, step) => run("random", true, step)));
  const which = drawn.map((map) => fixed.findIndex((one) => difference(map, one) < 1e-6));
  assert.ok(which.every((i) => i >= 0));
  assert.ok(new Set(which).size > 1);
  assert.equal(await run("random", true, 2), drawn[2]);
  const all = await run("all", false);
  for (const mode of ["random", 3] as const) assert.equal(await run(mode, false), all);
  assert.ok(difference(await run("own", false), all) > 1e-3);
});

test("without global tokens a place sees no further than the neighbouring chunks, and with exact edges no further than a window", async () => {
  const x = fill("x", [1, 18, 18, 3], "input");
  const far = { ...x, data: x.data.slice() };
  far.data[0] += 1; // the corner of the first of 3 x 3 chunks of 3 x 3 patches
  const changed = async (edge: ViLOptions["edge"]) => {
    const model = make({ arch: "l1,h2,d8,n1,s1,g0,p2,f3,a0", size: 18, edge });
    const run = compile((t: Tensor) => model.map(t), reference);
    const [before, after] = [await run(x), await run(far)];
    return Array.from({ length: 9 }, (_, i) => before.data.slice(8 * i, 8 * i + 8).some((v, c) => v !== after.data[8 * i + c])); // the first row
  };
  assert.equal(await changed("chunk"), [true, true, true, true, true, true, false, false, false]);
  assert.equal(await changed("exact"), [true, true, true, true, false, false, false, false, false]);
  assert.equal(await changed("cyclic"), Array(9).fill(true));
});

test("what a ViL cannot do is refused with what would do", async () => {
  const run = (size: [number, number], options?: Partial<ViLOptions>) =>
    compile((t: Tensor) => make(options).forward(t), reference)(fill("x", [1, ...size, 3]));
  const rows: [() => unknown, RegExp][] = [
    [() => run([48, 32]), /^Cannot look among 3 x 2 places: expected a square image, which ViL's biases are made for$/],
    [() => run([48, 32], { arch: arch.replaceAll("a0", "a1") }), /^Cannot place 12 x 8 patches: expected a square image/],
    [() => run([3, 48]), /^Cannot cut a map of 3 x 48 into patches of 4: expected at least 4 x 4$/],
    [() => make({ edge: "exact", mode: "own" }), /^Cannot slide windows exactly over some .*: expected mode "all", got "own"$/],
    [() => make({ size: 12 }), /^Cannot make a ViL for images of 12 x 12: expected at least 16 x 16$/],
  ];
  for (const [f, message] of rows) {
    try {
      await f();
      assert.unreachable(String(message));
    } catch (error) {
      assert.match((error as Error).message, message);
    }
  }
});

test.run();
