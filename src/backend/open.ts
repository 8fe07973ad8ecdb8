// Picks a backend by name.
import { existsSync } from "node:fs";
import type { Backend } from "./backend.ts";
import { tilesFor } from "./gpu-tiles.ts";
import { ReferenceBackend } from "./reference.ts";
import type { Build } from "./wasm/kernels.ts";
import { WasmBackend } from "./wasm.ts";
import { type DeviceOptions, NoGpuError, openDevice } from "./webgpu/device.ts";
import { GpuBackend } from "./webgpu.ts";

/**
 * "auto" takes a GPU where there is one, never one that is simulated by the CPU, and wasm otherwise; "gpu" takes what WebGPU finds. "reference"
 * is for tests: plain loops, thousands of times slower.
 */
export type BackendName = "auto" | "wasm" | "gpu" | "reference";

/** What is to compute. */
export interface Machine {
  readonly backend?: BackendName;
  /** Part of the name of the GPU that is wanted; default: the first that WebGPU finds. */
  readonly gpu?: string;
  /** Threads of the wasm backend; default: as many as the process has cores. */
  readonly threads?: number;
  /**
   * Whether to measure, at the first use of a GPU, which tiles its products are fastest in; results in float32 do not depend on it. Default: on GPUs
   * that are no software. False: a fixed table, without subgroup matrices, which are used in half precision where they are proved and faster.
   */
  readonly tune?: boolean;
}

export interface BackendOptions extends Machine {
  /** Build of the wasm kernels, as a run began with it: builds differ in rounding. Default: the faster one. */
  readonly build?: Build;
}

/** What computes, for people: "wasm, 2 threads" or "gpu, " and its name. */
export function titleOf(backend: Backend): string {
  if (backend instanceof GpuBackend) return `gpu, ${backend.adapter.name}`;
  if (backend instanceof WasmBackend) return `wasm, ${backend.threads} thread${backend.threads === 1 ? "" : "s"}`;
  return backend.name;
}

/** Opens a backend. `close()` it to end its threads. Throws a NoGpuError, which says why, where a GPU is asked for and there is none. */
export async function openBackend({ backend = "auto", gpu, threads, build, tune }: BackendOptions = {}): Promise<Backend> {
  switch (backend) {
    case "reference":
      return new ReferenceBackend();
    case "wasm":
      return WasmBackend.open({ threads, build });
    case "gpu":
      return openGpu({ name: gpu, software: true }, tune);
    case "auto":
      return (await realGpu(gpu, tune)) ?? WasmBackend.open({ threads, build });
    default:
      throw new TypeError(`Cannot open a backend called "${backend}": expected "auto", "wasm", "gpu" or "reference"`);
  }
}

/** False where asking for a GPU cannot find any: on Linux a driver has to show one of these. Asking takes a tenth of a second. */
function mayHaveGpu(): boolean {
  if (globalThis.process?.platform !== "linux") return true;
  return ["/dev/dri", "/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd", "/dev/mali0"].some((path) => existsSync(path));
}

async function openGpu(options: DeviceOptions, tune?: boolean): Promise<Backend> {
  const open = await openDevice(options);
  const tiles = await tilesFor(open, tune).catch(async (error: Error) => {
    await open.close();
    throw new Error(`Cannot measure the tiles of products on ${open.adapter.name} (${error.message}); --no-tune takes the usual ones`);
  });
  return new GpuBackend(open, tiles);
}

/** A GPU that is no simulation, if there is one. */
async function realGpu(name?: string, tune?: boolean): Promise<Backend | undefined> {
  if (!mayHaveGpu()) return undefined;
  return openGpu({ name }, tune).catch((error) => {
    if (error instanceof NoGpuError) return undefined;
    throw error;
  });
}
