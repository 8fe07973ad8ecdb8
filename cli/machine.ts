// Flags that say how the work is carried out, the same in every command that computes. None changes a result.
import type { Flags } from "./command.ts";

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
