// Products in tiles that subgroups multiply as matrices. No software adapter has these, so kernels are compiled on Dawn's null device, and
// computed by a device whose matrices are loops, all of them in matrices.full.ts; only a proof on a GPU tells what its own matrices do.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as conv from "../../../gpu/conv.ts";
import { type Kernel, shader } from "../../../gpu/kernel.ts";
import { matmulOperands } from "../../../gpu/matmul.ts";
import { bytesOf, isMatrix, product } from "../../../gpu/product.ts";
import type { MatrixTile, SubgroupMatrix } from "../../../gpu/tile-matrix.ts";
import { matrixOf, openDevice } from "../../../src/backend/webgpu/device.ts";
import { GpuExecutable } from "../../../src/backend/webgpu/executable.ts";
import { Pipelines } from "../../../src/backend/webgpu/pipelines.ts";
import { gap, prove, TOLERANCE } from "../../../src/backend/webgpu/prove.ts";
import { Storage } from "../../../src/backend/webgpu/storage.ts";
import {
  allTiles,
  type Room,
  roomOf,
  type ShapeClass,
  type TileTable,
  tileChooser,
  tiles,
  trusted,
} from "../../../src/backend/webgpu/tiles.ts";
import { type timed, tune } from "../../../src/backend/webgpu/tune.ts";
import { emulated, type Lie, runner, some, turns, withMatrices } from "./emulated-matrices.ts";

const matrices = suite("gpu matrices");
const { open, check } = await emulated(matrices);

/** The smallest matrices of Apple's GPUs, those of Intel's, of NVIDIA's and AMD's, and of float32. */
const sizes: readonly SubgroupMatrix[] = [
  { m: 8, n: 8, k: 8, type: "f16", lanes: 32 },
  { m: 8, n: 16, k: 16, type: "f16", lanes: 32 },
  { m: 16, n: 16, k: 16, type: "f16", lanes: 32 },
  { m: 8, n: 8, k: 8, type: "f32", lanes: 32 },
];

const NAME = "matrices 32x32x32";
const roomy: Room = { maxComputeInvocationsPerWorkgroup: 1024, maxComputeWorkgroupStorageSize: 49152 };

matrices("of an adapter's matrices the largest with sums in float32 are used, of halves if there are such", () => {
  const config = (componentType: string, resultComponentType: string, M: number, N: number, K: number) => ({
    ...{ componentType, resultComponentType, M, N, K },
  });
  const of = (...subgroupMatrixConfigs: ReturnType<typeof config>[]) => matrixOf({ subgroupMatrixConfigs, subgroupMaxSize: 64 });
  const f16 = { m: 16, n: 16, k: 16, type: "f16", lanes: 64 };
  assert.equal(of(config("f16", "f32", 16, 8, 16), config("f16", "f32", 16, 16, 16), config("f16", "f16", 32, 32, 16)), f16);
  assert.equal(of(config("f32", "f32", 32, 32, 32), config("f16", "f32", 16, 16, 16)), f16);
  assert.equal(of(config("f16", "f16", 8, 8, 8), config("f32", "f32", 8, 8, 8)), { m: 8, n: 8, k: 8, type: "f32", lanes: 64 });
  assert.is(of(config("f16", "f16", 16, 16, 16), config("i8", "i32", 16, 16, 32)), undefined);
  assert.is(matrixOf({}), undefined);
});

const of: ShapeClass = "k k, many, f16";
const table: TileTable = { "k k, many": "64x64x16", [of]: NAME };

matrices("half precision takes matrices where the table says so and they fit, float32 never", () => {
  const room = { ...roomy, matrix: sizes[2] };
  assert.equal(tileChooser(room, table)(of), allTiles(sizes[2])[NAME]);
  assert.is(tileChooser(room, table)("k k, many"), tiles["64x64x16"]);
  assert.is(tileChooser(room, { "k k, many": NAME })("k k, many"), tileChooser(roomy)("k k, many"));
  assert.is(tileChooser({ ...room, maxComputeInvocationsPerWorkgroup: 64 }, table)(of), tiles["64x64x16"]);
  assert.is(tileChooser({ ...room, matrix: { ...sizes[2], m: 24 } }, table)(of), tiles["64x64x16"]); // 32 rows are no multiple of it
});

matrices("an adapter without matrices never takes them, nor does the fixed table", () => {
  assert.is(tileChooser(roomy, table)(of), tiles["64x64x16"]);
  const fixed = tileChooser({ ...roomy, matrix: sizes[2] });
  for (const amount of ["few", "some", "many"] as const) assert.not(isMatrix(fixed(`k column, ${amount}, f16`)));
});

matrices("what is not proved is not trusted", () => {
  assert.equal(trusted(table, {}), { "k k, many": "64x64x16" });
  assert.equal(trusted(table, { [NAME]: "all is wrong" }), { "k k, many": "64x64x16" });
  assert.equal(trusted(table, { [NAME]: "" }), table);
});

matrices("a difference is told from none, and numbers that are none from numbers", () => {
  const numbers = Float32Array.of(1, -4, 2);
  assert.is(gap(numbers, numbers), 0);
  assert.is(gap(Float32Array.of(1, -4, 3), numbers), 0.25);
  for (const wrong of [Float32Array.of(1, Number.NaN, 2), Float32Array.of(1, -4)]) assert.ok(Number.isNaN(gap(wrong, numbers)));
});

/** The shader of a kernel each operand of which lies in a buffer of its own, halves and float32 in turn. */
function shaderOf(kernel: Kernel): { code: string; buffers: number } {
  const buffers = [...kernel.reads, ...kernel.writes];
  const types = buffers.map((_, i) => (i % 2 ? "f32" : "f16"));
  return { code: shader(kernel, { bindings: buffers.map((_, i) => i), types }), buffers: buffers.length };
}

const lie = <Along>(along: Along, fours: boolean) => ({ along, fours });
const operands = [true, false].flatMap((fours) => [
  ...(["k", "row"] as const).flatMap((a) => (["k", "column"] as const).map((b) => matmulOperands(lie(a, fours), lie(b, fours)))),
  ...[conv.forward, conv.inputGrad, conv.weightGrad].map((of) => of({ c: fours, o: fours })),
]);

matrices("every kernel of matrices compiles, for all their sizes and every way that operands lie", async () => {
  const nothing = await openDevice({ nothing: true, software: true }).catch((error: Error) => error);
  if (nothing instanceof Error) return console.log(`Shaders are not compiled: ${nothing.message}`);
  const { device, close } = nothing;
  const pipelines = new Pipelines(device);
  const compiled: Promise<unknown>[] = [];
  for (const matrix of sizes) {
    for (const [name, tile] of Object.entries(allTiles(matrix))) {
      if (!isMatrix(tile)) continue;
      for (const way of operands) {
        const { code, buffers } = shaderOf(product(way, tile, undefined, way.leftFours));
        const whole = bytesOf(tile) <= device.limits.maxComputeWorkgroupStorageSize; // a GPU has more
        compiled.push(whole ? pipelines.get(code, buffers, `${way.name} in ${name}`) : parsed(device, code));
      }
    }
  }
  await Promise.all(compiled);
  await close();
});

/** Throws if a shader is not sound, whatever a device has room for. */
async function parsed(device: GPUDevice, code: string): Promise<void> {
  const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
  for (const { type, message } of messages) assert.not(type === "error", message);
}

/** A tile of which a software driver compiles the loops in about a second. */
const small: MatrixTile = { rows: 16, columns: 16, depth: 8, subgroups: [2, 2], matrix: { ...sizes[0], lanes: 8 } };

check("a tile whose matrices are right agrees with tiles of threads, with edges everywhere and k in parts", async () => {
  assert.is(await prove(small, tiles["32x32x16"], some(runner(withMatrices(open, small.matrix)), [0, 8])), "");
});

check("products ask for tiles of half precision where their step may be rounded, else for those of float32", async () => {
  const uncompiled = Object.assign(new Pipelines(open.device), { get: () => Promise.reject(new Error("nothing is compiled")) });
  const asked = async (precision?: "f16") => {
    const classes: ShapeClass[] = [];
    await prove(small, small, async (program) => {
      const steps = program.steps.map((step) => ({ ...step, precision }));
      const chosen = (of: ShapeClass) => {
        classes.push(of);
        return tiles["32x32x16"];
      };
      new GpuExecutable({ ...program, steps }, open.device, new Storage(open.device), uncompiled, turns, chosen).dispose();
      return program.outputs.map(() => Float32Array.of(0));
    });
    return new Set(classes);
  };
  const layouts = ["k k", "k column", "row column", "row k"];
  assert.equal(await asked(), new Set(layouts.map((layout) => `${layout}, few`)));
  assert.equal(await asked("f16"), new Set(layouts.map((layout) => `${layout}, few, f16`)));
});

for (const lie of ["transposes", "sums in halves", "forgets"] satisfies Lie[]) {
  check(`a tile is refused on a GPU that ${lie}`, async () => {
    const wrong = await prove(small, tiles["32x32x16"], some(runner(withMatrices(open, small.matrix, { lie })), [8]));
    assert.match(wrong, /^\[37, 1060\] transposed x \[1060, 29\] is off by \d[\d.e-]+ of its largest number$/);
    assert.ok(Number(wrong.match(/by ([\d.e-]+)/)?.[1]) > 2 * TOLERANCE, wrong);
  });
}

check("a tile is refused where the driver does not compile it", async () => {
  const wrong = await prove(small, tiles["32x32x16"], some(runner(withMatrices(open, small.matrix, { lie: "refuses" })), [8]));
  assert.match(wrong, /^Cannot compile the kernel of \[37, 1060\] transposed/);
});

/** Only one tile of these has room, and one class is raced. */
const matrix: SubgroupMatrix = { m: 16, n: 16, k: 16, type: "f16", lanes: 8 };
const workgroupBytes = 10_000;
const others: TileTable = { "k k, few, f16": "32x32x16", "row column, few, f16": "32x32x16" };
const known = {
  tiles: { "k k, few": "32x32x16", "row column, few": "32x32x16", "k column, few": "32x32x16", ...others } as TileTable,
  proofs: {},
};
const raced: ShapeClass = "k column, few, f16";
const shapes = { few: [64, 64, 64] } as const;
const usesMatrices = ({ dispatches }: GpuExecutable) => dispatches.some(({ shader }) => shader.includes("subgroupMatrix"));
/** As if matrices were fast, and right or not. Nothing is run. */
const timeIf =
  (right: boolean): typeof timed =>
  async (executable) =>
    usesMatrices(executable) ? { ms: 1, numbers: Float32Array.of(right ? 3 : 2) } : { ms: 2, numbers: Float32Array.of(3) };
const time = timeIf(true);

check("matrices that are fast and proved are taken in half precision, and kept", async () => {
  const device = withMatrices(open, matrix, { workgroupBytes });
  const proved: string[] = [];
  const proof: typeof prove = async (tile) => {
    proved.push(`${tile.rows}x${tile.columns}x${tile.depth}`);
    return "";
  };
  const tuned = await tune(device, known, { shapes, time, proof, limitMs: 600_000 });
  assert.equal(tuned, { tiles: { ...known.tiles, [raced]: NAME }, proofs: { [NAME]: "" } });
  assert.equal(proved, ["32x32x32"]);
  assert.equal(await tune(device, tuned, { shapes, time, proof }), tuned);
});

check("matrices that are fast and fail their proof are not taken, and not tried again", async () => {
  const proof: typeof prove = async () => "all is wrong";
  const tuned = await tune(withMatrices(open, matrix, { workgroupBytes }), known, { shapes, time, proof, limitMs: 600_000 });
  assert.equal(tuned, { tiles: { ...known.tiles, [raced]: "32x32x16" }, proofs: { [NAME]: "all is wrong" } });
  const again = { tiles: { ...tuned.tiles, [raced]: undefined }, proofs: tuned.proofs };
  const wary: typeof timed = async (executable, clock) => {
    assert.not(usesMatrices(executable));
    return time(executable, clock);
  };
  assert.equal(await tune(withMatrices(open, matrix, { workgroupBytes }), again, { shapes, time: wary, limitMs: 600_000 }), tuned);
});

check("matrices that are wrong in a race, or that the driver does not compile, do not come to a proof", async () => {
  for (const [lie, reason] of [
    [undefined, /^a product is off by 0\.33 of its largest number$/],
    ["refuses", /^Cannot compile the kernel of product/],
  ] as const) {
    const device = withMatrices(open, matrix, { workgroupBytes, lie });
    const { tiles, proofs } = await tune(device, known, { shapes, time: timeIf(false), limitMs: 600_000 });
    assert.is(tiles[raced], "32x32x16");
    assert.equal(Object.keys(proofs), [NAME]);
    assert.match(proofs[NAME], reason);
  }
});

check("a device that lacks what its adapter shows races no matrices", async () => {
  const claims = { ...open, adapter: { ...open.adapter, matrix } };
  assert.is(roomOf(claims).matrix, undefined);
  const single = { ...known, tiles: { "k k, few": "32x32x16", "row column, few": "32x32x16", "k column, few": "32x32x16" } as TileTable };
  assert.equal(await tune(claims, single, { shapes, time }), single);
});

matrices.run();
