// Whole training steps of the methods on the GPU beside wasm, which the goldens hold to the official code.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { WasmBackend } from "../../../src/backend/wasm.ts";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import { difference } from "../../support.ts";
import { runs, STEPS } from "./lessons.ts";
import { onGpu, skipped } from "./support.ts";

const training = suite("gpu training");
const check = onGpu(training);
let gpu: GpuBackend;
let wasm: WasmBackend;

training.before(async () => {
  if (skipped) return;
  gpu = await GpuBackend.open({ software: true });
  wasm = await WasmBackend.open({ threads: 1, build: "plain" });
});
training.after(async () => {
  if (skipped) return;
  await gpu.close();
  await wasm.close();
});

for (const [name, run] of Object.entries(runs)) {
  check(`${name}: the first loss is wasm's within 1e-5, all weights are after ${STEPS} steps within 1e-4`, async () => {
    const [expected, got] = [await run(wasm), await run(gpu)];
    const gap = Math.abs(got.losses[0] / expected.losses[0] - 1);
    assert.ok(gap < 1e-5, `loss ${got.losses[0]} instead of ${expected.losses[0]}`);
    for (const [i, [parameter, host]] of got.weights.entries()) {
      if (parameter.endsWith("qkv.bias")) continue; // the keys' part has no gradient but rounding, which AdamW makes as long as any other
      const apart = difference(host, expected.weights[i][1]);
      assert.ok(apart < 1e-4, `${parameter} differs by ${apart}`);
    }
  });
}

training.run();
