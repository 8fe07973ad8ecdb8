// Every kind of product in tiles of matrices, which a software driver takes half a minute to compile: those of matrices.test.ts and its
// emulated device.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { MatrixTile, SubgroupMatrix } from "../../../gpu/tile-matrix.ts";
import { type OpenDevice, openDevice } from "../../../src/backend/webgpu/device.ts";
import { GpuExecutable } from "../../../src/backend/webgpu/executable.ts";
import { Pipelines } from "../../../src/backend/webgpu/pipelines.ts";
import { prove } from "../../../src/backend/webgpu/prove.ts";
import { Storage } from "../../../src/backend/webgpu/storage.ts";
import { type ShapeClass, tiles } from "../../../src/backend/webgpu/tiles.ts";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import { rows } from "../../op-rows.ts";
import { difference, make, outputsAndGradients, reference } from "../../support.ts";
import { withMatrices } from "./emulated-matrices.ts";
import { inHalves } from "./in-halves.ts";
import { onGpu, skipped } from "./support.ts";

const matrices = suite("all of gpu matrices");
const found = skipped ? undefined : await openDevice({ software: true });
const open = found as OpenDevice;
const lacks = (["shader-f16", "subgroups"] as const).filter((feature) => found && !found.device.features.has(feature));
if (lacks.length) console.log(`Matrices are not computed: the GPU has no ${lacks.join(" and no ")}`);
const check = lacks.length ? matrices.skip : onGpu(matrices);
matrices.after(async () => {
  await found?.close();
});

const lanes = 8;
/** One matrix for each subgroup, two down, two across. */
const emulated: readonly MatrixTile[] = [
  { rows: 16, columns: 16, depth: 8, subgroups: [2, 2], matrix: { m: 8, n: 8, k: 8, type: "f16", lanes } },
  { rows: 16, columns: 32, depth: 16, subgroups: [1, 2], matrix: { m: 8, n: 16, k: 16, type: "f16", lanes } },
  { rows: 16, columns: 16, depth: 16, subgroups: [2, 1], matrix: { m: 8, n: 8, k: 8, type: "f32", lanes } },
];

for (const tile of emulated) {
  const { m, n, k, type } = tile.matrix;
  check(`a tile of ${m}x${n}x${k} in ${type} is proved on a GPU whose matrices are right`, async () => {
    const { device } = withMatrices(open, tile.matrix);
    const [storage, pipelines] = [new Storage(device), new Pipelines(device)];
    const turns = { inTurn: <T>(work: () => Promise<T>) => work(), unlessBroken: <T>(work: Promise<T>) => work };
    const wrong = await prove(tile, tiles["32x32x16"], (program, tile) =>
      new GpuExecutable(program, device, storage, pipelines, turns, () => tile).run([]),
    );
    assert.is(wrong, "");
  });
}

const matrix: SubgroupMatrix = { m: 16, n: 16, k: 16, type: "f16", lanes };
const wanted = ["matmul, bias, gelu, residual", "conv2d, 3x3 stride 2"];
for (const { name, run, inputs } of rows.filter((row) => wanted.includes(row.name))) {
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
