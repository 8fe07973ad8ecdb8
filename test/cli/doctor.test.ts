import { suite } from "uvu";
import * as assert from "uvu/assert";
import { showMatrices } from "../../cli/doctor.ts";
import { run } from "./support.ts";

const test = suite("doctor");

test("every part of the machine has its line", async () => {
  const { code, out, err } = await run("doctor");
  assert.is(code, 0);
  assert.is(err, "");
  const names = out
    .trimEnd()
    .split("\n")
    .map((line) => line.split(" ")[0]);
  assert.equal([...new Set(names)], ["autodidact", "runtime", "cpu", "features", "memory", "kernels", "gpu"]);
  assert.match(out, /^kernels +(plain|relaxed).*, \d+ threads?: \S/m);
});

test("machines get the same as JSON, version first", async () => {
  const report = JSON.parse((await run("doctor --json")).out);
  assert.equal(Object.keys(report), ["version", "autodidact", "runtime", "cpu", "memory", "kernels", "gpu"]);
  assert.is(report.version, 1);
  assert.ok(report.cpu.features.includes("wasm-simd"));
  assert.ok(report.memory.totalBytes >= report.memory.availableBytes && report.memory.availableBytes > 0);
  assert.is(report.gpu.adapters.length === 0, report.gpu.reason !== undefined);
});

test("a GPU's subgroup matrices are shown with what uses them, or with what is wrong", () => {
  const matrix = { m: 16, n: 16, k: 16, type: "f16", lanes: 32 } as const;
  assert.is(showMatrices({ tiles: { "k k, few": "32x32x16" }, proofs: {} }), "");
  const text = "; subgroup matrices of 16x16x16 in f16, ";
  assert.is(showMatrices({ matrix, tiles: { "k k, few": "32x32x16" }, proofs: {} }), `${text}tried at the first use`);
  const right = "matrices 64x64x32";
  assert.is(showMatrices({ matrix, tiles: { "k k, few, f16": right }, proofs: { [right]: "" } }), `${text}used by 1 kinds of products`);
  const refused = {
    matrix,
    tiles: { "k k, few, f16": "32x32x16" },
    proofs: { [right]: "[69, 71] x [71, 67] is off by 0.5 of its largest number" },
  };
  const why = `not ${right}: [69, 71] x [71, 67] is off by 0.5 of its largest number`;
  assert.is(showMatrices(refused), `${text}used by 0 kinds of products (${why})`);
});

test.run();
