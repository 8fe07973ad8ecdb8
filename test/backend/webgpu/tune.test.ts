// Tiles that are measured, kept and used.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keyOf, knownTiles, tilesFor } from "../../../src/backend/gpu-tiles.ts";
import { memoPath, remember } from "../../../src/backend/memo.ts";
import { type OpenDevice, openDevice } from "../../../src/backend/webgpu/device.ts";
import { type ShapeClass, type TileTable, tileChooser, tiles } from "../../../src/backend/webgpu/tiles.ts";
import { tune } from "../../../src/backend/webgpu/tune.ts";
import { onGpu, skipped } from "./support.ts";

const tuning = suite("tuning");
const check = onGpu(tuning);
let open: OpenDevice;

tuning.before(async () => {
  if (!skipped) open = await openDevice({ software: true });
});
tuning.after(async () => {
  if (!skipped) await open.close();
});

/** One class is raced, so that few kernels are compiled. */
const others: TileTable = { "k k, few": "64x64x16", "row column, few": "64x64x16" };
const known = { tiles: others, proofs: {} };
const shapes = { few: [64, 64, 64] } as const;

check("a race fills what is missing and keeps what is known", async () => {
  const { tiles: table } = await tune(open, known, { shapes, limitMs: 600_000 });
  assert.ok(Object.hasOwn(tiles, table["k column, few"] as string));
  assert.equal({ ...table, "k column, few": undefined }, { ...others, "k column, few": undefined });
});

check("no time is spent on what is known, and none without time", async () => {
  const all = { tiles: { ...others, "k column, few": "32x32x16" } as TileTable, proofs: {} };
  assert.equal(await tune(open, all, { shapes }), all);
  assert.equal(await tune(open, known, { shapes, limitMs: -1 }), known);
});

check("what was measured is found in the cache folder; what is damaged there is not", async () => {
  const before = process.env.XDG_CACHE_HOME;
  const cache = await mkdtemp(join(tmpdir(), "autodidact-tiles-"));
  process.env.XDG_CACHE_HOME = cache;
  try {
    assert.equal(await tilesFor(open), {}); // software is measured only if asked for
    const nothing = { tiles: {}, proofs: {} };
    assert.equal(await knownTiles(open.adapter), nothing);
    const classes = ["k k", "k column", "row column"].flatMap((layout) => ["many", "some", "few"].map((amount) => `${layout}, ${amount}`));
    const all = Object.fromEntries(classes.map((of) => [of, "64x64x16"]));
    await remember("another machine", {});
    await remember(keyOf(open.adapter), { tiles: all });
    assert.equal(await tilesFor(open, true), all);
    assert.equal(await tilesFor(open, false), {});
    assert.equal(await knownTiles({ ...open.adapter, identity: `${open.adapter.identity}, a newer driver` }), nothing);
    const withMatrices = { ...open.adapter, matrix: { m: 16, n: 16, k: 16, type: "f16", lanes: 32 } as const };
    const [right, wrong] = ["matrices 64x64x32", "matrices 32x32x32"];
    const proofs = { [right]: "", [wrong]: "a product is off by 0.5 of its largest number" };
    await remember(keyOf(withMatrices), { tiles: { "k k, many, f16": right, "k k, some, f16": wrong }, tileProofs: proofs });
    assert.equal(await knownTiles(withMatrices), { tiles: { "k k, many, f16": right }, proofs });
    assert.equal(await knownTiles({ ...withMatrices, matrix: { ...withMatrices.matrix, k: 8 } }), nothing); // other kernels
    await writeFile(memoPath(), (await readFile(memoPath(), "utf8")).replaceAll('"64x64x16"', "7"));
    assert.equal(await knownTiles(open.adapter), nothing);
  } finally {
    await rm(cache, { recursive: true });
    if (before === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = before;
  }
});

const roomy = { maxComputeInvocationsPerWorkgroup: 1024, maxComputeWorkgroupStorageSize: 49152 };

tuning("a table chooses where its tile is known and fits, else the usual one serves", () => {
  const of: ShapeClass = "k k, many";
  const usual = tileChooser(roomy)(of);
  assert.is(tileChooser(roomy, { [of]: "64x64x16" })(of), tiles["64x64x16"]);
  assert.is(tileChooser(roomy, { [of]: "1x1x1" })(of), usual);
  assert.is(tileChooser(roomy, { "k k, few": "64x64x16" })(of), usual);
  const small = { maxComputeInvocationsPerWorkgroup: 128, maxComputeWorkgroupStorageSize: 8192 };
  assert.is(tileChooser(small, { [of]: "128x128x16" })(of), tiles["32x32x16"]);
});

tuning.run();
