import { test } from "uvu";
import * as assert from "uvu/assert";
import { type BackendOptions, openBackend } from "../../src/backend/open.ts";
import { readKernels } from "../../src/backend/workers.ts";

const message = (promise: Promise<unknown>) =>
  promise.then(
    () => "no error",
    (error: Error) => error.message,
  );

test("a backend is opened by its name, auto being wasm here", async () => {
  for (const [backend, name] of [
    ["auto", "wasm"],
    ["wasm", "wasm"],
    ["reference", "reference"],
  ] as const) {
    const opened = await openBackend({ backend, threads: 1 });
    assert.is(opened.name, name);
    await opened.close();
  }
});

test("an unknown name is refused with those that there are", async () => {
  const options = { backend: "cuda" } as unknown as BackendOptions;
  assert.match(await message(openBackend(options)), /Cannot open a backend called "cuda": expected "auto", "wasm" or "reference"/);
});

test("kernels that were not built are an error that says how to build them", async () => {
  assert.match(await message(readKernels("kernels-missing.wasm")), /kernels-missing.wasm is missing; run `npm run build`/);
});

test.run();
