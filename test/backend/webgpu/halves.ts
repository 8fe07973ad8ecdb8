// Tests of rows of the op table with operands, results and gradients stored as float16.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fromHalf, toHalf } from "../../../src/backend/reference-half.ts";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import { withScope } from "../../../src/tape/scope.ts";
import type { Tensor } from "../../../src/tape/tensor.ts";
import { compile } from "../../../src/tape/trace.ts";
import { rows } from "../../op-rows.ts";
import { difference, type Made, make, outputsAndGradients, outputsOf, reference } from "../../support.ts";
import { inHalves, throughSum } from "./in-halves.ts";
import { onGpu, skipped } from "./support.ts";

/** Inputs that halves hold: only what is computed from them is rounded. */
const rounded = (made: Made[]): Made[] =>
  made.map((host) => (host.fixed ? host : { ...host, data: host.data.map((x) => fromHalf(toHalf(x))) }));

/** A suite of rows of the op table in halves: those that `wanted` names. */
export function inHalvesSuite(wanted: (name: string) => boolean) {
  const halves = suite("gpu halves");
  const check = onGpu(halves);
  let gpu: GpuBackend;
  halves.before(async () => {
    if (!skipped) gpu = await GpuBackend.open({ software: true });
  });
  halves.after(async () => {
    if (!skipped) await gpu.close();
  });

  for (const { name, run, inputs, gradient } of rows.filter((row) => wanted(row.name))) {
    check(`${name}: in halves the GPU equals the reference within 2e-2`, async () => {
      const made = rounded(make(inputs, name));
      const evaluate = gradient === false ? outputsOf : outputsAndGradients;
      const expected = await evaluate(run, made, reference);
      const got = await evaluate(inHalves(run, made), made, gpu, { precision: "f16" });
      assert.is(got.length, expected.length);
      for (const [i, host] of got.entries()) {
        const gap = difference(host, expected[i]);
        assert.ok(gap < 2e-2, `result ${i} differs by ${gap}`);
      }
    });
  }

  check("what is too large for a half becomes infinite, so that the scale of the loss follows", async () => {
    const x = { data: Float32Array.of(65504, 70000, -1e6, 1e-9), shape: [2, 2] };
    const store = compile((t: Tensor) => withScope({ module: "row" }, () => throughSum(t.mul(1))), gpu, { precision: "f16" });
    assert.equal([...(await store(x)).data], [65504, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0]);
  });

  return halves;
}
