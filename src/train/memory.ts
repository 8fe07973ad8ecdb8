// How much memory a run will hold at its peak, said before the first step: what the process holds by then (program, threads,
// weights, the first batch) is measured, what it will take on the way is known from the plan.
import type { Backend } from "../backend/backend.ts";
import { WasmBackend } from "../backend/wasm.ts";
import { GpuBackend } from "../backend/webgpu.ts";
import type { Loader } from "../data/loader.ts";
import { namedState } from "./learner.ts";
import type { Learner } from "./step.ts";

/** What a run is made of when its first batch is there and its first step has not begun. */
export interface Ready {
  readonly learner: Learner;
  readonly backend: Backend;
  /** Planned peak of intermediate values. */
  readonly arenaBytes: number;
  /** Absent when nothing is left to do. */
  readonly loader?: Loader;
  /** Bytes that measuring between steps will take. */
  readonly monitorBytes: number;
}

/** What the heaps of the engine's threads grow by before they are collected; between 10 and 50 MB were measured. */
const HEAPS = 32e6;

/** Bytes of resident memory at the peak of a run that is ready to begin. */
export function plannedBytes({ learner, backend, arenaBytes, loader, monitorBytes }: Ready): number {
  const { rss: resident } = process.memoryUsage();
  if (!loader) return resident;
  const held = backend instanceof WasmBackend ? backend.describe().arenaBytes : 0;
  const values = backend instanceof GpuBackend ? 0 : Math.max(0, arenaBytes - held); // a GPU's are in its own memory
  const checkpoint = [...namedState(learner)].reduce((sum, [, parameter]) => sum + 4 * parameter.size, 0); // copies all state
  return resident + values + loader.bytesToCome + checkpoint + HEAPS + monitorBytes;
}
