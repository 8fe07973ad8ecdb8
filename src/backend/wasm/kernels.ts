// Which build of the kernels runs: the plain one, or the one with relaxed SIMD where the engine has it.
import { nodeMajor, readKernels, setEngineFlags } from "../workers.ts";

export interface Kernels {
  readonly module: WebAssembly.Module;
  readonly build: "plain" | "relaxed";
  /** Why this build, for people. */
  readonly why: string;
}

let flagged = false;

/** Flags must be set before anything is compiled, and once. */
function prepareEngine(): void {
  if (flagged) return;
  flagged = true;
  // Code entered in the baseline compiler would stay there until a whole program has run.
  setEngineFlags("--no-liftoff", "--no-wasm-tier-up");
  if (nodeMajor < 22) setEngineFlags("--experimental-wasm-relaxed-simd");
}

/** Compiles the kernels. */
export async function loadKernels(): Promise<Kernels> {
  prepareEngine();
  const relaxed = await readKernels("kernels-relaxed.wasm");
  if (WebAssembly.validate(relaxed))
    return { module: await WebAssembly.compile(relaxed), build: "relaxed", why: "the engine has relaxed SIMD" };
  const plain = await readKernels("kernels-plain.wasm");
  return { module: await WebAssembly.compile(plain), build: "plain", why: "the engine has no relaxed SIMD" };
}
