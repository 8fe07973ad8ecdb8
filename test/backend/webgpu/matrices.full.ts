// Every kind of product in tiles of matrices, on an emulated device as in matrices.test.ts; a software driver takes minutes to compile them.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { MatrixTile, SubgroupMatrix } from "../../../gpu/tile-matrix.ts";
import { prove } from "../../../src/backend/webgpu/prove.ts";
import { type ShapeClass, tiles } from "../../../src/backend/webgpu/tiles.ts";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import { rows } from "../../op-rows.ts";
import { difference, make, outputsAndGradients, reference } from "../../support.ts";
import { emulated, runner, some, withMatrices } from "./emulated-matrices.ts";
import { inHalves } from "./in-halves.ts";

const matrices = suite("all of gpu matrices");
const { open, check } = await emulated(matrices);

const lanes = 8;
const halves: SubgroupMatrix = { m: 8, n: 8, k: 8, type: "f16", lanes };

check("a tile whose matrices are right is proved", async () => {
  const tile: MatrixTile = { rows: 16, columns: 16, depth: 8, subgroups: [2, 2], matrix: halves };
  assert.is(await prove(tile, tiles["32x32x16"], runner(withMatrices(open, halves))), "");
});

const others: Readonly<Record<string, MatrixTile>> = {
  "wide matrices": { rows: 16, columns: 32, depth: 16, subgroups: [2, 2], matrix: { m: 8, n: 16, k: 16, type: "f16", lanes } },
  "matrices of float32, two of a subgroup below each other": {
    ...{ rows: 16, columns: 16, depth: 8, subgroups: [1, 2] },
    matrix: { ...halves, type: "f32" },
  },
  "two matrices of a subgroup side by side": { rows: 16, columns: 16, depth: 8, subgroups: [2, 1], matrix: halves },
};
for (const [name, tile] of Object.entries(others)) {
  check(`a tile of ${name} agrees with tiles of threads`, async () => {
    assert.is(await prove(tile, tiles["32x32x16"], some(runner(withMatrices(open, tile.matrix)), [0, 8])), "");
  });
}

const matrix: SubgroupMatrix = { m: 16, n: 16, k: 16, type: "f16", lanes };
for (const { name, run, inputs } of rows.filter((row) => row.name === "conv2d, 3x3 stride 2")) {
  check(`${name}: in matrices of halves the GPU equals the reference within 2e-2`, async () => {
    const made = make(inputs, name);
    const layouts = ["k column", "k k", "row column"] as const;
    const all = Object.fromEntries(layouts.map((layout): [ShapeClass, string] => [`${layout}, few, f16`, "matrices 32x32x32"]));
    const used: string[] = [];
    const gpu = new GpuBackend(withMatrices(open, matrix, { used: (label) => used.push(label) }), all);
    const expected = await outputsAndGradients(run, made, reference);
    const got = await outputsAndGradients(inHalves(run, made), made, gpu, { precision: "f16" });
    for (const [i, host] of got.entries()) {
      const gap = difference(host, expected[i]);
      assert.ok(gap < 2e-2, `result ${i} differs by ${gap}`);
    }
    assert.is(used.length, 3, used.join()); // the product and both gradients
  });
}

matrices.run();
