// Every row of the op table on the GPU against the plain loops, without a test runner and without Node: for Deno, browsers and bare servers.
import type { AdapterDescription } from "../../../src/backend/webgpu/device.ts";
import { GpuBackend } from "../../../src/backend/webgpu.ts";
import { rows } from "../../op-rows.ts";
import { difference, make, outputsAndGradients, outputsOf, reference } from "../../support.ts";

/** What a runtime has to say: its adapter, then each row with the largest difference or what went wrong, then that it is done. */
export type Report =
  | { readonly adapter: AdapterDescription }
  | { readonly row: string; readonly gap?: number; readonly error?: string }
  | { readonly done: true; readonly error?: string };

/** The largest relative difference that is rounding. */
export const TOLERANCE = 1e-5;

/** The largest difference of a row's results, gradients too. */
async function gapOf({ name, run, inputs, gradient }: (typeof rows)[number], gpu: GpuBackend): Promise<number> {
  const made = make(inputs, name);
  const evaluate = gradient === false ? outputsOf : outputsAndGradients;
  const [expected, got] = [await evaluate(run, made, reference), await evaluate(run, made, gpu)];
  if (got.length !== expected.length) throw new Error(`${got.length} results in place of ${expected.length}`);
  return Math.max(...got.map((host, i) => difference(host, expected[i])));
}

/** Runs all rows, one after the other; a row that fails does not keep the next from running. */
export async function runRows(say: (report: Report) => unknown): Promise<void> {
  try {
    const gpu = await GpuBackend.open({ software: true });
    await say({ adapter: gpu.adapter });
    for (const row of rows) {
      const result = await gapOf(row, gpu).then(
        (gap) => ({ gap }),
        (error: Error) => ({ error: error.message }),
      );
      await say({ row: row.name, ...result });
    }
    await gpu.close();
    await say({ done: true });
  } catch (error) {
    await say({ done: true, error: (error as Error).message });
  }
}
