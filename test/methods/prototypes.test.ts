import { test } from "uvu";
import * as assert from "uvu/assert";
import { PrototypeNet } from "../../src/methods/prototypes.ts";
import { withSeed } from "../../src/nn/init.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";
import { reference } from "../support.ts";
import { TinyNet } from "./support.ts";

const crops = [fill("a", [2, 7, 7, 3], "input"), fill("b", [2, 7, 7, 3], "input"), fill("c", [2, 5, 5, 3], "input")];
const names = (net: PrototypeNet) => [...net.namedParameters()].map(([name]) => name).filter((name) => !/^(conv|bn)\./.test(name));

test("crops of all sizes are compared with every head's prototypes, as unit vectors", async () => {
  const net = withSeed(1, () => new PrototypeNet(new TinyNet(), { hidden: 9, dim: 5, prototypes: [4, 3] }));
  const { embedding, scores } = await compile((...views: Tensor[]) => net.forward(views), reference)(...crops);
  assert.equal(embedding.shape, [6, 5]);
  assert.equal(
    scores.map(({ shape }) => shape),
    [
      [6, 4],
      [6, 3],
    ],
  );
  for (let row = 0; row < 6; row++) {
    const square = embedding.data.slice(5 * row, 5 * row + 5).reduce((sum, x) => sum + x * x, 0);
    assert.ok(Math.abs(square - 1) < 1e-5, `${square}`);
  }
});

test("parameters have the official names beside the backbone's", () => {
  const two = new PrototypeNet(new TinyNet(), { hidden: 9, dim: 5, prototypes: [4, 3] });
  assert.equal(
    names(two).filter((name) => !name.includes("running") && !name.includes("tracked")),
    [
      "projection_head.0.weight",
      "projection_head.0.bias",
      "projection_head.1.weight",
      "projection_head.1.bias",
      "projection_head.3.weight",
      "projection_head.3.bias",
      "prototypes.prototypes0.weight",
      "prototypes.prototypes1.weight",
    ],
  );
  const one = new PrototypeNet(new TinyNet(), { hidden: 0, dim: 5, prototypes: 4 });
  assert.equal(names(one), ["projection_head.weight", "projection_head.bias", "prototypes.weight"]);
  const bare = new PrototypeNet(new TinyNet(), { hidden: 0, dim: 0, prototypes: 4 });
  assert.equal(names(bare), ["prototypes.weight"]);
  assert.equal(bare.prototypes.namedParameters().next().value?.[1].shape, [4, 12]);
});

test.run();
