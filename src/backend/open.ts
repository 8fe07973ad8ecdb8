// Picks a backend by name.
import type { Backend } from "./backend.ts";
import { ReferenceBackend } from "./reference.ts";
import { WasmBackend } from "./wasm.ts";

export interface BackendOptions {
  /** "auto" takes the fastest that this machine has. "reference" is for tests: plain loops, thousands of times slower. */
  backend?: "auto" | "wasm" | "reference";
  /** Threads of the wasm backend; default: as many as the process has cores. */
  threads?: number;
}

/** Opens a backend. `close()` it to end its threads. */
export async function openBackend({ backend = "auto", threads }: BackendOptions = {}): Promise<Backend> {
  if (backend === "reference") return new ReferenceBackend();
  if (backend === "auto" || backend === "wasm") return WasmBackend.open({ threads });
  throw new TypeError(`Cannot open a backend called "${backend}": expected "auto", "wasm" or "reference"`);
}
