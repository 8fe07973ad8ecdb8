// Every row of the op table on the GPU, forward and backward, against the plain loops.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import { rows } from "../../op-rows.ts";
import { difference, make, outputsAndGradients, outputsOf, reference } from "../../support.ts";
import { onGpu, skipped } from "./support.ts";

const ops = suite("gpu ops");
const check = onGpu(ops);
let gpu: GpuBackend;

ops.before(async () => {
  if (!skipped) gpu = await GpuBackend.open({ software: true });
});
ops.after(async () => {
  if (!skipped) await gpu.close();
});

for (const { name, run, inputs, gradient } of rows) {
  const made = make(inputs, name);
  const evaluate = gradient === false ? outputsOf : outputsAndGradients;
  check(`${name}: the GPU equals the reference`, async () => {
    const expected = await evaluate(run, made, reference);
    const got = await evaluate(run, made, gpu);
    assert.is(got.length, expected.length);
    for (const [i, host] of got.entries()) {
      const gap = difference(host, expected[i]);
      assert.ok(gap < 1e-5, `result ${i} differs by ${gap}`);
    }
  });
}

ops.run();
