// Every kernel, as filled in for each row of the op table and for whole training steps, through Dawn's compiler. Its null device compiles
// and checks everything that a GPU would get, and then computes nothing: this needs no GPU, but says nothing about numbers.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openDevice } from "../../../src/backend/webgpu/device.ts";
import { Pipelines, ShaderError } from "../../../src/backend/webgpu/pipelines.ts";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import { rows } from "../../op-rows.ts";
import { make, outputsAndGradients, outputsOf } from "../../support.ts";
import { inHalves } from "./in-halves.ts";
import { runs } from "./lessons.ts";

const shaders = suite("shaders");
let dawn: GpuBackend | undefined;
let reason = "";
try {
  dawn = await GpuBackend.open({ nothing: true, software: true });
} catch (error) {
  reason = (error as Error).message;
  console.log(`Shaders are not compiled: ${reason}`);
}
const check = (name: string, body: (backend: GpuBackend) => Promise<void>) =>
  dawn ? shaders(name, () => body(dawn as GpuBackend)) : shaders.skip(name, async () => {});

shaders.after(() => dawn?.close());

for (const { name, run, inputs, gradient } of rows) {
  const evaluate = gradient === false ? outputsOf : outputsAndGradients;
  check(`${name}: every kernel compiles, binds and runs`, async (backend) => {
    await evaluate(run, make(inputs, name), backend);
  });
  check(`${name}: every kernel compiles with its operands in halves`, async (backend) => {
    const made = make(inputs, name);
    await evaluate(inHalves(run, made), made, backend, { precision: "f16" });
  });
}

for (const [name, run] of Object.entries(runs)) {
  for (const precision of ["f32", "f16"] as const) {
    check(`${name}: every kernel of a training step compiles, binds and runs in ${precision}`, async (backend) => {
      await run(backend, precision);
    });
  }
}

check("a shader that does not compile is an error with the step, the line and the reason", async () => {
  const { device, close } = await openDevice({ nothing: true, software: true });
  const error = await new Pipelines(device).get("fn main() {\n  let x = nothing;\n}", 1, "add gelu").catch((e) => e);
  assert.instance(error, ShaderError);
  assert.match(error.message, /^Cannot compile the kernel of add gelu for this GPU: line 2: .*nothing/);
  await close();
});

shaders.run();
