// The GPU of the tests. GPU_TESTS=auto (or unset): tests are skipped in sight where there is none; require: that is a failure;
// off: always skipped. A software adapter will do; Dawn's null device, which computes nothing, will not.
import { describeAdapter } from "../../../src/backend/webgpu/device.ts";

const mode = process.env.GPU_TESTS ?? "auto";
if (!["auto", "require", "off"].includes(mode)) throw new RangeError(`Cannot test with GPU_TESTS=${mode}: expected auto, require or off`);

const found = mode === "off" ? new Error("GPU_TESTS=off") : await describeAdapter().catch((error: Error) => error);
if (found instanceof Error && mode === "require") throw new Error(`GPU_TESTS=require, but there is no GPU: ${found.message}`);

/** Why the tests that need a GPU are skipped; undefined where they run. */
export const skipped: string | undefined = found instanceof Error ? found.message : undefined;
console.log(found instanceof Error ? `GPU tests are skipped: ${found.message}` : `GPU tests run on ${found.name}`);

/** Adds a test that needs a GPU to a suite. */
export function onGpu(suite: { (name: string, body: () => Promise<void>): void; skip(name: string, body: () => Promise<void>): void }) {
  return (name: string, body: () => Promise<void>) => (skipped ? suite.skip(name, body) : suite(name, body));
}
