import { test } from "uvu";
import * as assert from "uvu/assert";
import { type BackendOptions, openBackend } from "../../src/backend/open.ts";
import { GpuBackend } from "../../src/backend/webgpu.ts";
import { readKernels } from "../../src/backend/workers.ts";

const message = (promise: Promise<unknown>) =>
  promise.then(
    () => "no error",
    (error: Error) => error.message,
  );

test("a backend is opened by its name", async () => {
  for (const backend of ["wasm", "reference"] as const) {
    const opened = await openBackend({ backend, threads: 1 });
    assert.is(opened.name, backend);
    await opened.close();
  }
});

test("auto takes no GPU that is simulated by the CPU", async () => {
  const opened = await openBackend({ backend: "auto", threads: 1 });
  assert.ok(opened instanceof GpuBackend ? !opened.adapter.software : opened.name === "wasm");
  await opened.close();
});

test("a GPU that is not there is refused, with what is there", async () => {
  assert.match(await message(openBackend({ backend: "gpu", gpu: "nosuch" })), /^Cannot compute on a GPU: \S/);
});

test("an unknown name is refused with those that there are", async () => {
  const options = { backend: "cuda" } as unknown as BackendOptions;
  assert.match(await message(openBackend(options)), /Cannot open a backend called "cuda": expected "auto", "wasm", "gpu" or "reference"/);
});

test("kernels that were not built are an error that says how to build them", async () => {
  assert.match(await message(readKernels("kernels-missing.wasm")), /kernels-missing.wasm is missing; run `npm run build`/);
});

test.run();
