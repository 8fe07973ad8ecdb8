// Each method in half precision on the GPU beside float32 on wasm.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { WasmBackend } from "../../../src/backend/wasm.ts";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import { lossGap, runs, STEPS } from "./lessons.ts";
import { onGpu } from "./support.ts";

const precision = suite("gpu precision");
const check = onGpu(precision);

for (const [name, run] of Object.entries(runs)) {
  check(`${name}: each loss of ${STEPS} steps is wasm's within 2e-2, and something is rounded`, async () => {
    const [gpu, wasm] = [await GpuBackend.open({ software: true }), await WasmBackend.open({ threads: 1, build: "plain" })];
    const gap = lossGap(await run(gpu, "f16"), await run(wasm));
    assert.ok(gap > 1e-6 && gap < 2e-2, `losses differ by ${gap}`);
    await gpu.close();
    await wasm.close();
  });
}

precision.run();
