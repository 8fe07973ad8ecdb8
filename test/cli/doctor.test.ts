import { suite } from "uvu";
import * as assert from "uvu/assert";
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

test.run();
