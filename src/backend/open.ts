// Picks a backend by name.
import type { Backend } from "./backend.ts";
import { ReferenceBackend } from "./reference.ts";
import type { Build } from "./wasm/kernels.ts";
import { WasmBackend } from "./wasm.ts";

export interface BackendOptions {
  /** "auto" takes the fastest that this machine has. "reference" is for tests: plain loops, thousands of times slower. */
  backend?: "auto" | "wasm" | "reference";
  /** Threads of the wasm backend; default: as many as the process has cores. */
  threads?: number;
  /** Build of the wasm kernels, as a run began with it: builds differ in rounding. Default: the faster one. */
  build?: Build;
}

/** Opens a backend. `close()` it to end its threads. */
export async function openBackend({ backend = "auto", threads, build }: BackendOptions = {}): Promise<Backend> {
  if (backend === "reference") return new ReferenceBackend();
  if (backend === "auto" || backend === "wasm") return WasmBackend.open({ threads, build });
  throw new TypeError(`Cannot open a backend called "${backend}": expected "auto", "wasm" or "reference"`);
}
