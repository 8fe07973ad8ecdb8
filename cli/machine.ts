// Flags that say how the work is carried out, the same in every command that computes. None changes a result.
import type { Flags, FlagValues } from "./command.ts";

export const machineFlags = {
  threads: { group: "Machine", type: "number", whole: true, min: 1, max: 256, otherwise: "all cores", help: "Threads that compute" },
  backend: {
    group: "Machine",
    type: "choice",
    choices: ["auto", "wasm", "gpu"],
    default: "auto",
    help: "What computes: auto, wasm or gpu",
  },
} as const satisfies Flags;

/** What the flags mean to the library. */
export function machine({ threads, backend }: FlagValues<typeof machineFlags>): { threads?: number; backend: "auto" | "wasm" } {
  if (backend === "gpu") {
    throw Object.assign(new Error("Cannot compute on a GPU: this version has the WebAssembly backend only"), {
      tip: "leave --backend out",
    });
  }
  return { threads, backend: backend as "auto" | "wasm" };
}
