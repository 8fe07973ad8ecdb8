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
  gpu: { group: "Machine", type: "string", value: "name", otherwise: "the first", help: "Which GPU: a part of its name" },
  "no-tune": { group: "Machine", type: "boolean", help: "Do not measure which tiles a new GPU multiplies fastest in; use no tensor cores" },
} as const satisfies Flags;

/** `--precision`: how layers store values. */
export const precisionFlag = {
  type: "choice",
  choices: ["f32", "f16"],
  default: "f32",
  help: "How layers store values; f16 takes half the memory, on a GPU that has it",
} as const;

/** What the flags mean to the library. A GPU that is named is wanted. */
export function machine({ threads, backend, gpu, "no-tune": untuned }: FlagValues<typeof machineFlags>): {
  threads?: number;
  backend: "auto" | "wasm" | "gpu";
  gpu?: string;
  tune?: false;
} {
  if (gpu !== undefined && backend === "wasm") {
    throw Object.assign(new Error(`Cannot compute on the GPU "${gpu}" with --backend wasm`), { tip: "leave one of them out" });
  }
  return { threads, backend: gpu === undefined ? (backend as "auto" | "wasm" | "gpu") : "gpu", gpu, ...(untuned && { tune: false }) };
}
